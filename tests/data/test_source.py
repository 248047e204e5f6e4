import subprocess
import sys

import numpy as np
import pytest

from jssl import data
from jssl.errors import ConfigError

IMAGE = np.arange(4 * 2 * 3 * 1, dtype=np.uint8).reshape(4, 2, 3, 1)


def test_arrays_become_a_source():
  source = data.from_arrays(image=IMAGE, label=[0, 2, 1, 2], waveform=np.zeros((4, 5)), row=np.arange(4))
  assert (len(source), source.num_classes, source.unreadable) == (4, 3, {})
  assert {key: (spec.shape, spec.dtype) for key, spec in source.element_spec.items()} == {
    "image": ((2, 3, 1), np.uint8),
    "extent": ((2,), np.int32),
    "label": ((), np.int32),
    "waveform": ((5,), np.float32),
    "row": ((), np.int32),
  }
  batch = source.get(np.array([2, 0, 2]))
  np.testing.assert_array_equal(batch["image"], IMAGE[[2, 0, 2]])
  np.testing.assert_array_equal(batch["extent"], [[2, 3]] * 3)
  assert set(source.get([1], keys=("label",))) == {"label"}


def test_data_without_images_has_no_extent():
  source = data.from_arrays(fields=np.ones((3, 7), np.float32))
  assert set(source.arrays) == {"fields"} and source.num_classes is None


@pytest.mark.parametrize(
  "arrays, message",
  [
    (dict(image=IMAGE / 255), r"\(image \* 255\)"),
    (dict(image=IMAGE.astype(np.int32)), "images are uint8"),
    (dict(image=IMAGE[..., 0]), r"image\[\.\.\., None\]"),
    (dict(image=IMAGE[:0]), "at least one"),
    (dict(image=IMAGE, label=[0, 1]), "same number of examples"),
    (dict(image=IMAGE, label=[0.5] * 4), "label must hold integers"),
    (dict(image=IMAGE, label=[0, -1, 0, 0]), "minimum -1"),
    (dict(image=IMAGE, index=np.arange(4)), "'index'"),
    (dict(image=IMAGE, extent=[[3, 3]] * 4), "extent must lie within"),
    (dict(image=IMAGE, extent=[2] * 4), r"extent must hold integers \[n, 2\]"),
    (dict(text=np.array(["a"])), "must hold numbers"),
    (dict(row=np.array([2**40])), "range of int32"),
    (dict(scalar=3), "first axis"),
    ({}, "at least one array"),
  ],
)
def test_wrong_arrays_are_named(arrays, message):
  with pytest.raises(ValueError, match=message):
    data.from_arrays(**arrays)


def test_get_refuses_what_is_not_there():
  source = data.from_arrays(image=IMAGE, label=[0] * 4)
  with pytest.raises(ValueError, match="did you mean 'label'"):
    source.get([0], keys=("lable",))
  for index in (-1, 4):
    with pytest.raises(IndexError, match="0 to 3"):
      source.get([index])


def test_load_passes_a_source_through():
  source = data.from_arrays(image=IMAGE)
  assert data.load(source, split="anything") is source
  with pytest.raises(ConfigError, match="canvas"):
    data.load(source, canvas=3)


@pytest.mark.parametrize(
  "spec, options, message",
  [
    ("scenez", {}, "did you mean 'scenes'"),
    ("scenes:64", {}, "did you mean 'scenes'"),
    ("folder", {}, "did you mean 'folder:/path'"),
    ("scenes", dict(split="tset"), "did you mean 'test'"),
    ("objects", dict(image_sise=3), "did you mean 'image_size'"),
    ("objects", dict(sprites="digit"), "did you mean 'digits'"),
    ("objects", dict(image_size=4), "from 16 to 512"),
    ("objects", dict(num_examples=0), "num_examples is 0"),
    ("fashion_mnist", dict(split="trian"), "did you mean 'train'"),
  ],
)
def test_load_names_the_nearest(spec, options, message):
  with pytest.raises(ConfigError, match=message):
    data.load(spec, **options)


def test_importing_needs_no_tensorflow():
  code = "import sys, jssl.data; sys.exit(bool({'tensorflow', 'tensorflow_datasets', 'torch'} & set(sys.modules)))"
  subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_that_come_first(channels):
  images = np.zeros((2, channels, 32, 24), np.uint8)
  message = (
    rf"image looks like \[n, channels, height, width\], \[2, {channels}, 32, 24\]; give image\.transpose\(0, 2, 3, 1\)"
  )
  with pytest.raises(ValueError, match=message):
    data.from_arrays(image=images)
  with pytest.raises(ValueError, match=message):
    data.from_iterator(lambda start: iter([{"image": images}]), num_examples=2)
  assert data.from_arrays(image=images.transpose(0, 2, 3, 1)).element_spec["image"].shape == (32, 24, channels)
  assert len(data.from_arrays(image=np.zeros((2, 3, 4, 3), np.uint8))) == 2  # few rows of few pixels


def test_a_boolean_option_is_no_string(tmp_path):
  with pytest.raises(ConfigError, match=r"option labels='no': write True or False"):
    data.load(f"folder:{tmp_path}", labels="no")
