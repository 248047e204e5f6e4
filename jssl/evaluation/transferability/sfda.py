"""SFDA: how well a shrunken Fisher discriminant tells the classes, once confident examples have been let alone.

Shao, Zhao, Ge, Zhang, Yang, Wang, Shan, Luo, "Not All Models Are Equal: Predicting Model Transferability in a
Self-challenging Fisher Space", ECCV 2022, arXiv 2207.03036; held against TencentARC/SFDA, metrics.py.
"""

import numpy as np
from scipy import linalg, special

from jssl.evaluation.transferability.target import check_target, Target


def sfda_score(features: np.ndarray, labels: np.ndarray, *, rate: float = 5.0, least_shrinkage: float = 1e-10) -> float:
  """Mean probability of the right class by a discriminant that was fitted on features mixed with those of other classes.

      S = (1 - lam) S_w + lam tr(S_w) / D I,   lam = max(exp(-rate rho), least_shrinkage)
      p(c | x) = softmax_c(m_c^T S^-1 x - m_c^T S^-1 m_c / 2 + ln pi_c)

  S_w is the mean over examples of the covariance within their class, rho its largest eigenvalue; by lam the score depends on
  the features' scale. Then x_i becomes q_i x_i + (1 - q_i) (mean of the means of the other classes), where q is
  softmax_c(p(c | x_i)), softened, at the own class: what is hard is made harder (ConfMix). The discriminant is fitted once
  more, with the same lam.

  Args:
    features: x `[n, dim]`.
    labels: integers `[n]`.
    rate: how fast the shrinkage falls with rho.
    least_shrinkage: in (0, 1].

  Returns:
    The score, in (0, 1); higher is better.

  Raises:
    ValueError: see `check_target`; if no class varies, as with one example each.

  Example:

    >>> features = np.array([[0.0, 0.0], [0.0, 0.1], [9.0, 0.0], [9.0, 0.1]])
    >>> round(sfda_score(features, np.array([0, 0, 1, 1])), 3)
    1.0
  """
  target = check_target("sfda", features, labels)
  within = _within(target)
  if not np.trace(within) > 0:
    raise ValueError("sfda: no class varies, as with one example of each: there is no covariance within classes")
  # The code runs three double steps of the power method, from the sums of rows, which are 0 behind a LayerNorm.
  shrinkage = max(float(np.exp(-rate * np.linalg.eigvalsh(within)[-1])), least_shrinkage)
  means, each = target.means(), np.arange(len(target.labels))
  kept = special.softmax(_probabilities(target, within, shrinkage), axis=1)[each, target.labels][:, None]
  others = (means.sum(0) - means) / (len(means) - 1)
  mixed = target._replace(features=kept * target.features + (1 - kept) * others[target.labels])
  return float(_probabilities(mixed, _within(mixed), shrinkage)[each, target.labels].mean())


def _within(target: Target) -> np.ndarray:
  """The covariance within classes `[dim, dim]`."""
  rest = target.features - target.means()[target.labels]
  return rest.T @ rest / len(rest)


def _probabilities(target: Target, within: np.ndarray, shrinkage: float) -> np.ndarray:
  """The discriminant's probabilities `[n, classes]` of the features that it is fitted on."""
  shrunk = (1 - shrinkage) * within
  shrunk.flat[:: len(shrunk) + 1] += shrinkage * np.trace(within) / len(within)
  means = target.means()
  try:
    weights = linalg.solve(shrunk, means.T, assume_a="pos")  # [dim, classes]
  except linalg.LinAlgError as error:
    raise ValueError("sfda: the features use so few dimensions that no discriminant can be fitted; reduce them") from error
  bias = np.log(target.counts / target.counts.sum()) - 0.5 * (means * weights.T).sum(1)
  return special.softmax(target.features @ weights + bias, axis=1)
