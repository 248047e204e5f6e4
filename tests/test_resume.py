"""A run that stops and goes on, on the same devices, ends bit for bit as if it had not stopped."""

import shutil

import jax
import numpy as np
import pytest

from jssl import train
from jssl.train import Trainer
from tests import methods
from tests.test_train import assert_identical, rows_without_speed, run


class CompiledOnce(Trainer):
  """Draws its first state and compiles the step of each phase once, however often its run goes on."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    self.first = jax.tree.map(np.array, super().init_state())
    self.steps = {}

  def init_state(self):
    return self.parallel.put_state(self.first)

  def compile_step(self, state):
    if self.phase.name not in self.steps:
      self.steps[self.phase.name] = super().compile_step(state)
    return self.steps[self.phase.name]


def forget_after(workdir, step):
  """Leaves what was there when a checkpoint was written, but for the metrics, of which a killed run has more."""
  for path in (workdir / "checkpoints").iterdir():
    if int(path.name) > step:
      shutil.rmtree(path)


@pytest.mark.parametrize("name", methods.each_method(quick=("mae",)))
def test_a_run_goes_on_bit_for_bit(name, tmp_path, monkeypatch, caplog):
  """From the middle of an epoch and of a curriculum's phase, from their end, and from the middle of the next ones."""
  config = methods.small(name, depth=1, total_steps=8, checkpoint_every_steps=2)
  config.checkpoint.keep = 4
  for phase in config.phases.values():
    phase.start_fraction = 0.5
  trainer = CompiledOnce(config, methods.source(), devices=jax.devices()[:1])
  monkeypatch.setattr(train, "Trainer", lambda *args, **kwargs: trainer)
  whole, rows = run(config, tmp_path), rows_without_speed(tmp_path)
  assert [row["step"] for row in rows] == list(range(1, 9))
  config.checkpoint_every_steps = 8
  for step in (6, 4, 2):
    forget_after(tmp_path, step)
    with caplog.at_level("INFO", logger="jssl"):
      assert_identical(whole, run(config, tmp_path))
    assert f"going on from step {step}" in caplog.text
    assert rows_without_speed(tmp_path) == rows
