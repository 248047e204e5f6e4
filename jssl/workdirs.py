"""A run's folder: `config.json` says what it holds and what made it; one process at a time trains in it."""

from collections.abc import Iterator, Sequence
import contextlib
import fcntl
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

import jax
import ml_collections

from jssl import config as configs
from jssl import logging
from jssl.errors import ConfigError
from jssl.files import write_whole

# What may differ between the start of a run and its continuation: it changes what is reported, not what is learnt.
FREE = (
  "log_every_steps",
  "checkpoint_every_steps",
  "checkpoint.",
  "evaluation.",
  "data.threads",
  "data.prefetch",
  "data.device_bytes",
  "nonfinite.",
  "parallel.",
)

_PACKAGES = ("jssl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections", "numpy", "grain")


@contextlib.contextmanager
def claimed(workdir: str | pathlib.Path, config: ml_collections.ConfigDict):
  """Keeps `workdir` for this process and this config: makes it, locks it, and writes or checks `config.json`.

  The lock is the system's: it is free as soon as the process has ended, however it ended. To read needs no lock. Of
  several processes that train together the first one keeps it.

  Raises:
    ConfigError: if another process trains there, if it holds a run of another config, with the keys that differ, or if
      it cannot be a folder of a run.
  """
  if jax.process_index() > 0:
    yield
    return
  workdir = pathlib.Path(workdir)
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = (workdir / "lock").open("a+")
  except OSError as error:
    raise ConfigError(f"{workdir} cannot be a workdir: {error.strerror}") from error
  with lock:
    _lock(workdir, lock)
    _check_or_write(workdir, config)
    yield


def _lock(workdir, file) -> None:
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    file.seek(0)
    raise ConfigError(f"{workdir}: another process trains there ({file.read().strip()}); name another workdir") from error
  except OSError as error:  # file systems that know no locks
    logging.log.warning("%s cannot be locked (%s): see to it that no other process trains there", workdir, error.strerror)
  file.truncate(0)
  file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
  file.flush()


def _check_or_write(workdir, config) -> None:
  path = workdir / "config.json"
  if path.exists():
    before, now = configs.flatten(read_config(workdir)), configs.flatten(configs.from_json(configs.to_json(config)))
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key) and not key.startswith(FREE)]
    if changed:
      shown = "; ".join(f"{key}: {before.get(key)} there, {now.get(key)} now" for key in changed[:5])
      raise ConfigError(
        f"{workdir} holds a run of another config ({len(changed)} keys differ: {shown}); name another workdir"
      )
    return
  record = dict(config=json.loads(configs.to_json(config)), versions=versions(), commit=commit())
  write_whole(path, json.dumps(record, indent=2))


def read_config(workdir: str | pathlib.Path) -> ml_collections.ConfigDict:
  """The config of the run in `workdir`, as data: nothing that it names is imported.

  Raises:
    ConfigError: if there is none.
  """
  path = pathlib.Path(workdir) / "config.json"
  if not path.exists():
    raise ConfigError(f"{workdir} holds no run (no config.json)")
  try:
    return configs.from_json(json.dumps(dict(json.loads(path.read_text())["config"])))
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise ConfigError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def trusted_config(workdir: str | pathlib.Path, modules: Sequence[str] = ()) -> ml_collections.ConfigDict:
  """The config of a run, if all functions that it names are jssl's own or in modules that the caller trusts.

  A workdir may come from anyone, and to look a function up is to import its module, which runs it.

  Args:
    workdir: of the run.
    modules: names of modules whose functions, and those of their submodules, may be imported.

  Raises:
    ConfigError: for a function elsewhere.
  """
  config = read_config(workdir)
  for where, fn in _functions(config.to_dict(), "config"):
    module = fn.rpartition(":")[0]
    if module and not any(f"{module}.".startswith(f"{known}.") for known in modules):
      raise ConfigError(
        f"{workdir}: {where}='{fn}': this run names code outside jssl; if you trust it, say so with --modules={module}"
      )
  return config


def _functions(value, where: str) -> Iterator[tuple[str, str]]:
  """Places and values of all keys `fn`."""
  items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
  for key, inner in items:
    if key == "fn":
      yield f"{where}.fn", str(inner)
    else:
      yield from _functions(inner, f"{where}.{key}")


def versions() -> dict[str, str]:
  found = {"python": sys.version.split()[0]}
  for package in _PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = "not installed"
  return found


def commit() -> str | None:
  """The commit of the checkout that jssl is imported from, with "+" if files were changed; None outside a checkout."""

  def git(*arguments):
    folder = pathlib.Path(__file__).parent
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()

  try:
    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
  except (OSError, subprocess.CalledProcessError):
    return None
