"""LogME: the evidence of a Bayesian linear model of the labels on the features.

You, Liu, Wang, Long, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021, arXiv 2102.11005,
with the fixed point of You et al., "Ranking and Tuning Pre-trained Models", JMLR 2022, arXiv 2110.10545; held against
thuml/LogME, LogME.py.
"""

import numpy as np

from jssl.evaluation.transferability.target import check_target


def logme_score(
  features: np.ndarray, labels: np.ndarray, *, steps: int = 11, tolerance: float = 1e-3, eps: float = 1e-5
) -> float:
  """Mean over classes of the largest log evidence of y = [label is c], divided by n.

      y ~ N(F w, I / beta),   w ~ N(0, I / alpha)
      ln p(y | F, alpha, beta) = (D ln alpha + n ln beta - ln |alpha I + beta F^T F| - beta |F m - y|^2 - alpha |m|^2
                                 - n ln 2 pi) / 2,   m = beta (alpha I + beta F^T F)^-1 F^T y

  alpha and beta are found by their fixed point, alpha = gamma / |m|^2 and beta = (n - gamma) / |F m - y|^2 with gamma =
  sum_k s_k^2 / (s_k^2 + alpha / beta), s the singular values of F, neither centred nor scaled. With fewer examples than
  dimensions labels can be fitted whole, and the score says little.

  Args:
    features: F `[n, dim]`.
    labels: integers `[n]`.
    steps: of the fixed point, at most.
    tolerance: of alpha / beta, relative, at which it is found.
    eps: added to the two denominators, as in the authors' code.

  Returns:
    The score; higher is better.

  Raises:
    ValueError: see `check_target`.

  Example:

    >>> features = np.eye(4)[[0, 0, 0, 1, 1, 1]]
    >>> logme_score(features, np.array([0, 0, 0, 1, 1, 1])) > logme_score(features, np.array([0, 1, 0, 1, 0, 1]))
    True
  """
  x, y, counts = check_target("logme", features, labels)
  left, singular, _ = np.linalg.svd(x, full_matrices=False)
  return float(np.mean([_evidence(left, singular**2, x.shape, y == c, steps, tolerance, eps) for c in range(len(counts))]))


def _evidence(left, squares, shape, y, steps: int, tolerance: float, eps: float) -> float:
  """The evidence of one class; `squares` are the squared singular values, `left` their vectors `[n, k]`."""
  n, dim = shape
  along = np.square(left.T @ y)  # of y, along each singular vector
  outside = max(float(y.sum() - along.sum()), 0.0)  # of y, where no features reach
  alpha = beta = 1.0
  for _ in range(steps):
    ratio = alpha / beta
    gamma = (squares / (squares + ratio)).sum()
    length = (squares * along / np.square(squares + ratio)).sum()
    error = (along * np.square(ratio / (squares + ratio))).sum() + outside
    alpha, beta = gamma / (length + eps), (n - gamma) / (error + eps)
    if abs(alpha / beta - ratio) <= tolerance * ratio:
      break
  # The authors' code leaves out the dimensions beyond the rank, which are alpha each: the same where n > dim.
  determinant = np.log(alpha + beta * squares).sum() + (dim - len(squares)) * np.log(alpha)
  found = dim * np.log(alpha) + n * np.log(beta) - determinant - beta * error - alpha * length - n * np.log(2 * np.pi)
  return float(found / (2 * n))
