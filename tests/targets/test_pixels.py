"""Pixels of patches against loops, and MAE's normalisation against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.targets import patch_pixels, patchify, patchify_mask, unpatchify


def images(shape=(2, 4, 6, 3)):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_patches_run_by_row_column_and_channel():
  image = images()
  got = np.asarray(patchify(jnp.asarray(image), patch=2))
  assert got.shape == (2, 6, 12)
  for b, i, d in np.ndindex(got.shape):
    row, column = divmod(i, 3)
    y, x, channel = d // 6, d // 3 % 2, d % 3
    assert got[b, i, d] == image[b, 2 * row + y, 2 * column + x, channel]


def test_unpatchify_undoes_patchify():
  image = jnp.asarray(images())
  np.testing.assert_array_equal(unpatchify(patchify(image, patch=2), grid=(2, 3), patch=2), image)


def test_a_normalised_patch_is_torchs():
  torch = pytest.importorskip("torch")
  image = images() * 0.2 + 0.5
  plain = torch.tensor(np.asarray(patch_pixels(jnp.asarray(image), patch=2)))
  want = (plain - plain.mean(-1, keepdim=True)) / (plain.var(-1, keepdim=True) + 1e-6) ** 0.5
  got = jax.jit(lambda x: patch_pixels(x, patch=2, normalize=True))(image)
  np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(plain.numpy(), patchify(image, patch=2))


def test_a_flat_patch_stays_finite():
  np.testing.assert_allclose(patch_pixels(jnp.full((1, 4, 4, 3), 0.3), patch=2, normalize=True), 0, atol=1e-4)
  assert patch_pixels(jnp.ones((1, 4, 4, 3), jnp.bfloat16), patch=2).dtype == jnp.float32


def test_a_pixel_mask_follows_its_pixels():
  mask = images((2, 4, 6)) > 0
  got = patchify_mask(jnp.asarray(mask), patch=2)
  assert got.shape == (2, 6, 4) and got.dtype == bool
  where = patchify(jnp.broadcast_to(mask[..., None], (2, 4, 6, 3)), patch=2)
  np.testing.assert_array_equal(np.repeat(got, 3, -1), where)


def test_sizes_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match="4x6 is not divisible by the patch size 3"):
    patchify(jnp.zeros((1, 4, 6, 3)), patch=3)
  with pytest.raises(ValueError, match="do not fit a grid of 2 x 2"):
    unpatchify(jnp.zeros((1, 6, 12)), grid=(2, 2), patch=2)
