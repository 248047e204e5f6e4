"""Classes of pixels and of patches, and the scores of predicted ones: what the semantic segmentation protocols share."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jssl.evaluation.chunks import map_chunks
from jssl.evaluation.prompt_segmentation import upsample

IGNORED = -1  # the class of pixels of an object without one


def class_map(segments: np.ndarray, segment_label: np.ndarray, classes: np.ndarray) -> np.ndarray:
  """The class of every pixel: that of its instance, with the background as a class of its own.

  Args:
    segments: instance numbers `[n, H, W]`, 0 is background.
    segment_label: class of instance number k + 1 in column k `[n, instances]`, below 0 for none.
    classes: all classes there are `[C]`, increasing.

  Returns:
    int16 `[n, H, W]`: 0 for background, 1 + the place in `classes` for an object, -1 for an object without a class.

  Raises:
    ValueError: if there are instances without a column, or classes that are not in `classes`.
  """
  segment_label = np.asarray(segment_label)
  if segment_label.ndim != 2 or segments.max(initial=0) > segment_label.shape[1]:
    raise ValueError(
      f"segment_label {list(segment_label.shape)} must be [images, instances], of instances up to {segments.max(initial=0)}"
    )
  if not np.isin(segment_label[segment_label >= 0], classes).all():
    raise ValueError(f"segment_label has classes that are not among {list(classes)}.")
  number = np.where(segment_label < 0, IGNORED, np.searchsorted(classes, segment_label) + 1)
  table = np.pad(number, ((0, 0), (1, 0))).astype(np.int16)
  return table[np.arange(len(segments))[:, None, None], segments]


def patch_shares(pixels: np.ndarray, grid: tuple[int, int], num_classes: int) -> np.ndarray:
  """The share of each class among the pixels of a patch.

  Args:
    pixels: classes `[n, H, W]` in [0, num_classes), -1 where there is none.
    grid: patches (h, w), dividing H and W.
    num_classes: number of classes.

  Returns:
    float32 `[n, h * w, num_classes]`; pixels without a class count for none.

  Raises:
    ValueError: if the grid does not tile the images.
  """
  n, height, width = pixels.shape
  rows, columns = grid
  if height % rows or width % columns:
    raise ValueError(f"A grid of {rows} x {columns} patches does not tile segments of {height} x {width} pixels.")
  cells = pixels.reshape(n, rows, height // rows, columns, width // columns)
  shares = [(cells == number).mean((2, 4), dtype=np.float32).reshape(n, -1) for number in range(num_classes)]
  return np.stack(shares, -1)


def predict_pixels(
  scores: Callable, *arrays: np.ndarray, grid: tuple[int, int], size: tuple[int, int], chunk: int
) -> np.ndarray:
  """The class of every pixel, from scores of the patches that are upsampled bilinearly.

  Args:
    scores: `scores(*arrays) -> [images, h * w, classes]`, row by row.
    *arrays: `[n, ...]`.
    grid: patches (h, w).
    size: of the images, (H, W).
    chunk: images handled at once.

  Returns:
    int `[n, H, W]`, the class with the largest score; of equal ones the first.
  """

  def predict(*part):
    found = scores(*part)
    maps = jnp.swapaxes(found, 1, 2).reshape(len(found), -1, *grid)
    return jnp.argmax(upsample(maps, size), axis=1).astype(jnp.int16)

  return map_chunks(predict, *arrays, chunk=min(chunk, len(arrays[0])))


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
  """Numbers of pixels `[true class, predicted class]`; those whose true class is -1 are left out."""
  known = truth >= 0
  pairs = truth[known].astype(np.int64) * num_classes + predicted[known]
  return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def segmentation_scores(confusion: np.ndarray) -> dict[str, float]:
  """Mean IoU over the classes and accuracy over the pixels of a whole data set.

  A class that neither is there nor is predicted has no IoU and is left out of the mean (as mmsegmentation has it, and
  sklearn.metrics.jaccard_score).

  Args:
    confusion: `[true class, predicted class]`.

  Returns:
    `miou`, and `pixel_accuracy`.

  Raises:
    ValueError: if there is no pixel.
  """
  if not confusion.sum():
    raise ValueError("no pixel has a class: there is nothing to score")
  both = np.diag(confusion)
  either = confusion.sum(0) + confusion.sum(1) - both
  return dict(
    miou=float(np.mean((both / np.maximum(either, 1))[either > 0])), pixel_accuracy=float(both.sum() / confusion.sum())
  )


def constant_scores(truth: np.ndarray, num_classes: int) -> dict[str, float]:
  """Scores of the class that most pixels have as the answer for all of them: what features that know nothing reach."""
  counts = np.bincount(truth[truth >= 0], minlength=num_classes)
  confusion = np.zeros((num_classes, num_classes), np.int64)
  confusion[:, counts.argmax()] = counts
  return segmentation_scores(confusion)
