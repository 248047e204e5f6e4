"""Domain purity against a plain loop."""

import numpy as np
import pytest

from jssl.evaluation import domain_purity


def slow(features, domains, k):
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  shares = []
  for i, query in enumerate(unit):
    others = sorted((j for j in range(len(unit)) if j != i), key=lambda j: -float(query @ unit[j]))[:k]
    shares.append(np.mean([domains[j] == domains[i] for j in others]))
  return np.mean(shares)


@pytest.mark.parametrize("chunk", [1, 16, 100])
def test_equals_the_written_out_share_whatever_the_chunk(chunk):
  rng = np.random.default_rng(0)
  domains = rng.choice([7, 3, 12], 37)
  features = rng.normal(size=(37, 4)) + 0.7 * np.eye(13, 4)[domains]
  result = domain_purity(features, domains, k=(1, 5, 36), chunk=chunk)
  for k in (1, 5, 36):
    assert result["metrics"][f"k{k}"] == pytest.approx(slow(features, domains, k), abs=1e-6)
  assert result["metrics"]["k36"] == pytest.approx(result["metrics"]["chance"], abs=1e-6)
  assert result["parameters"] == dict(k=(1, 5, 36), similarity="cosine", images=37, domains=3)


def test_separate_domains_are_pure_and_shuffled_ones_at_chance():
  rng = np.random.default_rng(1)
  domains = np.repeat([0, 1], 100)
  features = rng.normal(size=(200, 8))
  apart = np.concatenate([features, 20.0 * (2 * domains[:, None] - 1)], axis=1)
  assert domain_purity(apart, domains, k=10)["metrics"]["k10"] == 1
  mixed = domain_purity(features, domains, k=10)["metrics"]
  assert mixed["k10"] == pytest.approx(mixed["chance"], abs=0.05)


def test_errors():
  features = np.eye(4)
  with pytest.raises(ValueError, match="number of other images, 3"):
    domain_purity(features, np.zeros(4), k=4)
  with pytest.raises(ValueError, match="one domain"):
    domain_purity(features, np.zeros(3), k=1)
