"""GBC: how far the classes overlap, each a Gaussian.

Pandy, Agostinelli, Uijlings, Ferrari, Mensink, "Transferability Estimation using Bhattacharyya Class Separability", CVPR
2022, arXiv 2111.12780. The authors have published no code.
"""

import numpy as np

from jssl.evaluation.transferability.target import check_target


def gbc_score(features: np.ndarray, labels: np.ndarray, *, dims: int = 64, spherical: bool = False) -> float:
  """Minus the sum over pairs of classes of their Bhattacharyya coefficient.

      D(a, b) = (m_a - m_b)^T S^-1 (m_a - m_b) / 8 + ln(|S| / sqrt(|S_a| |S_b|)) / 2,   S = (S_a + S_b) / 2
      score = -sum_{a != b} exp(-D(a, b))

  Each class has its mean and its diagonal covariance in the first principal components of all features.

  Args:
    features: `[n, dim]`.
    labels: integers `[n]`.
    dims: principal components, at most; those without variance are left out.
    spherical: whether a class has one variance, the mean of its variances.

  Returns:
    The score, at most 0; higher is better.

  Raises:
    ValueError: see `check_target`; if a class has one example, or does not vary in a component.

  Example:

    >>> features = np.array([[0.0], [2.0], [10.0], [12.0]])
    >>> score = gbc_score(features, np.array([0, 0, 1, 1]))
    >>> bool(np.isclose(score, -2 * np.exp(-(10**2) / 8), rtol=1e-9))
    True
  """
  target = check_target("gbc", features, labels, least=2)
  if dims < 1:
    raise ValueError(f"gbc: dims={dims}; give one or more")
  centred = target.features - target.features.mean(0)
  left, singular, _ = np.linalg.svd(centred, full_matrices=False)
  used = singular[:dims] > 1e-7 * singular[0]
  target = target._replace(features=(left * singular)[:, :dims][:, used])
  means = target.means()
  variances = np.zeros_like(means)
  np.add.at(variances, target.labels, np.square(target.features - means[target.labels]))
  variances /= target.counts[:, None]
  if spherical:
    variances = np.broadcast_to(variances.mean(1, keepdims=True), means.shape)
  if not variances.min() > 0:
    raise ValueError("gbc: a class does not vary in one of the components; take fewer (dims=...), or spherical=True")
  total = 0.0
  for a in range(len(means) - 1):
    middle = (variances[a] + variances[a + 1 :]) / 2
    apart = (np.square(means[a] - means[a + 1 :]) / middle).sum(1) / 8
    unlike = (np.log(middle) - (np.log(variances[a]) + np.log(variances[a + 1 :])) / 2).sum(1) / 2
    total += 2 * float(np.exp(-apart - unlike).sum())
  return -total
