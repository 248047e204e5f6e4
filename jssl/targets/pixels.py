"""Pixels of patches: what masked autoencoders predict.

Everywhere in jssl patches run row by row, and the entries of a patch by row, column and channel. Signals, clips and volumes
have one axis or three in the place of rows and columns.
"""

import jax
import jax.numpy as jnp

from jssl.arrays import patchify, PatchSize, precise
from jssl.checks import check_arrays


def patch_pixels(image: jax.Array, *, patch: PatchSize, normalize: bool = False) -> jax.Array:
  """The pixels of each patch, as they are or standardised patch by patch.

  Args:
    image: `[batch, height, width, channels]`, or `[batch, *sides, channels]` of a signal, a clip or a volume.
    patch: side P of a patch, which divides height and width, or one for each axis.
    normalize: subtract each patch's mean and divide by `sqrt(var + 1e-6)`, with the unbiased variance, over its
      `P * P * channels` entries.

  Returns:
    float32 `[batch, patches, P * P * channels]`.

  References:
    He et al. 2022 (MAE), arXiv 2111.06377; facebookresearch/mae, models_mae.py (`forward_loss`, `norm_pix_loss`).
  """
  check_arrays("patch_pixels", image=(image, "float [batch, ..., channels]"))
  pixels = patchify(precise(image), patch=patch)
  if normalize:
    centered = pixels - jnp.mean(pixels, axis=-1, keepdims=True)
    pixels = centered * jax.lax.rsqrt(jnp.var(pixels, axis=-1, keepdims=True, ddof=1) + 1e-6)
  return pixels


def patchify_mask(mask: jax.Array, *, patch: PatchSize) -> jax.Array:
  """Cuts masks of pixels into patches, to go with `patch_pixels` into the masked losses.

  Args:
    mask: `[batch, height, width]`, True where a pixel is hidden, or `[batch, *sides]`.
    patch: side P, which divides height and width, or one for each axis.

  Returns:
    `[batch, patches, P * P]` of the mask's dtype.

  Example:

    >>> patchify_mask(jnp.array([[[True, False], [False, False]]]), patch=2).tolist()
    [[[True, False, False, False]]]
  """
  check_arrays("patchify_mask", mask=(mask, "mask [batch, ...]"))
  return patchify(mask[..., None], patch=patch)
