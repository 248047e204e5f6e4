"""Configs: where they are found, what they may hold, and how they are kept beside a run.

A config is a python file with `get_config(arg) -> ml_collections.ConfigDict`. It starts from `default_config()`, so
every key that the loop knows is there with its default, and a key that it does not know is an error.
"""

import contextlib
import importlib
import importlib.util
import json
import math
import numbers
import os
import pkgutil
from typing import Any

import ml_collections

from jssl import optim
from jssl.errors import ConfigError, nearest, UnknownPresetError
from jssl.files import user_path
from jssl.values import literal, tuples

# Stages and tables whose keys are names of the user's own; their contents are checked by `jssl.method`.
OPEN = ("views", "masking", "networks", "passes", "targets", "losses", "phases", "refresh")
DURATIONS = ("total_steps", "total_epochs", "total_examples")
# What these may be, and the least that these numbers may be.
CHOICES = {
  "nonfinite.policy": ("stop", "skip", "roll_back"),
  "dtype": ("float32", "bfloat16", "float16"),
  "lookahead.mode": ("deep", "wide"),
}
LEAST = {
  "seed": 0,
  "batch_size": 1,
  "accumulate": 1,
  "lookahead.steps": 0,
  "log_every_steps": 1,
  "checkpoint_every_steps": 1,
  "data.device_bytes": 0,
  "data.threads": 0,
  "data.prefetch": 0,
  "nonfinite.limit": 0,
  "checkpoint.keep": 1,
  "monitor.train_examples": 1,
  "monitor.test_examples": 1,
  "monitor.seed": 0,
}


def default_config() -> ml_collections.ConfigDict:
  """Every key that the loop knows, with its default."""
  config = ml_collections.ConfigDict(
    dict(
      {name: {} for name in OPEN},
      seed=0,
      # Exactly one of the three.
      total_steps=None,
      total_epochs=None,
      total_examples=None,
      batch_size=256,  # global: all devices together
      accumulate=1,  # micro-batches a step; refused where it would change the loss
      # Updates that are taken back, for the sake of the EMA teachers, before each one that counts: see step.look_ahead.
      lookahead=dict(steps=0, mode="deep", keep_moments=True, roll_back_teachers=False),
      dtype="float32",  # of the networks' compute; parameters, losses and statistics stay float32
      log_every_steps=50,
      checkpoint_every_steps=1000,
      data=dict(
        name="scenes",
        split="train",
        options={},  # handed to jssl.data.load
        # Other data beside it: also=dict(target=dict(name=..., split=..., options=...)) is read as target/image,
        # target/index, ... Epochs are those of the data above; the others go round and round.
        also={},
        full_resolution=True,  # crop image files themselves, on the host; False: what is left of them on the canvas
        device_bytes=1 << 30,  # a set that is smaller lives on the device
        threads=8,
        prefetch=8,
      ),
      # Where a loss or a gradient is not finite: "stop"; "skip" the update, or "roll_back" to the last checkpoint and take
      # the examples in another order, either up to `limit` times in a run.
      nonfinite=dict(policy="stop", limit=10),
      # The newest `keep`; the one with the lowest value of the metric `keep_best`; those of every `keep_every`-th step.
      checkpoint=dict(keep=2, keep_best=None, keep_every=None),
      # Protocols on the weights as they are, every so many steps (None: never), and norms in each row: see jssl.monitor.
      monitor=dict(
        every_steps=None, protocols=("knn:k=20", "rankme:images=1024"), train_examples=2048, test_examples=1024, seed=0
      ),
      # compiler_options are XLA's, for the step alone: what XLA_FLAGS takes, without the dashes
      parallel=dict(mode="pmap", shard_state=False, compiler_options={}),
      # Beside metrics.jsonl. A run of Weights & Biases takes what wandb.init takes, wandb=dict(project="mine"); empty: none.
      writers=dict(tensorboard=True, wandb={}),
      optim=optim.default_optim_config(),
      evaluation=dict(
        network=None,  # None: the EMA teacher that sees images, or else the trained network that does
        feature=None,  # None: the network's `features`; or a name that it writes, such as "mean"
        places=None,  # of patches; None: the network's `patch_tokens`; or a name that it writes, such as "trunk/patch"
        embedding=None,  # the projector's output; None: the one vector that a head of the network gives to the losses
        protocols=("knn", "linear", "rankme"),  # or "knn:k=200", "my_module:fn"
        # In the place of one network behind one view: see jssl.evaluation.graph.
        views={},
        passes={},
        outputs={},  # some of features, places, embeddings, logits -> what the graph writes
        train=dict(name="objects", split="train", options={}),
        test=dict(name="objects", split="test", options={}),
        calibration_scenes=dict(name="scenes", split="calibration", options={}),
        test_scenes=dict(name="scenes", split="test", options={}),
        test_sequences=dict(name="moving_scenes", split="test", options={}),
        # The view; None: that of the largest crop that the network's own passes see.
        size=None,
        mean=None,
        std=None,
        resize_to=None,  # pixels of the shorter side before the crop; None: the fewest that it fits into
        interpolation="bicubic",
        grayscale=False,  # for networks that have seen grey alone
      ),
    )
  )
  return config


