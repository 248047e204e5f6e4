"""Targets that are looked up by similarity: in a support set of past embeddings, or in another view of the image."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.checks import check_arrays
from jssl.stateful import enqueue, random_queue, Stateful


def _init(embeddings: Sequence[jax.Array], *, size: int, rng: jax.Array) -> jax.Array:
  return random_queue(rng, size=size, dim=embeddings[0].shape[-1])


def _apply(
  support: jax.Array, embeddings: Sequence[jax.Array], *, axis_name: str | None = None
) -> tuple[list[jax.Array], jax.Array]:
  """NNCLR's positives: the nearest neighbour of each embedding in a support set of past embeddings.

      NN(z, Q) = argmin_{q in Q} ||z / ||z|| - q||

  The support set is a first-in, first-out queue of unit vectors, at first random directions. After the look-up the
  first view's embeddings of the global batch join it and the oldest leave, as in the paper's algorithm 1.

  Args:
    support: `[size, dim]`, the state, the newest first.
    embeddings: views of `[batch, dim]`.
    size: of the support set: 98304 in the paper's best run.
    axis_name: mapped axis over which the batch is split.

  Returns:
    A list of float32 `[batch, dim]` of norm 1, one for each view; and the new support set.

  References:
    Dwibedi, Aytar, Tompson, Sermanet, Zisserman 2021 (NNCLR), arXiv 2104.14548, equation 2 and algorithm 1. There is no
    code of the authors; checked against vturrisi/solo-learn, solo/methods/nnclr.py.

  Example:

    >>> support = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> (neighbors,), support = nearest_neighbors.apply(support, [jnp.array([[1.0, 2.0]])])
    >>> print(neighbors.tolist(), [f"{x:.2f} {y:.2f}" for x, y in support])
    [[0.0, 1.0]] ['0.45 0.89', '1.00 0.00']
  """
  check_arrays(
    "nearest_neighbors", embeddings=(embeddings, "views of float [batch, dim]"), support=(support, "float [size, dim]")
  )
  units = [l2_normalize(z) for z in embeddings]
  neighbors = [support[jnp.argmax(jnp.matmul(z, support.T, precision="highest"), axis=-1)] for z in units]
  return neighbors, enqueue(support, units[0], axis_name=axis_name)


nearest_neighbors = Stateful(_init, _apply)


def match_tokens(query: jax.Array, key: jax.Array, values: jax.Array) -> jax.Array:
  """For each position of one view, the value at the most similar position of another view of the same image.

      r_i = values_{argmax_j cos(query_i, key_j)}

  DenseCL compares the backbone's features and picks among the dense head's outputs.

  Args:
    query: `[batch, ..., dim]`, features of one view, any number of position axes.
    key: `[batch, ..., dim]`, those of the other.
    values: `[batch, ..., dim_v]` at the key's positions.

  Returns:
    `[batch, query positions, dim_v]` of the values' dtype.

  References:
    Wang, Zhang, Shen, Kong, Li 2021 (DenseCL), arXiv 2011.09157, section 3.4; WXinlong/DenseCL,
    openselfsup/models/densecl.py.

  Example:

    >>> query, key = jnp.array([[[1.0, 0.0], [0.0, 1.0]]]), jnp.array([[[0.0, 2.0], [9.0, 1.0]]])
    >>> match_tokens(query, key, jnp.array([[[10.0], [20.0]]])).tolist()
    [[[20.0], [10.0]]]
  """
  check_arrays(
    "match_tokens",
    query=(query, "float [batch, ..., dim]"),
    key=(key, "float [batch, ..., dim]"),
    values=(values, "any [batch, ..., width]"),
  )
  if key.size * values.shape[-1] != values.size * key.shape[-1]:
    raise ValueError(f"match_tokens: key {list(key.shape)} and values {list(values.shape)} differ in their positions")
  flat = lambda x: x.reshape(len(x), -1, x.shape[-1])
  similarity = jnp.einsum("bid,bjd->bij", flat(query), l2_normalize(flat(key)), precision="highest")
  return jnp.take_along_axis(flat(values), jnp.argmax(similarity, axis=-1)[..., None], axis=1)
