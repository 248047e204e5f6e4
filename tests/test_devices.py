"""One device or many, one result: losses, gradients, statistics, centers, weights; and one goes on from the other."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import checkpoint, tables
from jssl.parallel import Parallel
from jssl.train import Trainer
from tests import methods

# What is left between two orders of summation in float32: of a gradient, and of arrays after three steps.
GRADIENTS = 1e-5
WEIGHTS = 2e-4
# Without noise edges lie exactly along an axis, where rounding chooses between two bins of MaskFeat's histograms of angles.
NOISE = 16


class Run:
  """A config trained for three steps on some of the simulated devices, with a checkpoint after the first.

  Attributes:
    state, rows: the last state, and the metrics of each step.
    gradient: of the first step.
  """

  def __init__(self, config, devices: int, mode: str, workdir, source=None):
    config.parallel.mode = mode
    self.workdir = workdir
    self.trainer = Trainer(config, source or methods.source(noise=NOISE), devices=jax.devices()[:devices])
    state, _ = tables.refresh(self.trainer, self.trainer.init_state(), 0)
    self.step = self.trainer.compile_step(state)
    state, first = self.steps(state, 1)
    with contextlib.closing(checkpoint.Checkpoints(workdir)) as saved:
      saved.save(1, state, first[0])
    self.gradient = jax.tree.map(np.asarray, optax.tree.get(state.opt_state, "trace"))  # the momentum, after one step
    self.state, others = self.steps(state, 3)
    self.rows = first + others

  def steps(self, state, stop: int):
    rows = []
    for batch in self.trainer.batches(int(state.step), stop):
      state, metrics = self.step(state, self.trainer.arrays, batch)
      rows.append({name: float(value) for name, value in metrics.items()})
    assert self.trainer.parallel.replica_difference(state.variables) == 0
    return state, rows

  def go_on_from(self, other: "Run"):
    """The last state, and the metrics of each step, from another run's checkpoint on these devices."""
    with contextlib.closing(checkpoint.Checkpoints(other.workdir)) as saved:
      return self.steps(saved.restore(self.state, 1), 3)


def norm(tree):
  return np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in jax.tree.leaves(tree)))


def assert_same(one, many):
  """Two runs are the same, also where one goes on from the other's checkpoint."""
  difference = jax.tree.map(np.subtract, one.gradient, many.gradient)
  assert 0 < norm(one.gradient) and norm(difference) <= GRADIENTS * norm(one.gradient)
  assert one.rows[0]["loss"] == pytest.approx(many.rows[0]["loss"], rel=1e-5)
  assert_close(one, many.state, many.rows)
  assert_close(one, *many.go_on_from(one))
  assert_close(one, *one.go_on_from(many))


def assert_close(run, state, rows):
  """A state is the run's last one, and the metrics are those of its last steps."""
  for expected, row in zip(run.rows[-len(rows) :], rows, strict=True):
    for name in expected:
      # An accuracy counts: a tie that breaks the other way moves it by one example.
      bound = dict(abs=1.5 / 16) if name.endswith("accuracy") else dict(rel=1e-3, abs=2e-5)
      assert expected[name] == pytest.approx(row[name], **bound), name
  for part in ("params", "teachers", "stats", "memory"):
    leaves = jax.tree_util.tree_leaves_with_path(getattr(run.state.variables, part))
    for (path, x), y in zip(leaves, jax.tree.leaves(getattr(state.variables, part)), strict=True):
      assert norm(np.asarray(x) - np.asarray(y)) <= WEIGHTS * norm(x) + 2e-5, part + jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", methods.each_method(quick=("mae",)))
def test_eight_devices_are_one(name, tmp_path):
  config = methods.small_with_sgd(name, depth=1)
  assert_same(Run(config, 1, "pmap", tmp_path / "one"), Run(config, 8, "pmap", tmp_path / "many"))


@pytest.mark.slow
def test_jit_on_eight_devices_is_one_device(tmp_path):
  config = methods.small_with_sgd("barlow_twins")
  assert_same(Run(config, 1, "pmap", tmp_path / "one"), Run(config, 8, "jit", tmp_path / "many"))


@pytest.mark.slow
def test_sharded_state_is_one_device(tmp_path):
  config = methods.small_with_sgd("dino", width=64)
  one = Run(config, 1, "pmap", tmp_path / "one")
  config.parallel.shard_state = True
  many = Run(config, 8, "jit", tmp_path / "many")
  assert not all(x.is_fully_replicated for x in jax.tree.leaves(many.state))
  assert_same(one, many)


def test_replicas_that_have_drifted_apart_are_seen():
  parallel = Parallel("pmap", 8)
  drifted = jax.pmap(lambda x: x * jnp.ones(3), out_axes=None)(jnp.arange(8.0))
  assert parallel.replica_difference({"x": drifted}) == 7
