"""The linear probe: what it learns, and on what it chooses."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jssl.evaluation import linear_probe

SMALL = dict(num_classes=3, epochs=10, batch_size=16)


def _blobs(n, seed, dim=5, spread=0.3, scale=1.0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 3, n)
  centers = np.random.default_rng(99).normal(size=(3, dim)) * 2
  return scale * (centers[labels] + spread * rng.normal(size=(n, dim))), labels


def test_separates_separable_data():
  result = linear_probe(*_blobs(120, 0), *_blobs(60, 1), **SMALL)
  assert result["metrics"]["accuracy"] > 0.98
  assert result["parameters"]["fitted_on"] == 96 and result["parameters"]["chosen_on"] == 24


def test_standardizing_makes_the_probe_independent_of_the_scale():
  scaled = [linear_probe(*_blobs(120, 0, scale=s), *_blobs(60, 1, scale=s), **SMALL)["by_lr"] for s in (1.0, 1e-3)]
  assert scaled[0] == scaled[1]


def test_chooses_the_rate_on_the_held_out_part_and_never_on_the_test_set():
  train = _blobs(150, 2, spread=2.0)
  test, labels = _blobs(60, 3, spread=2.0)
  rates = (1e-6, 0.01, 0.3, 30.0)
  honest = linear_probe(*train, test, labels, learning_rates=rates, **SMALL)
  spoilt = linear_probe(*train, test, (labels + 1) % 3, learning_rates=rates, **SMALL)
  assert honest["metrics"]["lr"] == spoilt["metrics"]["lr"]
  assert honest["metrics"]["held_out_accuracy"] == spoilt["metrics"]["held_out_accuracy"]
  best = max(rates, key=lambda rate: (honest["by_lr"][rate]["held_out"], -rate))
  assert honest["metrics"]["lr"] == best
  assert honest["metrics"]["accuracy"] == honest["by_lr"][best]["test"]


def test_is_deterministic_by_seed():
  data = (*_blobs(90, 4, spread=2.0), *_blobs(60, 5, spread=2.0))
  first, again, other = (linear_probe(*data, **SMALL, seed=seed) for seed in (0, 0, 1))
  assert first == again
  assert first["by_lr"] != other["by_lr"]


def test_reaches_the_optimum_of_logistic_regression():
  features, labels = _blobs(200, 6, spread=2.5)
  test, test_labels = _blobs(300, 7, spread=2.5)
  result = linear_probe(features, labels, test, test_labels, num_classes=3, epochs=100, batch_size=32)
  reference = LogisticRegression(C=1e4).fit(features, labels).score(test, test_labels)
  assert result["metrics"]["accuracy"] == pytest.approx(reference, abs=0.04)


def test_refuses_a_split_without_both_parts():
  data = (*_blobs(10, 0), *_blobs(10, 1))
  for fraction in (0.0, 1.0):
    with pytest.raises(ValueError, match="both parts"):
      linear_probe(*data, **SMALL, held_out=fraction)
