"""PARC: whether images that differ in features differ in labels.

Bolya, Mittapalli, Hoffman, "Scalable Diverse Model Selection for Accessible Transfer Learning", NeurIPS 2021, arXiv
2111.06977; held against lixiaotong97/PED, metrics.py.
"""

import numpy as np
from scipy import stats

from jssl.evaluation.transferability.target import check_target


def parc_score(features: np.ndarray, labels: np.ndarray, *, dims: int = 32, examples: int = 2000, seed: int = 0) -> float:
  """100 times Spearman's correlation, over pairs of examples, of the distances of features and of labels.

  The distance is 1 less Pearson's correlation of two rows: of one-hot labels, and of the first principal components of the
  features, each standardised. As that correlation changes with a component's sign, the score stands on scikit-learn's
  convention of signs. Labels are the same or not, so that half of Spearman's ranks are of two values.

  Args:
    features: `[n, dim]`.
    labels: integers `[n]`.
    dims: principal components, at most.
    examples: of which all pairs are compared, at most; from more, of each class its share is drawn. The authors take 500 in
      the paper, and 15,000 in SFDA's code.
    seed: of the draw.

  Returns:
    The score, in [-100, 100]; higher is better.

  Raises:
    ValueError: see `check_target`; if no two examples share a class, or the features use a single dimension.

  Example:

    >>> features = np.random.default_rng(0).normal(size=(40, 8)) + 4 * np.eye(8)[np.arange(40) % 4]
    >>> parc_score(features, np.arange(40) % 4) > 20 > abs(parc_score(features, np.arange(40) // 10))
    True
  """
  from sklearn.decomposition import PCA  # pylint: disable=g-import-not-at-top  # a second of every start

  x, y, counts = check_target("parc", features, labels)
  if dims < 2 or examples < 2:
    raise ValueError(f"parc: dims={dims}, examples={examples}: give two or more of each")
  if len(x) > examples:
    rng = np.random.default_rng(seed)
    shares = np.maximum((counts * examples) // len(x), 1)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:share] for c, share in enumerate(shares)])
    x, y, counts = check_target("parc", x[chosen], y[chosen])
  if counts.max() < 2:
    raise ValueError("parc: no two examples are of one class: the labels' distances are all the same")
  pca = PCA(min(dims, *x.shape), svd_solver="full").fit(x)
  scales = np.sqrt(pca.explained_variance_)
  used = scales > 1e-7 * scales[0]
  if used.sum() < 2:
    raise ValueError("parc: the features use a single dimension, in which no correlation can be told")
  z = pca.transform(x)[:, used]
  z = z / z.std(0)
  rows, columns = np.triu_indices(len(z), 1)
  ranks = stats.rankdata(-np.corrcoef(z)[rows, columns])
  different = (y[rows] != y[columns]).astype(np.float64)
  return float(100 * np.corrcoef(ranks, different)[0, 1])
