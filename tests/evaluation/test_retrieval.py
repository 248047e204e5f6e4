"""Retrieval against scikit-learn, query by query."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jssl.evaluation import retrieval_scores

RNG = np.random.default_rng(0)


def test_against_each_query_by_itself():
  labels = np.append(RNG.integers(0, 3, 40), 7)  # the last is alone in its class
  features = RNG.normal(size=(3, 5))[np.minimum(labels, 2)] + RNG.normal(size=(41, 5))
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  precisions, first, fifth = [], [], []
  for i in range(40):
    others = np.arange(41) != i
    scores, right = unit[others] @ unit[i], labels[others] == labels[i]
    precisions.append(average_precision_score(right, scores))
    order = np.argsort(-scores)
    first.append(right[order[0]])
    fifth.append(right[order[:5]].any())
  found = retrieval_scores(features, labels, chunk=16)
  assert found["metrics"]["map"] == pytest.approx(np.mean(precisions), abs=1e-5)
  assert found["metrics"]["r1"] == pytest.approx(np.mean(first)) and found["metrics"]["r5"] == pytest.approx(np.mean(fifth))
  assert found["parameters"]["queries"] == 40 and found["parameters"]["gallery"] == 40


def test_equal_features_are_at_chance_whatever_their_order():
  labels = np.repeat(np.arange(10), 10)
  features = np.ones((100, 4)) * 2.0 ** (np.arange(100) % 9)[:, None]  # of one direction
  found = retrieval_scores(features, labels, k=(1, 91))
  assert found["metrics"]["map"] == pytest.approx(9 / 99, abs=1e-6)  # one threshold, which finds all
  assert found["metrics"]["r1"] == 0.0 and found["metrics"]["r91"] == 1.0


def test_chance_is_that_of_random_orders():
  labels = np.repeat(np.arange(20), 5)
  found = [retrieval_scores(RNG.normal(size=(100, 64)), labels) for _ in range(20)]
  assert found[0]["parameters"]["chance"] == pytest.approx(np.mean([x["metrics"]["map"] for x in found]), abs=0.004)
  assert found[0]["parameters"]["chance"] > 4 / 99 + 0.02


def test_shuffled_labels_find_no_more_than_there_are():
  features, labels = RNG.normal(size=(600, 8)), RNG.integers(0, 4, 600)
  assert retrieval_scores(features, labels)["metrics"]["map"] == pytest.approx(0.25, abs=0.02)
  assert retrieval_scores(np.eye(4)[labels] + 0.01 * features[:, :4], labels)["metrics"]["map"] == pytest.approx(1.0)


@pytest.mark.parametrize(
  "features, labels, k, message",
  [
    (np.eye(3), np.zeros(3, int), 3, "k must be below"),
    (np.eye(3), np.zeros(2, int), 1, "3 features, 2 labels"),
    (np.eye(3), np.arange(3), 1, "no class has two"),
  ],
)
def test_what_cannot_be_retrieved_is_told(features, labels, k, message):
  with pytest.raises(ValueError, match=message):
    retrieval_scores(features, labels, k=k)
