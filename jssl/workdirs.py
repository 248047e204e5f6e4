"""A run's folder: `config.json` says what it holds and what made it."""

import importlib.metadata
import json
import pathlib
import subprocess
import sys

import ml_collections

from jssl import config as configs
from jssl.errors import ConfigError

# What may differ between the start of a run and its continuation: it changes what is reported, not what is learnt.
FREE = ("log_every_steps", "checkpoint_every_steps", "checkpoint.", "evaluation.", "data.threads", "data.prefetch",
        "data.device_bytes", "parallel.")

_PACKAGES = ("jssl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections", "numpy", "grain")


def claim(workdir: str | pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Makes `workdir` this config's: writes `config.json`, or checks that the one there says the same.

  Raises:
    ConfigError: if it holds a run of another config, with the keys that differ, or if it is not a folder of a run.
  """
  workdir = pathlib.Path(workdir)
  path = workdir / "config.json"
  if path.exists():
    before, now = configs.flatten(read_config(workdir)), configs.flatten(configs.from_json(configs.to_json(config)))
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key) and not key.startswith(FREE)]
    if changed:
      shown = "; ".join(f"{key}: {before.get(key)} there, {now.get(key)} now" for key in changed[:5])
      raise ConfigError(f"{workdir} holds a run of another config ({len(changed)} keys differ: {shown}); name another workdir")
    return
  if workdir.exists() and not workdir.is_dir():
    raise ConfigError(f"{workdir} is not a folder")
  workdir.mkdir(parents=True, exist_ok=True)
  record = dict(config=json.loads(configs.to_json(config)), versions=versions(), commit=commit())
  partial = path.with_suffix(".tmp")
  partial.write_text(json.dumps(record, indent=2))
  partial.rename(path)


def read_config(workdir: str | pathlib.Path) -> ml_collections.ConfigDict:
  """The config of the run in `workdir`.

  Raises:
    ConfigError: if there is none.
  """
  path = pathlib.Path(workdir) / "config.json"
  if not path.exists():
    raise ConfigError(f"{workdir} holds no run (no config.json)")
  return configs.from_json(json.dumps(json.loads(path.read_text())["config"]))


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
