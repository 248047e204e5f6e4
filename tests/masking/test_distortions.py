"""The corruption of SiT in 2021, against the authors' loops in NumPy, and the hole of a context encoder."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import masking
from jssl.arrays import patchify, unpatchify
from jssl.masking import distortions

KEYS = jax.random.split(jax.random.key(0, impl="threefry2x32"), 1000)
SIDE = 40


def block(rng, largest):
  """One block as the authors draw it: its rows and columns."""

  def along():
    start = rng.integers(0, SIDE - 2)
    return slice(start, min(start + rng.integers(2, int(largest * SIDE)), SIDE))

  return along(), along()


def test_noisy_blocks_cover_as_much_as_the_authors():
  rng, expected = np.random.default_rng(0), []
  for _ in range(1500):
    covered, total, pixels = np.zeros((SIDE, SIDE), bool), 0, rng.uniform(0, 0.3) * SIDE**2
    while total < pixels:
      place = block(rng, 0.25)
      covered[place] = True
      total += (place[0].stop - place[0].start) * (place[1].stop - place[1].start)
    expected.append(covered.mean())
  draw = jax.jit(jax.vmap(lambda key: distortions._blocks(key, (SIDE, SIDE, 3), 0.3, 0.25, 64)))
  got = np.asarray(draw(KEYS)).mean((1, 2, 3))
  assert np.mean(got) == pytest.approx(np.mean(expected), abs=0.01)
  np.testing.assert_allclose(np.quantile(got, [0.1, 0.5, 0.9]), np.quantile(expected, [0.1, 0.5, 0.9]), atol=0.025)


def test_single_blocks_cover_as_much_as_the_authors():
  rng = np.random.default_rng(1)
  expected = [(p[0].stop - p[0].start) * (p[1].stop - p[1].start) for p in (block(rng, 1.0) for _ in range(3000))]
  got = np.asarray(jax.jit(jax.vmap(lambda key: distortions._one_block(key, (SIDE, SIDE, 3))))(KEYS)).sum((1, 2, 3))
  assert got.min() >= 1 and np.mean(got) == pytest.approx(np.mean(expected), rel=0.08)


def test_a_distorted_image_is_grey_blurred_noisy_or_as_it_was():
  image = jnp.asarray(np.random.default_rng(0).normal(size=(SIDE, SIDE, 3)), jnp.float32)
  out = np.asarray(jax.jit(jax.vmap(lambda key: masking.distort(key, image)))(KEYS[:50]))
  kept = np.all(np.abs(out - image) < 1e-6, axis=-1).mean((1, 2))
  grey = (np.ptp(out, axis=-1) < 1e-6).mean((1, 2))
  assert 0.2 < kept.mean() < 0.7 and 0.05 < grey.mean() < 0.4
  noiseless = np.asarray(jax.jit(jax.vmap(lambda key: masking.distort(key, image, area=0.0)))(KEYS[:50]))
  assert np.abs(noiseless).max() <= np.abs(image).max() + 1e-5  # neither a mean nor a blur goes beyond


def test_aliens_are_clean_images_of_the_global_batch():
  clean = jnp.broadcast_to(1.0 + jnp.arange(8)[:, None, None, None], (8, SIDE, SIDE, 1))
  split = lambda x: x.reshape(4, 2, SIDE, SIDE, 1)
  paste = functools.partial(masking.alien_blocks, KEYS[1])
  whole = np.asarray(jax.jit(paste)(clean, -clean))[..., 0]
  on_shards = jax.jit(jax.vmap(functools.partial(paste, axis_name="batch"), axis_name="batch"))
  shards = on_shards(split(clean), split(-clean))
  np.testing.assert_array_equal(np.asarray(shards).reshape(8, SIDE, SIDE), whole)
  partners = [set(np.unique(image)) - {-1.0 - i} for i, image in enumerate(whole)]
  assert all(len(p) <= 1 and p <= set(1.0 + np.arange(8)) - {1.0 + i} for i, p in enumerate(partners))
  assert sum(map(len, partners)) > 3


@pytest.mark.parametrize("shape", [(12, 20, 2), (9, 9, 2)])
def test_a_hole_is_one_rectangle_at_a_uniform_place(shape):
  image = jnp.ones(shape)
  out = jax.jit(jax.vmap(lambda key: masking.hole(key, image)))(KEYS)
  mask = np.asarray(out["mask"])
  np.testing.assert_array_equal(out["image"], np.broadcast_to(~mask[..., None], (1000, *shape)))
  rows, columns = mask.any(2), mask.any(1)
  np.testing.assert_array_equal(mask, rows[:, :, None] & columns[:, None])
  for edges, side in ((rows, shape[0]), (columns, shape[1])):
    assert np.all(edges.sum(1) == side // 2)
    starts = np.bincount(edges.argmax(1))
    assert len(starts) == side - side // 2 + 1 and starts.min() > 0.6 * 1000 / len(starts)


def test_a_hole_in_the_middle():
  out = masking.hole(None, jnp.ones((8, 8, 1)), place="center")
  want = np.zeros((8, 8), bool)
  want[2:6, 2:6] = True
  np.testing.assert_array_equal(out["mask"], want)


def test_what_is_in_a_hole_and_where_its_gradient_goes():
  image = np.arange(12 * 20 * 2, dtype=np.float32).reshape(12, 20, 2)
  patches = patchify(image[None], patch=4)[0]
  in_hole = functools.partial(masking.in_hole, None, patch=4, side=0.5)
  looks = jax.jit(jax.value_and_grad(lambda x, mask: jnp.sum(in_hole(x, mask) ** 2)))
  for key in KEYS[:5]:
    mask = masking.hole(key, image)["mask"]
    want = image[np.asarray(mask)].reshape(6, 10, 2)
    np.testing.assert_array_equal(in_hole(patches, mask), want)
    value, gradient = looks(patches, mask)
    np.testing.assert_allclose(value, np.sum(want.astype(np.float64) ** 2), rtol=1e-5)
    np.testing.assert_allclose(unpatchify(gradient[None], grid=(3, 5), patch=4)[0], 2 * image * np.asarray(mask)[..., None])


@pytest.mark.parametrize("numbers", [dict(place="middle"), dict(side=1.0), dict(side=0.1)])
def test_impossible_holes(numbers):
  with pytest.raises(ValueError, match="hole"):
    masking.hole(KEYS[0], jnp.ones((8, 8, 1)), **numbers)
