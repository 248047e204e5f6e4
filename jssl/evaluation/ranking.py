"""Threshold-free scores of a ranking, exact with ties: average precision and the area under the ROC curve."""

import jax
import jax.numpy as jnp
import numpy as np


def ranking_scores(scores: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Average precision and AUROC of one ranking.

  Equal scores form one threshold, as in sklearn.metrics.average_precision_score (a sum over thresholds of precision
  times the gain in recall, no interpolation) and roc_auc_score (the probability that a positive ranks above a negative,
  a tie counting one half).

  Args:
    scores: `[n]`.
    labels: `[n]` bool.

  Returns:
    (average precision, AUROC) in [0, 1], float32. Without positives both are NaN, without negatives the AUROC is.
  """
  n = scores.shape[0]
  negated, positive = jax.lax.sort((-scores.astype(jnp.float32), labels.astype(jnp.float32)), num_keys=1)
  place = jnp.arange(n)
  starts = jnp.concatenate([jnp.ones(1, bool), negated[1:] != negated[:-1]])
  ends = jnp.concatenate([starts[1:], jnp.ones(1, bool)])
  first = jax.lax.cummax(jnp.where(starts, place, 0))
  last = jax.lax.cummin(jnp.where(ends, place, n - 1), reverse=True)
  true_positives = jnp.cumsum(positive)
  false_positives = place + 1.0 - true_positives
  total, others = true_positives[-1], false_positives[-1]
  precision = true_positives[last] / (last + 1.0)
  beaten_by = (false_positives[last] + (false_positives - (1.0 - positive))[first]) / 2.0
  return (positive * precision).sum() / total, 1.0 - (positive * (beaten_by / others)).sum() / total


def weighted_auroc(positive: tuple[np.ndarray, np.ndarray], negative: tuple[np.ndarray, np.ndarray]) -> float:
  """P(positive score > negative score) + P(equal) / 2 for pairs (scores `[n]`, weights `[n]`); in float64."""
  (scores, weight), (others, negative_weight) = positive, negative
  order = np.argsort(others, kind="stable")
  mass = np.concatenate([[0.0], np.cumsum(negative_weight[order], dtype=np.float64)])
  below = mass[np.searchsorted(others[order], scores, "left")]
  not_above = mass[np.searchsorted(others[order], scores, "right")]
  return float((weight * (below + not_above)).sum() / (2.0 * weight.sum() * mass[-1]))
