"""Clusters of frozen features beside the classes: k-means, and how far the two agree."""

import numpy as np

from jssl.evaluation.selection import check_features, check_labels


def cluster_agreement(
  train: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  clusters: int | None = None,
  normalize: bool = True,
  starts: int = 10,
  seed: int = 0,
) -> dict:
  """k-means on training features without labels; the test examples' clusters are held against their classes.

  Args:
    train: features `[n, dim]`.
    test: features `[m, dim]`.
    test_labels: `[m]` integers in [0, num_classes).
    num_classes: number of classes.
    clusters: their number; by default as many as there are classes.
    normalize: whether features are L2-normalised first.
    starts: of k-means (scikit-learn's, k-means++), of which the one with the least inertia counts.
    seed: of the starts.

  Returns:
    `metrics`: `acc`, the fraction of test examples whose cluster stands for their class under the best one-to-one matching
    of clusters and classes; `nmi` (by the arithmetic mean of the entropies) and `ari`, scikit-learn's; and the `parameters`.

  Raises:
    ValueError: for more clusters than training features, numbers out of range, or features that are not finite or all the
      same.
  """
  # pylint: disable=g-import-not-at-top  # a second of every start
  from scipy.optimize import linear_sum_assignment
  from sklearn import cluster, metrics

  test_labels = check_labels(test_labels, num_classes, "test_labels")
  count = num_classes if clusters is None else clusters
  if not isinstance(count, int) or not 1 <= count <= len(train) or starts < 1:
    raise ValueError(f"clusters={count}, starts={starts}: give 1 to {len(train)} clusters, as many as training features")
  train, test = check_features("clusters", train, test)
  if normalize:
    train, test = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (train, test))
  found = cluster.KMeans(count, n_init=starts, random_state=seed).fit(train).predict(test)
  table = np.zeros((count, num_classes), np.int64)
  np.add.at(table, (found, test_labels), 1)
  matched = table[linear_sum_assignment(table, maximize=True)].sum()
  return dict(
    metrics=dict(
      acc=float(matched / len(test)),
      nmi=float(metrics.normalized_mutual_info_score(test_labels, found)),
      ari=float(metrics.adjusted_rand_score(test_labels, found)),
    ),
    parameters=dict(clusters=count, normalize=normalize, starts=starts, seed=seed),
  )
