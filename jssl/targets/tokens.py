"""Tokens of a teacher as targets."""

import jax
import jax.numpy as jnp


def same(x: jax.Array) -> jax.Array:
  """`x` itself; as a target it carries no gradient, which is all that SimSiam's stop-gradient is."""
  return x


def take_tokens(tokens: jax.Array, ids: jax.Array) -> jax.Array:
  """Picks some tokens of each image.

  Args:
    tokens: `[batch, patches, dim]`.
    ids: int `[batch, picked]`.

  Returns:
    `[batch, picked, dim]`.

  Example:

    >>> take_tokens(jnp.array([[[0], [10], [20]]]), jnp.array([[2, 0]])).tolist()
    [[[20], [0]]]
  """
  return jnp.take_along_axis(tokens, ids[..., None], axis=1)


def layer_norm_tokens(tokens: jax.Array, *, eps: float = 1e-5) -> jax.Array:
  """Standardises each token over its features, without learnt scale and shift: the target of I-JEPA and data2vec.

  Args:
    tokens: `[..., dim]`.
    eps: added to the variance; 1e-5 is torch's.

  Returns:
    float32, of the same shape.

  References:
    Assran et al. 2023, arXiv 2301.08243; facebookresearch/ijepa, src/train.py (`F.layer_norm`).

  Example:

    >>> layer_norm_tokens(jnp.array([1.0, 3.0]), eps=0.0).tolist()
    [-1.0, 1.0]
  """
  x = tokens.astype(jnp.promote_types(tokens.dtype, jnp.float32))
  centered = x - jnp.mean(x, axis=-1, keepdims=True)
  return centered * jax.lax.rsqrt(jnp.mean(centered**2, axis=-1, keepdims=True) + eps)
