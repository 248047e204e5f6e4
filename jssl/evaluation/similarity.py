"""Similarities between patches.

A similarity is a function `(queries [..., Q, D], keys [..., N, D]) -> scores [..., Q, N]` with scores in [-1, 1] and 1
for a patch and itself, so that one grid of thresholds and one histogram serve all of them. The prompt protocols take
any such function, with the features that it reads: learnt features or pixels for `cosine_similarity`, `patch_positions`
for `position_similarity`, anything for `constant_similarity`, and a matrix of scores for `precomputed_similarity`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import l2_normalize


def cosine_similarity(queries: jax.Array, keys: jax.Array) -> jax.Array:
  """Cosines `[..., Q, N]` of `queries [..., Q, D]` and `keys [..., N, D]`; a zero vector's are 0."""
  return jnp.einsum("...qd,...nd->...qn", l2_normalize(queries), l2_normalize(keys), precision="highest")


def patch_positions(grid: tuple[int, int]) -> np.ndarray:
  """Patch centers `[h * w, 2]` (row, column), in units of the distance between opposite corner patches of the grid."""
  height, width = grid
  positions = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).reshape(-1, 2)
  return (positions / max(np.hypot(height - 1, width - 1), 1.0)).astype(np.float32)


def position_similarity(queries: jax.Array, keys: jax.Array) -> jax.Array:
  """1 - 2 d / d_max `[..., Q, N]` for `patch_positions`: 1 at the patch itself, -1 in the opposite corner of the grid.

  Minus the distance, rescaled to the range of a cosine; the thresholds -0.2 .. 0.95 then stand for radii of 60 % .. 2.5
  % of the grid's diagonal.
  """
  return 1.0 - 2.0 * jnp.linalg.norm(queries[..., :, None, :] - keys[..., None, :, :], axis=-1)


def constant_similarity(queries: jax.Array, keys: jax.Array) -> jax.Array:
  """1 everywhere, `[..., Q, N]`: every patch is foreground, whatever the threshold."""
  return jnp.ones((*queries.shape[:-1], keys.shape[-2]), jnp.float32)


def precomputed_similarity(queries: jax.Array, keys: jax.Array) -> jax.Array:
  """The rows themselves, for "features" `[batch, N, N]` that already are a matrix of scores in [-1, 1]."""
  del keys
  return queries
