"""What a run must beat: pixels as they are, patch positions, and all patches alike, as models of the protocols."""

import dataclasses
import math

import jax
import numpy as np

from jssl.evaluation.devices import on_devices
from jssl.evaluation.drawn import EditedViews
from jssl.evaluation.features import raw_pixel_patches, raw_pixels
from jssl.evaluation.model import FeatureModel
from jssl.evaluation.similarity import constant_similarity, patch_positions, position_similarity
from jssl.evaluation.splits import EvaluationData
from jssl.evaluation.stream import collect
from jssl.evaluation.view import length, View
from jssl.views import resize

PIXEL_BYTES = 1 << 32  # of the raw pixels of the largest split, above which all are shrunk
STATISTICS_IMAGES = 10_000


@dataclasses.dataclass(frozen=True)
class _Pixels:
  """The view's pixels in [0, 1], shrunk to `size`; with `moments`, only the sums of them and of their squares."""

  view: View
  size: tuple[int, int]
  moments: bool = False

  def __call__(self, state, batch):
    del state
    images = self.view(batch)
    if self.size != self.view.shape:
      images = jax.vmap(lambda image: resize(image, self.size))(images)
    if not self.moments:
      return images
    return jax.numpy.stack([images.mean((1, 2)), (images**2).mean((1, 2))], 1)


@dataclasses.dataclass(frozen=True)
class _PixelsOfEach:
  """The same pixels of several edits of each image."""

  drawn: EditedViews
  size: tuple[int, int]

  @property
  def reads(self) -> tuple[str, ...]:
    return self.drawn.reads

  def __call__(self, state, batch):
    del state
    shrink = jax.vmap(lambda image: resize(image, self.size))
    return jax.numpy.stack([shrink(self.drawn(batch, number)) for number in range(self.drawn.views)], 1)


def raw_pixel_model(data: EvaluationData, view: View, grid: tuple[int, int] | None) -> FeatureModel:
  """Baseline: the pixels that the network sees, standardised by channel; patches are the network's own.

  The statistics are those of up to 10,000 images of the training set (without one, of what is tested), at equal distances.
  Whole images are halved until the pixels of the largest split take less than 4 GiB; both is said in the parameters.

  Args:
    data: the splits.
    view: the network's; colours are left in, and as they are.
    grid: of the network's patches, or None.
  """
  view = view._replace(mean=0.0, std=1.0, grayscale=False)
  split = next(name for name in ("train", "scenes", "sequences", "test", "calibration") if data.has(name))
  size = _affordable(view, [len(data.source(name)) for name in ("train", "test") if data.has(name)])
  mean, std, count = _statistics(data.source(split), view)
  whole, shrunk = on_devices(_Pixels(view, view.shape)), on_devices(_Pixels(view, size))

  def edited(kind, edits, *, seed):
    del kind  # image_features are all there is
    look = on_devices(_PixelsOfEach(EditedViews(view, edits, seed), size))
    return lambda batch: np.stack([raw_pixels(x, mean=mean, std=std) for x in np.moveaxis(look(batch), 1, 0)], 1)

  return FeatureModel(
    name="raw pixels",
    image_features=lambda batch: raw_pixels(shrunk(batch), mean=mean, std=std),
    patch_features=(lambda batch: raw_pixel_patches(whole(batch), grid, mean=mean, std=std)) if grid else None,
    grid=grid,
    edited=edited,
    view=view,
    parameters=dict(pixels=f"{size[0]} x {size[1]}", standardised_over=f"{count} images of {split}"),
  )


def _affordable(view: View, counts: list[int]) -> tuple[int, int]:
  """The view's size, halved until the pixels of all images are few enough."""
  height, width = view.shape
  while max(counts, default=0) * height * width * (view.channels or 3) * 4 > PIXEL_BYTES and min(height, width) > 1:
    height, width = math.ceil(height / 2), math.ceil(width / 2)
  return height, width


def _statistics(source, view: View) -> tuple[np.ndarray, np.ndarray, int]:
  """Mean and standard deviation `[C]` of a source's images as the view shows them, and of how many."""
  count = min(len(source), STATISTICS_IMAGES)
  chosen = np.unique(np.linspace(0, max(len(source) - 1, 0), count).round().astype(np.int64))
  moments = on_devices(_Pixels(view, view.shape, moments=True))
  sums, _ = collect(moments, source, view, indices=chosen, title="channel statistics")
  first, second = sums.astype(np.float64).mean(0)
  return first.astype(np.float32), np.sqrt(np.maximum(second - first**2, 0)).astype(np.float32), len(chosen)


def position_model(grid: tuple[int, int], view: View | None = None) -> FeatureModel:
  """Baseline: patches are similar if they are near, whatever the image; attention falls linearly from the middle outward."""
  positions = patch_positions(grid)
  distance = np.linalg.norm(positions - positions.mean(0), axis=1)
  attention = (1.0 - distance)[None]  # the distance of two opposite corners is 1
  return FeatureModel(
    name="position only",
    patch_features=lambda batch: np.broadcast_to(positions, (length(batch), *positions.shape)),
    grid=grid,
    attention=lambda batch: np.broadcast_to(attention, (length(batch), *attention.shape)),
    similarity=position_similarity,
    view=view,
  )


def foreground_model(grid: tuple[int, int], view: View | None = None) -> FeatureModel:
  """Baseline: every patch is similar to every other, so everything is foreground."""
  return FeatureModel(
    name="everything foreground",
    patch_features=lambda batch: np.zeros((length(batch), grid[0] * grid[1], 1), np.float32),
    grid=grid,
    similarity=constant_similarity,
    view=view,
  )
