"""A run's folder: `config.json` says what it holds and what made it; one process at a time trains in it."""

from collections.abc import Generator, Iterator, Mapping, Sequence
import contextlib
import fcntl
import importlib.metadata
import inspect
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax
import ml_collections

from jssl import config as configs
from jssl import data, logging, nodes
from jssl.errors import ConfigError
from jssl.files import dump_json, user_path, write_whole
from jssl.schedules import UNITS
from jssl.stateful import Stateful
from jssl.values import tuples

# What may differ between the start of a run and its continuation: it changes what is reported, not what is learnt.
# `config.json` takes the newest.
FREE = (
  "log_every_steps",
  "checkpoint_every_steps",
  "checkpoint.",
  "evaluation.",
  "monitor.",
  "data.threads",
  "data.prefetch",
  "data.device_bytes",
  "nonfinite.",
  "parallel.",
  "writers.",
)

# What an entry's options are where it does not give them; its numbers' defaults stand in its function's signature.
_OPTION_DEFAULTS = dict(scope="example", weight=1.0, frozen=False, terms=()) | dict.fromkeys(
  ("load", "near", "join", "train", "grid", "log_variance", *(f"every_{unit}" for unit in UNITS))
)
_ABSENT = object()

_PACKAGES = ("jssl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections", "numpy", "grain")


@contextlib.contextmanager
def claimed(
  workdir: str | pathlib.Path,
  config: ml_collections.ConfigDict,
  source: data.Source | None = None,
  also: Mapping[str, data.Source] | None = None,
  *,
  given: bool = False,
):
  """Keeps `workdir` for this process, this config and these data: makes it, locks it, writes or checks `config.json`.

  The lock is the system's: it is free as soon as the process has ended, however it ended. To read needs no lock. Of
  several processes that train together the first one keeps it.

  Args:
    workdir: of the run.
    config: whose keys must be those of the run that is there, but for those in `FREE`.
    source: whose fingerprint must be that of the run that is there, if that run has one.
    also: other data by name, the same of each.
    given: whether the user handed the source over, rather than that `config.data` names it.

  Raises:
    ConfigError: if another process trains there, if it holds a run of another config or of other data, with what
      differs, or if it cannot be a folder of a run.
  """
  if jax.process_index() > 0:
    yield
    return
  workdir = user_path(workdir)
  with locked(workdir):
    about = None if source is None else dict(given=given, **data.fingerprint(source))
    if about and also:
      about["also"] = {name: data.fingerprint(other) for name, other in also.items()}
    if (workdir / "config.json").exists():
      _check(workdir, config, about)
    else:
      _write(workdir, config, about)
    yield


@contextlib.contextmanager
def locked(folder: pathlib.Path, what: str = "workdir", does: str = "trains") -> Generator[None, None, None]:
  """Makes a folder and keeps it for this process.

  Args:
    folder: which then has a file `lock`.
    what, does: what it is and what one does there, for messages.

  Raises:
    ConfigError: if another process keeps it, or it cannot be made.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("a+")
  except OSError as error:
    raise ConfigError(f"{folder} cannot be a {what}: {error.strerror}") from error
  with lock:
    _lock(folder, lock, what, does)
    yield


def _lock(folder, file, what, does) -> None:
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    file.seek(0)
    raise ConfigError(f"{folder}: another process {does} there ({file.read().strip()}); name another {what}") from error
  except OSError as error:  # file systems that know no locks
    logging.log.warning("%s cannot be locked (%s): see to it that no other process %s there", folder, error.strerror, does)
  file.truncate(0)
  file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
  file.flush()


def _write(workdir, config, about) -> None:
  checkpoints = workdir / "checkpoints"
  if checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir()):
    raise ConfigError(
      f"{workdir} holds checkpoints but no config.json, so that nobody can tell of which run they are: copy config.json "
      "there too, or name another workdir"
    )
  _replace(workdir, dict(config=json.loads(configs.to_json(config)), data=about, versions=versions(), commit=commit()))


def _replace(workdir, record) -> None:
  write_whole(workdir / "config.json", dump_json(record, indent=2))


def _check(workdir, config, about) -> None:
  before, now = configs.flatten(read_config(workdir)), configs.flatten(configs.from_json(configs.to_json(config)))
  changed = [key for key in sorted({*before, *now}) if not key.startswith(FREE) and _differs(key, before, now, config)]
  if changed:
    show = lambda flat, key: flat.get(key, "absent")
    shown = "; ".join(f"{key}: {show(before, key)} there, {show(now, key)} now" for key in changed[:5])
    raise ConfigError(f"{workdir} holds a run of another config ({len(changed)} keys differ: {shown}); name another workdir")
  record = read_record(workdir)
  if about and record.get("data"):
    _check_data(workdir, record["data"], about)
  _report_code(record)
  free = [{key: value for key, value in flat.items() if key.startswith(FREE)} for flat in (before, now)]
  if free[0] != free[1]:
    changed = [key for key in sorted({*free[0], *free[1]}) if free[0].get(key, _ABSENT) != free[1].get(key, _ABSENT)]
    taken = ", ".join(f"{key}={free[1].get(key, 'absent')}" for key in changed)
    logging.log.info("%s/config.json takes %s", workdir, taken)
    _replace(workdir, record | dict(config=json.loads(configs.to_json(config))))


def _differs(key: str, before: dict[str, Any], now: dict[str, Any], config) -> bool:
  """Whether two flat configs differ at a key; one that either lacks counts as what its entry's function takes then."""
  if key in before and key in now:
    return before[key] != now[key]
  return {**before, **now}[key] != tuples(_default(config.to_dict(), key.split(".")))


