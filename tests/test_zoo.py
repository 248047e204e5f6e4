"""The table of all methods."""

import dataclasses
import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from experiments.regimes import REGIMES
from experiments.zoo import regime as of_regime
from jssl import data, study
from jssl.config import check_config, load_config
from jssl.configs import common
from jssl.trainer import Trainer
from tests import claim_studies, methods

FOLDER = pathlib.Path(__file__).parents[1] / "experiments/zoo"


@pytest.fixture(scope="module")
def zoo():
  spec = importlib.util.spec_from_file_location("zoo_run", FOLDER / "run.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def row(zoo, method, seed, **trained):
  trained = {zoo.METRICS[name]: value for name, value in trained.items()}
  metrics = trained | {f"random weights/{name}": 0.5 for name in trained}
  if (method, seed) == ("a", 0):
    metrics["raw pixels/knn/k20"] = 0.3
  return dict(arm=method, seed=seed, metrics=metrics | {"patches": 64, "images_per_second": 100.0, "train/mib": 900})


def test_the_zoo_is_all_methods(zoo):
  assert zoo.METHODS == sorted(set(methods.NAMES) - {"tokenizer"})


def test_what_is_not_above_random_weights_in_every_seed_is_marked(zoo):
  lines = zoo.table(
    [
      row(zoo, "a", 0, kNN=0.6, overlap=0.4),
      row(zoo, "a", 1, kNN=0.7, overlap=0.3),
      row(zoo, "b", 0, kNN=0.8, overlap=0.6),
      row(zoo, "b", 1, kNN=0.4, overlap=0.6),
      dict(arm="c", seed=0, error="it failed"),
    ]
  ).splitlines()
  assert lines[2] == "| a | 2 | 0.650 (0.500) | - | - | - | 0.350 (0.500) | 100 | 900 |"
  assert lines[3] == "| b | 2 | 0.600* (0.500) | - | - | - | 0.600* (0.500) | 100 | 900 |"
  assert lines[4:] == ["| raw pixels, 64 patches | | 0.300 | - | - | - | - | | |"]


def test_the_page_is_what_the_rows_say(zoo):
  rows = study.Ledger(FOLDER).rows()
  assert {row["arm"] for row in rows} <= set(zoo.METHODS)  # PAPERS.md says which were not run yet
  assert zoo.table(rows) in (FOLDER / "README.md").read_text()


@pytest.mark.slow
def test_a_run_is_measured_beside_its_random_weights_and_raw_pixels(zoo, tmp_path):
  config = methods.small("simclr", total_steps=2)
  config.data.options = dict(num_examples=16, image_size=16)
  config.evaluation.update(dict(protocols=("rankme", "object_similarity:max_pairs=50"), size=64))
  for split in ("train", "test_scenes"):
    config.evaluation[split].options = dict(num_examples=8)
  first, second = (zoo.Measured()(config, seed, tmp_path / f"a_seed{seed}") for seed in (0, 1))
  assert first["patches"] == 256 and first["images_per_second"] > 0 and first["train/mib"] > 0
  assert first["random weights/rankme/rankme"] > 1 and first["raw pixels/object_similarity/overlap"] > 0
  assert "rankme/rankme" in second and not any(name.startswith("raw pixels/") for name in second)


@pytest.mark.parametrize("name", ["digits", "fashion_mnist_shifted", "glyphs", "scenes"])
def test_every_method_has_an_arm_on_a_regime(name):
  regime = REGIMES[name]
  arms = of_regime.arms(regime)
  left_out = {"colorization"} if not regime.colours else {"supcon"} if regime.places else set()
  assert set(of_regime.METHODS) - set(arms) == left_out
  for method, config in arms.items():
    check_config(config)
    first = ("augment", "resize_view", "tile_pair", "jigsaw_tiles", "shifted_pair")
    seen = [view for view in config.views.values() if view.fn in first]
    assert seen and all(view.reads == (("rgb", "extent=extent") if regime.grey else common.IMAGE) for view in seen), method
    transformers = [network for network in config.networks.values() if network.get("fn") == "vit"]
    assert {network.width for network in transformers} == {regime.net["width"]}, method
    if regime.places:
      assert {network.patch_size for network in transformers} == {4}, method
    own, demo = config.optim.to_dict(), load_config(method).optim.to_dict()
    assert own == demo and config.total_steps == regime.steps and config.batch_size == regime.batch_size


@pytest.mark.parametrize(
  "method", ["bss_simclr", *(pytest.param(m, marks=pytest.mark.slow) for m in ("dino", "mae", "msn"))]
)
def test_an_arm_on_a_regime_can_be_trained(method):
  config = REGIMES["fashion_mnist_shifted"].method(method)
  source = data.from_arrays(image=np.zeros((256, 40, 40, 1), np.uint8), label=np.zeros(256, np.int32))
  assert "loss" in Trainer(config, source, devices=jax.devices()[:1]).metric_names()


@pytest.mark.slow
def test_every_method_can_be_trained_and_evaluated_on_scenes():
  """Patches of 4 px in the place of the demo's 8 fit its heads and targets, and there are patches to evaluate."""
  for method, config in of_regime.arms(REGIMES["scenes"]).items():
    for loss in config.losses.values():
      if "subbatch" in loss:
        loss.subbatch = 4  # as many as are drawn here
    arrays = claim_studies.arrays_of(config, 64, 64, 3)
    seen = [name for name in arrays if name.endswith("/patch_tokens")]
    assert seen, method


def test_the_share_of_the_way_to_the_labels(tmp_path):
  regime = dataclasses.replace(REGIMES["glyphs"], name="small")
  controls = {"knn/k20": 0.9, "few_labels/n10": 0.8}
  controls |= {f"{control}/{name}": 0.1 for control in regime.controls for name in dict(controls)}
  found = {"knn/k20": 0.5, "few_labels/n10": 0.3, "random weights/knn/k20": 0.1, "random weights/few_labels/n10": 0.2}
  rows = [
    dict(arm=arm, seed=0, seconds=10.0, mib=100.0, metrics=found | {"few_labels/n10": x})
    for arm, x in (("a", 0.3), ("b", 0.5))
  ]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(study.Ledger, "rows", lambda self: [dict(arm="with labels", seed=0, metrics=controls)])
    lines = of_regime.table(regime, rows).splitlines()
  assert lines[2] == "| b | 1 | 0.500 (50 %) | 0.500 (50 %) | - | 10 | 100 |"
  assert lines[3] == "| a | 1 | 0.500 (50 %) | 0.300 (17 %) | - | 10 | 100 |"
  assert lines[4] == "| with labels | 1 | 0.900 | 0.800 | | | |" and len(lines) == 7
