"""Classes of pixels and of patches, and a linear layer on patches, against loops and scikit-learn."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, jaccard_score

from jssl.evaluation import linear_segmentation
from jssl.evaluation.linear_segmentation import pixel_loss
from jssl.evaluation.prompt_segmentation import upsample
from jssl.evaluation.segmentation import class_map, confusion_matrix, constant_scores, patch_shares, segmentation_scores
from tests.evaluation.scenes_for_tests import GRID, instance_features, scenes

QUICK = dict(grid=GRID, learning_rates=(0.03, 0.1), steps=60, batch_size=4)


def test_the_class_of_a_pixel_is_that_of_its_instance():
  segments = np.array([[[0, 1], [2, 2]], [[3, 0], [1, 1]]], np.uint8)
  pixels = class_map(segments, np.array([[7, 2, -1], [2, 2, -1]]), np.array([2, 5, 7]))
  np.testing.assert_array_equal(pixels, [[[0, 3], [1, 1]], [[-1, 0], [1, 1]]])
  shares = patch_shares(pixels, (1, 2), 4)
  np.testing.assert_array_equal(shares[0], [[0.5, 0.5, 0, 0], [0, 0.5, 0, 0.5]])
  np.testing.assert_array_equal(shares[1], [[0, 0.5, 0, 0], [0.5, 0.5, 0, 0]])  # what has no class counts for none
  with pytest.raises(ValueError, match=r"segment_label \[2, 2\] must be .* of instances up to 3"):
    class_map(segments, np.zeros((2, 2), int), np.array([0]))
  with pytest.raises(ValueError, match="does not tile"):
    patch_shares(pixels, (3, 1), 4)


@pytest.mark.parametrize("classes", [2, 5, 40])  # of 40, some are neither there nor predicted
def test_scores_equal_scikit_learn(classes):
  rng = np.random.default_rng(classes)
  truth, predicted = rng.integers(0, classes, (2, 3, 4, 5))
  truth[0, 0] = -1
  found = segmentation_scores(confusion_matrix(truth, predicted, classes))
  known = truth >= 0
  labels = np.union1d(truth[known], predicted[known])
  expected = jaccard_score(truth[known], predicted[known], average="macro", labels=labels, zero_division=0)
  assert found["miou"] == pytest.approx(expected)
  assert found["pixel_accuracy"] == pytest.approx(accuracy_score(truth[known], predicted[known]))
  most = np.full(known.sum(), np.bincount(truth[known]).argmax())
  assert constant_scores(truth, classes)["miou"] == pytest.approx(
    jaccard_score(truth[known], most, average="macro", labels=np.unique(truth[known]), zero_division=0)
  )
  with pytest.raises(ValueError, match="no pixel has a class"):
    segmentation_scores(np.zeros((2, 2), int))


def test_the_loss_is_the_mean_over_pixels_of_upsampled_logits():
  rng = np.random.default_rng(0)
  features, pixels = rng.normal(size=(2, 6, 4)).astype(np.float32), rng.integers(-1, 3, (2, 4, 6))
  params = dict(kernel=rng.normal(size=(4, 3)).astype(np.float32), bias=rng.normal(size=3).astype(np.float32))
  logits = (features @ params["kernel"] + params["bias"]).reshape(2, 2, 3, 3)
  each = []
  for image in range(2):
    large = np.stack([np.asarray(upsample(logits[image, ..., c], (4, 6))) for c in range(3)], -1)
    for y, x in np.argwhere(pixels[image] >= 0):
      z = large[y, x]
      each.append(np.log(np.exp(z).sum()) - z[pixels[image, y, x]])
  assert float(pixel_loss(params, features, pixels, (2, 3))) == pytest.approx(np.mean(each), abs=1e-5)


def test_where_a_patch_is_a_pixel_it_is_logistic_regression():
  rng = np.random.default_rng(1)
  centers = rng.normal(size=(3, 5))
  pixels = rng.integers(0, 3, (30, 4, 4))
  features = (centers[pixels.reshape(30, 16)] + 0.7 * rng.normal(size=(30, 16, 5))).astype(np.float32)
  numbers = dict(grid=(4, 4), num_classes=3, steps=400, learning_rates=(0.03,), held_out=0.2, seed=0)
  found = linear_segmentation(features[:20], pixels[:20], features[20:], pixels[20:], **numbers)
  fit = np.split(np.random.default_rng(0).permutation(20), [4])[1]
  theirs = LogisticRegression(C=1e6).fit(features[fit].reshape(-1, 5), pixels[fit].reshape(-1))
  accuracy = theirs.score(features[20:].reshape(-1, 5), pixels[20:].reshape(-1))
  assert 0.5 < accuracy < 0.95 and found["metrics"]["pixel_accuracy"] == pytest.approx(accuracy, abs=0.02)
  assert found["parameters"]["fitted_on"] == 16 and found["parameters"]["chosen_on"] == 4


def test_perfect_features_segment_and_others_are_at_chance():
  segments, test = scenes(12), scenes(6, seed=1)
  label = np.tile([4, 2, 4], (12, 1))
  train_pixels, test_pixels = (class_map(x, label[: len(x)], np.array([2, 4])) for x in (segments, test))
  features = [instance_features(x) for x in (segments, test)]
  score = lambda a, pixels, b: linear_segmentation(a, pixels, b, test_pixels, num_classes=3, **QUICK)["metrics"]
  perfect = score(features[0], train_pixels, features[1])
  constant = constant_scores(test_pixels, 3)
  assert perfect["miou"] > 0.75 and perfect["lr"] in QUICK["learning_rates"]
  # Features that say nothing, and pixels of other images: the class of most pixels, or little more.
  flat = score(np.zeros((12, 64, 1)), train_pixels, np.zeros((6, 64, 1)))
  assert flat["miou"] == pytest.approx(constant["miou"]) and flat["pixel_accuracy"] == pytest.approx(
    constant["pixel_accuracy"]
  )
  shuffled = score(
    features[0], np.random.default_rng(0).permutation(train_pixels.reshape(-1)).reshape(12, 32, 32), features[1]
  )
  assert shuffled["miou"] < constant["miou"] + 0.05


def test_the_rate_is_chosen_on_training_images_alone():
  segments = scenes(10)
  pixels = (segments > 0).astype(np.int16)
  features = instance_features(segments)
  numbers = dict(num_classes=2, **QUICK)
  first = linear_segmentation(features[:6], pixels[:6], features[6:], pixels[6:], **numbers)["metrics"]
  other = linear_segmentation(features[:6], pixels[:6], features[6:] ** 2 - 1, 1 - pixels[6:], **numbers)["metrics"]
  assert first["lr"] == other["lr"] and first["held_out_miou"] == other["held_out_miou"]
  with pytest.raises(ValueError, match=r"held_out=0.0 of 6 images is 0"):
    linear_segmentation(features[:6], pixels[:6], features[6:], pixels[6:], **numbers, held_out=0.0)
  assert jax.tree.all(jax.tree.map(np.isfinite, first))
