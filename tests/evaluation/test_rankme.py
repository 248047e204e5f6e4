"""RankMe on matrices whose rank is known."""

import numpy as np
import pytest

from jssl.evaluation import effective_rank, rankme_score


def _score(z, **numbers):
  return rankme_score(z, **numbers)["metrics"]["rankme"]


def test_orthonormal_columns_have_full_rank_and_a_single_direction_has_rank_one():
  rng = np.random.default_rng(0)
  orthonormal = np.linalg.qr(rng.normal(size=(40, 8)))[0]
  assert _score(orthonormal) == pytest.approx(8.0, abs=1e-4)
  assert rankme_score(orthonormal)["metrics"]["fraction"] == pytest.approx(1.0, abs=1e-5)
  single = np.outer(rng.normal(size=40), rng.normal(size=8))
  assert _score(single) == pytest.approx(1.0, abs=1e-4)
  assert rankme_score(single)["metrics"]["numerical_rank"] == 1


def test_equals_the_formula_on_known_singular_values():
  s, eps = np.array([4.0, 2.0, 1.0]), 1e-3
  p = s / s.sum() + eps
  assert effective_rank(s, eps=eps) == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=1e-12)
  assert _score(np.diag(s), eps=eps) == pytest.approx(effective_rank(s, eps=eps), rel=1e-12)


def test_ignores_scale_and_rotation_but_not_a_constant_unless_centered():
  rng = np.random.default_rng(1)
  z = rng.normal(size=(50, 6)) * np.array([3, 2, 1, 1, 0.5, 0.1])
  rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
  assert _score(100 * z) == pytest.approx(_score(z), rel=1e-9)
  assert _score(z @ rotation) == pytest.approx(_score(z), rel=1e-9)
  assert _score(z + 20.0) < 0.7 * _score(z)
  assert _score(z + 20.0, center=True) == pytest.approx(_score(z, center=True), rel=1e-6)


def test_a_collapsed_matrix_and_one_that_is_not_finite():
  assert _score(np.zeros((5, 3))) == 0.0
  assert effective_rank(np.array([1.0, 0.0]), eps=0.0) == 1.0
  with pytest.raises(ValueError, match="finite"):
    rankme_score(np.full((5, 3), np.nan))
