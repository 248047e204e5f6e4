"""SimCLR in one style: the config's columns, and that it learns where a style is no cue."""

import jax
import numpy as np
import pytest

from jssl import data
from jssl.environment import run_key
from jssl.train import Trainer
from tests import methods


def trainer_of(source, **changes):
  config = methods.small("bss_simclr", **changes)
  config.optim.update(dict(lr=2e-3, lr_scale=None, end_lr=None))
  config.views.object.scale = (0.5, 1.0)
  return Trainer(config, source, devices=jax.devices()[:1])


@pytest.mark.slow
def test_it_leaves_the_logarithm_of_the_batch():
  trainer = trainer_of(data.load("scenes", num_examples=512, image_size=32), width=32, batch_size=32, total_steps=300)
  state = trainer.init_state()
  step = trainer.compile_step(state)
  rows = []
  for batch in trainer.batches(0, 300):
    state, metrics = step(state, trainer.arrays, batch)
    rows.append(metrics)
  mean = lambda name: np.mean([float(row[name]) for row in rows[-30:]])
  assert not state.nonfinite and mean("spread/s_a/z") > 0.5
  assert mean("nt_xent") < 0.95 * np.log(32) and mean("nt_xent/accuracy") > 3 / 32


def test_a_view_has_one_style_and_the_other_another():
  """The constant part of the spectrum is in every window: all images of a view have its donor's mean colour."""
  trainer = trainer_of(methods.source())
  batch = {name: trainer.source.arrays[name][:16] for name in trainer.method.batch_names}
  look = lambda b: trainer.single_method.environment(
    jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), trainer.abstract), b, key=run_key(0), step=0
  )
  env = jax.jit(lambda b: {name: look(b)[name] for name in ("crop_a", "style_a", "style_b")})(batch)
  colours = {name: np.asarray(x).mean((1, 2)) for name, x in env.items()}
  assert colours["crop_a"].std(0).min() > 0.02
  assert max(colours["style_a"].std(0).max(), colours["style_b"].std(0).max()) < 0.02  # but for what is clipped
  assert np.abs(colours["style_a"].mean(0) - colours["style_b"].mean(0)).max() > 0.02
