"""From a config's numbers to one optax transformation.

Parameters are spoken of by path, `"student/backbone/Transformer/encoderblock_0/LayerNorm_0/scale"`, and picked by
regular expressions that are searched in it (`re.search`). An expression that picks nothing is an error.

    adamw   clip -> Adam -> + wd w -> x lr          decoupled decay, as torch and optax have it: lr wd w
    lamb    clip -> Adam -> + wd w -> trust ratio -> x lr
    sgd     clip -> + wd w -> momentum -> x lr      coupled decay, as torch has it
    lars    clip -> + wd w -> trust ratio -> momentum -> x lr
    larc    the same with NVIDIA apex's trust ratio, eta |w| / (|g| + wd |w| + 1e-8), as SwAV has it

Biases and parameters of one dimension (norms, scales) are neither decayed nor adapted by a trust ratio: a parameter
counts as a bias by its name, since the biases of an attention are `[heads, head_dim]`. This is DINO's rule
(facebookresearch/dino, utils.py), by which class tokens and position embeddings are decayed; `no_decay` adds to it, and
`decay` takes from it what the authors keep in an array of two dimensions, or with `(".",)` everything, as torch does if
it is given one list of parameters.

Known deviations. LAMB leaves undecayed parameters unadapted, like You et al.'s code and unlike `optax.lamb`. Schedules
move at every step where some official codes move once an epoch, and reach the peak at step `warmup`, one step after
codes that draw the warm-up with `linspace(0, peak, warmup)`.
"""

from collections.abc import Callable, Mapping, Sequence
import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.errors import ConfigError, nearest
from jssl.learning_rate import learning_rate
from jssl.schedules import Horizon, UNITS

NAMES = ("adamw", "lamb", "larc", "lars", "sgd")
_BLOCK = re.compile(r"(?:^|/)encoderblock_(\d+)/")
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
    eta=1e-3,  # lars, larc: of the trust ratio
    lars_clip=False,  # lars, in solo-learn's form: larc, with rates of at most lr
    # dict(global_norm=1.0) or dict(per_tensor=3.0); with joint="/(query|key|value)/", tensors whose paths differ only in
    # what the regex finds count as one.
    clip=None,
    lr_mults=(),  # (regex, factor or schedule); of several that fit, the first counts
    constant_lr=(),  # regexes: the lr of these stays at its peak throughout (SimSiam's predictor)
    layer_decay=None,  # factor per layer below the top of a ViT
    freeze=(),
  )  # regex, or (regex, dict(until_epochs=1))


class OptimState(NamedTuple):
  """`count`: updates done, int32, at which every schedule is read. `inner`: moments and momenta."""

  count: jax.Array
  inner: optax.OptState


class _Plan(NamedTuple):
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


