"""Training at growing sizes: the stages of EfficientTrain, around any method, through changes of the grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import explain, phases
from jssl.checkpoint import load_variables
from jssl.config import load_config
from jssl.schedules import Horizon
from jssl.train import train_and_evaluate, Trainer
from tests import methods


def stages(spec, views, total=100):
  """Sides of `views` at each tenth of a run, and the config's phases."""
  config = load_config(spec)
  split = phases.split(config, Horizon(total, 10, config.batch_size))
  at = [phases.at(split, step).config.views for step in range(0, total, total // 10)]
  return {name: [entries[name].size for entries in at] for name in views}, config


def test_the_stages_are_the_papers():
  found, config = stages("efficient_train:imagenet", ["v", "full_v"])
  assert found["v"] == [160] * 6 + [192] * 2 + [224] * 2 and found["full_v"] == [224] * 10
  assert np.mean((np.array(found["v"]) / 224) ** 2) == pytest.approx(0.65, abs=0.01)
  assert config.views.full_v == load_config("mae:imagenet").views.v
  assert config.losses == load_config("mae:imagenet").losses and config.targets.y.reads == ("v",)
  assert config.optim == load_config("mae:imagenet").optim
  assert (config.evaluation.size, config.evaluation.mean) == (224, config.views.full_v.mean)


def test_small_images_grow_by_patches():
  assert stages("efficient_train:demo", ["v"])[0]["v"] == [24] * 6 + [28] * 2 + [32] * 2


def test_joint_embedding_methods_get_rand_augment():
  found, config = stages("efficient_train:dino/imagenet", ["a", "b", "l1", "crop_a"])
  assert found["a"] == found["b"] == [160] * 6 + [192] * 2 + [224] * 2
  assert found["l1"] == [96] * 10 and found["crop_a"] == [224] * 10
  magnitude = Horizon(100).make(config.views.rand_a.magnitude)
  np.testing.assert_array_equal(magnitude(np.arange(0, 100, 10)), np.repeat([1, 3, 5, 7, 9], 2))
  assert config.views.crop_a.mean == 0 and config.views.full_a.mean == config.views.l1.mean
  assert config.evaluation.mean == config.views.l1.mean and config.evaluation.size == 224


@pytest.mark.slow
@pytest.mark.parametrize("method, sides", [("mae", {24, 28, 32}), ("simclr", {24, 32}), ("simmim", {24, 32})])
def test_every_phase_of_other_methods_traces(method, sides):
  """SimCLR's patches and SimMIM's cells, of 8 pixels both, leave no room for 28."""
  trainer = Trainer(load_config(f"efficient_train:{method}/demo"), methods.source(), devices=jax.devices()[:1])
  found = set()
  for phase in trainer.phases:
    trainer.start_phase(phase.start)
    arrays = trainer.single_method.abstract_environment(trainer.spec).arrays
    found |= {x.shape[1] for name, x in arrays.items() if name in ("a", "v")}
    assert arrays.get("object", np.zeros((1, 32))).shape[1] == 32
  assert found == sides


def two_sizes(position="sincos2d"):
  """12 pixels for four steps, then 16."""
  config = methods.small("efficient_train", depth=1, total_steps=5)
  del config.phases.side_28
  config.networks.encoder.position = position
  return config


@pytest.mark.slow
@pytest.mark.parametrize("position", ["learned", "sincos2d"])
def test_training_goes_through_changes_of_size(position, tmp_path):
  config = two_sizes(position)
  config.checkpoint_every_steps = 4
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:1])
  start = trainer.init_state()
  end = train_and_evaluate(config, tmp_path, source=methods.source(), devices=jax.devices()[:1])
  assert int(end.step) == 5 and int(end.nonfinite) == 0
  for part in (lambda state: state.opt_state, lambda state: state.variables):
    assert jax.tree.map(jnp.shape, part(end)) == jax.tree.map(jnp.shape, part(start))
  if position == "learned":  # also at the full size, where nothing is interpolated
    before, after = (load_variables(tmp_path, step)["params/encoder/backbone/pos_embedding"] for step in (4, 5))
    assert np.all(np.abs(before - start.variables.params["encoder"]["backbone"]["pos_embedding"]).max(-1) > 0)
    assert np.all(np.abs(after - before).max(-1) > 0)
  grids = []
  for step in (0, 4):
    trainer.start_phase(step)
    grids.append(trainer.single_method.abstract_environment(trainer.spec).arrays["m/mask"].shape)
  assert grids == [(16, 9), (16, 16)]


@pytest.mark.slow
def test_explain_counts_every_phase():
  trainer = Trainer(two_sizes(), methods.source(), devices=jax.devices()[:1])
  lines = [line for line in explain.explain(trainer).splitlines() if "GFLOPs" in line]
  assert [line.partition(":")[0] for line in lines] == ["phase first", "phase side_32"]
  assert trainer.phase.name == "first"
