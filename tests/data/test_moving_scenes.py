"""Clips of moving objects."""

import numpy as np
import pytest

from jssl import data
from jssl.errors import ConfigError
from tests.data.test_scenes import digest


def _clips(**options):
  return data.load("moving_scenes", **(dict(split="test", num_examples=6, image_size=32, frames=5) | options)).arrays


def test_the_clips_are_frozen():
  """Every reported number rests on these clips: a change of them is a new data set, not a new checksum."""
  some = data.load("moving_scenes", split="test", num_examples=4).arrays
  assert digest(some["clip"], some["segments"], some["segment_label"]) == "6076a41f49e9f323"


def test_objects_move_over_a_background_that_stays():
  arrays = _clips(num_examples=20)
  assert arrays["clip"].shape == (20, 5, 32, 32, 3) and arrays["segments"].dtype == np.int32
  paths = []
  for clip, segments, label in zip(arrays["clip"], arrays["segments"], arrays["segment_label"], strict=True):
    never = (segments == 0).all(0)
    far = never[1:-1, 1:-1] & never[:-2, 1:-1] & never[2:, 1:-1] & never[1:-1, :-2] & never[1:-1, 2:]
    assert far.any() and (clip[:, 1:-1, 1:-1][:, far] == clip[0, 1:-1, 1:-1][far]).all()  # but for soft edges
    numbers = np.setdiff1d(segments[0], 0)
    assert 2 <= len(numbers) <= 3 and set(np.unique(segments)) <= {0, *numbers}
    assert list(label >= 0) == [number in numbers for number in (1, 2, 3)]
    for number in numbers[-1:]:  # in front of all others, so that all of it is seen
      middles = np.array([np.argwhere(frame == number).mean(0) for frame in segments])
      steps = np.diff(middles, axis=0)
      paths.append(np.linalg.norm(middles[-1] - middles[0]))
      assert np.abs(steps - steps.mean(0)).max() < 2  # straight, and even but for whole pixels
      assert 0.5 < (segments[-1] == number).sum() / (segments[0] == number).sum() < 2
  assert np.min(paths) > 6 and np.mean(paths) > 9


def test_clips_depend_on_their_seed_and_number_alone():
  few, more, other, train = _clips(), _clips(num_examples=40), _clips(seed=1), _clips(split="train")
  for name, array in few.items():
    np.testing.assert_array_equal(array, more[name][:6])
  assert (few["clip"] != other["clip"]).any() and (few["clip"] != train["clip"]).any()
  assert len(data.load("moving_scenes", split="test", image_size=16, frames=2)) == 64
  for options, message in (
    (dict(frames=1), "frames is 1; it must be an integer from 2"),
    (dict(split="tset"), "no split 'tset'; did you mean 'test'"),
    (dict(frame=3), "no option 'frame'; did you mean 'frames'"),
  ):
    with pytest.raises(ConfigError, match=message):
      data.load("moving_scenes", **options)