def make_optimizer(
  config: Mapping[str, Any],
  params: Any,
  *,
  total_steps: int,
  steps_per_epoch: float | None = None,
  batch_size: int | None = None,
) -> tuple[optax.GradientTransformation, dict[str, Any]]:
  """Builds the optimizer of a config.

  Args:
    config: `config.optim`: a dict or ConfigDict with some of the keys of `default_optim_config`.
    params: the parameters, or `jax.ShapeDtypeStruct`s in their tree; only paths and shapes are used.
    total_steps: updates of the whole run.
    steps_per_epoch: may be fractional; needed for durations in epochs.
    batch_size: the global one; needed for `lr_scale` and for durations in examples.

  Returns:
    The transformation, whose state is an `OptimState`, and what can be said of it: `summary` (text), `lr` and
    `weight_decay` (functions of the step), the numbers of tensors that are `decayed`, `undecayed`, `frozen` (for good)
    and `frozen_at_first`, and the paths of those that are decayed, `decayed_paths`.

  A frozen parameter has zero gradient (so it does not count in a global norm), no update and no decay, and its moments
  start when it is thawed, as where torch skips parameters whose gradient is None.

  Raises:
    ConfigError: for an unknown key or name, no `lr`, or a regular expression that picks no parameter.

  Example:

    >>> params = dict(dense=dict(kernel=jnp.ones((2, 3)), bias=jnp.ones(3)))
    >>> tx, info = make_optimizer(dict(lr=5e-4, lr_scale="linear", weight_decay=0.1), params,
    ...                           total_steps=100, batch_size=512)
    >>> print(info["summary"])
    adamw: lr 0.0005 x 512 / 256 = 0.001; tensors: 1 decayed, 1 undecayed
  """
  config = _complete(config)
  horizon = Horizon(total_steps, steps_per_epoch, batch_size)
  paths = _paths(params)
  lr, peak, lr_text = learning_rate(config, horizon, default_optim_config())
  plan = _Plan(
    lr=lr,
    weight_decay=horizon.make(config["weight_decay"] or 0.0, "config.optim.weight_decay: "),
    decayed=_fill(params, _decayed(config["no_decay"], config["decay"], paths)),
    rates=_fill(params, _rates(config, paths, horizon, lr, peak)),
    thaw=_fill(params, _thaw(config["freeze"], paths, horizon)),
  )
  inner = optax.chain(*_stages(config, plan, paths))

  def init(params):
    return OptimState(jnp.zeros([], jnp.int32), inner.init(params))

  def update(updates, state, params=None):
    updates, moved = inner.update(updates, state.inner, params, count=state.count)
    return updates, OptimState(optax.safe_increment(state.count), moved)

  return optax.GradientTransformation(init, update), _info(config["name"], lr_text, plan, paths)


def _stages(config, plan: _Plan, paths) -> list[optax.GradientTransformation]:
  decay = _stage(
    lambda update, param, count, decayed: (
      update + (plan.weight_decay(count) * param).astype(update.dtype) if decayed else update
    ),
    plan.decayed,
  )
  if config["name"] in ("adamw", "lamb"):
    memory = optax.scale_by_adam(config["b1"], config["b2"], config["eps"])
  else:
    memory = optax.trace(config["momentum"], config["nesterov"]) if config["momentum"] else optax.identity()
  trust = lambda eta: optax.masked(optax.scale_by_trust_ratio(trust_coefficient=eta), plan.decayed)
  memory = _from_thaw(memory, plan.thaw)
  body = {
    "adamw": [memory, decay],
    "lamb": [memory, decay, trust(1.0)],
    "sgd": [decay, memory],
    "lars": [_larc(config["eta"], plan, clip=True)] if config["lars_clip"] else [decay, trust(config["eta"])],
    "larc": [_larc(config["eta"], plan)],
  }[config["name"]]
  if config["name"] in ("lars", "larc"):
    body.append(memory)
  frozen = _stage(lambda update, _, count, thaw: _zero_before(thaw, count, update), plan.thaw)
  scale = _stage(lambda update, _, count, rate: update * -rate(count).astype(update.dtype), plan.rates)
  return [frozen, *_clip(config["clip"], paths), *body, scale, frozen]


def _stage(fn, *trees) -> optax.GradientTransformationExtraArgs:
  """A stateless transformation `fn(update, param, count, *leaves of trees)`, one parameter at a time."""

  def update(updates, state, params=None, *, count, **_):
    return jax.tree.map(lambda u, p, *leaves: fn(u, p, count, *leaves), updates, params, *trees), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _zero_before(thaw, count, update):
  if thaw == math.inf:
    return jnp.zeros_like(update)
  return jnp.where(count < thaw, jnp.zeros_like(update), update) if thaw else update


