"""Discrete codes of patches: what BEiT predicts."""

import jax
import jax.numpy as jnp

from jssl.checks import check_arrays


def nearest_code(patches: jax.Array, mean: jax.Array, whitening: jax.Array, centers: jax.Array) -> jax.Array:
  """The nearest entry of a codebook of whitened patches, as `jssl.refresh.patch_codebook` fits it.

      y = argmin_k || W (x - mean) - c_k ||

  Args:
    patches: `[batch, patches, dim]`.
    mean: `[dim]`.
    whitening: W, `[dim, dim]`, symmetric.
    centers: c, `[codes, dim]`.

  Returns:
    int32 `[batch, patches]` in [0, codes).

  Example:

    >>> nearest_code(jnp.array([[[1.0, 9.0]]]), jnp.ones(2), jnp.eye(2), jnp.array([[0.0, 0.0], [0.0, 7.0]])).tolist()
    [[1]]
  """
  check_arrays(
    "nearest_code",
    patches=(patches, "float [batch, patches, dim]"),
    mean=(mean, "float [dim]"),
    whitening=(whitening, "float [dim, dim]"),
    centers=(centers, "float [codes, dim]"),
  )
  x = jnp.matmul(patches.astype(mean.dtype) - mean, whitening, precision="highest")
  # |x|^2 is the same for all codes.
  scores = jnp.matmul(x, centers.T, precision="highest") - 0.5 * jnp.sum(centers * centers, axis=-1)
  return jnp.argmax(scores, axis=-1).astype(jnp.int32)
