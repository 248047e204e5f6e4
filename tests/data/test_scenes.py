import hashlib
import itertools
import time

import numpy as np
import pytest

from jssl import data
from jssl.data import scenes, sprites

SPLITS = ("train", "calibration", "test")


def digest(*arrays) -> str:
  return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]


def test_the_images_are_frozen():
  """Every reported number rests on these images: a change of them is a new data set, not a new checksum."""
  assert digest(scenes.photographs()) == "99310b92a8963a4b", "another decoder of JPEG gives other images"
  some = data.load("scenes", num_examples=8).arrays
  assert digest(some["image"], some["segments"], some["segment_label"]) == "902c53f92a7cf5bf"
  other = data.load("objects", split="test", num_examples=8).arrays
  assert digest(other["image"], other["segments"], other["label"]) == "aa8762828af27a8d"


def test_default_sizes():
  assert scenes.SCENES.sizes == {"train": 4096, "calibration": 256, "test": 512}
  assert scenes.OBJECTS.sizes == {"train": 2048, "calibration": 256, "test": 1024}
  assert len(data.load("objects", split="calibration")) == 256


def test_examples_do_not_depend_on_how_many_there_are():
  few, many = (data.load("scenes", split="test", num_examples=n).arrays for n in (5, 140))
  for key in few:
    np.testing.assert_array_equal(few[key], many[key][:5])


def test_seed_and_split_change_the_images_and_the_same_call_is_cached():
  first = data.load("objects", num_examples=4)
  assert data.load("objects", num_examples=4) is first
  for options in (dict(seed=1), dict(split="test")):
    assert (data.load("objects", num_examples=4, **options).arrays["image"] != first.arrays["image"]).any()
  with pytest.raises(ValueError):
    first.arrays["image"][0] = 0


def test_scenes_hold_what_the_spec_says():
  source = data.load("scenes", num_examples=200)
  arrays = source.arrays
  assert {key: (spec.shape, spec.dtype) for key, spec in source.element_spec.items()} == {
    "image": ((64, 64, 3), np.uint8),
    "extent": ((2,), np.int32),
    "segments": ((64, 64), np.uint8),
    "segment_label": ((4,), np.int32),
  }
  assert source.num_classes is None and (arrays["extent"] == 64).all()
  for segments, label in zip(arrays["segments"], arrays["segment_label"], strict=True):
    count = segments.max()
    assert 2 <= count <= 4 and set(np.unique(segments)) == set(range(count + 1))
    assert (label[:count] >= 0).all() and (label[:count] < 10).all() and (label[count:] == -1).all()
    for instance in range(1, count + 1):
      y, x = np.nonzero(segments == instance)
      assert len(y) >= 60 and max(np.ptp(y), np.ptp(x)) < 28 + 4  # the edge fades into a margin of 2 pixels
  assert set(np.unique(arrays["segments"].max((1, 2)))) == {2, 3, 4}


def test_silhouettes_overlap_by_less_than_a_tenth():
  chosen = sprites.digit_sprites("train")
  plan = scenes.draw_plan(scenes.SCENES, "train", 120, 64, len(chosen.label), seed=0)
  painted = scenes.paint(plan, chosen, 64, 28)
  area = painted.silhouettes.sum((2, 3))
  assert ((area > 0) == (painted.label >= 0)).all()
  for i, j in itertools.combinations(range(4), 2):
    both = (area[:, i] > 0) & (area[:, j] > 0)
    overlap = (painted.silhouettes[:, i] & painted.silhouettes[:, j]).sum((1, 2))
    assert (overlap < 0.1 * np.minimum(area[:, i], area[:, j]))[both].all()
  for i in range(4):  # a segment is its silhouette less the objects in front
    front = painted.silhouettes[:, i + 1 :].any(1)
    np.testing.assert_array_equal(painted.segments == i + 1, painted.silhouettes[:, i] & ~front)
  tried = painted.label[plan.count == 4]
  assert (tried[:, 3] >= 0).mean() > 0.75 and (plan.count >= 2).all()


def test_plain_objects_are_white_on_black_at_the_same_places():
  plain, other = (data.load("objects", num_examples=20, image_size=40, plain=plain).arrays for plain in (True, False))
  for name in ("segments", "label", "extent"):
    np.testing.assert_array_equal(plain[name], other[name])
  assert (plain["image"] == plain["image"][..., :1]).all()
  inside = plain["segments"] == 1
  edge = np.pad(inside, ((0, 0), (4, 4), (4, 4)))  # soft edges are no wider than a pixel of a digit
  near = np.any([edge[:, y : y + 40, x : x + 40] for y in range(9) for x in range(9)], 0)
  assert (plain["image"][~near] == 0).all() and (plain["image"][inside] > 60).all()
  assert len(np.unique(inside.any(2).argmax(1))) > 5  # rows in which they begin


