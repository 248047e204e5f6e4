"""Scores without labels, of the backbone and of the projector side by side; what must hold between them."""

import dataclasses

import numpy as np
import pytest

from jssl.evaluation import alignment, EvaluationData, FeatureModel, format_table, lidar_score, rankme_score, run_protocols

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(300, 16)).astype(np.float32)
PROJECTION = RNG.normal(size=(16, 8)).astype(np.float32)
VIEWS = RNG.normal(size=(300, 4, 16)).astype(np.float32)
NAMES = ("rankme", "spectrum", "lidar")


def _model(features=FEATURES, noise=0.3, **changes):
  """Images are their own numbers; a view is the image's features and noise of its own."""
  number = lambda batch: np.asarray(batch["image"])[:, 0, 0, :2].astype(int) @ np.array([1, 256])
  see = dict(image_features=lambda x: x, embeddings=lambda x: x @ PROJECTION)

  def drawn(kind, views, *, seed):
    shift = np.random.default_rng(seed).permutation(4)[:views]
    return lambda batch: see[kind](features[number(batch)][:, None] + noise * VIEWS[np.asarray(batch["index"])][:, shift])

  model = FeatureModel(
    "mine",
    image_features=lambda batch: features[number(batch)],
    embeddings=lambda batch: features[number(batch)] @ PROJECTION,
    embedding="z",
    embedding_dims=8,
    drawn=drawn,
  )
  return dataclasses.replace(model, **changes)


def _data(count=300):
  images = np.zeros((count, 2, 2, 3), np.uint8)
  images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
  return EvaluationData(train=dict(image=images))


def _run(model, **numbers):
  numbers = dict(lidar=dict(images=200, views=3)) | numbers
  return run_protocols(NAMES, model, _data(), **numbers)


def test_the_projector_stands_beside_the_backbone_and_moves_none_of_its_numbers():
  both, alone = _run(_model()), _run(_model(embeddings=None, embedding=None))
  for name in NAMES:
    assert alone[name]["metrics"].items() <= both[name]["metrics"].items()
    assert {f"embeddings_{key}" for key in alone[name]["metrics"]} <= both[name]["metrics"].keys()
    assert both[name]["parameters"]["of"] == "features and embeddings" and both[name]["parameters"]["embedding"] == "z"
    assert both[name]["parameters"]["embeddings_dim"] == 8 and alone[name]["parameters"]["of"] == "features"
  order = np.random.default_rng(0).permutation(300)
  wanted = rankme_score((FEATURES @ PROJECTION)[order])["metrics"]["rankme"]
  assert both["rankme"]["metrics"]["embeddings_rankme"] == pytest.approx(wanted, rel=1e-6)
  assert "embeddings" in format_table(dict(mine=both)).split("\n\n")[0].splitlines()[1]


def test_embeddings_that_cannot_be_scored_are_told_and_the_features_are_kept():
  for changes, message in (
    (dict(rankme=dict(embedding_dims=4)), "they have 8 dimensions, more than embedding_dims=4"),
    (dict(), "not all finite"),
  ):
    broken = {} if changes else dict(embeddings=lambda batch: np.full((len(batch["image"]), 8), np.nan))
    found = _run(_model(**broken), **changes)["rankme"]
    assert message in found["parameters"]["no_embeddings"] and found["parameters"]["of"] == "features"
    assert set(found["metrics"]) == {"rankme", "fraction", "numerical_rank"}


def test_lidar_is_that_of_the_views_with_alignment_beside_it():
  found = _run(_model(), lidar=dict(images=200, views=3, seed=5))["lidar"]
  chosen = np.sort(np.random.default_rng(5).permutation(300)[:200])
  shift = np.random.default_rng(5).permutation(4)[:3]
  e = FEATURES[chosen][:, None] + 0.3 * VIEWS[chosen][:, shift]
  assert found["metrics"]["lidar"] == pytest.approx(lidar_score(e)["metrics"]["lidar"], rel=1e-5)
  assert found["metrics"]["alignment"] == pytest.approx(alignment(e), rel=1e-5)
  assert found["metrics"]["embeddings_alignment"] == pytest.approx(alignment(e @ PROJECTION), rel=1e-4)
  assert (found["parameters"]["n"], found["parameters"]["views"]) == (200, 3)
  assert "has no drawn" in _run(_model(drawn=None))["lidar"]["error"]


def test_an_isotropic_gaussian_uses_all_dimensions_and_a_matrix_of_rank_k_only_k():
  wide = _run(_model(RNG.normal(size=(300, 16)).astype(np.float32), embeddings=None))
  basis = np.linalg.qr(RNG.normal(size=(16, 3)))[0].T.astype(np.float32)
  flat = _run(_model((RNG.normal(size=(300, 3)) @ basis).astype(np.float32), noise=0.0, embeddings=None))
  ranks = dict(rankme="rankme", spectrum="participation_ratio", lidar="lidar")
  for name, metric in ranks.items():
    assert 0.88 * 16 < wide[name]["metrics"][metric] <= 16.01, name
    assert 2.8 < flat[name]["metrics"][metric] < 3.02, name
  assert flat["rankme"]["metrics"]["numerical_rank"] == 3
  assert flat["lidar"]["metrics"]["alignment"] == pytest.approx(0.0, abs=1e-6)
  assert wide["lidar"]["metrics"]["alignment"] > 0.05
  assert wide["spectrum"]["metrics"]["uniformity"] < flat["spectrum"]["metrics"]["uniformity"]
  assert wide["spectrum"]["metrics"]["spread"] == pytest.approx(1.0, abs=0.02)


def test_duplicates_add_no_dimension():
  half = np.concatenate([FEATURES[:150], FEATURES[:150]])
  twice, once = _run(_model(half, embeddings=None)), run_protocols(NAMES[:2], _model(embeddings=None), _data(150))
  for name, metric in (("rankme", "rankme"), ("spectrum", "participation_ratio"), ("spectrum", "spread")):
    assert twice[name]["metrics"][metric] == pytest.approx(once[name]["metrics"][metric], rel=1e-5)
  assert twice["spectrum"]["metrics"]["uniformity"] > once["spectrum"]["metrics"]["uniformity"]


def test_what_has_collapsed_is_told():
  found = _run(_model(np.ones((300, 16), np.float32), noise=0.0))
  assert "collapsed" in found["spectrum"]["error"] and "collapsed" in found["lidar"]["error"]
  assert found["rankme"]["metrics"]["rankme"] == pytest.approx(1.0, abs=1e-3)  # which is what its scale calls so
