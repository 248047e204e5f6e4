"""A classifier on a few labels of each class."""

import numpy as np
import pytest
from scipy import optimize

from jssl.evaluation import EvaluationData, FeatureModel, few_label_accuracy, parse_protocols, run_protocols
from jssl.evaluation.few_labels import draw_labelled

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(3, 5))


def examples(n, noise=0.9):
  labels = RNG.integers(0, 3, n)
  return (CENTRES[labels] + noise * RNG.normal(size=(n, 5))).astype(np.float32) * 7 + 3, labels


def predictions(features, labels, queries, penalty):
  """Of the penalised likelihood's maximum, found by SciPy from the equation."""

  def loss(flat):
    weights, bias = flat[:15].reshape(5, 3), flat[15:]
    logits = features @ weights + bias
    likelihood = logits[np.arange(len(labels)), labels] - np.log(np.exp(logits).sum(1))
    return -likelihood.sum() + penalty / 2 * (weights**2).sum()

  found = optimize.minimize(loss, np.zeros(18), method="BFGS").x
  return (queries @ found[:15].reshape(5, 3) + found[15:]).argmax(1)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 100.0])
def test_accuracies_are_those_of_the_penalised_likelihood(penalty):
  (train, labels), (test, test_labels) = examples(200), examples(300)
  found = few_label_accuracy(
    train, labels, test, test_labels, num_classes=3, per_class=(4, 10), draws=2, penalty=penalty, seed=5
  )
  mean, std = train.mean(0), train.std(0)
  for count in (4, 10):
    accuracies = []
    for draw in range(2):
      chosen = draw_labelled(labels, [count] * 3, (5, draw))
      predicted = predictions((train[chosen] - mean) / std, labels[chosen], (test - mean) / std, penalty)
      accuracies.append(np.mean(predicted == test_labels))
    assert found["metrics"][f"n{count}"] == pytest.approx(np.mean(accuracies), abs=0.007)  # a query on the border or two
    assert found["metrics"][f"n{count}_std"] == pytest.approx(np.std(accuracies), abs=0.007)


def test_labels_are_drawn_by_class_and_more_hold_the_fewer():
  _, labels = examples(200)
  few, many = draw_labelled(labels, [3] * 3, (0, 0)), draw_labelled(labels, [9] * 3, (0, 0))
  assert np.bincount(labels[few]).tolist() == [3, 3, 3] and len(set(few)) == 9
  assert set(few) <= set(many) and set(few) != set(draw_labelled(labels, [3] * 3, (0, 1)))


def test_shares_are_of_each_class():
  train, _ = examples(100)
  labels = np.repeat([0, 1, 2], [75, 20, 5])
  found = few_label_accuracy(train, labels, train, labels, num_classes=3, per_class=(), fractions=(0.1, 1.0), draws=2)
  assert found["metrics"].keys() == {"share0.1", "share0.1_std", "share1", "share1_std"}
  assert found["metrics"]["share1_std"] == pytest.approx(0.0, abs=0.011)  # all of them, whatever the draw
  # A tenth of the last class would be half an example.
  accuracies, mean, std = [], train.mean(0), train.std(0)
  for draw in range(2):
    chosen = draw_labelled(labels, [8, 2, 1], (0, draw))
    assert np.bincount(labels[chosen]).tolist() == [8, 2, 1]
    accuracies.append(
      np.mean(predictions((train[chosen] - mean) / std, labels[chosen], (train - mean) / std, 1.0) == labels)
    )
  assert found["metrics"]["share0.1"] == pytest.approx(np.mean(accuracies), abs=0.011)


def test_shuffled_labels_are_at_chance():
  (train, labels), (test, test_labels) = examples(600), examples(600)
  numbers = dict(num_classes=3, per_class=50, draws=2)
  shuffled = RNG.permutation(test_labels)
  assert few_label_accuracy(train, labels, test, shuffled, **numbers)["metrics"]["n50"] == pytest.approx(1 / 3, abs=0.08)
  assert few_label_accuracy(train, labels, test, test_labels, **numbers)["metrics"]["n50"] > 0.6


def test_numbers_that_cannot_be_are_named():
  train, labels = examples(30)
  for numbers in (dict(per_class=31), dict(per_class=()), dict(fractions=1.5), dict(draws=0), dict(penalty=0.0)):
    with pytest.raises(ValueError, match="give 1 to as many of a class"):
      few_label_accuracy(train, labels, train, labels, num_classes=3, **numbers)


@pytest.mark.parametrize(
  "spelling, names",
  [
    ("few_labels:per_class=(1,2,5,10,50),draws=10", ["n1", "n2", "n5", "n10", "n50"]),
    ("few_labels:fractions=(0.01,0.1)", ["n10", "share0.01", "share0.1"]),
  ],
)
def test_how_the_papers_numbers_are_spelled(spelling, names):
  (train, labels), (test, test_labels) = examples(300), examples(60)
  image = lambda x: np.clip(x * 4 + 100, 0, 255).astype(np.uint8)[:, None, :, None]
  data = EvaluationData(dict(image=image(train), label=labels), dict(image=image(test), label=test_labels))
  model = FeatureModel("mine", lambda batch: batch["image"][:, 0, :, 0].astype(np.float32))
  numbers = parse_protocols([spelling])
  found = run_protocols(numbers, model, data, **numbers)["few_labels"]
  assert list(found["metrics"]) == [part for name in names for part in (name, f"{name}_std")]
  assert found["parameters"]["draws"] == (10 if "draws" in spelling else 5)
