"""Balanced assignments of examples to prototypes."""

from collections.abc import Sequence
import itertools

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.batch_axis import global_sum
from jssl.checks import as_views, check_arrays, check_values, Number, Views


def sinkhorn(
  logits: Views,
  mask: Views | None = None,
  *,
  temp: Number,
  iterations: int = 3,
  rows_first: bool = False,
  axis_name: str | None = None,
) -> Views:
  """Sinkhorn-Knopp: probabilities like `softmax(logits / temp)`, under which every prototype gets as much as another.

  From `Q = exp(logits / temp)`, each iteration scales the prototypes (the columns) to equal sums over the global batch,
  and then the examples (the rows) to sums of 1. All of it is done on logarithms: no temperature makes it overflow, and
  a prototype that is far from every example is still filled.

      f_k = -log sum_b m_b exp(s_bk + g_b),   g_b = -log sum_k exp(s_bk + f_k),   Q_bk = exp(s_bk + f_k + g_b)

  with s = logits / temp, and g = 0 at first. No iteration is the plain softmax.

  Args:
    logits: `[..., prototypes]`, or views of it; all but the last axis are rows, and all rows of all views are balanced
      together.
    mask: bool of the logits' shape but the last axis, True for rows that count; others get the probabilities that they
      would have without changing anybody's; as many views. Default: all count.
    temp: epsilon of SwAV, teacher temperature of DINOv2 and MSN, > 0. May be a schedule.
    iterations: 3 in SwAV, DINOv2 and MSN.
    rows_first: start from the rows of `softmax(logits / temp)`, not from `exp(logits / temp)`, as MSN does, whose rows
      are the teacher's sharpened probabilities. It matters as long as the iterations have not converged.
    axis_name: mapped axis over which the batch is split.

  Returns:
    float32 (float64 of float64) of the logits' shape, each row a distribution; a list for a sequence of views.

  References:
    Cuturi 2013, arXiv 1306.0895. Caron et al. 2020 (SwAV), arXiv 2006.09882, section 3.1; facebookresearch/swav,
    main_swav.py (`distributed_sinkhorn`). Oquab et al. 2023, arXiv 2304.07193; facebookresearch/dinov2,
    dinov2/loss/dino_clstoken_loss.py (`sinkhorn_knopp_teacher`) and, with the mask, ibot_patch_loss.py. Assran et al.
    2022 (MSN), arXiv 2204.07141; facebookresearch/msn, src/losses.py (`distributed_sinkhorn`).

  Example:

    >>> near_both = jnp.array([[2.0, 1.0], [2.0, 1.9]])    # both prefer the first prototype
    >>> sinkhorn(near_both, temp=0.1).round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
  """
  check_arrays("sinkhorn", logits=(logits, "views of float [..., prototypes]"))
  check_values("sinkhorn", temp=(temp, "(0, inf)"), iterations=(iterations, "int [0, inf)"))
  views, masks = as_views(logits), [] if mask is None else as_views(mask)
  if mask is not None and len(masks) != len(views):
    raise ValueError(f"sinkhorn: {len(views)} views of logits and {len(masks)} of mask")
  for x, m in zip(views, masks or [None] * len(views), strict=True):
    check_arrays("sinkhorn", logits=(x, "float [*rows, prototypes]"), mask=(m, "bool [*rows]"))
  scores = jnp.concatenate([x.reshape(-1, x.shape[-1]) for x in views])
  scores = precise(scores) / temp
  if mask is None:
    counts = jnp.zeros(len(scores), scores.dtype)
  else:
    counts = jnp.where(jnp.concatenate([m.reshape(-1) for m in masks]), 0.0, -jnp.inf)
  examples = counts - jax.nn.logsumexp(scores, axis=-1) if rows_first else counts
  prototypes = 0.0
  for _ in range(iterations):
    prototypes = -_log_sum_over_rows(scores + examples[:, None], axis_name)
    examples = counts - jax.nn.logsumexp(scores + prototypes, axis=-1)
  ends = list(itertools.accumulate(x.size // x.shape[-1] for x in views))
  probs = jnp.split(jax.nn.softmax(scores + prototypes, axis=-1), ends[:-1])
  probs = [p.reshape(x.shape) for p, x in zip(probs, views, strict=True)]
  return probs if isinstance(logits, Sequence) else probs[0]


def sinkhorn_codes(
  scores: Sequence[jax.Array],
  queue_scores: Sequence[jax.Array] | None = None,
  queue_counts: Sequence[jax.Array] | None = None,
  *,
  temp: Number = 0.05,
  iterations: int = 3,
  axis_name: str | None = None,
) -> list[jax.Array]:
  """SwAV's codes: each view's balanced assignment to the prototypes, with a queue's rows beside the batch's.

  A batch that is small against the number of prototypes cannot use them all equally; earlier steps' embeddings, scored
  by today's prototypes, take part in the balance and are left out of the result.

  Args:
    scores: views of `[batch, prototypes]`, cosines; each view is balanced by itself.
    queue_scores: as many of `[batch, rows, prototypes]`: the same network's scores of `feature_queue`'s rows.
    queue_counts: as many of bool `[batch, rows]`.
    temp: epsilon of the paper, > 0.
    iterations: of Sinkhorn-Knopp.
    axis_name: mapped axis over which the batch is split.

  Returns:
    For each view float32 `[batch, prototypes]`, each row a distribution.

  References:
    Caron et al. 2020 (SwAV), arXiv 2006.09882, section 3.1; facebookresearch/swav, main_swav.py (`train`).

  Example:

    >>> code, = sinkhorn_codes([jnp.array([[1.0, 0.5], [1.0, 0.95]])])
    >>> code.round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
  """
  check_arrays(
    "sinkhorn_codes",
    scores=(scores, "views of float [batch, prototypes]"),
    queue_scores=(queue_scores, "views of float [batch, rows, prototypes]"),
    queue_counts=(queue_counts, "views of bool [batch, rows]"),
  )
  balance = lambda rows, mask: as_views(sinkhorn(rows, mask, temp=temp, iterations=iterations, axis_name=axis_name))[0]
  if queue_scores is None or queue_counts is None:
    return [balance(rows, None) for rows in scores]
  codes = []
  for rows, queued, counts in zip(scores, queue_scores, queue_counts, strict=True):
    mask = jnp.concatenate([jnp.ones((len(rows), 1), bool), counts], axis=1)
    codes.append(balance(jnp.concatenate([rows[:, None], queued], axis=1), mask)[:, 0])
  return codes


def _log_sum_over_rows(x: jax.Array, axis_name: str | None) -> jax.Array:
  """`log sum_b exp(x_bk)` over the global batch; 0 where nothing counts."""
  largest = jax.lax.stop_gradient(jnp.max(x, axis=0))
  if axis_name is not None:
    largest = jax.lax.pmax(largest, axis_name)
  largest = jnp.where(jnp.isfinite(largest), largest, 0)
  total = global_sum(jnp.sum(jnp.exp(x - largest), axis=0), axis_name)
  return jnp.where(total > 0, largest + jnp.log(total), 0)
