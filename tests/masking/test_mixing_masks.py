"""Two images in one, by a mask of patches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.masking import mix_patches

KEY = jax.random.key(0, impl="threefry2x32")


def batch(count=8):
  rng = np.random.default_rng(0)
  return (jnp.asarray(rng.normal(size=(count, 4, 6, 3)), jnp.float32), jnp.asarray(rng.random((count, 6)) < 0.5))


@pytest.mark.parametrize("count", [8, 5, 1])
def test_hidden_patches_show_the_partner(count):
  image, mask = batch(count)
  out = mix_patches(KEY, image, mask, patch=2)
  np.testing.assert_array_equal(out["partner"], image[::-1])
  np.testing.assert_array_equal(out["partner_mask"], ~mask)
  for b, y, x in np.ndindex(count, 4, 6):
    source = image[count - 1 - b] if mask[b, y // 2 * 3 + x // 2] else image[b]
    np.testing.assert_array_equal(out["image"][b, y, x], source[y, x])


def test_partners_are_found_across_devices():
  image, mask = batch()
  wanted = mix_patches(KEY, image, mask, patch=2)
  split = lambda x: x.reshape(4, 2, *x.shape[1:])
  mixed = jax.vmap(functools.partial(mix_patches, patch=2, axis_name="batch"), (None, 0, 0), axis_name="batch")
  got = mixed(KEY, split(image), split(mask))
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.reshape(b.shape), b), got, wanted)


def test_a_mask_of_other_patches_is_refused():
  image, mask = batch()
  with pytest.raises(ValueError, match=r"mask \[8, 6\].* with patch=1"):
    mix_patches(KEY, image, mask, patch=1)
