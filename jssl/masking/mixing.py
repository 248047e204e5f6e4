"""Mixtures of two images by a mask of patches."""

import jax
import jax.numpy as jnp

from jssl.checks import check_arrays, check_values


def mix_patches(
  rng: jax.Array, image: jax.Array, mask: jax.Array, *, patch: int, axis_name: str | None = None
) -> dict[str, jax.Array]:
  """Fills the hidden patches of each image with those of another of the batch (scope="batch").

  The partner of image i is image B - 1 - i of the global batch of B, as in MixMIM's code: the batch turned round. So
  partners belong together in pairs (the middle one of an odd batch is its own). The mask is each image's, where the
  authors share one in the batch.

  Args:
    rng: unused: the order of the batch is random already.
    image: [batch, height, width, channels]; the local part of the batch.
    mask: [batch, patches] bool, True where the image gives way to its partner.
    patch: side of a patch in pixels.
    axis_name: None, or the mapped axis over which the global batch is split.

  Returns:
    A dict of `image` [batch, height, width, channels], the mixture; `partner`, of the same shape; and `partner_mask`
    [batch, patches] bool, True where the mixture hides the partner.

  Raises:
    ValueError: if the mask does not fit the image.

  References:
    Liu, Huang, Zheng, Liu, Li 2022 (MixMIM, later MixMAE), arXiv 2205.13137; Sense-X/MixMIM, models_mixmim.py.
  """
  del rng
  check_arrays("mix_patches", image=(image, "float [batch, height, width, channels]"), mask=(mask, "bool [batch, patches]"))
  check_values("mix_patches", patch=(patch, "int [1, inf)"))
  batch, height, width, _ = image.shape
  rows, columns = height // patch, width // patch
  if mask.shape != (batch, rows * columns):
    raise ValueError(f"mix_patches: a mask {list(mask.shape)} of an image {list(image.shape)} with patch={patch}")
  partner = image[::-1]
  if axis_name is not None:
    devices = jax.lax.axis_size(axis_name)
    partner = jax.lax.ppermute(partner, axis_name, [(i, devices - 1 - i) for i in range(devices)])
  pixels = jnp.repeat(jnp.repeat(mask.reshape(batch, rows, columns), patch, axis=1), patch, axis=2)
  return dict(image=jnp.where(pixels[..., None], partner, image), partner=partner, partner_mask=~mask)