def load_config(spec: str) -> ml_collections.ConfigDict:
  """Loads `path/to/file.py[:arg]` or the name of a config that comes with jssl, `mmc[:arg]`.

  Raises:
    ConfigError: if there is no such config or no such preset.

  Whatever else goes wrong inside `get_config` is raised as it is.
  """
  name, _, arg = spec.partition(":")
  module = config_module(name)
  if not hasattr(module, "get_config"):
    raise ConfigError(f"--config {name}: it has no function get_config")
  try:
    config = module.get_config(arg) if arg else module.get_config()
  except KeyError as error:
    # Any other KeyError is a fault in the config, which its traceback shows best.
    if not isinstance(error, UnknownPresetError) and error.args != (arg,):
      raise
    raise ConfigError(f"--config {spec}: {name} has no preset {error}") from error
  if not isinstance(config, ml_collections.ConfigDict):
    raise ConfigError(f"--config {spec}: get_config returned a {type(config).__name__}, not an ml_collections.ConfigDict")
  return config


def config_module(name: str):
  """The module of a config: of a file, or by the name of one that comes with jssl.

  Raises:
    ConfigError: if there is no such config.
  """
  path = user_path(name)
  if path.suffix == ".py":
    if not path.exists():
      raise ConfigError(f"--config {name}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"_jssl_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
  known = config_modules()
  if name not in known:
    raise ConfigError(f"--config {name}: no such config; {nearest(name, known)}")
  return importlib.import_module(known[name])


def config_modules() -> dict[str, str]:
  """Name -> module of the configs that come with jssl, whatever folder they lie in; recipes of `jssl.transfer` are none.

  Raises:
    ConfigError: if they are not installed.
  """
  try:
    package = importlib.import_module("jssl.configs")
  except ModuleNotFoundError as error:
    raise ConfigError("jssl.configs is not installed: run `pip install -e .` in the checkout, or name a file") from error
  folders = [m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg and m.name != "transfer"]
  return {
    found.name: f"jssl.configs.{folder}.{found.name}"
    for folder in folders
    for found in pkgutil.iter_modules([f"{path}/{folder}" for path in package.__path__])
  }


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises `ConfigError` for a key that the loop does not know, a value that it cannot use, and none or two durations."""
  _check_keys(config.to_dict(), default_config().to_dict(), "config")
  missing = sorted(flatten(with_defaults(config)).keys() - flatten(config).keys())
  if missing:
    raise ConfigError(f"config.{missing[0]} is missing: begin with jssl.config.default_config()")
  flat = flatten(config)
  for key, least in LEAST.items():
    if flat[key] < least:
      raise ConfigError(f"config.{key}={flat[key]}: it must be at least {least}")
  for key, choices in CHOICES.items():
    if flat[key] not in choices:
      raise ConfigError(f"config.{key}='{flat[key]}': {nearest(flat[key], choices)}")
  for stage in OPEN:
    for name, entry in config[stage].items():
      if not hasattr(entry, "keys"):
        raise ConfigError(f"config.{stage}.{name}={entry!r}: it must be a table of keys and values")
  given = [key for key in DURATIONS if config[key] is not None]
  if len(given) != 1:
    raise ConfigError(f"config: set exactly one of {', '.join(DURATIONS)} (set: {', '.join(given) or 'none'})")
  duration = config.to_dict()[given[0]]
  if not isinstance(duration, numbers.Real) or not 0 < duration < math.inf:
    raise ConfigError(f"config.{given[0]}={duration!r}: it must be a positive number")
  for key, unit in (("checkpoint.keep_every", "checkpoint_every_steps"), ("monitor.every_steps", "log_every_steps")):
    every, steps = flat[key], flat[unit]
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1 or every % steps):
      raise ConfigError(f"config.{key}={every!r}: give a multiple of config.{unit}={steps}")
  if not config.losses:
    raise ConfigError("config.losses: a method needs at least one loss")
  if config.batch_size % config.accumulate:
    raise ConfigError(f"config.accumulate={config.accumulate} does not divide config.batch_size={config.batch_size}")


def _check_keys(given: dict, known: dict, where: str) -> None:
  for key, value in given.items():
    _require_key(known, key, where)
    default = known[key]
    if default is None:  # What may be None, or a schedule in place of a number, is read where it is used.
      continue
    if not _alike(value, default):
      raise ConfigError(f"{where}.{key}={value!r}: it must be {_KINDS[type(default)]}")
    if default and isinstance(default, dict):
      _check_keys(value, default, f"{where}.{key}")


_KINDS = {
  bool: "a boolean",
  int: "a whole number",
  float: "a number",
  str: "a string",
  tuple: "a tuple",
  dict: "a table of keys and values",
}


def _alike(value: Any, default: Any) -> bool:
  if isinstance(value, bool) or isinstance(default, bool):
    return isinstance(value, bool) and isinstance(default, bool)
  return isinstance(
    value, {int: numbers.Integral, float: numbers.Real, tuple: (tuple, list)}.get(type(default), type(default))
  )


def total_steps(config, num_examples: int) -> int:
  """Optimizer steps of the whole run, at least one, from whichever of the three durations the config gives."""
  steps_per_epoch = max(num_examples // config.batch_size, 1)
  if config.total_steps is not None:
    steps = int(config.total_steps)
  elif config.total_epochs is not None:
    steps = int(round(config.total_epochs * steps_per_epoch))
  else:
    steps = -(-int(config.total_examples) // config.batch_size)
  return max(steps, 1)


def to_json(config: ml_collections.ConfigDict) -> str:
  """The config as JSON, NumPy's numbers as Python's.

  Raises:
    ConfigError: for what JSON cannot hold, by its place: a function, for one, that is not given by its name.
  """
  return json.dumps(_plain(config.to_dict(), "config"), indent=2, sort_keys=True, allow_nan=False)


def _plain(value: Any, where: str) -> Any:
  if isinstance(value, dict):
    return {key: _plain(inner, f"{where}.{key}") for key, inner in value.items()}
  if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
    return [_plain(inner, where) for inner in value]
  if hasattr(value, "tolist"):
    return _plain(value.tolist(), where)
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if value is None or isinstance(value, (str, numbers.Integral)) or isinstance(value, float) and math.isfinite(value):
    return value
  if callable(value) or hasattr(value, "_fields"):
    name = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '<')}"
    write = f"'{name}'" if "<" not in name else "'module:name', after defining it at the top of a module"
    raise ConfigError(f"{where}: a workdir's config.json cannot hold a function (only Method takes one); write {write}")
  raise ConfigError(f"{where}={value!r}: a workdir's config.json cannot hold a {type(value).__name__} of this value")


def from_json(text: str) -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict(tuples(json.loads(text)))


def with_defaults(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """A config with today's defaults for keys that it lacks: those that its version did not have yet."""
  return ml_collections.ConfigDict(_filled(config.to_dict(), default_config().to_dict()))


def _filled(given: dict, defaults: dict) -> dict:
  found = dict(given)
  for key, default in defaults.items():
    if key not in given:
      found[key] = default
    elif default and isinstance(default, dict) and isinstance(given[key], dict):
      found[key] = _filled(given[key], default)
  return found


def flatten(config: ml_collections.ConfigDict | dict, prefix: str = "") -> dict[str, Any]:
  """`{"optim.lr": 1e-3, ...}`: for printing what differs between two configs."""
  flat = {}
  for key, value in sorted(tuples(dict(config)).items()):
    if hasattr(value, "items") and len(value):
      flat.update(flatten(value, f"{prefix}{key}."))
    else:
      flat[f"{prefix}{key}"] = value
  return flat


def override(config: ml_collections.ConfigDict, arguments: list[str]) -> ml_collections.ConfigDict:
  """Applies `--config.key=value` arguments in place; a duration takes the place of the one that the config gave.

  A value is a Python literal (`1e-3`, `(0.2, 1.0)`, `None`), in which `true`, `false`, `none` and `null` are what they
  are in YAML and JSON, or else a string; in quotes it is a string always. A key that holds a string takes a number as a
  string, one that holds a whole number takes `1e3`.

  Raises:
    ConfigError: for a key that the config does not have, or a value of another type.
  """
  for argument in arguments:
    path, equals, text = argument.removeprefix("--config.").partition("=")
    if not argument.startswith("--config.") or not equals:
      raise ConfigError(f"{argument}: write --config.key=value")
    *parents, key = path.split(".")
    place, where = config, "config"
    for name in parents:
      _require_key(place, name, where)
      place, where = place[name], f"{where}.{name}"
    # An entry takes whatever its function knows, with which it is checked; options, whatever the kind of data or XLA knows.
    free = where.endswith("options") or len(parents) == 2 and parents[0] in OPEN or parents[:2] == ["optim", "groups"]
    free = free or parents[:1] == ["evaluation"] and len(parents) == 3 or parents[:2] == ["writers", "wandb"]
    if not free or not hasattr(place, "keys"):
      _require_key(place, key, where)
    if path in DURATIONS:
      for duration in DURATIONS:
        _assign(config, duration, None, f"config.{duration}")
    _assign(place, key, literal(text, f"{where}.{key}"), f"{where}.{key}", text)
  return config


def _require_key(place: Any, name: str, where: str) -> None:
  known = place.keys() if hasattr(place, "keys") else ()
  if name not in known:
    raise ConfigError(f"{where}.{name}: unknown key; {nearest(name, known)}")


def _assign(place: ml_collections.ConfigDict, key: str, value: Any, where: str, text: str | None = None) -> None:
  """Sets a key to a value, or to the text that it was read from where the key holds strings and the text is a number."""
  before = place.get(key)
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if isinstance(before, str) and number and text is not None:
    value = text
  elif isinstance(before, int) and not isinstance(before, bool) and isinstance(value, float) and value.is_integer():
    value = int(value)
  if isinstance(before, bool) and not isinstance(value, (bool, type(None))):
    raise ConfigError(f"{where}={value!r}: write True or False")
  if isinstance(value, bool) and isinstance(before, (int, float)) and not isinstance(before, bool):
    raise ConfigError(f"{where}={value!r}: write a number")
  # A schedule may become a number, and anything nothing.
  free = value is None or before is None or (hasattr(before, "keys") and ("schedule" in before or not before))
  try:
    with place.ignore_type() if free else contextlib.nullcontext():
      place[key] = value
  except (TypeError, ValueError) as error:
    reason = error if free else f"{before!r} is of another type ({type(before).__name__})"
    raise ConfigError(f"{where}={value!r}: {reason}") from error
