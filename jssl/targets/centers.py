"""A teacher's distributions, centred so that no prototype wins everything."""

from collections.abc import Sequence
import functools
import operator

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.batch_axis import global_sum
from jssl.checks import as_views, check_arrays, check_values, Number, Views
from jssl.stateful import Stateful


def _init(logits: Views, mask: Views | None = None) -> jax.Array:
  del mask
  return jnp.zeros(as_views(logits)[0].shape[-1:], jnp.float32)


def _apply(
  center: jax.Array,
  logits: Views,
  mask: Views | None = None,
  *,
  temp: Number,
  momentum: Number = 0.9,
  axis_name: str | None = None,
) -> tuple[Views, jax.Array]:
  """The teacher's probabilities in DINO, iBOT and MC-SSL: `softmax((logits - center) / temp)`.

      center <- momentum * center + (1 - momentum) * mean(logits)

  The mean runs over the global batch, the views, and the positions of patch logits (DINOv2: the hidden ones); the new
  center is used from the next step on. It starts at zero.

  Centring keeps one prototype from winning everywhere, and a temperature below the student's keeps the teacher from
  the uniform distribution: with one of the two alone the outputs collapse, to entropy 0 without the center, to ln K
  without the sharpening (DINO, section 5.3).

  Args:
    center: `[prototypes]`, the state.
    logits: `[batch, prototypes]` or `[batch, patches, prototypes]` of the teacher, or a sequence of views of it.
    mask: bool of the logits' shape but the last axis, True for rows that move the center; as many views. Default: all
      do. Where none does, the center stays.
    temp: teacher temperature > 0; below the student's, it sharpens. May be a schedule.
    momentum: of the center, 0.9 in all three.
    axis_name: mapped axis over which the batch is split.

  Returns:
    float32 probabilities of the logits' shape, an array for an array and a list for a sequence; and the new center.

  References:
    Caron et al. 2021, arXiv 2104.14294, section 3.1 and equation 4; facebookresearch/dino, main_dino.py (`DINOLoss`).
    For patches: Zhou et al. 2022 (iBOT), arXiv 2111.07832; bytedance/ibot, main_ibot.py. With the mask: Oquab et al.
    2023 (DINOv2), arXiv 2304.07193; facebookresearch/dinov2, dinov2/train/ssl_meta_arch.py.

  Example:

    >>> logits = jnp.array([[2.0, 0.0], [2.0, 0.0]])
    >>> center = centered_softmax.init(logits)
    >>> probs, center = centered_softmax.apply(center, logits, temp=1.0, momentum=0.0)
    >>> probs, center = centered_softmax.apply(center, logits, temp=1.0)   # the first entry's lead is gone
    >>> probs[0].tolist(), center.tolist()
    ([0.5, 0.5], [2.0, 0.0])
  """
  check_arrays(
    "centered_softmax", logits=(logits, "views of float [batch, ..., prototypes]"), center=(center, "float [prototypes]")
  )
  check_values("centered_softmax", temp=(temp, "(0, inf)"), momentum=(momentum, "[0, 1]"))
  views = [precise(x) for x in as_views(logits)]
  probs = [jax.nn.softmax((x - center) / temp, axis=-1) for x in views]
  masks = [jnp.ones(x.shape[:-1], bool) for x in views] if mask is None else as_views(mask)
  if len(masks) != len(views):
    raise ValueError(f"centered_softmax: {len(views)} views of logits and {len(masks)} of mask")
  for x, m in zip(views, masks, strict=True):
    check_arrays("centered_softmax", logits=(x, "float [*rows, prototypes]"), mask=(m, "bool [*rows]"))
  sums = [jnp.sum(x * m[..., None], axis=tuple(range(x.ndim - 1))) for x, m in zip(views, masks, strict=True)]
  counts = [jnp.sum(m, dtype=sums[0].dtype) for m in masks]
  total, count = global_sum((functools.reduce(operator.add, sums), functools.reduce(operator.add, counts)), axis_name)
  moved = momentum * center + (1 - momentum) * total / jnp.maximum(count, 1)
  moved = jax.lax.stop_gradient(jnp.where(count > 0, moved, center).astype(center.dtype))
  return (probs if isinstance(logits, Sequence) else probs[0]), moved


centered_softmax = Stateful(_init, _apply)
