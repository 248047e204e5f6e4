"""Masks carried through clips, and DAVIS's scores, against loops."""

import numpy as np
import pytest

from jssl import data
from jssl.errors import ConfigError
from jssl.evaluation import patch_positions, position_similarity, propagate_masks, propagation_scores
from jssl.evaluation.frames import frames_of
from jssl.evaluation.mask_propagation import boundary, contour_f, region_iou
from jssl.evaluation.prompt_segmentation import upsample
from tests.evaluation.scenes_for_tests import GRID, instance_features, scenes


def _moving(frames=5):
  """A square of 8 pixels that moves by a patch of 4 pixels a frame."""
  segments = np.zeros((frames, 32, 32), np.uint8)
  for t in range(frames):
    segments[t, 8:16, 4 + 4 * t : 12 + 4 * t] = 1
  return segments


def _slow_boundary(mask):
  height, width = mask.shape
  found = np.zeros_like(mask)
  for y in range(height):
    for x in range(width):
      for dy, dx in ((0, 1), (1, 0), (1, 1)):
        neighbour = mask[min(y + dy, height - 1), min(x + dx, width - 1)]
        found[y, x] |= neighbour != mask[y, x]
  return found


def _slow_f(truth, predicted, tolerance):
  """Every pixel of one contour looks for one of the other within the radius."""
  radius = np.ceil(tolerance * np.hypot(*truth.shape))
  a, b = (np.argwhere(_slow_boundary(mask)) for mask in (truth, predicted))
  if not len(a) or not len(b):
    return float(len(a) == len(b))
  near = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1)) <= radius
  recall, precision = near.any(1).mean(), near.any(0).mean()
  return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("tolerance", [0.008, 0.05])
def test_regions_and_contours_equal_loops(tolerance):
  truth, predicted = scenes(6) > 0, scenes(6, seed=7) > 0
  predicted[1] = False
  truth[2] = False
  truth[3] = predicted[3] = False
  predicted[4] = truth[4]
  for mask in truth:
    np.testing.assert_array_equal(boundary(mask), _slow_boundary(mask))
  slow = [_slow_f(a, b, tolerance) for a, b in zip(truth, predicted, strict=True)]
  np.testing.assert_allclose(contour_f(truth, predicted, tolerance), slow, atol=1e-12)
  assert slow[1:5] == [0.0, 0.0, 1.0, 1.0]
  j = region_iou(truth, predicted)
  assert j[0] == (truth[0] & predicted[0]).sum() / (truth[0] | predicted[0]).sum() and list(j[1:5]) == [0.0, 0.0, 1.0, 1.0]


