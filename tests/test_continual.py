"""Training without a known end: annealing is a branch, and what comes next starts before it."""

import jax
import numpy as np
import pytest

from jssl import schedules
from jssl.checkpoint import load_variables, named_leaves
from jssl.errors import ConfigError
from jssl.train import train_and_evaluate, Trainer
from tests import methods

RATES = (4e-3, 1e-3, 1e-4)


def config(total_steps, **durations):
  config = methods.small("mae", depth=1, total_steps=total_steps, checkpoint_every_steps=4)
  config.optim.update(dict(lr_scale=None, warmup_fraction=None))
  with config.optim.ignore_type():
    config.optim.lr = schedules.infinite(*RATES, **durations)
  return config


def run(config, workdir):
  train_and_evaluate(config, workdir, source=methods.source(), devices=jax.devices()[:1])
  return [load_variables(workdir, step) for step in (4, config.total_steps)]


def same(a, b):
  """Leaf by leaf, to the rounding of two programs; without keys' biases, which softmax does not see and Adam shakes."""
  return [np.allclose(a[name], b[name], rtol=0, atol=1e-6) for name in a if not name.endswith("key/bias")]


@pytest.mark.slow
def test_annealing_is_a_branch_of_one_endless_run(tmp_path):
  start = dict(warmup_steps=1, cooldown_steps=2)
  before, annealed = run(config(6, anneal_steps=2, **start), tmp_path / "branch")
  endless, further = run(config(8, **start), tmp_path / "endless")
  assert all(same(before, endless)) and not any(same(annealed, further)) and not any(same(annealed, before))

  later = config(6, anneal_steps=2)
  for name in ("encoder", "decoder"):
    later.networks[name].load = f"{tmp_path / 'branch'}@4:{name}"
  trainer = Trainer(later, methods.source(), devices=jax.devices()[:1])
  state = trainer.init_state()
  for name, array in named_leaves(state.variables.params).items():
    np.testing.assert_array_equal(array, before[f"params/{name}"])
  rates = [float(trainer.optim_info["lr"](step)) for step in (0, 4, 6)]
  np.testing.assert_allclose(rates, [RATES[1], RATES[1], RATES[2]], rtol=1e-6)

  later.networks.encoder.load = f"{tmp_path / 'branch'}@5:encoder"
  with pytest.raises(ConfigError, match=r"no checkpoint of step 5; known: \[4, 6\]"):
    Trainer(later, methods.source()).init_state()
