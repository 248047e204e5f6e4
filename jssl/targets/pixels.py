"""Pixels of patches: what masked autoencoders predict.

Everywhere in jssl patches run row by row, and the entries of a patch by row, column and channel.
"""

import jax
import jax.numpy as jnp

from jssl.checks import check_arrays, check_values


def patch_pixels(image: jax.Array, *, patch: int, normalize: bool = False) -> jax.Array:
  """The pixels of each patch, as they are or standardised patch by patch.

  Args:
    image: `[batch, height, width, channels]`.
    patch: side P of a patch, which divides height and width.
    normalize: subtract each patch's mean and divide by `sqrt(var + 1e-6)`, with the unbiased variance, over its
      `P * P * channels` entries.

  Returns:
    float32 `[batch, patches, P * P * channels]`.

  References:
    He et al. 2022 (MAE), arXiv 2111.06377; facebookresearch/mae, models_mae.py (`forward_loss`, `norm_pix_loss`).
  """
  check_arrays("patch_pixels", image=(image, "float [batch, height, width, channels]"))
  pixels = patchify(image.astype(jnp.promote_types(image.dtype, jnp.float32)), patch=patch)
  if normalize:
    centered = pixels - jnp.mean(pixels, axis=-1, keepdims=True)
    pixels = centered * jax.lax.rsqrt(jnp.var(pixels, axis=-1, keepdims=True, ddof=1) + 1e-6)
  return pixels


def patchify(image: jax.Array, *, patch: int) -> jax.Array:
  """Cuts images into patches.

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
  batch, height, width, channels = image.shape
  if height % patch or width % patch:
    raise ValueError(f"patchify: patch={patch} does not divide the image {height} x {width}")
  rows, columns = height // patch, width // patch
  x = image.reshape(batch, rows, patch, columns, patch, channels)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, patch * patch * channels)


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


def patchify_mask(mask: jax.Array, *, patch: int) -> jax.Array:
  """Cuts masks of pixels into patches, to go with `patch_pixels` into the masked losses.

  Args:
    mask: `[batch, height, width]`, True where a pixel is hidden.
    patch: side P, which divides height and width.

  Returns:
    `[batch, patches, P * P]` of the mask's dtype.
  """
  check_arrays("patchify_mask", mask=(mask, "mask [batch, height, width]"))
  return patchify(mask[..., None], patch=patch)