def _slow_masks(features, first, k, temperature, previous, neighbourhood):
  """One patch at a time."""
  unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
  number = first.max() + 1
  labels = [np.eye(number)[first[2::4, 2::4].reshape(-1)]]
  found = []
  for t in range(1, len(unit)):
    frames = [0] + [i for i in range(t - previous, t) if i > 0]
    label = np.zeros((64, number))
    for i in range(64):
      rows = [
        (unit[t, i] @ unit[f, j], labels[f][j])
        for f in frames
        for j in range(64)
        if max(abs(i // 8 - j // 8), abs(i % 8 - j % 8)) <= neighbourhood
      ]
      rows.sort(key=lambda row: -row[0])
      weight = np.exp([score / temperature for score, _ in rows[:k]])
      label[i] = weight @ np.array([own for _, own in rows[:k]]) / weight.sum()
    labels.append(label)
    maps = [np.asarray(upsample(label[:, c].reshape(8, 8), (32, 32))) for c in range(number)]
    maps = [(m - m.min()) / np.ptp(m) if np.ptp(m) else m * 0 for m in maps]
    found.append(np.argmax(maps, 0))
  return np.stack(found)


@pytest.mark.parametrize("previous, neighbourhood", [(2, 3), (7, 12), (1, 1)])
def test_masks_equal_a_loop_over_patches(previous, neighbourhood):
  segments = np.stack([np.roll(scenes(1)[0], 4 * t, 1) for t in range(5)])
  features = instance_features(segments) + 0.3 * np.random.default_rng(0).normal(size=(5, 64, 4))
  numbers = dict(k=4, temperature=0.1, previous=previous, neighbourhood=neighbourhood)
  found = propagate_masks(features.astype(np.float32), segments[0], grid=GRID, **numbers)
  slow = _slow_masks(features, segments[0], **numbers)
  assert len(np.unique(slow)) > 1 and (found != slow).mean() < 1e-3


def test_features_that_follow_objects_carry_masks_and_position_says_that_nothing_moves():
  segments = np.concatenate([_moving(), _moving(4)[:, ::-1]])
  frame = np.array([*range(5), *range(4)])
  places = np.tile(patch_positions(GRID), (9, 1, 1))
  # Few agree where an object of four patches goes: of one look, all its patches do.
  score = lambda features, **more: propagation_scores(features, segments, frame, grid=GRID, **more)["metrics"]
  perfect, still = score(instance_features(segments)), score(places, similarity=position_similarity)
  assert perfect["j"] > 0.85 and perfect["f"] > 0.85 and perfect["j_and_f"] == (perfect["j"] + perfect["f"]) / 2
  # Nothing moves: the first frame's square, but for the corners that upsampling rounds off.
  fixed = [
    region_iou(clip[1:-1] == 1, np.tile(clip[0] == 1, (len(clip) - 2, 1, 1))).mean() for clip in np.split(segments, [5])
  ]
  assert still["j"] == pytest.approx(np.mean(fixed), abs=0.03) and still["j"] < 0.4
  flat = score(np.ones((9, 64, 2)))
  assert flat["j_and_f"] < still["j_and_f"] + 0.1
  parameters = propagation_scores(places, segments, frame, grid=GRID)["parameters"]
  assert (parameters["clips"], parameters["frames"], parameters["objects"]) == (2, 9, 2)


def test_what_cannot_be_scored_is_named():
  segments, features = _moving(), np.zeros((5, 64, 2))
  for frame, message in (([0, 1, 2, 0, 1], r"three frames or more"), ([1, 2, 3, 4, 5], "three frames or more")):
    with pytest.raises(ValueError, match=message):
      propagation_scores(features, segments, np.array(frame), grid=GRID)
  with pytest.raises(ValueError, match="no clip has an object in its first frame"):
    propagation_scores(features, segments * 0, np.arange(5), grid=GRID)
  with pytest.raises(ValueError, match="temperature=0 must be above 0"):
    propagation_scores(features, segments, np.arange(5), grid=GRID, temperature=0)


def test_clips_are_read_frame_by_frame_without_their_padding():
  rng = np.random.default_rng(0)
  clip, segments = rng.integers(0, 256, (3, 4, 6, 5, 3), dtype=np.uint8), rng.integers(0, 3, (3, 4, 6, 5), dtype=np.int32)
  source = frames_of(data.from_arrays(clip=clip, segments=segments))
  assert len(source) == 12
  found = source.get(np.array([11, 0, 5]))
  np.testing.assert_array_equal(found["image"], [clip[2, 3], clip[0, 0], clip[1, 1]])
  np.testing.assert_array_equal(found["segments"], [segments[2, 3], segments[0, 0], segments[1, 1]])
  np.testing.assert_array_equal(found["frame"], [3, 0, 1])
  shorter = frames_of(data.from_arrays(clip=clip, segments=segments, length=np.array([2, 4, 3])))
  assert list(shorter.get(np.arange(9), ("frame",))["frame"]) == [0, 1, 0, 1, 2, 3, 0, 1, 2]
  np.testing.assert_array_equal(shorter.get(np.array([6]), ("image",))["image"][0], clip[2, 0])
  with pytest.raises(ConfigError, match=r"sequences have clip \[T, H, W, C\] .* these have extent \[2\], image \[6, 5, 3\]"):
    frames_of(data.from_arrays(image=clip[:, 0]))
