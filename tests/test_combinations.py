"""What the masked methods choose are choices apart: one's mask goes with another's target, loss or views."""

import jax
import numpy as np
import pytest

from jssl import tables
from jssl.config import load_config
from jssl.configs import common
from jssl.environment import run_key
from jssl.errors import ConfigError
from jssl.train import train_and_evaluate, Trainer
from tests import methods


def steps(config, count=6):
  """Trains a little on one device; returns the state and the metrics of each step."""
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:1])
  state, _ = tables.refresh(trainer, trainer.init_state(), 0)
  step, rows = trainer.compile_step(state), []
  for batch in trainer.batches(0, count):
    state, metrics = step(state, trainer.arrays, batch)
    rows.append({name: float(value) for name, value in metrics.items()})
  assert not state.nonfinite
  return state, rows


def test_maes_masks_and_decoder_with_the_target_of_data2vec():
  mae, data2vec = methods.small("mae"), methods.small("data2vec")
  mae.optim.update(dict(lr=3e-3, lr_scale=None, warmup_fraction=None))
  mae.networks.teacher = dict(data2vec.networks.teacher, ema="encoder")
  mae.networks.decoder.heads = dict(prediction=dict(fn="linear_head", reads=("tokens",), output=16))
  mae.passes.t = data2vec.passes.t
  mae.targets = data2vec.targets
  mae.losses = dict(features=dict(data2vec.losses.features, reads=("d/prediction", "y", "m/mask")))
  state, rows = steps(mae)
  assert rows[0]["features/hidden"] == 0.75 and rows[-1]["loss"] < rows[0]["loss"]
  assert set(state.variables.params) == {"encoder", "decoder"} and set(state.variables.teachers) == {"teacher"}


@pytest.mark.slow
def test_barlow_twins_of_views_that_gmml_destroys():
  config = methods.small("barlow_twins")
  config.optim.update(dict(lr=3e-3, lr_scale=None, warmup_fraction=None))
  config.masking = common.gmml_masks(("a", "b"), area=0.2, fill="noise")
  config.passes = common.passes("s", ("a", "b"), "student", reads=lambda v: (f"hidden_{v}/image",))
  for view in config.views.values():
    view.update(dict(scale=(0.8, 1.0), jitter_prob=0.0, grayscale=0.0, solarize=0.0))
  _, rows = steps(config, 200)
  assert np.mean([row["loss"] for row in rows[-20:]]) < 0.9 * np.mean([row["loss"] for row in rows[:20]])


@pytest.mark.slow
def test_beit_with_a_tokenizer_that_this_loop_has_trained(tmp_path):
  trained = train_and_evaluate(
    methods.small("tokenizer", total_steps=2), tmp_path / "tokens", source=methods.source(), devices=jax.devices()[:1]
  )
  config = methods.small(f"beit:demo@{tmp_path / 'tokens'}")
  assert not config.refresh
  state, rows = steps(config, 3)
  assert set(state.variables.params) == {"encoder"}
  jax.tree.map(np.testing.assert_array_equal, state.variables.teachers["tokenizer"], trained.variables.params["tokenizer"])
  assert 0 < rows[0]["words/code_entropy"] < 1 and rows[-1]["words"] < rows[0]["words"]


def test_beit_without_its_tokenizer_says_so(tmp_path):
  trainer = Trainer(methods.small(f"beit:demo@{tmp_path / 'nowhere'}"), methods.source(), devices=jax.devices()[:1])
  with pytest.raises(ConfigError, match="holds no checkpoint"):
    trainer.init_state()


@pytest.mark.parametrize("preset", ["demo", "cifar10", "imagenet"])
def test_both_tokenizers_of_beit_are_one_method(preset):
  words, codes = load_config(f"beit:{preset}"), load_config(f"beit:{preset}@runs/tokenizer")
  for stage in ("views", "losses", "optim", "evaluation"):
    assert words[stage].to_dict() == codes[stage].to_dict()
  assert words.networks.encoder == codes.networks.encoder
  assert codes.networks.tokenizer.load == "runs/tokenizer:tokenizer" and codes.networks.tokenizer.frozen
  number = codes.networks.encoder.heads.words.output
  assert words.refresh.codebook.codes == codes.networks.tokenizer.heads.vq.codes == number


