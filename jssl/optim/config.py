"""What `config.optim` says of each parameter: its rate, its decay, and from when on it moves."""

from collections.abc import Callable, Collection, Mapping, Sequence
import math
import re
from typing import Any, NamedTuple

import jax

from jssl.errors import ConfigError, nearest
from jssl.models.lora import frozen_paths
from jssl.optim.learning_rate import learning_rate
from jssl.schedules import Horizon, UNITS

NAMES = ("adamw", "lamb", "larc", "lars", "sgd")
_BLOCK = re.compile(r"(?:^|/)encoderblock_(\d+)/")
_REGEXES = ("no_decay", "decay", "lr_mults", "constant_lr", "freeze")
_EMBEDDING = re.compile(r"(?:^|/)(embedding/\w+|pos_embedding|cls|cls_position|registers|mask_token|mix_embedding)$")


def default_optim_config() -> dict[str, Any]:
  """Every key of `config.optim` with its default; only `lr` has to be given."""
  return dict(
    name="adamw",  # or "lamb", "larc", "lars", "sgd"
    lr=None,  # peak; or a whole schedule, in place of `schedule` to `step_factors`
    lr_scale=None,  # "linear": lr x batch / lr_scale_batch; "sqrt": lr x the root of it
    lr_scale_batch=256,
    lr_schedule="cosine",  # what follows the warm-up; or "constant", "step"
    end_lr=None,  # of "cosine": absolute, not scaled; default 0
    end_lr_fraction=None,  # of "cosine": of the scaled peak
    warmup_start_lr=0.0,  # absolute, not scaled
    **{f"warmup_{unit}": None for unit in UNITS},
    step_factors=(),
    **{f"boundaries_{unit}": None for unit in UNITS},  # of "step": factors after each boundary
    weight_decay=None,  # a number or a schedule
    no_decay=(),  # regexes beside biases and 1-D parameters
    decay=(),  # regexes of biases and 1-D parameters that are decayed (and adapted) all the same
    b1=0.9,
    b2=0.999,
    eps=1e-8,  # adamw, lamb
    momentum=0.9,
    nesterov=False,  # sgd, lars, larc
    classic_momentum=False,  # sgd, lars, larc: the rate scales what enters the momentum, not what comes out of it
    eta=1e-3,  # lars, larc: of the trust ratio
    lars_clip=False,  # lars, in solo-learn's form: larc, with rates of at most lr
    # dict(global_norm=1.0) or dict(per_tensor=3.0); with joint="/(query|key|value)/", tensors whose paths differ only in
    # what the regex finds count as one.
    clip=None,
    lr_mults=(),  # (regex, factor or schedule); of several that fit, the first counts
    constant_lr=(),  # regexes: the lr of these stays at its peak throughout (SimSiam's predictor)
    layer_decay=None,  # factor per layer below the top of a ViT
    freeze=(),  # regex, or (regex, dict(until_epochs=1))
    groups={},  # name -> dict(params=regex, every=updates, and any of the keys above)
  )


class Plan(NamedTuple):
  """What the config says of each parameter, as trees of the parameters' shape, and of all of them.

  Attributes:
    lr, weight_decay: functions of the step.
    decayed: whether a parameter is decayed and adapted.
    rates: its learning rate, a function of the step.
    thaw: the step from which it moves: 0, a number, or infinity.
  """

  lr: Callable
  weight_decay: Callable
  decayed: Any
  rates: Any
  thaw: Any


def make_plan(config: Mapping[str, Any], params: Any, horizon: Horizon, all_paths: Mapping[str, int]) -> tuple[Plan, str]:
  """The plan of a complete config for these parameters, and what to say of its learning rate.

  Args:
    config: complete.
    params: the parameters of a part, or all of them.
    horizon: the run's lengths.
    all_paths: of all parameters, among which layers are counted.

  Raises:
    ConfigError: for what does not go together, or a regular expression that picks no parameter.
  """
  paths = parameter_paths(params)
  fill = lambda values: jax.tree.unflatten(jax.tree.structure(params), list(values.values()))
  lr, peak, text = learning_rate(config, horizon, default_optim_config())
  plan = Plan(
    lr=lr,
    weight_decay=horizon.make(config["weight_decay"] or 0.0, "config.optim.weight_decay: "),
    decayed=fill(_decayed(config["no_decay"], config["decay"], paths)),
    rates=fill(_rates(config, paths, all_paths, horizon, lr, peak)),
    thaw=fill(_thaw(config["freeze"], paths, horizon, frozen_paths(all_paths))),
  )
  return plan, text


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
  defaults, config = default_optim_config(), dict(config.items())
  for key in config:
    if key not in defaults:
      raise ConfigError(f"config.optim.{key}: unknown key; {nearest(key, defaults)}")
  config = {**defaults, **config}
  if config["name"] not in NAMES:
    raise ConfigError(f"config.optim.name='{config['name']}' is not known; {nearest(str(config['name']), NAMES)}")
  if config["lr"] is None:
    raise ConfigError("config.optim.lr is missing")
  if config["classic_momentum"] and config["name"] in ("adamw", "lamb"):
    raise ConfigError(
      f"config.optim.classic_momentum: name='{config['name']}' has no such momentum; sgd, lars and larc have"
    )
  return config


