"""Segmentation from one prompting patch, against loops over pixels and scikit-learn."""

import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from jssl.evaluation import (
  constant_similarity,
  patch_positions,
  position_similarity,
  precomputed_similarity,
  prompt_iou,
  prompt_scores,
)
from jssl.evaluation.prompt_segmentation import choose_prompts, THRESHOLDS, upsample
from jssl.evaluation.ranking import ranking_scores
from jssl.evaluation.scenes import belonging_patches
from tests.evaluation.scenes_for_tests import aligned_scenes, GRID, instance_features, scenes, SIZE


def _slow_upsample(small, size):
  """Bilinear interpolation with half-pixel centers, one pixel at a time."""
  h, w = small.shape
  out = np.zeros((size, size))
  for y in range(size):
    for x in range(size):
      row = np.clip((y + 0.5) * h / size - 0.5, 0, h - 1)
      column = np.clip((x + 0.5) * w / size - 0.5, 0, w - 1)
      a, b = min(int(row), h - 2), min(int(column), w - 2)
      u, v = row - a, column - b
      out[y, x] = (
        (1 - u) * (1 - v) * small[a, b]
        + (1 - u) * v * small[a, b + 1]
        + u * (1 - v) * small[a + 1, b]
        + u * v * small[a + 1, b + 1]
      )
  return out


def _slow_iou(scores, mask, threshold):
  both = either = 0
  for s, m in zip(scores.ravel(), mask.ravel(), strict=True):
    both += (s > threshold) and m
    either += (s > threshold) or m
  return both / either


def test_thresholds_are_those_of_the_protocol():
  assert len(THRESHOLDS) == 24 and THRESHOLDS[0] == -0.2 and THRESHOLDS[-1] == 0.95 and 0.5 in THRESHOLDS


def test_belonging_is_half_of_the_pixels():
  segments = np.zeros((8, 8), np.uint8)
  segments[:4, :2] = 1  # exactly half of patch 0
  segments[4:, 4:] = 2
  segments[4, 4:6] = 0  # 14 of 16 pixels of patch 3
  segments[0, 4:] = 3  # a quarter of patch 1
  patches = belonging_patches(segments, (2, 2))
  assert {k: list(v) for k, v in patches.items()} == {0: [0, 1, 2], 1: [0], 2: [3], 3: []}
  with pytest.raises(ValueError, match="does not tile"):
    belonging_patches(segments, (3, 2))