def _from_thaw(memory: optax.GradientTransformation, thaw) -> optax.GradientTransformationExtraArgs:
  """Gives each group of parameters that thaw together its own `memory`, which does not move before they do."""
  label = lambda steps: {0: "trained", math.inf: "frozen"}.get(steps, f"frozen_for_{steps}_steps")

  def hold(steps):
    def update(updates, state, params=None, *, count, **_):
      held = lambda old, new: jnp.where(count < steps, old, new)
      updates, moved = memory.update(updates, state, params)
      return updates, jax.tree.map(held, state, moved)

    return optax.GradientTransformationExtraArgs(memory.init, update)

  kinds = {0: memory, math.inf: optax.set_to_zero()}
  groups = {label(steps): kinds.get(steps) or hold(steps) for steps in set(jax.tree.leaves(thaw))}
  return optax.partition(groups, jax.tree.map(label, thaw))


def _clip(clip, paths) -> list[optax.GradientTransformation]:
  clip, known = dict((clip or {}).items()), ("per_tensor", "global_norm", "joint")
  for kind in clip:
    if kind not in known:
      raise ConfigError(f"config.optim.clip: unknown key '{kind}'; {nearest(kind, known)}")
  if clip.get("per_tensor") and clip.get("global_norm"):
    raise ConfigError("config.optim.clip: give per_tensor or global_norm, not both")
  if clip.get("joint") and not clip.get("per_tensor"):
    raise ConfigError("config.optim.clip.joint says which tensors per_tensor takes together; there is no per_tensor")
  if clip.get("per_tensor"):
    return [_clip_each(clip["per_tensor"], _groups(clip.get("joint"), paths))]
  return [optax.clip_by_global_norm(clip["global_norm"])] if clip.get("global_norm") else []


def _groups(joint: str | None, paths) -> list[str]:
  """Each path without what `joint` finds in it: tensors that count as one have the same."""
  if not joint:
    return list(paths)
  _pick("clip.joint", joint, paths)
  return [re.sub(joint, "", path) for path in paths]


def _clip_each(most: float, groups: Sequence[str]) -> optax.GradientTransformation:
  """Shrinks what belongs to one group to a norm of at most `most`."""

  def shrink(updates, _):
    leaves, tree = jax.tree.flatten(updates)
    norms = {
      group: [optax.safe_norm(leaf, 0.0) for leaf, g in zip(leaves, groups, strict=True) if g == group] for group in groups
    }
    norms = {group: optax.safe_norm(jnp.stack(own), 0.0) if own[1:] else own[0] for group, own in norms.items()}
    # The 1e-6 is torch's (clip_grad_norm_) and DINO's (utils.clip_gradients).
    factors = {group: jnp.minimum(most / (norm + 1e-6), 1.0) for group, norm in norms.items()}
    return jax.tree.unflatten(tree, [leaf * factors[g].astype(leaf.dtype) for leaf, g in zip(leaves, groups, strict=True)])

  return optax.stateless(shrink)


def _larc(eta: float, plan: _Plan, *, clip: bool = False) -> optax.GradientTransformationExtraArgs:
  """`g + wd w` times the trust ratio `eta |w| / (|g| + wd |w| + 1e-8)`.

  References:
    NVIDIA/apex, apex/parallel/LARC.py (its clip=False); with `clip`, the ratio over the learning rate is at most 1:
    vturrisi/solo-learn, solo/utils/lars.py (clip_lr=True).
  """

  def adapt(update, param, count, decayed, rate):
    if not decayed:
      return update
    wd = plan.weight_decay(count)
    w, g = optax.safe_norm(param, 0.0), optax.safe_norm(update, 0.0)
    trust = eta * w / (g + wd * w + 1e-8)
    if clip:
      trust = jnp.minimum(trust / rate(count), 1.0)
    # Without a norm neither code adapts or decays.
    return jnp.where((w > 0) & (g > 0), trust * (update + wd * param), update).astype(update.dtype)

  return _stage(adapt, plan.decayed, plan.rates)


def _complete(config: Mapping[str, Any]) -> dict[str, Any]:
  defaults, config = default_optim_config(), dict(config.items())
  for key in config:
    if key not in defaults:
      raise ConfigError(f"config.optim.{key}: unknown key; {nearest(key, defaults)}")
  config = {**defaults, **config}
  if config["name"] not in NAMES:
    raise ConfigError(f"config.optim.name='{config['name']}' is not known; {nearest(str(config['name']), NAMES)}")
  if config["lr"] is None:
    raise ConfigError("config.optim.lr is missing")
  return config


