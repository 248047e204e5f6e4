"""Clusters against classes, beside brute force over all matchings."""

import itertools

import numpy as np
import pytest
from sklearn import cluster, metrics

from jssl.evaluation import cluster_agreement

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, 6))


def examples(n, noise):
  labels = RNG.integers(0, 4, n)
  return CENTRES[labels] + noise * RNG.normal(size=(n, 6)), labels


def test_agreement_is_that_of_the_best_matching():
  (train, _), (test, labels) = examples(300, 1.0), examples(200, 1.0)
  found = cluster_agreement(train, test, labels, num_classes=4, seed=3)
  unit = lambda x: (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
  clusters = cluster.KMeans(4, n_init=10, random_state=3).fit(unit(train)).predict(unit(test))
  best = max(np.mean(np.array(names)[clusters] == labels) for names in itertools.permutations(range(4)))
  assert found["metrics"]["acc"] == pytest.approx(best) and 0.3 < best < 1
  assert found["metrics"]["nmi"] == pytest.approx(metrics.normalized_mutual_info_score(labels, clusters))
  assert found["metrics"]["ari"] == pytest.approx(metrics.adjusted_rand_score(labels, clusters))


def test_clear_classes_are_found_and_shuffled_labels_are_not():
  (train, _), (test, labels) = examples(300, 0.05), examples(600, 0.05)
  assert cluster_agreement(train, test, labels, num_classes=4)["metrics"] == dict(acc=1.0, nmi=1.0, ari=1.0)
  shuffled = cluster_agreement(train, test, RNG.permutation(labels), num_classes=4)["metrics"]
  assert shuffled["acc"] < 0.35 and abs(shuffled["ari"]) < 0.02 and shuffled["nmi"] < 0.02


def test_more_clusters_than_classes_and_what_cannot_be():
  (train, _), (test, labels) = examples(300, 0.05), examples(100, 0.05)
  found = cluster_agreement(train, test, labels, num_classes=4, clusters=8)
  assert found["metrics"]["acc"] < 1 and found["parameters"]["clusters"] == 8
  with pytest.raises(ValueError, match="give 1 to 300 clusters"):
    cluster_agreement(train, test, labels, num_classes=4, clusters=301)
