"""Accuracies of groups of test examples against the same score on each group alone."""

import functools

import numpy as np
import pytest

from jssl.evaluation import (
  EvaluationData,
  few_label_accuracy,
  knn_accuracy,
  linear_probe,
  raw_pixel_model,
  run_protocols,
  View,
)

SCORES = {
  "k3": functools.partial(knn_accuracy, k=3),
  "n4": functools.partial(few_label_accuracy, per_class=4, draws=2),
  "accuracy": functools.partial(linear_probe, epochs=3),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_groups_accuracy_is_that_of_its_examples_alone(name):
  rng = np.random.default_rng(0)
  centres = rng.normal(size=(3, 5))
  train_labels, labels = rng.integers(0, 3, 90), rng.integers(0, 3, 60)
  train, test = (centres[of] + rng.normal(size=(len(of), 5)) for of in (train_labels, labels))
  groups = rng.choice([4, 0, 7], 60)
  score = functools.partial(SCORES[name], num_classes=3)
  found = score(train, train_labels, test, labels, groups=groups)["metrics"]
  assert [key for key in found if "group" in key] == [f"{name}_group{group}" for group in (0, 4, 7)]
  for group in (0, 4, 7):
    own = groups == group
    alone = score(train, train_labels, test[own], labels[own])["metrics"]
    assert found[f"{name}_group{group}"] == pytest.approx(alone[name], abs=1e-6)
  assert len({found[f"{name}_group{group}"] for group in (0, 4, 7)}) > 1
  without = score(train, train_labels, test, labels)["metrics"]
  assert without == {key: value for key, value in found.items() if "group" not in key}
  for wrong in (groups[1:], groups / 2):
    with pytest.raises(ValueError, match="groups must be integers \\[60\\]"):
      score(train, train_labels, test, labels, groups=wrong)


def test_a_protocol_takes_the_name_of_an_array():
  rng = np.random.default_rng(0)
  split = lambda n: dict(image=rng.integers(0, 256, (n, 8, 8, 3), np.uint8), label=np.arange(n) % 3)
  test = split(12) | dict(domain=np.arange(12) % 2, speed=np.zeros(12))
  data = EvaluationData(split(30), test)
  model = raw_pixel_model(data, View(8), None)
  by = lambda name: run_protocols(["knn"], model, data, knn=dict(k=1, by=name))["knn"]
  found = by("domain")
  assert list(found["metrics"]) == ["k1", "k1_group0", "k1_group1"] and found["parameters"]["by"] == "domain"
  assert found["metrics"]["k1"] == pytest.approx((found["metrics"]["k1_group0"] + found["metrics"]["k1_group1"]) / 2)
  assert "by" not in run_protocols(["knn"], model, data, knn=dict(k=1))["knn"]["parameters"]
  assert "has no 'style' (test); it has domain" in by("style")["error"]
  assert "by='speed' of test must be integers [n]" in by("speed")["error"]