def _regex(entry) -> str:
  return entry if isinstance(entry, str) else entry[0]


def check_regexes(config: Mapping[str, Any], paths: Mapping[str, int]) -> None:
  """Raises `ConfigError` for a regular expression that picks none of all parameters."""
  for key in _REGEXES:
    for entry in config[key]:
      pick(key, _regex(entry), paths)


def inherited(config: Mapping[str, Any], paths: Mapping[str, int]) -> dict[str, Any]:
  """A config without the regular expressions that pick none of these parameters, but others."""
  kept = {key: [e for e in config[key] if any(re.search(_regex(e), path) for path in paths)] for key in _REGEXES}
  clip = dict((config["clip"] or {}).items())
  if clip.get("joint") and not any(re.search(clip["joint"], path) for path in paths):
    clip.pop("joint")
  return {**config, **kept, "clip": clip or None}


def parameter_paths(params) -> dict[str, int]:
  """Path of each parameter -> its number of dimensions, in the tree's order."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): len(leaf.shape) for path, leaf in leaves}


def pick(key: str, regex: str, paths: Mapping[str, Any]) -> list[str]:
  """The paths in which `regex` is found; at least one, or a `ConfigError`."""
  picked = [path for path in paths if re.search(regex, path)]
  if not picked:
    names = {name for path in paths for name in path.split("/")}
    raise ConfigError(f"config.optim.{key}: '{regex}' picks no parameter; {nearest(regex, names)}")
  return picked


def _decayed(no_decay: Sequence[str], decay: Sequence[str], paths) -> dict[str, bool]:
  kept = {path for regex in no_decay for path in pick("no_decay", regex, paths)}
  taken = {path for regex in decay for path in pick("decay", regex, paths)}
  if both := kept & taken:
    raise ConfigError(f"config.optim: both decay and no_decay pick '{min(both)}'")
  rule = lambda path, ndim: ndim > 1 and path.rsplit("/", 1)[-1] != "bias"
  return {path: path in taken or rule(path, ndim) and path not in kept for path, ndim in paths.items()}


def _rates(config, paths, all_paths, horizon: Horizon, lr: Callable, peak: float | None) -> dict[str, Callable]:
  layer_decay = config["layer_decay"]
  layers = dict.fromkeys(paths, 1.0) if layer_decay is None else layer_factors(layer_decay, all_paths)
  given: dict[str, Callable] = {}
  for regex, factor in config["lr_mults"]:
    picked = set(pick("lr_mults", regex, paths)) - set(given)
    if not picked:
      raise ConfigError(f"config.optim.lr_mults: earlier entries have taken all that '{regex}' picks")
    given |= dict.fromkeys(picked, horizon.make(factor, "config.optim.lr_mults: "))
  held = {path for regex in config["constant_lr"] for path in pick("constant_lr", regex, paths)}
  if held and peak is None:
    raise ConfigError("config.optim.constant_lr: config.optim.lr is a whole schedule, which names no peak")
  kept = horizon.make(peak or 0.0)

  def rate(path):
    base, layer, factor = kept if path in held else lr, layers[path], given.get(path, lambda step: 1.0)
    return lambda step: base(step) * layer * factor(step)

  return {path: rate(path) for path in paths}


def layer_factors(layer_decay: float, paths: Sequence[str]) -> dict[str, float]:
  """Learning-rate factors of a ViT by depth: `layer_decay ** (depth + 1 - layer)`.

  Embeddings, class, register and mask tokens are layer 0, `encoderblock_i` is layer i + 1, and all that comes after
  the last block is layer depth + 1 with factor 1: the numbering of BEiT and MAE (facebookresearch/mae,
  util/lr_decay.py).

  Raises:
    ConfigError: if no path holds an `encoderblock_i`.
  """
  blocks = {path: int(match[1]) for path in paths if (match := _BLOCK.search(path))}
  if not blocks:
    raise ConfigError("config.optim.layer_decay: no parameter of an encoderblock_i; it is made for transformers")
  depth = max(blocks.values()) + 1
  layer = lambda path: blocks[path] + 1 if path in blocks else 0 if _EMBEDDING.search(path) else depth + 1
  return {path: layer_decay ** (depth + 1 - layer(path)) for path in paths}


def _thaw(freeze, paths, horizon: Horizon, frozen: Collection[str]) -> dict[str, float]:
  thaw = {path: math.inf if path in frozen else 0 for path in paths}
  for entry in freeze:
    regex, duration = (entry, {}) if isinstance(entry, str) else entry
    for key in duration:
      if key not in [f"until_{unit}" for unit in UNITS]:
        raise ConfigError(
          f"config.optim.freeze: '{regex}' has an unknown key '{key}'; {nearest(key, [f'until_{unit}' for unit in UNITS])}"
        )
    steps = horizon.steps(duration, "until")
    for path in pick("freeze", regex, paths):
      thaw[path] = max(thaw[path], math.inf if steps is None else steps)
  return thaw
