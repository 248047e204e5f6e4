"""Protocols by name, and the tables of their results."""

from types import SimpleNamespace

import numpy as np
import pytest

from jssl.evaluation import (
  EvaluationData,
  FeatureModel,
  foreground_model,
  format_table,
  position_model,
  PROTOCOLS,
  raw_pixel_model,
  run_protocols,
  supported_protocols,
)
from tests.evaluation.scenes_for_tests import GRID, scenes

SMALL = dict(knn=dict(k=(1, 3)), linear=dict(epochs=2), prompt_segmentation=dict(random_prompts=2, thresholds=(0.0, 0.5)))


def _colored(segments, seed=0):
  """Images `[count, H, W, 3]` in which every instance number has its color."""
  palette = np.array([[40, 40, 40], [220, 30, 30], [30, 220, 30], [30, 30, 220]], np.uint8)
  noise = np.random.default_rng(seed).integers(0, 20, (*segments.shape, 3), np.uint8)
  return palette[segments] + noise


def _data():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 60)
  images = _colored(np.broadcast_to((labels + 1)[:, None, None], (60, 8, 8)).astype(np.uint8))
  split = [SimpleNamespace(arrays=dict(image=images[part], label=labels[part])) for part in (slice(40), slice(40, 60))]
  segments = [scenes(3, seed=seed) for seed in (1, 2)]
  return EvaluationData(*split, *(dict(image=_colored(s), segments=s) for s in segments), num_classes=3)


def test_runs_every_protocol_on_the_pixels_and_the_prompt_protocols_on_the_trivial_baselines():
  data = _data()
  model = raw_pixel_model(data.array("train", "image"), 4, (32, 32))
  assert supported_protocols(model, data) == list(PROTOCOLS)
  assert supported_protocols(position_model(GRID), data) == ["prompt_segmentation", "object_similarity"]
  results = {model.name: run_protocols(PROTOCOLS, model, data, **SMALL)}
  for baseline in (position_model(GRID), foreground_model(GRID)):
    results[baseline.name] = run_protocols(
      supported_protocols(baseline, data), baseline, data, prompt_segmentation=SMALL["prompt_segmentation"]
    )
  pixels, position = results["raw pixels"], results["position only"]
  assert pixels["knn"]["metrics"]["k1"] == 1.0 and pixels["linear"]["metrics"]["accuracy"] == 1.0
  iou = lambda result: result["prompt_segmentation"]["metrics"]["miou_random_fixed"]
  assert iou(pixels) > iou(position) > iou(results["everything foreground"])
  assert pixels["object_similarity"]["metrics"]["overlap"] < position["object_similarity"]["metrics"]["overlap"]
  table = format_table(results)
  assert table.startswith("knn\n") and "temperature=0.07" in table and "similarity=position_similarity" in table
  block = table.split("\n\n")[list(PROTOCOLS).index("prompt_segmentation")].splitlines()
  assert len({len(line) for line in block[3:7]}) == 1, block  # the last columns are aligned


def test_features_are_computed_once_for_all_protocols():
  calls = []

  def image_features(images):
    calls.append(len(images))
    return images.reshape(len(images), -1)[:, :5].astype(np.float32)

  embeddings = lambda images: images[:, 0, 0].astype(np.float32)
  data, model = _data(), FeatureModel("mine", image_features, embeddings=embeddings)
  results = run_protocols(
    ["knn", "linear", "rankme"], model, data, knn=SMALL["knn"], linear=SMALL["linear"], rankme=dict(images=30)
  )
  assert calls == [40, 20]
  assert results["rankme"]["parameters"] == dict(n=30, dim=3, eps=1e-7, center=False, of="embeddings", seed=0)


def test_unknown_names_and_missing_parts_are_named():
  data, model = _data(), FeatureModel("mine", lambda images: images.reshape(len(images), -1))
  with pytest.raises(ValueError, match="'kn'.*'knn'"):
    run_protocols(["kn"], model, data)
  with pytest.raises(ValueError, match="'temprature'.*'temperature'"):
    run_protocols(["knn"], model, data, knn=dict(temprature=1.0))
  with pytest.raises(ValueError, match="override 'linear'"):
    run_protocols(["knn"], model, data, linear=dict(epochs=1))
  with pytest.raises(ValueError, match="'mine' has no patch_features"):
    run_protocols(["object_similarity"], model, data)
  with pytest.raises(ValueError, match="'broken' on train are not all finite"):
    run_protocols(["rankme"], FeatureModel("broken", lambda images: np.full((len(images), 2), np.nan)), data)
  with pytest.raises(ValueError, match="the data has no test"):
    run_protocols(["knn"], model, EvaluationData(train=data.train, num_classes=3))
  with pytest.raises(ValueError, match="no train/label; train has .'image'."):
    run_protocols(["knn"], model, EvaluationData(dict(image=data.array("train", "image")), data.test, num_classes=3))


def test_a_table_shows_missing_values_and_unlike_parameters():
  results = dict(
    a=dict(knn=dict(metrics=dict(k1=0.5, k20=12.345), parameters=dict(t=0.1, k=(1, 20)))),
    b=dict(knn=dict(metrics=dict(k1=1), parameters=dict(t=0.1, k=(1,)))),
  )
  assert format_table(results).splitlines() == [
    "knn",
    "       k1    k20",
    "a  0.5000  12.35",
    "b       1      -",
    "  t=0.1",
    "  a: k=(1, 20)",
    "  b: k=(1,)",
  ]
