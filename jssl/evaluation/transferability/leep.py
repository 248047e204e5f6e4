"""LEEP and NLEEP: how well the classes of the source, or clusters of features, foretell the labels of the target.

Nguyen, Hassner, Seeger, Archambeau, "LEEP: A New Measure to Evaluate Transferability of Learned Representations", ICML 2020,
arXiv 2002.12462; held against thuml/LogME, LEEP.py. Li, Jia, Sang, Zhu, Green, Wang, Gong, "Ranking Neural Checkpoints",
CVPR 2021, arXiv 2011.11200; held against lixiaotong97/PED, metrics.py.
"""

import warnings

import numpy as np

from jssl.evaluation.transferability.target import check_target


def leep_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
  """Mean log likelihood of the labels when they are foretold by way of the source's classes.

      p(y, z) = sum_{i: y_i = y} P_iz / n,   score = mean_i ln sum_z p(y_i | z) P_iz

  Args:
    probabilities: P `[n, source classes]`, what the source's classifier says of the target's images; rows sum to 1.
    labels: integers `[n]`.

  Returns:
    The score, at most 0; higher is better.

  Raises:
    ValueError: see `check_target`, for rows that are the same for all as well; for what are no probabilities.

  Example:

    >>> leep_score(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), np.array([1, 1, 0, 0]))
    0.0
  """
  p, y, counts = check_target("leep", probabilities, labels)
  if p.min() < 0 or not np.allclose(p.sum(1), 1, atol=1e-3):
    raise ValueError("leep: give probabilities, whose rows sum to 1, and no logits")
  return float(np.log(_foretold(p, y, len(counts))).mean())


def nleep_score(
  features: np.ndarray, labels: np.ndarray, *, components: int = 5, variance: float = 0.8, log: bool = False, seed: int = 0
) -> float:
  """LEEP with clusters in the place of the source's classes, so that no classifier is needed.

  The clusters are a mixture of Gaussians with full covariances (scikit-learn's, started by k-means) on the principal
  components that hold a share of the variance.

  Args:
    features: `[n, dim]`.
    labels: integers `[n]`.
    components: clusters for each class. PED's authors take 1 on Food and Pets.
    variance: the share of the principal components, in (0, 1).
    log: whether logarithms of probabilities are averaged, as in the paper; the code of SFDA and PED averages probabilities.
    seed: of the mixture's start, which moves the score.

  Returns:
    The score; higher is better.

  Raises:
    ValueError: see `check_target`; for more clusters than examples, or numbers out of range.

  Example:

    >>> features = np.repeat(np.array([[0.0, 0.0], [5.0, 1.0]]), 10, 0) + np.random.default_rng(0).normal(size=(20, 2))
    >>> round(nleep_score(features, np.repeat([0, 1], 10), components=1), 2)
    1.0
  """
  from sklearn.decomposition import PCA  # pylint: disable=g-import-not-at-top  # a second of every start
  from sklearn.exceptions import ConvergenceWarning  # pylint: disable=g-import-not-at-top
  from sklearn.mixture import GaussianMixture  # pylint: disable=g-import-not-at-top

  x, y, counts = check_target("nleep", features, labels)
  clusters = components * len(counts)
  if not 0 < variance < 1 or components < 1 or clusters > len(x):
    raise ValueError(
      f"nleep: components={components}, variance={variance}: give a share in (0, 1), and one component a class or more; "
      f"{len(counts)} classes make {clusters} clusters of {len(x)} examples"
    )
  reduced = PCA(n_components=variance, svd_solver="full").fit_transform(x)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # after a hundred steps the score moves no more than by the seed
    p = GaussianMixture(clusters, random_state=seed).fit(reduced).predict_proba(reduced)
  found = _foretold(p, y, len(counts))
  return float((np.log(found) if log else found).mean())


def _foretold(p: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
  """`[n]`, the probability of each example's label by way of z; above 0, since the example itself was counted."""
  joint = np.zeros((classes, p.shape[1]))
  np.add.at(joint, y, p)
  total = joint.sum(0)
  given = joint / np.where(total > 0, total, 1.0)  # a z of which nothing is says nothing
  return (given[y] * p).sum(1)
