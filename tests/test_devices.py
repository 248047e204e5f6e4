"""One device or many, one result: losses, gradients, statistics, centers and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import phases
from jssl.parallel import Parallel
from jssl.train import Trainer
from tests import methods

# What is left between two orders of summation in float32: of a gradient, and of arrays after three steps.
GRADIENTS = 1e-5
WEIGHTS = 2e-4
# A pixel whose angle lies between two bins of MaskFeat's histograms falls into either one by rounding.
LOOSER = {"maskfeat": 10}


def trained(config, devices: int, mode: str, steps: int = 3):
  """Runs a few steps on some of the simulated devices; returns variables, the metrics of each step, the first gradient."""
  config.parallel.mode = mode
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:devices])
  state = phases.refresh(trainer, trainer.init_state(), 0)
  step = trainer.compile_step(state)
  rows, gradient = [], None
  for batch in trainer.batches(0, steps):
    state, metrics = step(state, trainer.arrays, batch)
    rows.append({name: float(value) for name, value in metrics.items()})
    if gradient is None:  # After one step, the momentum is the gradient.
      gradient = jax.tree.map(np.asarray, optax.tree.get(state.opt_state, "trace"))
  assert trainer.parallel.replica_difference(state.variables) == 0
  return jax.tree.map(np.asarray, state.variables), rows, gradient


def norm(tree):
  return np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in jax.tree.leaves(tree)))


def assert_same(one, many, looser: float = 1):
  (variables, rows, gradient), (variables_many, rows_many, gradient_many) = one, many
  difference = jax.tree.map(np.subtract, gradient, gradient_many)
  assert 0 < norm(gradient) and norm(difference) <= GRADIENTS * norm(gradient)
  for row, row_many in zip(rows, rows_many, strict=True):
    for name in row:
      # An accuracy counts: a tie that breaks the other way moves it by one example.
      bound = dict(abs=1.5 / 16) if name.endswith("accuracy") else dict(rel=1e-3, abs=2e-5)
      assert row[name] == pytest.approx(row_many[name], **bound), name
  assert rows[0]["loss"] == pytest.approx(rows_many[0]["loss"], rel=1e-5)
  for part in ("params", "teachers", "stats", "memory"):
    leaves = jax.tree_util.tree_leaves_with_path(getattr(variables, part))
    for (path, x), y in zip(leaves, jax.tree.leaves(getattr(variables_many, part)), strict=True):
      assert norm(np.subtract(x, y)) <= looser * (WEIGHTS * norm(x) + 2e-5), part + jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", methods.NAMES)
def test_eight_devices_are_one(name):
  config = methods.small_with_sgd(name)
  assert_same(trained(config, 1, "pmap"), trained(config, 8, "pmap"), LOOSER.get(name, 1))


@pytest.mark.parametrize("name", ["dino", "barlow_twins"])
def test_sharded_jit_is_one_device(name):
  config = methods.small_with_sgd(name)
  assert_same(trained(config, 1, "pmap"), trained(config, 8, "jit"))


def test_sharded_state_is_one_device():
  config = methods.small_with_sgd("dino", width=64)
  config.parallel.shard_state = True
  sharded = trained(config, 8, "jit")
  config.parallel.shard_state = False
  assert_same(trained(config, 1, "pmap"), sharded)


def test_replicas_that_have_drifted_apart_are_seen():
  parallel = Parallel("pmap", 8)
  drifted = jax.pmap(lambda x: x * jnp.ones(3), out_axes=None)(jnp.arange(8.0))
  assert parallel.replica_difference({"x": drifted}) == 7