@pytest.mark.slow
def test_targets_of_jepa_come_from_the_image_and_not_from_its_positions_alone():
  """A collapsed teacher says the same of every image; at the start and after a few steps it does not."""
  config = methods.small("ijepa")
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:1])
  state, _ = steps(config)
  batch = {name: array for name, array in trainer.source.arrays.items() if name in trainer.method.batch_names}
  for variables in (trainer.init_state().variables, state.variables):
    look = jax.jit(lambda v: trainer.single_method.environment(v, batch, key=jax.random.key(0), step=0)["tokens"])
    assert np.var(np.asarray(look(variables)), axis=0).mean() > 0.2  # of 1 in all


@pytest.mark.slow
def test_the_two_networks_of_a_context_encoder_have_losses_of_their_own():
  config = methods.small("context_encoder")
  config.losses.rec.weight = 0.0

  def reached(**weights):
    for name, weight in weights.items():
      config.losses[name].weight = weight
    trainer = Trainer(config, methods.source(), devices=jax.devices()[:1])
    variables, method = trainer.init_state().variables, trainer.single_method
    batch = {name: trainer.source.arrays[name][:16] for name in method.batch_names}
    loss = lambda params: method.loss(params, variables, batch, key=run_key(0), step=0)[0]
    gradients = jax.jit(jax.grad(loss))(variables.params)
    return {name for name, gradient in gradients.items() if any(np.any(g) for g in jax.tree.leaves(gradient))}

  assert reached(sees_filled=0.0, sees_image=0.0, fools=1.0) == {"student"}
  assert reached(sees_filled=1.0, sees_image=1.0, fools=0.0) == {"discriminator"}


@pytest.mark.parametrize("preset", ["demo", "cifar10", "imagenet"])
def test_the_words_of_beit_v2_are_those_of_the_tokenizer_that_was_distilled(preset):
  words, codes = load_config(f"beit_v2:{preset}"), load_config(f"beit_v2:{preset}@runs/vqkd")
  for stage in ("views", "losses", "optim", "evaluation"):
    assert words[stage].to_dict() == codes[stage].to_dict()
  distilled = load_config(f"tokenizer:{preset}@runs/dino").networks
  loaded = distilled.tokenizer.to_dict() | dict(frozen=True, load="runs/vqkd:tokenizer")
  assert codes.networks.tokenizer.to_dict() == loaded
  assert codes.networks.words.output == distilled.tokenizer.heads.vq.codes == words.refresh.codebook.codes
  assert distilled.tokenizer.heads.vq.decay == 0.99 and distilled.teacher.load == "runs/dino:teacher"


@pytest.mark.slow
def test_beit_v2_with_a_tokenizer_that_was_distilled_from_another_run(tmp_path):
  train = lambda name, folder: train_and_evaluate(
    methods.small(name, total_steps=3), tmp_path / folder, source=methods.source(), devices=jax.devices()[:1]
  )
  dino = train("dino", "dino")
  distilled = train(f"tokenizer:demo@{tmp_path / 'dino'}", "vqkd")
  jax.tree.map(np.testing.assert_array_equal, distilled.variables.teachers["teacher"], dino.variables.teachers["teacher"])
  state, rows = steps(methods.small(f"beit_v2:demo@{tmp_path / 'vqkd'}"), 3)
  assert set(state.variables.params) == {"encoder", "words"}
  jax.tree.map(np.testing.assert_array_equal, state.variables.stats["tokenizer"], distilled.variables.stats["tokenizer"])
  assert 0 < rows[0]["words/code_entropy"] < 1 and rows[-1]["class_token"] < rows[0]["class_token"]
