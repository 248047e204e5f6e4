"""A labelled target set as scores read it."""

from typing import NamedTuple

import numpy as np


class Target(NamedTuple):
  """A target set.

  Attributes:
    features: float64 `[n, dim]`.
    labels: `[n]` in [0, classes), in the order of the given ones; every class has an example.
    counts: examples of each class, `[classes]`.
  """

  features: np.ndarray
  labels: np.ndarray
  counts: np.ndarray

  def means(self) -> np.ndarray:
    """The mean of each class, `[classes, dim]`."""
    sums = np.zeros((len(self.counts), self.features.shape[1]))
    np.add.at(sums, self.labels, self.features)
    return sums / self.counts[:, None]


def check_target(name: str, features: np.ndarray, labels: np.ndarray, *, least: int = 1) -> Target:
  """Features and labels of which a score can say something.

  Args:
    name: of the score.
    features: `[n, dim]`.
    labels: integers `[n]`; numbers that none has do not count as classes.
    least: examples that each class must have.

  Raises:
    ValueError: for other shapes, what is not finite, features that are all the same, a single class, or a class with too few
      examples.
  """
  x, y = np.asarray(features, np.float64), np.asarray(labels)
  if x.ndim != 2 or not x.size or y.shape != x.shape[:1] or y.dtype.kind not in "iu":
    raise ValueError(
      f"{name}: give features [n, dim] and integer labels [n]; found {list(x.shape)} and {y.dtype} {list(y.shape)}"
    )
  if not np.isfinite(x).all():
    raise ValueError(f"{name}: features hold NaN or infinity")
  if not np.ptp(x, axis=0).max() > 1e-7 * np.abs(x).max():
    raise ValueError(f"{name}: the features of all {len(x)} examples are the same: the network has collapsed")
  classes, numbers, counts = np.unique(y, return_inverse=True, return_counts=True)
  if len(classes) < 2:
    raise ValueError(f"{name}: all {len(x)} examples are of class {classes[0]}: there is nothing to tell apart")
  if counts.min() < least:
    few = classes[counts.argmin()]
    raise ValueError(f"{name}: class {few} has {counts.min()} of the {least} examples that each class must have")
  return Target(x, numbers, counts)
