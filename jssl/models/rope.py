"""Rotary positions of images, as in DINOv3: queries and keys of patches are turned by angles that their places give.

The centre of a patch is at (row, column) in [-1, 1]. With n = head_dim / 4 periods `p_k = theta ** (k / n)` its angles are
`2 pi (row / p_0, .., row / p_{n-1}, column / p_0, ..)`, by which the pairs (i, i + head_dim / 2) of a head are turned. What
comes before the patches (class token, registers) is not turned.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Rotation = tuple[jax.Array, jax.Array]


class Rope(NamedTuple):
  """Rotary positions; `rope` makes it.

  Attributes:
    theta: the base of the periods.
    dtype: to whose numbers the periods are rounded, "float32" or "bfloat16".
    shift, jitter, rescale: by how much places are moved in training, see `moved`; None for not.
  """

  theta: float
  dtype: str
  shift: float | None
  jitter: float | None
  rescale: float | None


def rope(
  position: str, head_dim: int, theta: float, dtype: str, shift: float | None, jitter: float | None, rescale: float | None
) -> Rope | None:
  """The rotary positions of these numbers; None for another `position`.

  Raises:
    ValueError: a number that means nothing, or one that a network without rotary positions has no use for.
  """
  moves = dict(rope_shift=shift, rope_jitter=jitter, rope_rescale=rescale)
  if position != "rope":
    given = [name for name, value in moves.items() if value is not None]
    if given:
      raise ValueError(f"{given[0]} moves rotary positions: it needs position='rope', not {position!r}")
    return None
  if head_dim % 4:
    raise ValueError(f"position='rope' needs heads of a width divisible by 4, not {head_dim}")
  if theta <= 0:
    raise ValueError(f"rope_theta must be above 0, not {theta}")
  if dtype not in ("float32", "bfloat16"):
    raise ValueError(f"rope_dtype must be 'float32' or 'bfloat16', not {dtype!r}")
  for name, value in moves.items():
    least = 0.0 if name == "rope_shift" else 1.0
    if value is not None and value < least:
      raise ValueError(f"{name} must be at least {least}, not {value}")
  return Rope(float(theta), dtype, shift, jitter, rescale)


def periods(theta: float, number: int, dtype: str = "float32") -> np.ndarray:
  """`theta ** (k / number)` for k = 0 .. number - 1, rounded to a dtype's numbers; float32 `[number]`.

  The files that DINOv3's authors released hold periods that were rounded to bfloat16.
  """
  exact = float(theta) ** (np.arange(number) / number)
  return exact.astype(jnp.dtype(dtype)).astype(np.float32)


def places(grid: tuple[int, int]) -> np.ndarray:
  """(row, column) of the centres of patches in [-1, 1], `[patches, 2]` float32, row by row."""
  axes = [(2 * np.arange(number) + 1) / number - 1 for number in grid]
  return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


def moved(places: jax.Array, keys: jax.Array, config: Rope) -> jax.Array:
  """Places as an example sees them in training, `[batch, patches, 2]`.

  In this order: both coordinates plus a number each, uniform in +-shift; times a number each, log-uniform in 1/jitter ..
  jitter; times one number for both, log-uniform in 1/rescale .. rescale. They are drawn once for an example, so that a batch
  may be split at will; transformers draws once for a batch, and DINOv3's code once for a batch in every block.

  Args:
    places: `[patches, 2]`.
    keys: one typed key an example, `[batch]`.
    config: how far they are moved.
  """

  def one(key):
    # Blocks fold their numbers into the same key for stochastic depth, and begin at 2.
    shift, jitter, rescale = jax.random.split(jax.random.fold_in(key, 0), 3)
    found = places
    if config.shift is not None:
      found = found + jax.random.uniform(shift, (2,), minval=-config.shift, maxval=config.shift)
    if config.jitter is not None:
      found = found * jnp.exp(jnp.log(config.jitter) * jax.random.uniform(jitter, (2,), minval=-1.0))
    if config.rescale is not None:
      found = found * jnp.exp(jnp.log(config.rescale) * jax.random.uniform(rescale, minval=-1.0))
    return found

  return jax.vmap(one)(keys)


def rotation(
  config: Rope, grid: tuple[int, int], head_dim: int, *, prefix: int = 0, keys: jax.Array | None = None
) -> Rotation:
  """Cosines and sines by which tokens are turned.

  Args:
    config: the rotary positions.
    grid: rows and columns of patches.
    head_dim: of the attention's heads.
    prefix: tokens before the patches, which are not turned.
    keys: `[batch]`, for the moves of training; None for none.

  Returns:
    `(cos, sin)`, each float32 `[batch or 1, prefix + patches, head_dim / 2]`.
  """
  where = jnp.asarray(places(grid))[None]
  if keys is not None and (config.shift, config.jitter, config.rescale) != (None, None, None):
    where = moved(where[0], keys, config)
  angles = 2 * np.pi * where[..., None] / periods(config.theta, head_dim // 4, config.dtype)
  angles = angles.reshape(*where.shape[:2], head_dim // 2)
  angles = jnp.pad(angles, ((0, 0), (prefix, 0), (0, 0)))
  return jnp.cos(angles), jnp.sin(angles)


def kept(rotation: Rotation, ids_keep: jax.Array, prefix: int) -> Rotation:
  """A rotation of the prefix and of the patches `ids_keep [batch, kept]`, in this order."""
  first = jnp.tile(jnp.arange(prefix), (ids_keep.shape[0], 1))
  ids = jnp.concatenate([first, ids_keep + prefix], axis=1)[:, :, None]
  cos, sin = (jnp.take_along_axis(jnp.broadcast_to(x, (len(ids), *x.shape[1:])), ids, axis=1) for x in rotation)
  return cos, sin


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
  """Turns queries or keys `[batch, tokens, heads, head_dim]`, in float32; the dtype stays."""
  cos, sin = (y[:, :, None] for y in rotation)
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
