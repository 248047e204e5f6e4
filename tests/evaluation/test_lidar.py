"""LiDAR and alignment against their written forms and on embeddings whose answer is known."""

import numpy as np
import pytest
from scipy import linalg

from jssl.evaluation import alignment, lidar_score, rankme_score

RNG = np.random.default_rng(0)


def test_equals_the_written_form():
  e = RNG.normal(size=(30, 4, 5)) * np.array([3, 2, 1, 1, 0.5]) + RNG.normal(size=(30, 1, 5)) + 7.0
  means = e.mean(1)
  between = sum(np.outer(m - means.mean(0), m - means.mean(0)) for m in means) / 29
  within = sum(np.outer(x - m, x - m) for views, m in zip(e, means, strict=True) for x in views) / (30 * 3)
  root = linalg.inv(linalg.sqrtm(within + 0.01 * np.eye(5)))
  values = np.linalg.eigvalsh(root @ between @ root)
  p = values / values.sum() + 1e-8
  found = lidar_score(e, delta=0.01)
  assert found["metrics"]["lidar"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-9)
  assert found["metrics"]["fraction"] == pytest.approx(found["metrics"]["lidar"] / 5)


def test_what_differs_between_views_alone_does_not_count():
  """Eight directions tell images apart; in twenty-four more each view is somewhere else, which RankMe takes for rank."""
  images = np.concatenate([RNG.normal(size=(2000, 1, 8)), np.zeros((2000, 1, 24))], -1)
  noise = np.concatenate([np.full(8, 0.01), np.ones(24)]) * RNG.normal(size=(2000, 10, 32))
  e = images + noise
  assert lidar_score(e)["metrics"]["lidar"] == pytest.approx(8, rel=0.02)
  assert rankme_score(e.reshape(-1, 32))["metrics"]["rankme"] > 30


def test_scale_within_the_limit_of_delta_and_rotation():
  e = RNG.normal(size=(50, 5, 6)) + 3 * RNG.normal(size=(50, 1, 6))
  rotation = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
  score = lambda x, **numbers: lidar_score(x, **numbers)["metrics"]["lidar"]
  assert score(e @ rotation) == pytest.approx(score(e), rel=1e-9)
  assert score(100 * e, delta=1.0) == pytest.approx(score(e, delta=1e-4), rel=1e-9)


def test_alignment_is_the_mean_over_pairs():
  e = RNG.normal(size=(4, 3, 5))
  z = e / np.linalg.norm(e, axis=-1, keepdims=True)
  pairs = [np.square(z[i, a] - z[i, b]).sum() for i in range(4) for a in range(3) for b in range(3) if a != b]
  assert alignment(e) == pytest.approx(np.mean(pairs), rel=1e-12)
  assert alignment(np.repeat(e[:, :1], 3, 1)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
  "score, embeddings, message",
  [
    (lidar_score, np.ones((4, 3, 2)), "lidar: the embeddings of all images are the same"),
    (lidar_score, np.ones((4, 1, 2)), r"lidar: give finite embeddings \[images, views, dim\]"),
    (lidar_score, np.full((4, 3, 2), np.nan), "NaN"),
    (alignment, np.ones((4, 2)), "alignment: give finite"),
    (alignment, np.zeros((4, 2, 3)), "has no direction"),
  ],
)
def test_what_cannot_be_scored_is_told(score, embeddings, message):
  with pytest.raises(ValueError, match=message):
    score(embeddings)
