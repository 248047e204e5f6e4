"""What the spread of features tells without labels, beside RankMe: the decay of their spectrum and how they fill the sphere.

alpha-ReQ (Agrawal, Mondal, Ghosh, Richards, "alpha-ReQ: Assessing Representation Quality in Self-Supervised Learning by
measuring eigenspectrum decay", NeurIPS 2022): the eigenvalues l_1 >= l_2 >= ... of the features' covariance fall like
i^-alpha; alpha near 1 goes with good features, far above it with collapsed ones. The authors' code
(kumarkrishna/fastssl) weights rank i by 1 / i, as here, and fits ranks 3 to 99, 5 to 79 or 5 to 49; the paper leaves
them open. Participation ratio: (sum l)^2 / sum l^2, from 1 to the number of dimensions. Uniformity (Wang and Isola,
"Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere", ICML 2020).
Spread: what a run watches while it trains, see `jssl.collapse.spread`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import l2_normalize
from jssl.evaluation.chunks import map_chunks


def alpha_req(eigenvalues: np.ndarray, ranks: tuple[int, int]) -> float:
  """The exponent alpha of l_i ~ i^-alpha: the slope of a line through (log i, log l_i), by least squares with weights 1 / i.

  Args:
    eigenvalues: `[m]`, from the largest to the smallest.
    ranks: the first and the last i, from 1.

  Raises:
    ValueError: if those are fewer than three eigenvalues, or one of them is not above 0.

  Example:

    >>> round(alpha_req(np.arange(1, 65) ** -1.5, (4, 32)), 6)
    1.5
  """
  first, last = ranks
  chosen = np.asarray(eigenvalues, np.float64)[first - 1 : last]
  if first < 1 or len(chosen) < max(last - first + 1, 3):
    raise ValueError(f"alpha_req: ranks={ranks} of {len(eigenvalues)} eigenvalues: give a range of at least three of them")
  if not chosen.min() > 1e-12 * eigenvalues[0]:
    raise ValueError(f"alpha_req: not all eigenvalues {first} to {last} are above 0: the features use fewer dimensions")
  index = np.arange(first, last + 1)
  return float(-np.polyfit(np.log(index), np.log(chosen), 1, w=index**-0.5)[0])  # polyfit squares what it is given


def participation_ratio(eigenvalues: np.ndarray) -> float:
  """(sum l)^2 / sum l^2: m for m equal eigenvalues, 1 where one of them is all.

  Args:
    eigenvalues: `[m]`, >= 0, not all of them 0.

  Example:

    >>> participation_ratio(np.array([2.0, 2.0, 0.0]))
    2.0
  """
  return float(np.square(eigenvalues.sum()) / np.square(eigenvalues).sum())


@jax.jit
def _near(mine, *, others, t):
  """The sums over `others [n, dim]` of exp(-t |z_i - z_j|^2), `[rows]`; all are of length 1."""
  square = 2.0 - 2.0 * jnp.matmul(mine, others.T, precision="highest")
  return jnp.exp(-t * jnp.maximum(square, 0.0)).sum(1)


def uniformity(features: np.ndarray, *, t: float = 2.0, chunk: int = 256) -> float:
  """log of the mean over pairs of exp(-t |z_i - z_j|^2), z on the unit sphere: 0 in one point, near -2 t at best.

  Args:
    features: `[n, dim]`, n >= 2; normalised here. Each is held against all others, never against itself.
    t: > 0.
    chunk: of the rows held against all others at once.

  Raises:
    ValueError: if a row is 0.
  """
  norms = np.linalg.norm(features, axis=1)
  if len(features) < 2 or not norms.min() > 0:
    raise ValueError("uniformity: give two features or more, none of which is 0")
  z = l2_normalize(jnp.asarray(features, jnp.float32))
  row = functools.partial(_near, others=z, t=t)
  sums = map_chunks(row, np.asarray(z), chunk=min(chunk, len(z))).astype(np.float64)
  n = len(features)
  return float(np.log((sums.sum() - n) / (n * (n - 1))))  # exp(0) = 1 for each with itself


def spectrum_scores(
  features: np.ndarray, *, ranks: tuple[int, int] = (11, 100), pairs_of: int = 4096, t: float = 2.0
) -> dict:
  """The scores above of `features [n, dim]`; the spectrum in float64 on the host.

  Args:
    features: one row an example.
    ranks: of the eigenvalues between which alpha is fitted; no more than half of them, and where there are few, from an
      eighth of those on: the parameters say between which.
    pairs_of: features of which all pairs count for uniformity, the first ones.
    t: see `uniformity`.

  Returns:
    `metrics`: `alpha`, `participation_ratio`, `uniformity`, and `spread`, the root mean square distance of the normalised
    features from their mean: 1 where they point everywhere, 0 where all are parallel; and the `parameters`. Without `alpha`
    or `uniformity`, where there is none, and the parameters say why.

  Raises:
    ValueError: if features are not a finite matrix of two rows or more, or all of them are the same, or for other ranks.
  """
  features = np.asarray(features, np.float64)
  if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
    raise ValueError(
      f"spectrum: give a finite matrix [n, dim] with n >= 2; found shape {features.shape}, or NaN or infinity."
    )
  if len(ranks) != 2 or not 1 <= ranks[0] < ranks[1]:
    raise ValueError(f"spectrum: ranks={ranks}: give the first and the last, from 1")
  n, dim = features.shape
  centred = features - features.mean(0)
  if not np.abs(centred).max() > 1e-7 * np.abs(features).max():
    raise ValueError("spectrum: all features are the same: the network has collapsed")
  values = np.square(np.linalg.svd(centred, compute_uv=False)) / n
  most = min(n - 1, dim)
  used = (min(ranks[0], max(most // 8, 1)), min(ranks[1], most // 2))
  z = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
  metrics = dict(participation_ratio=participation_ratio(values), spread=float(np.sqrt(z.var(0).sum())))
  parameters = dict(n=n, dim=dim, ranks=used, pairs_of=min(n, pairs_of), t=t)
  scores = dict(alpha=lambda: alpha_req(values, used), uniformity=lambda: uniformity(features[:pairs_of], t=t))
  for name, score in scores.items():
    try:
      metrics[name] = score()
    except ValueError as error:
      parameters[f"no_{name}"] = str(error)
  return dict(metrics=metrics, parameters=parameters)
