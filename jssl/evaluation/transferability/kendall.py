"""Weighted Kendall's tau: how well scores order networks, where the order of the best counts most.

Vigna, "A weighted correlation index for rankings with ties", WWW 2015, arXiv 1404.3325, as PED, SFDA and LogME take it.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def weighted_kendall(scores: Sequence[float] | np.ndarray, truth: Sequence[float] | np.ndarray) -> float:
  """The weighted tau of scores and accuracies, with hyperbolic weights, as `scipy.stats.weightedtau` has it.

      tau = <x, y> / sqrt(<x, x> <y, y>)
      <x, y> = sum_{i < j} sgn(x_i - x_j) sgn(y_i - y_j) (1 / (1 + r_i) + 1 / (1 + r_j))

  r is the place of i, from 0, from the highest on: once by x (ties by y), and once by y (ties by x); the mean of the two.

  Args:
    scores, truth: `[n]`, of n networks, n >= 2.

  Returns:
    tau, in [-1, 1].

  Raises:
    ValueError: for other shapes, what is not finite, or where all are equal, which orders nothing.

  Example:

    >>> weighted_kendall([1.0, 2.0, 3.0], [0.1, 0.2, 0.9])
    1.0
    >>> round(weighted_kendall([1.0, 3.0, 2.0], [0.1, 0.2, 0.9]), 3)  # the best two are exchanged
    0.182
  """
  x, y = np.asarray(scores, np.float64), np.asarray(truth, np.float64)
  if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
    raise ValueError(
      f"weighted_kendall: give two finite vectors of one length >= 2; found {list(x.shape)} and {list(y.shape)}, or NaN or "
      "infinity"
    )
  if not (np.ptp(x) > 0 and np.ptp(y) > 0):
    raise ValueError("weighted_kendall: all scores, or all of the truth, are equal, which orders nothing")
  return float(stats.weightedtau(x, y).statistic)