def test_prompts_are_a_center_and_random_members_whatever_the_other_images():
  segments = scenes(4)
  prompts = choose_prompts(segments, GRID)
  assert prompts["prompt"].shape == (len(prompts["image"]), 6)
  for image, instance, chosen in zip(prompts["image"], prompts["instance"], prompts["prompt"], strict=True):
    members = belonging_patches(segments[image], GRID)[instance]
    assert len(members) >= 2 and set(chosen) <= set(members)
    rows, columns = np.nonzero(segments[image] == instance)
    centroid = np.array([rows.mean() + 0.5, columns.mean() + 0.5]) / 4
    away = [np.hypot(*(np.array([p // 8 + 0.5, p % 8 + 0.5]) - centroid)) for p in members]
    assert away[list(members).index(chosen[0])] == pytest.approx(min(away))
  alone = choose_prompts(segments[:1], GRID)
  np.testing.assert_array_equal(alone["prompt"], prompts["prompt"][: len(alone["prompt"])])
  with pytest.raises(ValueError, match="nothing to prompt"):
    choose_prompts(np.zeros((2, SIZE, SIZE), np.uint8), GRID)


def test_random_prompts_are_uniform_over_the_members():
  prompts = choose_prompts(aligned_scenes(), GRID, random_prompts=6000)["prompt"][0, 1:]
  _, counts = np.unique(prompts, return_counts=True)
  assert len(counts) == 6 and np.abs(counts / 1000 - 1).max() < 0.12


def test_iou_ap_and_auroc_equal_loops_over_pixels_and_scikit_learn():
  segments = scenes(2)
  features = np.random.default_rng(0).normal(size=(2, 64, 3)).astype(np.float32)
  scores = prompt_scores(features, segments, grid=GRID, thresholds=(-0.2, 0.0, 0.5), random_prompts=1, chunk=2)
  unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
  for i, (image, instance) in enumerate(zip(scores["image"], scores["instance"], strict=True)):
    mask = segments[image] == instance
    for j in range(2):
      small = (unit[image] @ unit[image][scores["prompt"][i, j]]).reshape(GRID)
      large = _slow_upsample(small, SIZE)
      np.testing.assert_allclose(upsample(small, (SIZE, SIZE)), large, atol=1e-6)
      for t, threshold in enumerate((-0.2, 0.0, 0.5)):
        assert scores["iou"][i, j, t] == pytest.approx(_slow_iou(large, mask, threshold), abs=2e-3)
      assert scores["ap"][i, j] == pytest.approx(average_precision_score(mask.ravel(), large.ravel()), abs=1e-4)
      assert scores["auroc"][i, j] == pytest.approx(roc_auc_score(mask.ravel(), large.ravel()), abs=1e-4)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_ranking_scores_equal_scikit_learn_with_ties(levels):
  rng = np.random.default_rng(levels)
  scores, labels = rng.integers(0, levels, 200) / levels, rng.random(200) < 0.3
  precision, auroc = jax.jit(ranking_scores)(scores, labels)
  assert precision == pytest.approx(average_precision_score(labels, scores.astype(np.float32)), abs=1e-5)
  assert auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-5)
  assert np.isnan(ranking_scores(scores, np.ones(200, bool))[1])


def test_perfect_features_segment_almost_perfectly_and_rank_first():
  segments, calibration = scenes(4), scenes(3, seed=1)
  result = prompt_iou(instance_features(segments), segments, instance_features(calibration), calibration, grid=GRID)
  metrics = result["metrics"]
  assert metrics["miou_random_fixed"] > 0.75 and metrics["auroc_random"] > 0.97
  assert metrics["miou_random_oracle"] >= metrics["miou_random_fixed"] >= metrics["miou_random_shared"] - 0.05
  aligned = aligned_scenes()
  ideal = prompt_iou(instance_features(aligned), aligned, instance_features(aligned), aligned, grid=GRID)["metrics"]
  # Objects of whole patches lose only what bilinear upsampling rounds off at their corners.
  assert ideal["miou_random_shared"] > 0.95 and ideal["ap_center"] > 0.999


def test_everything_foreground_scores_the_share_of_the_mask():
  segments = aligned_scenes()
  features = np.zeros((1, 64, 1), np.float32)
  metrics = prompt_iou(features, segments, features, segments, grid=GRID, similarity=constant_similarity)["metrics"]
  shares = [(segments == number).mean() for number in (1, 2)]
  for name in ("miou_random_fixed", "miou_center_oracle", "miou_random_shared", "ap_random"):
    assert metrics[name] == pytest.approx(np.mean(shares), abs=1e-5)
  assert metrics["auroc_random"] == pytest.approx(0.5, abs=1e-6)


def test_position_only_has_the_iou_of_a_disk():
  segments = aligned_scenes()
  features = patch_positions(GRID)[None]
  scores = prompt_scores(features, segments, grid=GRID, similarity=position_similarity, thresholds=(0.7,))
  y, x = np.mgrid[:8, :8]
  for i in range(2):
    row, column = divmod(scores["prompt"][i, 0], 8)
    small = 1 - 2 * np.hypot(y - row, x - column) / np.hypot(7, 7)
    assert small.min() >= -1 and small.max() == 1
    expected = _slow_iou(_slow_upsample(small, SIZE), segments[0] == scores["instance"][i], 0.7)
    assert scores["iou"][i, 0, 0] == pytest.approx(expected, abs=2e-3)


def test_precomputed_scores_and_chunks_change_nothing():
  segments = scenes(3)
  features = np.random.default_rng(3).normal(size=(3, 64, 4)).astype(np.float32)
  unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
  whole = prompt_scores(features, segments, grid=GRID, chunk=100)
  matrix = unit @ unit.transpose(0, 2, 1)
  pieces = prompt_scores(matrix, segments, grid=GRID, similarity=precomputed_similarity, chunk=2)
  np.testing.assert_array_equal(whole["prompt"], pieces["prompt"])
  np.testing.assert_allclose(whole["iou"], pieces["iou"], atol=2e-3)
  np.testing.assert_allclose(whole["ap"], pieces["ap"], atol=1e-3)


def test_the_fixed_threshold_is_chosen_on_the_calibration_split_only():
  segments, calibration = scenes(3), scenes(3, seed=1)
  rng = np.random.default_rng(4)
  noisy = [instance_features(s) + 0.3 * rng.normal(size=(3, 64, 4)) for s in (segments, calibration)]
  honest = prompt_iou(noisy[0], segments, noisy[1], calibration, grid=GRID)["metrics"]
  other = prompt_iou(noisy[0][::-1] ** 3, segments, noisy[1], calibration, grid=GRID)["metrics"]
  assert honest["threshold"] == other["threshold"]
  scores = prompt_scores(noisy[1], calibration, grid=GRID)
  assert honest["threshold"] == THRESHOLDS[scores["iou"][:, 1:].mean((0, 1)).argmax()]
  test = prompt_scores(noisy[0], segments, grid=GRID)["iou"]
  chosen = THRESHOLDS.index(honest["threshold"])
  assert honest["miou_random_fixed"] == pytest.approx(test[:, 1:, chosen].mean(), abs=1e-6)
  assert honest["miou_center_oracle"] == pytest.approx(test[:, 0].max(-1).mean(), abs=1e-6)
  assert honest["miou_random_shared"] == pytest.approx(test[:, 1:, THRESHOLDS.index(0.5)].mean(), abs=1e-6)


def test_mean_over_classes_weighs_every_class_alike():
  segments = aligned_scenes()
  features = instance_features(segments)
  arguments = (features, segments, features, segments)
  same = prompt_iou(*arguments, grid=GRID, segment_label=np.array([[4, 4]]))["metrics"]
  assert same["class_miou_random_fixed"] == pytest.approx(same["miou_random_fixed"], abs=1e-6)
  unknown = prompt_iou(*arguments, grid=GRID, segment_label=np.array([[4, -1]]))["metrics"]
  scores = prompt_scores(features, segments, grid=GRID, thresholds=(unknown["threshold"],))
  assert unknown["class_miou_random_fixed"] == pytest.approx(scores["iou"][0, 1:].mean(), abs=1e-6)


def test_refuses_features_of_another_grid():
  with pytest.raises(ValueError, match="8 x 8 patches"):
    prompt_scores(np.zeros((1, 60, 3)), aligned_scenes(), grid=GRID)
