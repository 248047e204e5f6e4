"""kNN against a plain loop and against scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from jssl.evaluation import knn_accuracy


def _data(seed=0, n=40, m=23, dim=6, classes=4):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(n, dim)), rng.integers(0, classes, n), rng.normal(size=(m, dim)), rng.integers(0, classes, m)


def _slow_accuracy(bank, bank_labels, queries, labels, k, temperature, classes):
  correct = 0
  for query, label in zip(queries, labels, strict=True):
    cosine = [float(query @ b / np.linalg.norm(query) / np.linalg.norm(b)) for b in bank]
    votes = np.zeros(classes)
    for i in sorted(range(len(bank)), key=lambda i: -cosine[i])[:k]:
      votes[bank_labels[i]] += np.exp(cosine[i] / temperature)
    correct += votes.argmax() == label
  return correct / len(labels)


@pytest.mark.parametrize("chunk", [1, 8, 100])
def test_equals_the_written_out_vote_whatever_the_chunk(chunk):
  data = _data()
  result = knn_accuracy(*data, k=(1, 5, 40), temperature=0.07, num_classes=4, chunk=chunk)
  for k in (1, 5, 40):
    assert result["metrics"][f"k{k}"] == pytest.approx(_slow_accuracy(*data, k, 0.07, 4), abs=1e-7)
  assert result["parameters"]["k"] == (1, 5, 40) and result["parameters"]["bank"] == 40


def test_equals_scikit_learn_with_the_same_weights():
  bank, bank_labels, queries, labels = _data(1)
  bank, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank, queries))
  # On the sphere |a - b|^2 = 2 - 2 cos.
  vote = KNeighborsClassifier(7, weights=lambda d: np.exp((1 - d**2 / 2) / 0.2)).fit(bank, bank_labels)
  result = knn_accuracy(bank, bank_labels, queries, labels, k=7, temperature=0.2, num_classes=4)
  assert result["metrics"]["k7"] == pytest.approx(vote.score(queries, labels), abs=1e-7)


def test_the_plain_vote_is_scikit_learns():
  bank, bank_labels, queries, labels = _data(3)
  bank, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (bank, queries))
  result = knn_accuracy(bank, bank_labels, queries, labels, k=(1, 9), weighted=False, num_classes=4)
  for k in (1, 9):
    vote = KNeighborsClassifier(k).fit(bank, bank_labels)  # a tie goes to the smaller class there, too
    assert result["metrics"][f"k{k}"] == pytest.approx(vote.score(queries, labels), abs=1e-7)
  assert result["parameters"]["weighted"] is False and "temperature" not in result["parameters"]


def test_a_small_temperature_neither_overflows_nor_changes_the_nearest_neighbour():
  data = _data(2)
  cold = knn_accuracy(*data, k=(1, 20), temperature=1e-5, num_classes=4)["metrics"]
  assert cold["k20"] == cold["k1"]


def test_refuses_more_neighbours_than_there_are_and_labels_out_of_range():
  bank, bank_labels, queries, labels = _data()
  with pytest.raises(ValueError, match="size of the bank, 40"):
    knn_accuracy(bank, bank_labels, queries, labels, k=41, num_classes=4)
  with pytest.raises(ValueError, match="bank_labels range"):
    knn_accuracy(bank, bank_labels, queries, labels, num_classes=3)
  with pytest.raises(ValueError, match="one label"):
    knn_accuracy(bank, bank_labels[:-1], queries, labels, num_classes=4)
