"""One device or many, one result: losses, gradients, statistics, centers and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.parallel import Parallel
from jssl.train import Trainer, make_train_step, run_key
from tests import methods

# What is left between two orders of summation in float32.
GRADIENTS = 1e-5


def trained(config, devices: int, mode: str, steps: int = 3):
  """Runs a few steps on some of the simulated devices; returns the state, the metrics of each step, a gradient."""
  config.parallel.mode = mode
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:devices])
  state = trainer.init_state()
  gradient = first_gradient(trainer, state)
  step = trainer.compile_step(state)
  rows = []
  for batch in trainer.batches(0, steps):
    state, metrics = step(state, trainer.arrays, batch)
    rows.append({name: float(value) for name, value in metrics.items()})
  assert trainer.parallel.replica_difference(state.variables) == 0
  return jax.tree.map(np.asarray, state.variables), rows, gradient


def first_gradient(trainer, state):
  def gradient(state, arrays, batch):
    def loss(params, batch):
      return trainer.method.loss(params, state.variables, batch, key=run_key(0), step=state.step,
                                 positions=trainer.parallel.positions())
    batch = {name: array[batch["index"]] for name, array in arrays.items()} | batch
    return trainer.parallel.value_and_grad(loss)(state.variables.params, batch)[1]

  batch = next(iter(trainer.batches(0, 1)))
  return jax.tree.map(np.asarray, trainer.parallel.compile(gradient)(state, trainer.arrays, batch))


def norm(tree):
  return np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in jax.tree.leaves(tree)))


def assert_same(one, many):
  (variables, rows, gradient), (variables_many, rows_many, gradient_many) = one, many
  difference = jax.tree.map(np.subtract, gradient, gradient_many)
  assert norm(difference) <= GRADIENTS * norm(gradient)
  for row, row_many in zip(rows, rows_many, strict=True):
    for name in row:
      assert row[name] == pytest.approx(row_many[name], rel=2e-4, abs=2e-5), name
  for part in ("params", "teachers", "stats", "memory"):
    leaves = jax.tree_util.tree_leaves_with_path(getattr(variables, part))
    for (path, x), y in zip(leaves, jax.tree.leaves(getattr(variables_many, part)), strict=True):
      np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5, err_msg=part + jax.tree_util.keystr(path))


def with_sgd(config):
  """Adam magnifies rounding on parameters whose gradient is zero; SGD does not."""
  config.optim.update(dict(name="sgd", lr=0.1, lr_scale=None, momentum=0.9, warmup_fraction=None))
  return config


@pytest.mark.parametrize("name", methods.NAMES)
def test_eight_devices_are_one(name):
  config = with_sgd(methods.small(name))
  assert_same(trained(config, 1, "pmap"), trained(config, 8, "pmap"))


@pytest.mark.parametrize("name", ["dino", "barlow_twins"])
def test_sharded_jit_is_one_device(name):
  config = with_sgd(methods.small(name))
  assert_same(trained(config, 1, "pmap"), trained(config, 8, "jit"))


def test_sharded_state_is_one_device():
  config = with_sgd(methods.small("dino", width=64))
  config.parallel.shard_state = True
  sharded = trained(config, 8, "jit")
  config.parallel.shard_state = False
  assert_same(trained(config, 1, "pmap"), sharded)


def test_adamw_in_double_precision():
  with jax.enable_x64(True):
    config = methods.small("mmc")
    assert_same(trained(config, 1, "pmap"), trained(config, 8, "pmap"))


def test_replicas_that_have_drifted_apart_are_seen():
  parallel = Parallel("pmap", 8)
  drifted = jax.pmap(lambda: jax.lax.axis_index("batch") * jnp.ones(3), axis_name="batch", out_axes=None,
                     axis_size=8)()
  assert parallel.replica_difference({"x": drifted}) == 7
