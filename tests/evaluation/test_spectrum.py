"""Scores of a spectrum on features whose spectrum is known, and how they stand to each other."""

import numpy as np
import pytest

from jssl.evaluation import alpha_req, participation_ratio, rankme_score, spectrum_scores, uniformity

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(4000, 32))


def with_spectrum(deviations, n=400):
  """Features whose covariance has exactly the squares of these as its eigenvalues."""
  dim = len(deviations)
  white = np.linalg.qr(np.concatenate([np.ones((n, 1)), RNG.normal(size=(n, dim))], 1))[0][:, 1:] * np.sqrt(n)
  return white * deviations @ np.linalg.qr(RNG.normal(size=(dim, dim)))[0] + 3.0


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.5])
def test_the_exponent_of_a_power_law(alpha):
  features = with_spectrum(np.arange(1, 65) ** (-alpha / 2))
  found = spectrum_scores(features)
  assert found["metrics"]["alpha"] == pytest.approx(alpha, rel=1e-6) and found["parameters"]["ranks"] == (8, 32)


def test_a_rank_k_matrix_has_k_dimensions():
  features = with_spectrum(np.array([1.0] * 5 + [1e-9] * 27))
  found = spectrum_scores(features)
  assert "alpha" not in found["metrics"]
  assert found["parameters"]["no_alpha"] == (
    "alpha_req: not all eigenvalues 4 to 16 are above 0: the features use fewer dimensions"
  )
  assert found["metrics"]["participation_ratio"] == pytest.approx(5.0, rel=1e-6)
  values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
  assert participation_ratio(values) == pytest.approx(5.0, rel=1e-6)
  assert rankme_score(features, center=True)["metrics"]["rankme"] == pytest.approx(5.0, rel=1e-3)


def test_an_isotropic_gaussian_fills_the_sphere():
  found = spectrum_scores(NORMAL)["metrics"]
  assert found["participation_ratio"] == pytest.approx(32, rel=0.02) and abs(found["alpha"]) < 0.1
  assert found["spread"] == pytest.approx(1.0, abs=0.01)
  # E exp(-4 (1 - u)) of the cosine u of two directions, whose density goes with (1 - u^2)^((dim - 3) / 2).
  u = np.linspace(-1, 1, 100_001)
  density = (1 - u**2) ** ((32 - 3) / 2)
  assert found["uniformity"] == pytest.approx(np.log((np.exp(-4 * (1 - u)) * density).sum() / density.sum()), abs=2e-3)


def test_uniformity_is_the_mean_over_all_pairs():
  z = RNG.normal(size=(7, 3))
  unit = z / np.linalg.norm(z, axis=1, keepdims=True)
  pairs = [np.exp(-3.0 * np.square(unit[i] - unit[j]).sum()) for i in range(7) for j in range(7) if i != j]
  assert uniformity(z, t=3.0, chunk=2) == pytest.approx(np.log(np.mean(pairs)), abs=1e-5)


def test_duplicates_change_nothing_but_pairs():
  once = spectrum_scores(NORMAL[:500])["metrics"]
  twice = spectrum_scores(np.repeat(NORMAL[:500], 2, 0))["metrics"]
  for name in ("participation_ratio", "spread", "alpha"):
    assert twice[name] == pytest.approx(once[name], rel=1e-9), name
  assert twice["uniformity"] > once["uniformity"]


def test_scale_and_rotation_change_nothing():
  rotated = 40.0 * NORMAL @ np.linalg.qr(RNG.normal(size=(32, 32)))[0]
  for name, value in spectrum_scores(NORMAL)["metrics"].items():
    assert spectrum_scores(rotated)["metrics"][name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize(
  "features, message",
  [
    (np.ones((9, 4)), "all features are the same"),
    (np.full((9, 4), np.nan), "finite matrix"),
    (np.ones((1, 4)), "n >= 2"),
    (np.ones((9, 4, 2)), "finite matrix"),
  ],
)
def test_what_has_no_spectrum_is_told(features, message):
  with pytest.raises(ValueError, match=message):
    spectrum_scores(features)


def test_the_line_is_weighted_by_one_over_the_rank():
  """Against the normal equations, on a spectrum with a kink, where weights matter."""
  values = np.concatenate([np.arange(1, 33) ** -1.0, 32.0**-1 * (np.arange(33, 65) / 32) ** -3.0])
  x = np.stack([np.ones(60), np.log(np.arange(5, 65))], 1)
  weight = 1 / np.arange(5, 65)
  slope = np.linalg.solve(x.T * weight @ x, x.T * weight @ np.log(values[4:64]))[1]
  assert alpha_req(values, (5, 64)) == pytest.approx(-slope, rel=1e-9) and slope < -1.2


def test_what_cannot_be_fitted_or_normalised_is_told():
  zero = spectrum_scores(np.concatenate([np.zeros((1, 32)), NORMAL[:99]]))
  assert "none of which is 0" in zero["parameters"]["no_uniformity"] and zero["metrics"]["alpha"] < 1
  with pytest.raises(ValueError, match="give the first and the last"):
    spectrum_scores(NORMAL, ranks=(50,))
  with pytest.raises(ValueError, match="at least three"):
    alpha_req(np.ones(8), (7, 8))
  with pytest.raises(ValueError, match="none of which is 0"):
    uniformity(np.zeros((3, 2)))
