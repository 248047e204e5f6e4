"""What every room does to arrays: precision, unit vectors, and images in patches."""

import jax
import jax.numpy as jnp

from jssl.checks import check_arrays, check_values


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


def patch_grid(image_shape: tuple[int, ...], patch: int) -> tuple[int, int]:
  """Rows and columns of patches of an image `[..., height, width, channels]`.

  Raises:
    ValueError: if the patch does not divide the image.
  """
  height, width = image_shape[-3:-1]
  if height % patch or width % patch:
    raise ValueError(f"image size {height}x{width} is not divisible by the patch size {patch}")
  return height // patch, width // patch


def patchify(image: jax.Array, *, patch: int) -> jax.Array:
  """Cuts images into patches, row by row.

  Args:
    image: `[batch, height, width, channels]`.
    patch: side P, which divides height and width.

  Returns:
    `[batch, (height / P) * (width / P), P * P * channels]`.

  Raises:
    ValueError: if P does not divide height and width.

  Example:

    >>> patchify(jnp.arange(8).reshape(1, 2, 4, 1), patch=2).tolist()
    [[[0, 1, 4, 5], [2, 3, 6, 7]]]
  """
  check_arrays("patchify", image=(image, "any [batch, height, width, channels]"))
  check_values("patchify", patch=(patch, "int [1, inf)"))
  rows, columns = patch_grid(image.shape, patch)
  x = image.reshape(len(image), rows, patch, columns, patch, -1)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(len(image), rows * columns, -1)


def unpatchify(patches: jax.Array, *, grid: tuple[int, int], patch: int) -> jax.Array:
  """Puts `patchify`'s patches together again.

  Args:
    patches: `[batch, rows * columns, P * P * channels]`.
    grid: (rows, columns).
    patch: side P.

  Returns:
    `[batch, rows * P, columns * P, channels]`.

  Raises:
    ValueError: if the shape does not fit.

  Example:

    >>> unpatchify(jnp.array([[[0, 1, 4, 5], [2, 3, 6, 7]]]), grid=(1, 2), patch=2)[0, :, :, 0].tolist()
    [[0, 1, 2, 3], [4, 5, 6, 7]]
  """
  check_arrays("unpatchify", patches=(patches, "any [batch, patches, pixels]"))
  (rows, columns), (batch, count, size) = grid, patches.shape
  if count != rows * columns or size % patch**2:
    raise ValueError(f"unpatchify: patches {list(patches.shape)} do not fit a grid of {rows} x {columns} and patch={patch}")
  x = patches.reshape(batch, rows, columns, patch, patch, -1).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, rows * patch, columns * patch, -1)
