"""The evaluation view: against Pillow on the valid part of a canvas; segments beside images; images that cannot be right."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from jssl import data
from jssl.errors import ConfigError
from jssl.evaluation import collect, View
from jssl.evaluation.devices import on_devices
from jssl.evaluation.view import check_images, read_batch

RNG = np.random.default_rng(0)


def _canvas(image, side):
  canvas = np.full((side, side, image.shape[-1]), 200, np.uint8)
  canvas[: image.shape[0], : image.shape[1]] = image
  return canvas


def _pillow(image, box, size):
  """`image [H, W, 3]` uint8 cut and resized with floats, [0, 1]."""
  planes = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(image.shape[-1])]
  resized = [np.asarray(p.resize(size[::-1], Image.Resampling.BICUBIC, box=box)) for p in planes]
  return np.clip(np.stack(resized, -1) / 255, 0, 1)


@pytest.mark.parametrize(
  "shape, size, resize_to, box",  # of Pillow: left, upper, right, lower
  [
    ((40, 60), 20, None, (10, 0, 50, 40)),
    ((60, 40), 20, None, (0, 10, 40, 50)),
    ((40, 60), 28, 40, (16, 6, 44, 34)),  # the middle of the image at its own size
    ((40, 80), (32, 64), None, (0, 0, 80, 40)),  # all of it: a crop of its shape
    ((40, 64), (16, 32), None, (0, 4, 64, 36)),
    ((64, 16), (8, 8), None, (0, 24, 16, 40)),
  ],
)
def test_the_view_is_a_crop_of_the_valid_part_whatever_the_canvas(shape, size, resize_to, box):
  image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
  view = View(size, resize_to=resize_to)
  expected = _pillow(image, box, view.shape)
  alone = np.asarray(view(dict(image=image[None])))[0]
  np.testing.assert_allclose(alone, expected, atol=2e-5)
  padded = dict(image=np.stack([_canvas(image, side=96)] * 2), extent=np.array([shape, shape]))
  np.testing.assert_allclose(np.asarray(view(padded))[1], expected, atol=2e-5)


def test_segments_are_cut_like_images():
  labels = RNG.integers(0, 5, (2, 10, 15)).astype(np.uint8)
  enlarged = np.kron(labels, np.ones((1, 4, 4), np.uint8))  # [2, 40, 60]
  canvas = np.zeros((2, 64, 64), np.uint8)
  canvas[:, :40, :60] = enlarged
  extent = np.array([[40, 60]] * 2)
  shown = View(40).segments(canvas, extent)
  np.testing.assert_array_equal(shown, enlarged[:, :, 10:50])
  # An image of the segments' numbers, through the view at its own size, shows the same.
  image = np.repeat(canvas[..., None], 3, -1)
  np.testing.assert_array_equal(np.rint(np.asarray(View(40)(dict(image=image, extent=extent)))[..., 0] * 255), shown)
  np.testing.assert_array_equal(View(20).segments(canvas, extent), enlarged[:, 1::2, 11:51:2])
  np.testing.assert_array_equal(View(64).segments(canvas), canvas)
  np.testing.assert_array_equal(View((40, 60)).segments(canvas, extent), enlarged)


def test_grey_images_are_repeated_for_a_network_that_sees_colours():
  grey = RNG.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
  view = View(8, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), channels=3)
  shown = np.asarray(view(dict(image=grey)))
  np.testing.assert_allclose(shown, grey / 255 - np.array([0.1, 0.2, 0.3]), atol=1e-6)


@pytest.mark.parametrize(
  "image, message",
  [
    (np.ones((2, 8, 8, 3), np.float32) * 255, r"must lie in \[0, 1\], these lie in \[255, 255\]"),
    (np.full((2, 8, 8, 3), np.nan, np.float32), r"must lie in \[0, 1\]"),
    (np.ones((2, 8, 8, 3), np.uint16), "must be uint8, .* got uint16"),
    (np.ones((2, 3, 32, 32), np.uint8), r"seem to be \[n, channels, height, width\]"),
    (np.ones((2, 32, 32, 4), np.uint8), "have 4 channels, the network sees 3"),
    (np.ones((2, 32, 32), np.uint8), r"must be \[n, height, width, channels\]"),
  ],
)
def test_images_that_cannot_be_right(image, message):
  with pytest.raises(ConfigError, match=message):
    check_images(dict(image=image), 3)


def test_images_that_are_right():
  for image in (np.ones((2, 8, 8, 3), np.float32), np.ones((2, 8, 8, 1), np.uint8), jnp.ones((1, 3, 3, 3), np.uint8)):
    check_images(dict(image=image), 3)
  check_images(dict(image=np.ones((2, 8, 8, 12), np.uint8)), 12)
  with pytest.raises(ConfigError, match="there is no array 'image'; there are waveform"):
    read_batch(data.from_arrays(waveform=np.ones((3, 4), np.float32)), np.arange(2), more=("waveform",))


def test_files_are_seen_at_their_full_resolution(tmp_path):
  """A 300 x 200 picture beside a canvas of 32: the view is that of the picture, as Pillow cuts it."""
  images = [RNG.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((200, 300), (40, 24), (90, 90))]
  for i, image in enumerate(images):
    Image.fromarray(image).save(tmp_path / f"{i}.png")
  source = data.load(f"folder:{tmp_path}", canvas=32)
  view = View(28, mean=0.5, std=0.25, resize_to=32, channels=3)
  batch = read_batch(source, np.array([2, 0, 1]), view, ("label", "extent"))
  assert list(batch) == ["shown"]
  shown = np.asarray(view(batch))
  for place, image in zip(shown, (images[2], images[0], images[1]), strict=True):
    # Pillow rounds to 8 bits between rows and columns, and at the end.
    assert np.abs(place - np.asarray(view(dict(image=image[None])))[0]).mean() < 4 * 1 / 255
  features, _ = collect(on_devices(Shown(view)), source, view)
  np.testing.assert_allclose(features[[2, 0, 1]], shown, atol=1e-6)
  assert read_batch(source, np.array([0]), None)["image"].shape == (1, 32, 32, 3)


@dataclasses.dataclass(frozen=True)
class Shown:
  view: View

  def __call__(self, state, batch):
    return self.view(batch)
