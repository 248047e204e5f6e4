"""Segmentation by nearest patches, against loops."""

import numpy as np
import pytest

from jssl.evaluation import neighbour_segmentation, patch_positions, position_similarity
from jssl.evaluation.neighbour_segmentation import remembered_patches
from jssl.evaluation.prompt_segmentation import upsample
from jssl.evaluation.segmentation import confusion_matrix, constant_scores, patch_shares, segmentation_scores
from tests.evaluation.scenes_for_tests import GRID, instance_features, scenes


def _pixels(count, seed):
  return np.minimum(scenes(count, seed), 2).astype(np.int16)


def _slow(train, train_pixels, test, test_pixels, k, temperature):
  """One test patch at a time."""
  shares = patch_shares(train_pixels, GRID, 3).reshape(-1, 3)
  keys = train.reshape(-1, train.shape[-1])
  keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
  predicted = np.zeros(test_pixels.shape, int)
  for image, patches in enumerate(test):
    labels = np.zeros((64, 3))
    for i, patch in enumerate(patches):
      cosine = keys @ (patch / np.linalg.norm(patch))
      nearest = np.argsort(-cosine)[:k]
      weight = np.exp((cosine[nearest] - cosine.max()) / temperature)
      labels[i] = (weight / weight.sum()) @ shares[nearest]
    maps = [np.asarray(upsample(labels[:, c].reshape(GRID), (32, 32))) for c in range(3)]
    predicted[image] = np.argmax(maps, 0)
  return segmentation_scores(confusion_matrix(test_pixels, predicted, 3))


def test_it_is_the_vote_of_the_nearest():
  rng = np.random.default_rng(0)
  pixels = _pixels(4, 0), _pixels(2, 1)
  train, test = ((instance_features(x) + 0.5 * rng.normal(size=(len(x), 64, 3))).astype(np.float32) for x in pixels)
  found = neighbour_segmentation(train, pixels[0], test, pixels[1], grid=GRID, num_classes=3, k=7, temperature=0.1, chunk=50)
  slow = _slow(train, pixels[0], test, pixels[1], 7, 0.1)
  assert 0.3 < slow["miou"] < 0.9
  for name, value in slow.items():
    assert found["metrics"][name] == pytest.approx(value, abs=1e-3)  # float32 may turn a tie of two classes at a pixel
  assert found["parameters"]["memory"] == 256 and found["parameters"]["k"] == 7


def test_a_full_memory_keeps_rare_classes():
  shares = np.zeros((2, 64, 2), np.float32)
  shares[:, :, 0] = 1.0
  shares[:, 5] = (0.5, 0.5)
  shares[1, 9] = (0.0, 1.0)
  kept = remembered_patches(shares, 40)
  assert kept.shape == (2, 20) and (np.diff(kept) > 0).all()
  assert 9 in kept[1]  # its score is at most 2 of 64: one class, in two patches of the image
  draws = [remembered_patches(shares, 40, seed) for seed in range(200)]
  common, both = (np.mean([patch in kept[1] for kept in draws]) for patch in (0, 5))
  assert abs(common - 20 / 64) < 0.15 and abs(both - 20 / 64) < 0.15 and min(9 in kept[1] for kept in draws)
  np.testing.assert_array_equal(remembered_patches(shares, 40, 3), draws[3])
  np.testing.assert_array_equal(remembered_patches(shares[:1], 20, 3)[0], draws[3][0])  # whatever the other images
  np.testing.assert_array_equal(remembered_patches(shares, 128), np.tile(np.arange(64), (2, 1)))
  with pytest.raises(ValueError, match="memory=1 has no room for a patch of each of the 2"):
    remembered_patches(shares, 1)


def test_perfect_features_segment_others_are_at_chance_and_position_knows_where_objects_are():
  pixels = _pixels(12, 0), _pixels(6, 1)
  numbers = dict(grid=GRID, num_classes=3, k=10)
  constant = constant_scores(pixels[1], 3)["miou"]
  perfect = neighbour_segmentation(
    instance_features(pixels[0]), pixels[0], instance_features(pixels[1]), pixels[1], **numbers
  )
  assert perfect["metrics"]["miou"] > 0.75 > constant
  flat = neighbour_segmentation(np.ones((12, 64, 2)), pixels[0], np.ones((6, 64, 2)), pixels[1], **numbers)
  assert flat["metrics"]["miou"] <= constant + 0.05
  other = np.random.default_rng(0).permutation(pixels[0].reshape(-1)).reshape(pixels[0].shape)
  shuffled = neighbour_segmentation(instance_features(pixels[0]), other, instance_features(pixels[1]), pixels[1], **numbers)
  assert shuffled["metrics"]["miou"] < constant + 0.05
  still = np.tile(patch_positions(GRID), (12, 1, 1))
  same = neighbour_segmentation(
    still[:6], pixels[1], still[:6], pixels[1], grid=GRID, num_classes=3, k=6, similarity=position_similarity
  )
  assert same["metrics"]["miou"] < perfect["metrics"]["miou"]
  with pytest.raises(ValueError, match="k=999 must not exceed the 768"):
    neighbour_segmentation(still, pixels[0], still[:6], pixels[1], **(numbers | dict(k=999)))
