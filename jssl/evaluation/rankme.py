"""RankMe: the smooth rank of a matrix of embeddings, a score that needs neither labels nor training.

Protocol (Garrido, Balestriero, Najman and LeCun, "RankMe: Assessing the downstream performance of pretrained
self-supervised representations by their rank", ICML 2023, arXiv 2210.02885): singular values s_k of Z `[n, dim]`,
neither centered nor normalised; p_k = s_k / sum_j s_j + eps (eps outside of the division); RankMe = exp(-sum_k p_k log
p_k), from 1 (collapsed) to min(n, dim). The paper leaves eps open; 1e-7 is the usual reading for float32 data.

The paper takes the OUTPUT OF THE PROJECTOR on 25600 images of the pre-training set. The score grows with n until it
saturates and is bounded by min(n, dim): compare only runs of one method, with the same n and dim. A high rank is
necessary for a good linear probe, not sufficient.
"""

import numpy as np


def effective_rank(singular_values: np.ndarray, *, eps: float = 1e-7) -> float:
  """exp of the entropy of s / sum(s) + eps, in [1, m] but for eps; all zeros have rank 0.

  Args:
    singular_values: `[m]`, >= 0.
    eps: added to each of the m probabilities, so that log is defined. 0 is read as 0 log 0 = 0 (Roy and Vetterli, "The
      effective rank", EUSIPCO 2007).
  """
  total = singular_values.sum()
  if total == 0:
    return 0.0
  p = singular_values / total + eps
  p = p[p > 0]
  return float(np.exp(-(p * np.log(p)).sum()))


def rankme_score(features: np.ndarray, *, eps: float = 1e-7, center: bool = False) -> dict:
  """RankMe of `features [n, dim]`, in float64 on the host.

  Args:
    features: one row an example.
    eps: see `effective_rank`.
    center: whether the mean row is subtracted first; the paper does not.

  Returns:
    `metrics`: `rankme`; `fraction`, its ratio to min(n, dim); `numerical_rank`, the number of singular values above
    s_1 * max(n, dim) * 1e-7; and the `parameters`, with n and dim, without which the score means nothing.

  Raises:
    ValueError: if features are not a finite matrix.
  """
  features = np.asarray(features, np.float64)
  if features.ndim != 2 or not np.isfinite(features).all():
    raise ValueError(f"RankMe needs a finite matrix [n, dim]; found shape {features.shape}, or NaN or infinity in it.")
  if center:
    features = features - features.mean(0)
  n, dim = features.shape
  values = np.linalg.svd(features, compute_uv=False)
  rank = effective_rank(values, eps=eps)
  return dict(
    metrics=dict(
      rankme=rank, fraction=rank / min(n, dim), numerical_rank=int((values > values[0] * max(n, dim) * 1e-7).sum())
    ),
    parameters=dict(n=n, dim=dim, eps=eps, center=center),
  )
