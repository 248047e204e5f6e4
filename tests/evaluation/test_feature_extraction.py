"""Features over padded batches, and the raw-pixel baselines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evaluation import channel_statistics, extract_features, raw_pixel_patches, raw_pixels
from jssl.evaluation.chunks import map_chunks

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 4, 3), np.uint8)


def test_batches_are_padded_to_one_shape_and_cut_again():
  shapes = []

  def network(params, images):
    shapes.append(images.shape)
    return dict(mean=params * images.astype(jnp.float32).mean((1, 2)), index=images[:, 0, 0, 0])

  out = extract_features(jax.tree_util.Partial(network, jnp.float32(2.0)), IMAGES, batch_size=3)
  np.testing.assert_allclose(out["mean"], 2.0 * IMAGES.mean((1, 2)), rtol=1e-5)
  np.testing.assert_array_equal(out["index"], IMAGES[:, 0, 0, 0])
  assert shapes == [(3, 6, 4, 3)]  # traced once


def test_an_iterable_of_arrays_gives_the_same_as_one_array():
  network = lambda images: images.astype(jnp.float32).sum((1, 2))
  whole = extract_features(network, IMAGES)
  np.testing.assert_array_equal(whole, extract_features(network, iter([IMAGES[:5], IMAGES[5:]]), batch_size=4))
  with pytest.raises(ValueError, match="no images"):
    extract_features(network, iter([]))


def test_chunks_refuse_arrays_of_different_lengths():
  with pytest.raises(ValueError, match="lengths"):
    map_chunks(lambda a, b: a, np.zeros(3), np.zeros(4), chunk=2)
  with pytest.raises(ValueError, match="lengths"):
    map_chunks(lambda a: a, np.zeros((0, 2)), chunk=2)


def test_raw_pixels_are_standardized_and_patches_row_major():
  mean, std = channel_statistics(IMAGES)
  np.testing.assert_allclose(mean, (IMAGES / 255.0).mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(std, (IMAGES / 255.0).std((0, 1, 2)), rtol=1e-6)
  standard = (IMAGES / 255.0 - mean) / std
  np.testing.assert_allclose(raw_pixels(IMAGES, mean=mean, std=std), standard.reshape(7, -1), atol=1e-5)
  patches = raw_pixel_patches(IMAGES, 2, mean=mean, std=std)
  assert patches.shape == (7, 6, 12)
  np.testing.assert_allclose(patches[3, 5], standard[3, 4:6, 2:4].ravel(), atol=1e-5)
  with pytest.raises(ValueError, match="do not tile"):
    raw_pixel_patches(IMAGES, 4, mean=mean, std=std)
