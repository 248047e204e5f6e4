"""Intra- and inter-object similarity against loops over pairs."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jssl.evaluation import constant_similarity, object_overlap, patch_positions, position_similarity
from jssl.evaluation.object_similarity import image_pairs
from jssl.evaluation.scenes import belonging_patches
from tests.evaluation.scenes_for_tests import aligned_scenes, GRID, instance_features, scenes


def _slow(features, segments, bins=100):
  """Weighted scores and histograms of every pair, image by image: kind -> (scores, weights, histogram)."""
  kinds = {"in": [], "out": [], "background": []}
  for z, scene in zip(features, segments, strict=True):
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    patches = belonging_patches(scene, GRID)
    objects = {k: v for k, v in patches.items() if k and len(v) >= 2}
    if len(objects) < 2:
      continue
    found = {kind: [] for kind in kinds}
    for k, members in objects.items():
      for m, others in patches.items():
        for i in members:
          for j in others:
            if i == j:
              continue
            if m == k and i < j:
              found["in"].append(z[i] @ z[j])
            elif m in objects and k < m:
              found["out"].append(z[i] @ z[j])
            elif m == 0:
              found["background"].append(z[i] @ z[j])
    for kind, scores in found.items():
      kinds[kind].append(scores)
  result = {}
  for kind, images in kinds.items():
    weights = np.concatenate([np.full(len(s), 1 / len(s) / len(images)) for s in images])
    scores, histogram = np.concatenate(images), np.zeros(bins)
    for score, weight in zip(scores, weights, strict=True):
      histogram[min(int((score + 1) / 2 * bins), bins - 1)] += weight
    result[kind] = (scores, weights, histogram)
  return result


def test_every_score_equals_the_loop_over_pairs():
  segments = scenes(3, objects=4)
  features = np.random.default_rng(0).normal(size=(3, 64, 5)).astype(np.float32)
  result = object_overlap(features, segments, grid=GRID, max_pairs=10**6, chunk=2)
  slow, found = _slow(features, segments), result["metrics"]
  for kind in ("in", "out", "background"):
    # float32 may put a score that lies on the edge of a bin on the other side of it.
    np.testing.assert_allclose(result["histograms"][kind], slow[kind][2], atol=2e-3)
    assert result["histograms"][kind].sum() == pytest.approx(1.0)
    assert found[f"mean_{kind}"] == pytest.approx((slow[kind][0] * slow[kind][1]).sum(), abs=1e-6)
  assert found["overlap"] == pytest.approx(np.minimum(slow["in"][2], slow["out"][2]).sum(), abs=2e-3)
  variance = [(slow[k][1] * (slow[k][0] - found[f"mean_{k}"]) ** 2).sum() for k in ("in", "out")]
  assert found["dprime"] == pytest.approx(found["gap"] / np.sqrt(np.mean(variance)), abs=1e-5)
  labels = np.repeat([1, 0], [len(slow["in"][0]), len(slow["out"][0])])
  scores, weights = (np.concatenate([slow["in"][part], slow["out"][part]]) for part in (0, 1))
  assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-5)


def test_perfect_features_do_not_overlap():
  segments = scenes(4)
  metrics = object_overlap(instance_features(segments), segments, grid=GRID)["metrics"]
  aligned = object_overlap(instance_features(aligned_scenes()), aligned_scenes(), grid=GRID)["metrics"]
  assert metrics["overlap"] < 0.05 and metrics["auroc"] > 0.97
  assert aligned["overlap"] == 0 and aligned["overlap_background"] == 0
  assert aligned["gap"] == pytest.approx(1.0) and aligned["auroc"] == 1.0 and np.isnan(aligned["dprime"])


def test_equal_features_overlap_wholly_and_positions_separate_compact_objects():
  segments = aligned_scenes()
  flat = object_overlap(np.zeros((1, 64, 1)), segments, grid=GRID, similarity=constant_similarity)["metrics"]
  assert flat["overlap"] == pytest.approx(1.0) and flat["gap"] == pytest.approx(0.0) and flat["auroc"] == 0.5
  near = object_overlap(patch_positions(GRID)[None], segments, grid=GRID, similarity=position_similarity)["metrics"]
  distance = lambda a, b: 1 - 2 * np.hypot(*(np.subtract(a, b))) / np.hypot(7, 7)
  first = [(r, c) for r in (1, 2) for c in (1, 2, 3)]
  second = [(r, c) for r in (3, 4, 5, 6) for c in (5, 6)]
  assert near["mean_out"] == pytest.approx(np.mean([distance(a, b) for a in first for b in second]), abs=1e-6)
  assert near["auroc"] > 0.9


def test_pairs_are_capped_without_repetition_and_by_the_seed():
  scene = aligned_scenes()[0]
  everything = image_pairs(scene, GRID, rng=np.random.default_rng(0))
  counts = {kind: len(pairs) for kind, (pairs, _) in everything.items()}
  assert counts == {"in": 15 + 28, "out": 48, "background": 14 * 50}
  some = [image_pairs(scene, GRID, max_pairs=20, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)]
  for kind, (pairs, _) in some[0].items():
    assert len({tuple(pair) for pair in pairs}) == 20
    np.testing.assert_array_equal(pairs, some[1][kind][0])
  assert any((some[0][kind][0] != some[2][kind][0]).any() for kind in some[0])


def test_every_image_has_the_same_weight():
  segments = np.concatenate([aligned_scenes(), aligned_scenes()])
  segments[1, 16:] = np.where(segments[1, 16:] == 2, 0, segments[1, 16:])  # the second object shrinks to 2 patches
  features = np.random.default_rng(5).normal(size=(2, 64, 4))
  both = object_overlap(features, segments, grid=GRID)["metrics"]
  each = [object_overlap(features[i : i + 1], segments[i : i + 1], grid=GRID)["metrics"] for i in (0, 1)]
  for name in ("mean_in", "mean_out", "mean_background"):
    assert both[name] == pytest.approx(np.mean([metrics[name] for metrics in each]), abs=1e-6)


def test_classes_split_the_inter_pairs():
  segments = np.concatenate([aligned_scenes(), aligned_scenes()])
  features = instance_features(segments)
  features[0, :, 1:] = features[0, :, 1:].sum(-1, keepdims=True)  # the two objects of the first image look alike
  classes = np.array([[7, 7], [7, 8]])
  metrics = object_overlap(features, segments, grid=GRID, segment_label=classes)["metrics"]
  assert metrics["mean_same_class"] == pytest.approx(1.0) and metrics["mean_other_class"] == pytest.approx(0.0)
  assert metrics["overlap_same_class"] == pytest.approx(1.0) and metrics["overlap_other_class"] == 0.0


def test_refuses_scenes_without_two_objects():
  with pytest.raises(ValueError, match="two objects"):
    object_overlap(np.zeros((1, 64, 3)), np.minimum(aligned_scenes(), 1), grid=GRID)
