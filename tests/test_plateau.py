"""Each method leaves the value at which a broken loss would stay, on the embedded scenes."""

import jax
import numpy as np
import pytest

from jssl import data, tables
from jssl.environment import run_key
from jssl.train import Trainer
from tests import methods

STEPS = {"mmc": 600}  # three losses share one trunk; the others need half as many


def learnt(name):
  """Trains a small form of a method; returns the trainer, the state and the mean metrics of the last twenty steps."""
  steps = STEPS.get(name, 300)
  config = methods.small(name, width=32, batch_size=32, total_steps=steps)
  config.optim.update(dict(lr=2e-3, lr_scale=None, end_lr=None))
  for name, view in config.views.items():  # Mild views of whole scenes, for these few steps.
    view.update(dict(scale=(1.0 if name == "object" else 0.5 * view.size / 16, 1.0), jitter_prob=0.3, grayscale=0.1))
  if name == "mmc":  # Eight dimensions hold no batch of 32 apart.
    config.networks.student.heads.trunk.bottleneck = 32
  source = data.load("scenes", num_examples=512, image_size=32)
  trainer = Trainer(config, source, devices=jax.devices()[:1])
  state = trainer.init_state()
  step = trainer.compile_step(state)
  rows = []
  for i, batch in enumerate(trainer.batches(0, steps)):
    state, metrics = step(tables.refresh(trainer, state, i)[0], trainer.arrays, batch)
    rows.append(metrics)
  assert not state.nonfinite
  last = {key: np.mean([float(row[key]) for row in rows[-20:]]) for key in rows[-1]}
  return trainer, state, last, {key: float(value) for key, value in rows[0].items()}


def error_of_the_mean(trainer, state, masked_targets):
  """The masked L1 error of one best colour for every hidden pixel of a batch: the median of each channel."""
  batch = {name: array[:128] for name, array in trainer.source.arrays.items() if name in trainer.method.batch_names}
  env = jax.jit(lambda v, b: trainer.single_method.environment(v, b, key=run_key(0), step=0))(state.variables, batch)
  errors = []
  for target, mask in masked_targets:
    pixels = np.asarray(env[target])
    pixels = pixels.reshape(*pixels.shape[:2], -1, 3)
    hidden = np.broadcast_to(np.asarray(env[mask]).reshape(*pixels.shape[:2], -1), pixels.shape[:3])
    shown = pixels[hidden]
    errors.append(np.abs(shown - np.median(shown, axis=0)).mean())
  return np.mean(errors)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name, targets",
  [
    ("simmim", [("y", "m/mask")]),
    ("gmml", [("pixels_a", "where_a")]),
    ("sit", [("pixels_a", "where_a"), ("pixels_b", "where_b")]),
    ("mmc", [("pixels_a", "where_a"), ("pixels_b", "where_b")]),
  ],
)
def test_hidden_pixels_are_predicted_better_than_by_their_median(name, targets):
  trainer, state, last, _ = learnt(name)
  assert last["rec"] < 0.9 * error_of_the_mean(trainer, state, targets)
  if name == "mmc":
    assert last["md"] < 0.9 * np.log(16) and 0.1 < last["md/teacher_entropy"] < 0.9
  if name in ("mmc", "sit"):  # two terms of 2 tau times a cross-entropy over the batch
    contrast = last["gc" if name == "mmc" else "con"] / (2 * 0.4)
    assert contrast < 0.9 * np.log(32)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "mixmim"])
def test_normalised_patches_are_predicted_better_than_by_zero(name):
  _, _, last, _ = learnt(name)
  assert last["rec"] < 0.9 * (16 * 3 - 1) / (16 * 3)  # a patch's mean square under its unbiased variance


@pytest.mark.slow
def test_dino_leaves_ln_k_and_does_not_collapse():
  _, _, last, _ = learnt("dino")
  assert last["dino"] < 0.9 * np.log(16) and 0.1 < last["dino/teacher_entropy"] < 0.9
  assert last["spread/s_a/logits"] > 0.1


@pytest.mark.slow
def test_ibot_leaves_ln_k_on_class_tokens_and_on_patches():
  _, _, last, _ = learnt("ibot")
  assert last["cls"] < 0.9 * np.log(16) and 0.1 < last["cls/teacher_entropy"] < 0.9
  # Images with nothing hidden, half of them, count as 0.
  assert last["patch"] < 0.95 * np.log(16) / 2 and 0.05 < last["patch/teacher_entropy"] < 0.45
  assert last["spread/s_a/head/cls_logits"] > 0.1


@pytest.mark.slow
def test_msn_agrees_and_keeps_its_prototypes_in_use():
  _, _, last, _ = learnt("msn")
  assert last["ce"] < 0.9 * np.log(16) and 0.1 < last["ce/teacher_entropy"] < 0.9
  assert last["memax/used"] > 0.8 and last["spread/p_anchor/logits"] > 0.5


@pytest.mark.slow
def test_swav_leaves_ln_k_and_its_codes_are_not_uniform():
  _, _, last, _ = learnt("swav")
  assert last["swav"] < 0.9 * np.log(16) and 0.05 < last["swav/teacher_entropy"] < 0.9


@pytest.mark.slow
def test_deepcluster_finds_its_clusters():
  _, _, last, _ = learnt("deepcluster_v2")
  assert last["cluster"] < 0.9 * np.log(6) and last["cluster/accuracy"] > 0.4
  assert last["spread/s_a/z"] > 0.3


@pytest.mark.slow
def test_barlow_twins_correlates_views_and_decorrelates_dimensions():
  trainer, state, last, first = learnt("barlow_twins")
  assert last["bt"] < 0.6 * first["bt"]
  assert last["spread/s_a/z"] > 0.5
