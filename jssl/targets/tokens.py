"""Tokens of a teacher as targets."""

from collections.abc import Sequence
import functools
import operator

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.checks import check_arrays, check_values, Number


def same(x: jax.Array) -> jax.Array:
  """`x` itself; as a target it carries no gradient, which is all that SimSiam's stop-gradient is."""
  return x


def take_tokens(tokens: jax.Array, ids: jax.Array) -> jax.Array:
  """Picks some tokens of each image.

  Args:
    tokens: `[batch, patches, dim]`.
    ids: int `[batch, picked]`, or of more axes, such as `[batch, blocks, picked]`.

  Returns:
    `[batch, picked, dim]`, or `[batch, blocks, picked, dim]`.

  Example:

    >>> take_tokens(jnp.array([[[0], [10], [20]]]), jnp.array([[2, 0]])).tolist()
    [[[20], [0]]]
  """
  check_arrays("take_tokens", tokens=(tokens, "any [batch, patches, dim]"), ids=(ids, "int [batch, ...]"))
  return jax.vmap(lambda tokens, ids: jnp.take(tokens, ids, axis=0))(tokens, ids)


def layer_norm_tokens(tokens: jax.Array, *, eps: Number = 1e-5) -> jax.Array:
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
  check_arrays("layer_norm_tokens", tokens=(tokens, "float [..., dim]"))
  check_values("layer_norm_tokens", eps=(eps, "[0, inf)"))
  x = precise(tokens)
  centered = x - jnp.mean(x, axis=-1, keepdims=True)
  return centered * jax.lax.rsqrt(jnp.mean(centered**2, axis=-1, keepdims=True) + eps)


def average_blocks(blocks: Sequence[jax.Array], *, prefix: int = 1, eps: Number = 1e-5) -> jax.Array:
  """The target of data2vec: what the last blocks of a teacher say of each patch, on average.

      y = LN( 1/K sum_k LN(block_k) )

  where LN is `layer_norm_tokens`, over the features of each token.

  Args:
    blocks: K outputs `[batch, prefix + patches, dim]` of a ViT's blocks (`block07`, ...), before its final LayerNorm.
    prefix: number of tokens before the patches, which are cut off.
    eps: of the LayerNorm.

  Returns:
    float32 `[batch, patches, dim]`.

  References:
    Baevski et al. 2022, arXiv 2202.03555, section 3.3; facebookresearch/data2vec_vision, beit/engine_for_cyclical.py
    (with `target_layer_norm_last` and `post_target_layer_norm`, as in the authors' commands).

  Example:

    >>> first, second = jnp.array([[[9.0, 9.0], [1.0, 3.0]]]), jnp.array([[[9.0, 9.0], [0.0, 20.0]]])
    >>> average_blocks([first, second], eps=0.0).tolist()
    [[[-1.0, 1.0]]]
  """
  check_arrays("average_blocks", blocks=(blocks, "views of float [batch, tokens, dim]"))
  check_values("average_blocks", prefix=(prefix, "int [0, inf)"))
  normed = [layer_norm_tokens(block[:, prefix:], eps=eps) for block in blocks]
  return layer_norm_tokens(functools.reduce(operator.add, normed) / len(normed), eps=eps)


def average_tokens(tokens: jax.Array, *, prefix: int = 1) -> jax.Array:
  """The mean of the patches' tokens.

  Args:
    tokens: `[batch, prefix + patches, dim]`, such as the output of a ViT's block.
    prefix: number of tokens before the patches, which are left out.

  Returns:
    float32 `[batch, dim]`.

  Example:

    >>> average_tokens(jnp.array([[[9.0], [1.0], [2.0]]])).tolist()
    [[1.5]]
  """
  check_arrays("average_tokens", tokens=(tokens, "float [batch, tokens, dim]"))
  check_values("average_tokens", prefix=(prefix, f"int [0, {tokens.shape[1] - 1}]"))
  return jnp.mean(precise(tokens)[:, prefix:], axis=1)
