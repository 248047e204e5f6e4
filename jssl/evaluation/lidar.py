"""LiDAR and alignment: what stays of an image over its random views, without labels.

LiDAR (Thilak, Huang, Saremi, Dinh, Goh, Nakkiran, Susskind, Littwin, "LiDAR: Sensing Linear Probing Performance in Joint
Embedding SSL Architectures", ICLR 2024, arXiv 2312.04000) is the effective rank of a linear discriminant analysis whose
classes are the images: directions in which the views of one image differ as much as those of different images do not
count, which RankMe would count. The paper takes 1000 images of 50 views or 5000 of 10, by the run's own augmentation; the
score is bounded by min(dim, images - 1). Alignment: Wang and Isola, ICML 2020.
"""

import numpy as np

from jssl.evaluation.rankme import effective_rank


def lidar_score(embeddings: np.ndarray, *, delta: float = 1e-4, eps: float = 1e-8) -> dict:
  """LiDAR of the embeddings of several views of each image, in float64 on the host.

      S_b = sum_i (m_i - m)(m_i - m)^T / (n - 1),   S_w = sum_ij (e_ij - m_i)(e_ij - m_i)^T / (n (q - 1)) + delta I
      LiDAR = exp(entropy(l / sum l + eps)),   l the eigenvalues of S_w^-1/2 S_b S_w^-1/2

  Args:
    embeddings: `[n, q, dim]`, q views of each of n images, n and q >= 2.
    delta: added to the covariance within images, in the embeddings' units squared.
    eps: see `jssl.evaluation.effective_rank`.

  Returns:
    `metrics`: `lidar`, and `fraction`, its ratio to min(dim, n - 1); and the `parameters`.

  Raises:
    ValueError: for another shape, what is not finite, or images whose embeddings are all the same.
  """
  e = _views("lidar", embeddings)
  n, q, dim = e.shape
  means = e.mean(1)
  between, within = means - means.mean(0), (e - means[:, None]).reshape(-1, dim)
  if not np.abs(between).max() > 1e-7 * np.abs(e).max():
    raise ValueError("lidar: the embeddings of all images are the same: the network has collapsed")
  values, vectors = np.linalg.eigh(within.T @ within / (n * (q - 1)) + delta * np.eye(dim))
  whitened = between @ (vectors / np.sqrt(values))  # S_w^-1/2 but for a rotation, which changes no eigenvalue
  found = np.square(np.linalg.svd(whitened, compute_uv=False)) / (n - 1)
  rank = effective_rank(found, eps=eps)
  return dict(
    metrics=dict(lidar=rank, fraction=rank / min(dim, n - 1)), parameters=dict(n=n, views=q, dim=dim, delta=delta, eps=eps)
  )


def alignment(embeddings: np.ndarray) -> float:
  """Mean over images and pairs of their views of |z_i - z_j|^2, z on the unit sphere: 0 where all views are one point.

  Args:
    embeddings: `[n, q, dim]`, q >= 2 views of each image; normalised here.

  Raises:
    ValueError: for another shape, what is not finite, or an embedding that is 0.

  Example:

    >>> alignment(np.array([[[1.0, 0.0], [0.0, 2.0]]]))
    2.0
  """
  z = _views("alignment", embeddings, least=1)
  norms = np.linalg.norm(z, axis=-1, keepdims=True)
  if not norms.min() > 0:
    raise ValueError("alignment: an embedding is 0, which has no direction")
  z, q = z / norms, z.shape[1]
  # The sum of all squared differences of q unit vectors is 2 q^2 - 2 |their sum|^2; each with itself has none.
  return float(((2 * q * q - 2 * np.square(z.sum(1)).sum(-1)) / (q * (q - 1))).mean())


def _views(name: str, embeddings: np.ndarray, least: int = 2) -> np.ndarray:
  e = np.asarray(embeddings, np.float64)
  if e.ndim != 3 or e.shape[0] < least or e.shape[1] < 2 or not np.isfinite(e).all():
    raise ValueError(
      f"{name}: give finite embeddings [images, views, dim] of two views or more; found shape {e.shape}, or NaN or infinity"
    )
  return e
