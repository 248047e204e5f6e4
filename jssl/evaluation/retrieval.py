"""Retrieval: every image of a set asks for the others of its class, which are ranked by the cosine of frozen features."""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import l2_normalize
from jssl.evaluation.chunks import map_chunks
from jssl.evaluation.ranking import ranking_scores
from jssl.evaluation.selection import check_features


@functools.partial(jax.jit, static_argnames=("ks",))
def _scores(queries, labels, places, keys, key_labels, *, ks):
  """Average precision, and whether one of the first k is right, of each query; it does not find itself."""
  itself = jnp.arange(len(keys)) == places[:, None]
  cosine = jnp.where(itself, -jnp.inf, jnp.matmul(queries, keys.T, precision="highest"))
  right = (key_labels == labels[:, None]) & ~itself  # itself, last of all and not right, moves no precision
  precision, _ = jax.vmap(ranking_scores)(cosine, right)
  best = jnp.max(jnp.where(right, cosine, -jnp.inf), 1, keepdims=True)
  before = (~right & ~itself & (cosine >= best)).sum(1)
  return jnp.stack([precision, *(before < k for k in ks)], 1), right.any(1)


def expected_precision(right: np.ndarray, others: int) -> np.ndarray:
  """The mean average precision of a random order of `others`, of which `right >= 1` are right.

      (H + (right - 1) / (others - 1) (others - H)) / others,   H = 1 + 1/2 + ... + 1/others

  Example:

    >>> expected_precision(np.array([1, 2]), 2).tolist()
    [0.75, 1.0]
  """
  harmonic = np.sum(1 / np.arange(1, others + 1))
  return (harmonic + (right - 1) / max(others - 1, 1) * (others - harmonic)) / others


def retrieval_scores(features: np.ndarray, labels: np.ndarray, *, k: int | Sequence[int] = (1, 5), chunk: int = 128) -> dict:
  """Mean average precision and recall at k, each example in turn the query, all others the gallery.

  Args:
    features: `[n, dim]`, L2-normalised here.
    labels: `[n]` integers.
    k: recall at k is the fraction of queries with one of their class among the first k; where scores are equal, those of
      other classes come first. Average precision takes equal scores as one threshold, as scikit-learn's.
    chunk: queries at once; memory grows as chunk * n.

  Returns:
    `metrics`: `map`, `r<k>`; examples that are alone in their class ask for nothing and do not count; and the
    `parameters`, with the `map` of a random order as `chance`.

  Raises:
    ValueError: if shapes disagree, k is out of range, there is one class, or no class has two examples; for features that
      are not finite, or all the same.
  """
  ks = (k,) if isinstance(k, int) else tuple(k)
  labels = np.asarray(labels)
  if len(features) != len(labels) or not ks or not 1 <= min(ks) <= max(ks) < len(features):
    raise ValueError(f"retrieval: {len(features)} features, {len(labels)} labels, k={ks}: k must be below their number")
  if len(np.unique(labels)) < 2:
    raise ValueError("retrieval: all examples are of one class: there is nothing to tell apart")
  (features,) = check_features("retrieval", features)
  z = l2_normalize(jnp.asarray(features))
  score = functools.partial(_scores, keys=z, key_labels=jnp.asarray(labels), ks=ks)
  places = np.arange(len(labels))
  scores, counts = map_chunks(score, np.asarray(z), labels, places, chunk=min(chunk, len(labels)))
  if not counts.any():
    raise ValueError("retrieval: no class has two examples")
  means = scores[counts].mean(0, dtype=np.float64)
  sizes = np.unique(labels, return_inverse=True, return_counts=True)
  chance = expected_precision(sizes[2][sizes[1]][counts] - 1, len(labels) - 1).mean()
  names = ("map", *(f"r{number}" for number in ks))
  return dict(
    metrics={name: float(value) for name, value in zip(names, means, strict=True)},
    parameters=dict(k=ks, similarity="cosine", queries=int(counts.sum()), gallery=len(labels) - 1)
    | dict(chance=round(float(chance), 4)),
  )
