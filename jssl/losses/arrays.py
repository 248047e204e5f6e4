"""What the losses share: means, cosines over the global batch, and cross-entropy.

With `axis_name` set, a loss sees one device's share of the batch. Either it returns the mean over that share, or a
value that is computed through `psum` and `all_gather` and is the same on every device. In both cases the mean over
devices of the value, and of the gradient, is that of the global batch: the transpose of a sum over devices is that sum.
"""

from collections.abc import Sequence
import functools
import operator

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.batch_axis import gather, positions


def average(terms: Sequence[jax.Array]) -> jax.Array:
  """The mean of scalars, added up in their order."""
  return functools.reduce(operator.add, terms) / len(terms)


def cosines(views: Sequence[jax.Array], axis_name: str | None) -> tuple[jax.Array, jax.Array]:
  """Cosines of this device's embeddings with those of the global batch, all views in one row.

  Args:
    views: V arrays `[local_batch, dim]` of the same images.
    axis_name: mapped axis over which the batch is split.

  Returns:
    `[V * local_batch, V * batch]`, and the column of each row's own embedding, int32 `[V * local_batch]`. View v of
    image i is column `v * batch + i`.
  """
  views = [l2_normalize(view) for view in views]
  gathered = [gather(view, axis_name) for view in views]
  columns = [v * len(gathered[v]) + positions(len(view), axis_name) for v, view in enumerate(views)]
  similarity = jnp.matmul(jnp.concatenate(views), jnp.concatenate(gathered).T, precision="highest")
  return similarity, jnp.concatenate(columns)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean cross-entropy and accuracy of `logits [rows, classes]` with integer labels `[rows]`."""
  log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1)
  hits = jnp.argmax(logits, axis=-1) == labels
  return -jnp.mean(log_probs), jnp.mean(hits.astype(logits.dtype))
