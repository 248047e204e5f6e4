"""What every room does to arrays: precision, unit vectors, and signals, images, clips and volumes in patches."""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp

from jssl.checks import check_arrays, check_values

PatchSize = int | tuple[int, ...]  # one side for all axes, or one for each
# What arrays with one, two and three axes before their channels are called.
_KINDS = ("signal", "image", "clip or volume")


def precise(x: jax.Array) -> jax.Array:
  """At least float32; float64 stays."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def l2_normalize(x: jax.Array, *, axis: int = -1, eps: float = 1e-12) -> jax.Array:
  """Unit vectors, `x / sqrt(sum x^2 + eps)`, at least in float32.

  Zero stays zero, with a finite gradient.

  Args:
    x: of any shape and type.
    axis: along which the vectors lie.
    eps: a vector shorter than its square root comes out shorter than 1.

  Example:

    >>> l2_normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
  """
  x = precise(x)
  return x * jax.lax.rsqrt(jnp.sum(x * x, axis=axis, keepdims=True) + eps)


def per_axis(function: str, value: int | Sequence[int], axes: int, name: str = "patch") -> tuple[int, ...]:
  """A number for each axis: one for all of them, or as many as there are.

  Args:
    function: whose argument it is, for the message.
    value: whole numbers >= 1.
    axes: how many there are.
    name: of the argument.

  Raises:
    ValueError: in one line, with the name and the value.

  Example:

    >>> per_axis("patchify", 16, 2), per_axis("patchify", (2, 16, 16), 3)
    ((16, 16), (2, 16, 16))
  """
  sides = tuple(value) if isinstance(value, Sequence) else (value,) * axes
  for side in sides:
    check_values(function, **{name: (side, "int [1, inf)")})
  if len(sides) != axes:
    raise ValueError(f"{function}: {name}={sides} has {len(sides)} numbers for {axes} axes of a {kind_of(axes)}")
  return sides


def kind_of(axes: int) -> str:
  """What an array with so many axes before its channels is called."""
  return _KINDS[axes - 1] if 1 <= axes <= len(_KINDS) else f"array of {axes} axes"


def by(sides: Sequence[int]) -> str:
  """Sides as text: "14x14"."""
  return "x".join(map(str, sides))


def patch_grid(shape: tuple[int, ...], patch: PatchSize) -> tuple[int, ...]:
  """Numbers of patches along each axis of a signal `[..., T, C]`, an image `[..., H, W, C]`, a clip or a volume.

  Args:
    shape: with any axes before.
    patch: its sides, one for each axis; a number is a square patch of an image.

  Raises:
    ValueError: if the patch does not divide the sides.
  """
  patch = per_axis("patch_grid", patch, len(patch) if isinstance(patch, (tuple, list)) else 2)
  sides = shape[-len(patch) - 1 : -1]
  if len(sides) != len(patch) or any(side % p for side, p in zip(sides, patch, strict=True)):
    size = by(patch if len(set(patch)) > 1 else patch[:1])
    raise ValueError(f"{kind_of(len(patch))} size {by(sides)} is not divisible by the patch size {size}")
  return tuple(side // p for side, p in zip(sides, patch, strict=True))


def patchify(image: jax.Array, *, patch: PatchSize) -> jax.Array:
  """Cuts signals, images, clips or volumes into patches, row by row.

  Args:
    image: `[batch, *sides, channels]` with one to three sides: `[batch, T, C]`, `[batch, H, W, C]`,
      `[batch, T, H, W, C]`.
    patch: side P, which divides all sides, or one for each of them.

  Returns:
    `[batch, patches, entries]`: patches and the entries of a patch in row-major order, channels last:
    `[batch, (H / P) * (W / P), P * P * channels]` of images.

  Raises:
    ValueError: if the patch does not divide the sides.

  Example:

    >>> patchify(jnp.arange(8).reshape(1, 2, 4, 1), patch=2).tolist()
    [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    >>> patchify(jnp.arange(8).reshape(1, 8, 1), patch=4).tolist()
    [[[0, 1, 2, 3], [4, 5, 6, 7]]]
  """
  axes = getattr(image, "ndim", 4) - 2
  pattern = "any [batch, *sides, channels]" if 1 <= axes <= len(_KINDS) else "any [batch, height, width, channels]"
  check_arrays("patchify", image=(image, pattern))
  patch = per_axis("patchify", patch, axes)
  grid = patch_grid(image.shape, patch)
  cut = [n for pair in zip(grid, patch, strict=True) for n in pair]
  x = image.reshape(len(image), *cut, -1)
  x = x.transpose(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1)
  return x.reshape(len(image), math.prod(grid), -1)


def unpatchify(patches: jax.Array, *, grid: tuple[int, ...], patch: PatchSize) -> jax.Array:
  """Puts `patchify`'s patches together again.

  Args:
    patches: `[batch, patches, entries]`.
    grid: numbers of patches along each axis.
    patch: side P, or one for each axis.

  Returns:
    `[batch, *sides, channels]`.

  Raises:
    ValueError: if the shape does not fit.

  Example:

    >>> unpatchify(jnp.array([[[0, 1, 4, 5], [2, 3, 6, 7]]]), grid=(1, 2), patch=2)[0, :, :, 0].tolist()
    [[0, 1, 2, 3], [4, 5, 6, 7]]
  """
  check_arrays("unpatchify", patches=(patches, "any [batch, patches, pixels]"))
  axes, (batch, count, size) = len(grid), patches.shape
  patch = per_axis("unpatchify", patch, axes)
  if count != math.prod(grid) or size % math.prod(patch):
    shown = patch[0] if len(set(patch)) == 1 else patch
    raise ValueError(
      f"unpatchify: patches {list(patches.shape)} do not fit a grid of {' x '.join(map(str, grid))} and patch={shown}"
    )
  x = patches.reshape(batch, *grid, *patch, -1)
  x = x.transpose(0, *(a for axis in range(axes) for a in (1 + axis, 1 + axes + axis)), 2 * axes + 1)
  return x.reshape(batch, *(n * p for n, p in zip(grid, patch, strict=True)), -1)


def valid_tokens(length: jax.Array, *, grid: Sequence[int], patch: int = 1) -> jax.Array:
  """Which patches hold data, where the first axis (time) is padded behind.

  Args:
    length: int `[...]`, how many entries of the first axis hold data.
    grid: numbers of patches along each axis.
    patch: entries of the first axis in a patch. A patch that is only begun counts.

  Returns:
    bool `[..., patches]`.

  Example:

    >>> valid_tokens(jnp.array([5, 8]), grid=(4,), patch=2).tolist()
    [[True, True, True, False], [True, True, True, True]]
  """
  along = jnp.arange(grid[0]) * patch < jnp.asarray(length)[..., None]
  return jnp.repeat(along, math.prod(grid[1:]), axis=-1)


def without_padding(x: jax.Array, length: jax.Array) -> jax.Array:
  """Zeros in the place of padding.

  Args:
    x: `[*batch, T, ...]`.
    length: int `[*batch]`, how many entries of T hold data.

  Example:

    >>> without_padding(jnp.array([[1, 2, 3], [4, 5, 6]]), jnp.array([2, 3])).tolist()
    [[1, 2, 0], [4, 5, 6]]
  """
  length = jnp.asarray(length)
  within = jnp.arange(x.shape[length.ndim]) < length[..., None]
  return jnp.where(within.reshape(*within.shape, *[1] * (x.ndim - within.ndim)), x, 0)
