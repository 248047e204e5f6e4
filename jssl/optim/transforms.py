"""The steps that an optimizer is chained of: clipping, decay, moments, trust ratios."""

from collections.abc import Mapping, Sequence
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jssl.errors import ConfigError, nearest
from jssl.optim.config import pick, Plan


def stages(config: Mapping[str, Any], plan: Plan, paths: Mapping[str, int]) -> list[optax.GradientTransformation]:
  """What a gradient goes through, in order, until it is an update; each takes the number of updates as `count`."""
  decay = _stage(
    lambda update, param, count, decayed: (
      update + (plan.weight_decay(count) * param).astype(update.dtype) if decayed else update
    ),
    plan.decayed,
  )
  adaptive = config["name"] in ("adamw", "lamb")
  if adaptive:
    memory = optax.scale_by_adam(config["b1"], config["b2"], config["eps"])
  else:
    memory = optax.trace(config["momentum"], config["nesterov"]) if config["momentum"] else optax.identity()
  trust = lambda eta: optax.masked(optax.scale_by_trust_ratio(trust_coefficient=eta), plan.decayed)
  memory = _from_thaw(memory, plan.thaw)
  body = {
    "adamw": [memory, decay],
    "lamb": [memory, decay, trust(1.0)],
    "sgd": [decay],
    "lars": [_larc(config["eta"], plan, clip=True)] if config["lars_clip"] else [decay, trust(config["eta"])],
    "larc": [_larc(config["eta"], plan)],
  }[config["name"]]
  frozen = _stage(lambda update, _, count, thaw: _zero_before(thaw, count, update), plan.thaw)
  scale = _stage(lambda update, _, count, rate: update * -rate(count).astype(update.dtype), plan.rates)
  if not adaptive:
    body.append(memory)
  body.insert(len(body) - config["classic_momentum"], scale)
  return [frozen, *_clip(config["clip"], paths), *body, frozen]


def every(inner: optax.GradientTransformationExtraArgs, period: int) -> optax.GradientTransformationExtraArgs:
  """`inner` at each update whose number is a multiple of `period`; between them nothing moves, nor does its state."""

  def update(updates, state, params=None, *, count, **more):
    due = (count + 1) % period == 0
    moved, after = inner.update(updates, state, params, count=count, **more)
    moved = jax.tree.map(lambda x: jnp.where(due, x, jnp.zeros_like(x)), moved)
    return moved, jax.tree.map(lambda new, old: jnp.where(due, new, old), after, state)

  return optax.GradientTransformationExtraArgs(inner.init, update)


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
  pick("clip.joint", joint, paths)
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


def _larc(eta: float, plan: Plan, *, clip: bool = False) -> optax.GradientTransformationExtraArgs:
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
