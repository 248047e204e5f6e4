"""From a config's numbers to one optax transformation, of one part or of several."""

from collections.abc import Mapping
import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jssl.errors import ConfigError, nearest
from jssl.optim.config import check_regexes, complete, inherited, make_plan, parameter_paths, Plan
from jssl.optim.transforms import every, stages
from jssl.schedules import Horizon


class OptimState(NamedTuple):
  """`count`: updates done, int32, at which every schedule is read. `inner`: moments and momenta."""

  count: jax.Array
  inner: optax.OptState


class _Part(NamedTuple):
  """The optimizer of some parameters; `text` tells its rate."""

  transformation: optax.GradientTransformationExtraArgs
  plan: Plan
  paths: Mapping[str, int]
  text: str


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
    and `frozen_at_first`, and the paths of those that are decayed, `decayed_paths`. With groups the functions are those of
    the parameters that no group picks.

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
  config = complete(config)
  horizon = Horizon(total_steps, steps_per_epoch, batch_size)
  labels = _labels(config["groups"], params)
  parts = _make_parts(config, params, labels, horizon)
  if len(parts) == 1:
    inner = parts["rest"].transformation
  else:
    inner = optax.partition({name: part.transformation for name, part in parts.items()}, labels)

  def init(params):
    return OptimState(jnp.zeros([], jnp.int32), inner.init(params))

  def update(updates, state, params=None):
    updates, moved = inner.update(updates, state.inner, params, count=state.count)
    return updates, OptimState(optax.safe_increment(state.count), moved)

  return optax.GradientTransformation(init, update), _info(parts)


def _make_parts(config: Mapping[str, Any], params, labels, horizon: Horizon) -> dict[str, _Part]:
  """The optimizers of the groups, and last of the parameters that no group picks, `rest`."""
  paths = parameter_paths(params)
  groups = dict(config["groups"].items())
  if groups:
    check_regexes(config, paths)
  parts = {}
  for name, entry in {**groups, "rest": {}}.items():
    own = jax.tree.map(lambda p, label, name=name: p if label == name else optax.MaskedNode(), params, labels)
    if groups and not jax.tree.leaves(own):
      continue
    try:
      parts[name] = _make_part(config, dict(entry.items()), own, paths, horizon)
    except ConfigError as error:
      raise ConfigError(f"config.optim.groups.{name}: {error}" if entry else str(error)) from error
  return parts


def _make_part(config, changes: dict[str, Any], params, all_paths: Mapping[str, int], horizon: Horizon) -> _Part:
  paths = parameter_paths(params)
  changes.pop("params", None)
  period = changes.pop("every", 1)
  if isinstance(period, bool) or not isinstance(period, int) or period < 1:
    raise ConfigError(f"every={period!r}: give a number of updates, at least 1")
  if len(paths) < len(all_paths):
    config = inherited(config, paths)
  config = complete({**config, **changes, "groups": {}})
  plan, text = make_plan(config, params, horizon, all_paths)
  chain = optax.chain(*stages(config, plan, paths))
  if period > 1:
    chain, text = every(chain, period), f"{text}, every {period} updates"
  return _Part(chain, plan, paths, f"{config['name']}: {text}")


def _labels(groups: Mapping[str, Any], params):
  """The name of each parameter's group, in the tree of the parameters."""
  paths = parameter_paths(params)
  labels = dict.fromkeys(paths, "rest")
  for name, entry in reversed(list(groups.items())):
    where = f"config.optim.groups.{name}"
    if not hasattr(entry, "items") or not isinstance(entry.get("params"), str):
      raise ConfigError(f"{where}: give params, a regex of its parameters' paths, such as dict(params='^critic/', lr=1e-4)")
    picked = [path for path in paths if re.search(entry["params"], path)]
    if not picked or name == "rest":
      networks = sorted({path.partition("/")[0] for path in paths})
      wrong = "is what the other parameters are called" if picked else f"'{entry['params']}' picks no parameter"
      raise ConfigError(f"{where}: {wrong}; {nearest(entry['params'], networks)}")
    labels |= dict.fromkeys(picked, name)
  for name, entry in groups.items():
    if name not in labels.values():
      raise ConfigError(f"config.optim.groups.{name}: earlier groups have taken all that '{entry['params']}' picks")
  return jax.tree.unflatten(jax.tree.structure(params), list(labels.values()))


def _info(parts: Mapping[str, _Part]) -> dict[str, Any]:
  counts = dict.fromkeys(("decayed", "undecayed", "frozen", "frozen_at_first"), 0)
  decayed_paths, texts = [], []
  for name, part in parts.items():
    thaw, decayed = jax.tree.leaves(part.plan.thaw), jax.tree.leaves(part.plan.decayed)
    own = dict(
      decayed=sum(d and t < math.inf for d, t in zip(decayed, thaw, strict=True)),
      undecayed=sum(not d and t < math.inf for d, t in zip(decayed, thaw, strict=True)),
      frozen=sum(t == math.inf for t in thaw),
      frozen_at_first=sum(0 < t < math.inf for t in thaw),
    )
    counts = {kind: counts[kind] + own[kind] for kind in counts}
    decayed_paths += [path for path, d in zip(part.paths, decayed, strict=True) if d]
    said = [f"{n} {kind.replace('_', ' ')}" for kind, n in own.items() if n or kind in ("decayed", "undecayed")]
    title = f"group {name}: " if len(parts) > 1 and name != "rest" else ""
    texts.append(f"{title}{part.text}; tensors: {', '.join(said)}")
  plan = parts["rest" if "rest" in parts else next(iter(parts))].plan
  summary = "\n".join(reversed(texts))
  return dict(summary=summary, lr=plan.lr, weight_decay=plan.weight_decay, decayed_paths=tuple(decayed_paths), **counts)