def _paths(params) -> dict[str, int]:
  """Path of each parameter -> its number of dimensions, in the tree's order."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): len(leaf.shape) for path, leaf in leaves}


def _fill(params, values: Mapping[str, Any]):
  return jax.tree.unflatten(jax.tree.structure(params), list(values.values()))


def _pick(key: str, regex: str, paths: Mapping[str, Any]) -> list[str]:
  """The paths in which `regex` is found; at least one, or a `ConfigError`."""
  picked = [path for path in paths if re.search(regex, path)]
  if not picked:
    names = {name for path in paths for name in path.split("/")}
    raise ConfigError(f"config.optim.{key}: '{regex}' picks no parameter; {nearest(regex, names)}")
  return picked


def _decayed(no_decay: Sequence[str], decay: Sequence[str], paths) -> dict[str, bool]:
  kept = {path for regex in no_decay for path in _pick("no_decay", regex, paths)}
  taken = {path for regex in decay for path in _pick("decay", regex, paths)}
  if both := kept & taken:
    raise ConfigError(f"config.optim: both decay and no_decay pick '{min(both)}'")
  rule = lambda path, ndim: ndim > 1 and path.rsplit("/", 1)[-1] != "bias"
  return {path: path in taken or rule(path, ndim) and path not in kept for path, ndim in paths.items()}


def _rates(config, paths, horizon: Horizon, lr: Callable, peak: float | None) -> dict[str, Callable]:
  layer_decay = config["layer_decay"]
  layers = dict.fromkeys(paths, 1.0) if layer_decay is None else layer_factors(layer_decay, paths)
  given: dict[str, Callable] = {}
  for regex, factor in config["lr_mults"]:
    picked = set(_pick("lr_mults", regex, paths)) - set(given)
    if not picked:
      raise ConfigError(f"config.optim.lr_mults: earlier entries have taken all that '{regex}' picks")
    given |= dict.fromkeys(picked, horizon.make(factor, "config.optim.lr_mults: "))
  held = {path for regex in config["constant_lr"] for path in _pick("constant_lr", regex, paths)}
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


def _thaw(freeze, paths, horizon: Horizon) -> dict[str, float]:
  thaw = dict.fromkeys(paths, 0)
  for entry in freeze:
    regex, duration = (entry, {}) if isinstance(entry, str) else entry
    for key in duration:
      if key not in [f"until_{unit}" for unit in UNITS]:
        raise ConfigError(
          f"config.optim.freeze: '{regex}' has an unknown key '{key}'; {nearest(key, [f'until_{unit}' for unit in UNITS])}"
        )
    steps = horizon.steps(duration, "until")
    for path in _pick("freeze", regex, paths):
      thaw[path] = max(thaw[path], math.inf if steps is None else steps)
  return thaw


def _info(name: str, lr_text: str, plan: _Plan, paths) -> dict[str, Any]:
  thaw, decayed = jax.tree.leaves(plan.thaw), jax.tree.leaves(plan.decayed)
  counts = dict(
    decayed=sum(d and t < math.inf for d, t in zip(decayed, thaw, strict=True)),
    undecayed=sum(not d and t < math.inf for d, t in zip(decayed, thaw, strict=True)),
    frozen=sum(t == math.inf for t in thaw),
    frozen_at_first=sum(0 < t < math.inf for t in thaw),
  )
  said = [f"{n} {kind.replace('_', ' ')}" for kind, n in counts.items() if n or kind in ("decayed", "undecayed")]
  summary = f"{name}: {lr_text}; tensors: {', '.join(said)}"
  decayed_paths = tuple(path for path, d in zip(paths, decayed, strict=True) if d)
  return dict(summary=summary, lr=plan.lr, weight_decay=plan.weight_decay, decayed_paths=decayed_paths, **counts)
