"""The raw-pixel baseline: what it shows of an image, and by which statistics."""

import numpy as np
import pytest

from jssl import data
from jssl.evaluation import (
  baselines,
  channel_statistics,
  EvaluationData,
  raw_pixel_model,
  raw_pixel_patches,
  raw_pixels,
  View,
)
from jssl.evaluation.chunks import map_chunks

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 4, 3), np.uint8)


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
  np.testing.assert_allclose(raw_pixels(IMAGES / 255.0, mean=mean, std=std), standard.reshape(7, -1), atol=1e-5)
  patches = raw_pixel_patches(IMAGES / 255.0, (3, 2), mean=mean, std=std)
  assert patches.shape == (7, 6, 12)
  np.testing.assert_allclose(patches[3, 5], standard[3, 4:6, 2:4].ravel(), atol=1e-5)
  with pytest.raises(ValueError, match="does not tile"):
    raw_pixel_patches(IMAGES, (4, 2), mean=mean, std=std)


def _padded(images):
  canvas = np.full((len(images), 9, 9, 3), 255, np.uint8)
  canvas[:, :6, :4] = images
  return data.from_arrays(image=canvas, label=np.arange(len(images)) % 2, extent=np.tile([6, 4], (len(images), 1)))


def test_the_model_sees_what_the_network_sees_and_no_padding():
  model = raw_pixel_model(
    EvaluationData(train=_padded(IMAGES), test=_padded(IMAGES)), View((6, 4), mean=0.5, std=0.1), (3, 2)
  )
  mean, std = channel_statistics(IMAGES)
  batch = dict(image=IMAGES, extent=np.tile([6, 4], (7, 1)))
  np.testing.assert_allclose(model.image_features(batch), raw_pixels(IMAGES / 255.0, mean=mean, std=std), atol=1e-4)
  expected = raw_pixel_patches(IMAGES / 255.0, (3, 2), mean=mean, std=std)
  np.testing.assert_allclose(model.patch_features(batch), expected, atol=1e-4)
  assert model.parameters == dict(pixels="6 x 4", standardised_over="7 images of train")


def test_whole_images_are_shrunk_until_they_fit(monkeypatch):
  monkeypatch.setattr(baselines, "PIXEL_BYTES", 7 * 3 * 2 * 3 * 4)
  monkeypatch.setattr(baselines, "STATISTICS_IMAGES", 3)
  model = raw_pixel_model(EvaluationData(train=_padded(IMAGES)), View((6, 4)), (3, 2))
  assert model.parameters == dict(pixels="3 x 2", standardised_over="3 images of train")
  assert model.image_features(IMAGES).shape == (7, 18) and model.patch_features(IMAGES).shape == (7, 6, 12)