def _default(entry: Any, path: list[str]) -> Any:
  """What an entry takes for a number that it does not give; `_ABSENT` where that cannot be told."""
  room = {"networks": "models"}.get(path[0], path[0])
  for name in path[:-1]:
    entry = entry.get(name) if isinstance(entry, dict) else None
  key = path[-1]
  if path[0] not in configs.OPEN or not isinstance(entry, dict) or not ({"fn", "net", "ema"} & entry.keys()):
    return _ABSENT
  if key in _OPTION_DEFAULTS or "fn" not in entry:
    return _OPTION_DEFAULTS.get(key, _ABSENT)
  fn = nodes.resolve(".".join(path), entry["fn"], room)
  for part in fn if isinstance(fn, Stateful) else (fn,):
    parameter = inspect.signature(part).parameters.get(key)
    if parameter and parameter.default is not parameter.empty:
      return parameter.default
  return _ABSENT


def _check_data(workdir, before, now) -> None:
  """Compares two fingerprints. An iterator's first batch may well differ from call to call: that is only told."""
  others = {name: found.get("also", {}) for name, found in (("there", before), ("now", now))}
  changed = _differences(before, now)
  for name in sorted({*others["there"], *others["now"]}):
    if name in others["there"] and name in others["now"]:
      changed += [f"{name}: {change}" for change in _differences(others["there"][name], others["now"][name])]
    else:
      changed.append(f"{name}: only {'there' if name in others['there'] else 'now'}")
  if changed:
    raise ConfigError(
      f"{workdir} holds a run on other data ({'; '.join(changed)}); name another workdir (or, if you know that they are "
      "the same, remove 'data' from its config.json)"
    )
  if not _agree("first_batch", before, now):
    logging.log.warning("%s: the iterator's first batch is not the one that the run began with: other data?", workdir)


def _differences(before, now) -> list[str]:
  """What tells two fingerprints apart."""
  pairs = {key: (before.get(key, now[key]), now[key]) for key in ("name", "examples")}
  for kind in ("arrays", "whole"):
    there, here = before.get(kind, now.get(kind, {})), now.get(kind, {})
    pairs |= {name: (there.get(name), here.get(name)) for name in sorted({*there, *here})}
  changed = [f"{key}: {there} there, {here} now" for key, (there, here) in pairs.items() if there != here]
  if changed or (_agree("sha256", before, now) and _agree("whole_sha256", before, now)):
    return changed
  return ["as many of the same shapes, with other contents"]


def _agree(key: str, before, now) -> bool:
  return before.get(key) is None or now.get(key) is None or before[key] == now[key]


def _report_code(record) -> None:
  """Tells in one line if the run goes on with other versions or another commit than it began with."""
  before = {**record.get("versions", {}), "commit": record.get("commit")}
  now = {**versions(), "commit": commit()}
  changed = [f"{key} {before.get(key)} -> {now[key]}" for key in now if before.get(key) != now[key]]
  if changed:
    logging.log.warning("the run began with other code, so it goes on, but not bit for bit: %s", "; ".join(changed))


def read_record(workdir: str | pathlib.Path) -> dict[str, Any]:
  """All that `config.json` holds: `config`, `versions`, `commit`, and `data`, which runs of older versions do not have.

  `data` is the data's `fingerprint`, and `given`: whether it was handed to `train_and_evaluate` as a source, so that
  `config.data` says nothing of it.

  Raises:
    ConfigError: if there is none, or it is damaged.
  """
  path = user_path(workdir) / "config.json"
  if not path.exists():
    raise ConfigError(f"{workdir} holds no run (no config.json)")
  try:
    record = json.loads(path.read_text())
    return record | dict(config=dict(record["config"]))
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise ConfigError(
      f"{path} is damaged ({type(error).__name__}: {error}); copy it again, or name another workdir"
    ) from error


def read_config(workdir: str | pathlib.Path) -> ml_collections.ConfigDict:
  """The config of the run in `workdir`, as data: nothing that it names is imported.

  Keys that its version did not have yet have today's defaults.

  Raises:
    ConfigError: if there is none.
  """
  return configs.with_defaults(configs.from_json(json.dumps(read_record(workdir)["config"])))


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
  """The commit of the checkout that jssl is imported from, with "+" if code was changed; None outside a checkout."""
  # What a study writes about itself is no code.
  no_code = (f":(top,exclude,glob)**/{name}" for name in ("*.md", "*.jsonl", "claims.json"))

  def git(*arguments):
    folder = pathlib.Path(__file__).parent
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()

  try:
    return git("rev-parse", "HEAD") + (
      "+" if git("status", "--porcelain", "--untracked-files=no", "--", ":/", *no_code) else ""
    )
  except (OSError, subprocess.CalledProcessError):
    return None
