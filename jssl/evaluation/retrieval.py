"""Retrieval: every image of a set asks for the others of its class, which are ranked by the cosine of frozen features."""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import l2_normalize
from jssl.evaluation.chunks import map_chunks


@functools.partial(jax.jit, static_argnames=("ks",))
def _scores(queries, labels, places, keys, key_labels, *, ks):
  """Average precision, and whether one of the first k is right, of each query; it does not find itself."""
  cosine = jnp.matmul(queries, keys.T, precision="highest")
  itself = jnp.arange(len(keys)) == places[:, None]
  order = jnp.argsort(jnp.where(itself, -jnp.inf, cosine), axis=1, descending=True)[:, :-1]
  right = (key_labels[order] == labels[:, None]).astype(jnp.float32)
  found = jnp.cumsum(right, 1)
  precision = found / jnp.arange(1, right.shape[1] + 1)
  total = found[:, -1]
  return jnp.stack([(right * precision).sum(1) / jnp.maximum(total, 1.0), *(found[:, k - 1] > 0 for k in ks)], 1), total > 0


def retrieval_scores(features: np.ndarray, labels: np.ndarray, *, k: int | Sequence[int] = (1, 5), chunk: int = 128) -> dict:
  """Mean average precision and recall at k, each example in turn the query, all others the gallery.

  Args:
    features: `[n, dim]`, L2-normalised here.
    labels: `[n]` integers.
    k: recall at k is the fraction of queries with one of their class among the first k.
    chunk: queries at once; memory grows as chunk * n.

  Returns:
    `metrics`: `map`, `r<k>`; examples that are alone in their class ask for nothing and do not count; and the `parameters`.

  Raises:
    ValueError: if shapes disagree, k is out of range, or no class has two examples.
  """
  ks = (k,) if isinstance(k, int) else tuple(k)
  labels = np.asarray(labels)
  if len(features) != len(labels) or not ks or not 1 <= min(ks) <= max(ks) < len(features):
    raise ValueError(f"retrieval: {len(features)} features, {len(labels)} labels, k={ks}: k must be below their number")
  z = l2_normalize(jnp.asarray(features, jnp.float32))
  score = functools.partial(_scores, keys=z, key_labels=jnp.asarray(labels), ks=ks)
  places = np.arange(len(labels))
  scores, counts = map_chunks(score, np.asarray(z), labels, places, chunk=min(chunk, len(labels)))
  if not counts.any():
    raise ValueError("retrieval: no class has two examples")
  means = scores[counts].mean(0, dtype=np.float64)
  names = ("map", *(f"r{number}" for number in ks))
  return dict(
    metrics={name: float(value) for name, value in zip(names, means, strict=True)},
    parameters=dict(k=ks, similarity="cosine", queries=int(counts.sum()), gallery=len(labels) - 1),
  )