def test_objects_can_be_told_from_what_is_behind_them():
  arrays = data.load("scenes", num_examples=100).arrays
  inside = arrays["segments"] > 0
  shift = [
    abs(image[mask].mean(0) - image[~mask].mean(0)).sum() for image, mask in zip(arrays["image"], inside, strict=True)
  ]
  assert np.median(shift) > 50 and inside.mean() > 0.15


@pytest.mark.parametrize("size", [16, 48, 96])
def test_objects_grow_with_the_canvas(size):
  arrays = data.load("objects", num_examples=30, image_size=size).arrays
  assert arrays["image"].shape == (30, size, size, 3)
  share = (arrays["segments"] > 0).mean()
  assert 0.12 < share < 0.35
  heights = np.array([np.ptp(np.nonzero(s)[0]) + 1 for s in arrays["segments"]]) / size
  assert 0.45 < heights.min() and heights.max() <= 1


def test_labels_are_the_digits():
  plan = scenes.draw_plan(scenes.OBJECTS, "test", 20, 64, len(sprites.digit_sprites("test").label), seed=0)
  expected = sprites.digit_sprites("test").label[plan.sprite[:, 0]]
  source = data.load("objects", split="test", num_examples=20)
  np.testing.assert_array_equal(source.arrays["label"], expected)
  assert source.num_classes == 10


def test_splits_share_no_digit():
  parts = {split: sprites.digit_sprites(split) for split in SPLITS}
  assert sorted(np.concatenate([part.sample for part in parts.values()])) == list(range(1797))
  for split, share in (("train", 0.6), ("calibration", 0.15), ("test", 0.25)):
    counts = np.bincount(parts[split].label)
    assert len(counts) == 10 and abs(counts / (share * 179.7) - 1).max() < 0.1
    alpha = parts[split].alpha
    assert alpha.dtype == np.float32 and alpha.shape[1:] == (8, 8) and alpha.min() == 0 and alpha.max() == 1


def test_splits_share_no_pixel_of_a_photograph():
  used = {}
  for split in SPLITS:
    plan = scenes.draw_plan(scenes.SCENES, split, 2000, 64, 10, seed=0)
    used[split] = np.zeros((2, 427, 640), bool)
    for photo, (y, x, side) in zip(plan.photo, plan.crop, strict=True):
      used[split][photo, y : y + side, x : x + side] = True
      assert y + side <= 427 and x + side <= 640
    assert used[split].any((1, 2)).all()
  for one, other in itertools.combinations(SPLITS, 2):
    assert not (used[one] & used[other]).any()


def test_backgrounds_are_the_crops_they_say_they_are():
  plan = scenes.draw_plan(scenes.SCENES, "test", 6, 64, 10, seed=0)
  plan = plan._replace(crop=np.stack([plan.crop[:, 0], plan.crop[:, 1], np.full(6, 64)], 1))
  for image, photo, (y, x, _), flip in zip(scenes.backgrounds(plan, 64), plan.photo, plan.crop, plan.flip, strict=True):
    np.testing.assert_array_equal(image[:, ::-1] if flip else image, scenes.photographs()[photo, y : y + 64, x : x + 64])


def test_resizing_keeps_a_constant_and_an_integer_size():
  rng = np.random.default_rng(0)
  alpha = rng.uniform(size=(3, 8, 8)).astype(np.float32)
  same = sprites.resize(alpha, np.full(3, 8), 12, 2)
  np.testing.assert_allclose(same[:, 2:10, 2:10], alpha, atol=1e-6)
  assert same.sum() == pytest.approx(alpha.sum(), rel=1e-5)
  large = sprites.resize(np.ones((1, 8, 8), np.float32), np.array([24]), 28, 2)[0]
  np.testing.assert_allclose(large[8:20, 8:20], 1, atol=1e-6)
  small = sprites.resize(np.ones((1, 8, 8), np.float32), np.array([16]), 28, 2)[0]
  assert not small[20:].any() and not small[:, 20:].any()


def test_thousands_of_scenes_take_seconds():
  start = time.process_time()
  data.load("scenes", num_examples=512, seed=99)
  assert time.process_time() - start < 5
