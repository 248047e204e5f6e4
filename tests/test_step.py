"""One update: looking ahead against its written form, and players that pull in opposite directions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import data
from jssl.config import default_config
from jssl.environment import run_key
from jssl.errors import ConfigError
from jssl.train import Trainer
from tests import methods


class Linear(nn.Module):
  width: int = 2

  @nn.compact
  def __call__(self, x, *, keys=None, train=False):
    return nn.Dense(self.width)(x)


def noisy(rng, x):
  return x + 0.1 * jax.random.normal(rng, x.shape)


def squared_loss(a, b):
  return jnp.mean((a - b) ** 2), {}


def self_training(**lookahead):
  """A student that predicts what its teacher says of another draw of the same vector."""
  config = default_config()
  config.update(dict(total_steps=8, batch_size=12))
  config.views = dict(a=dict(fn=noisy, reads=("x",)), b=dict(fn=noisy, reads=("x",)))
  config.networks = dict(student=dict(fn=Linear), teacher=dict(ema="student", decay=0.7))
  config.passes = dict(s=dict(net="student", reads=("a",)), t=dict(net="teacher", reads=("b",)))
  config.losses = dict(
    follow=dict(fn=squared_loss, reads=("s/features", "t/features")), label=dict(fn=squared_loss, reads=("s/features", "y"))
  )
  config.optim.update(dict(name="adamw", lr=0.05, weight_decay=0.0))
  config.lookahead.update(lookahead)
  return config


def vectors():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((24, 3)).astype(np.float32)
  return data.from_arrays(x=x, y=np.tanh(x[:, :2]))


def run(config, devices=1, steps=3):
  trainer = Trainer(config, vectors(), devices=jax.devices()[:devices])
  state = trainer.init_state()
  step = trainer.compile_step(state)
  for batch in trainer.batches(0, steps):
    state, _ = step(state, trainer.arrays, batch)
  return trainer, state


@pytest.mark.parametrize(
  "mode, keep_moments, roll_back_teachers",
  [
    ("deep", False, True),
    pytest.param("deep", True, False, marks=pytest.mark.slow),
    pytest.param("wide", True, False, marks=pytest.mark.slow),
    pytest.param("wide", False, True, marks=pytest.mark.slow),
  ],
)
def test_looking_ahead_is_its_written_form(mode, keep_moments, roll_back_teachers):
  """Step by step on one device, as the authors' loops go."""
  ahead = 2
  config = self_training(steps=ahead, mode=mode, keep_moments=keep_moments, roll_back_teachers=roll_back_teachers)
  trainer, state = run(config)
  method, optimizer = trainer.single_method, trainer.optimizer
  variables = trainer.init_state().variables
  theta, phi, opt = variables.params, variables.teachers, optimizer.init(variables.params)
  key = run_key(config.seed)
  ema = lambda phi, theta: {"teacher": jax.tree.map(lambda t, s: 0.7 * t + 0.3 * s, phi["teacher"], theta["student"])}

  @jax.jit
  def update(theta, phi, opt, batch, positions, step, key):
    loss = lambda p: method.loss(p, variables.replace(teachers=phi), batch, key=key, step=step, positions=positions)[0]
    updates, after = optimizer.update(jax.grad(loss)(theta), opt, theta)
    return optax.apply_updates(theta, updates), after._replace(count=opt.count)

  for step, batch in enumerate(trainer.batches(0, 3)):
    index = np.asarray(batch["index"]).reshape(-1)
    arrays = {name: array[index] for name, array in trainer.source.arrays.items()}
    positions, start, opt_start, phi_start = np.arange(12), theta, opt, phi
    if mode == "deep":
      for i in range(1, ahead + 1):
        theta, opt = update(theta, phi, opt, arrays, positions, step, jax.random.fold_in(key, i))
        phi = ema(phi, theta)
    else:
      futures = []
      for i in range(ahead):
        own = slice(i, None, ahead + 1)
        part = {name: x[own] for name, x in arrays.items()}
        future, opt = update(start, phi, opt, part, positions[own], step, key)
        futures.append(future)
      phi = ema(phi, jax.tree.map(lambda *x: sum(x) / ahead, *futures))
      own = slice(ahead, None, ahead + 1)
      arrays, positions = {name: x[own] for name, x in arrays.items()}, positions[own]
    theta, opt = update(start, phi, opt if keep_moments else opt_start, arrays, positions, step, key)
    opt = opt._replace(count=opt.count + 1)
    phi = ema(phi_start if roll_back_teachers else phi, theta)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  jax.tree.map(close, state.variables.params, theta)
  jax.tree.map(close, state.variables.teachers, phi)
  assert int(state.step) == int(state.opt_state.count) == 3
  _, plain = run(self_training())
  moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), state.variables.params, plain.variables.params)
  assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("mode", ["deep", "wide"])
def test_looking_ahead_on_two_devices_is_one(mode):
  states = [run(self_training(steps=2, mode=mode), devices)[1] for devices in (1, 2)]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    states[0].variables.params,
    states[1].variables.params,
  )


def test_what_looking_ahead_needs():
  config = methods.small("mae")
  config.lookahead.steps = 2
  with pytest.raises(ConfigError, match="no network follows another"):
    Trainer(config, methods.source())
  with pytest.raises(ConfigError, match="5 parts do not divide the 12 examples of a device"):
    Trainer(self_training(steps=4, mode="wide"), vectors(), devices=jax.devices()[:1])
  with pytest.raises(ConfigError, match=r"config\.lookahead\.mode='depe': did you mean 'deep'"):
    Trainer(self_training(mode="depe"), vectors())


class Perceptron(nn.Module):
  width: int

  @nn.compact
  def __call__(self, x, *, keys=None, train=False):
    for _ in range(2):
      x = nn.leaky_relu(nn.Dense(32)(x))
    return nn.Dense(self.width)(x)


def normal(rng, index, *, dim):
  del index
  return jax.random.normal(rng, (dim,))


def towards_loss(judged, *, value):
  return jnp.mean((judged - value) ** 2), {}


def mixture():
  """Four blobs at the corners of a square."""
  rng = np.random.default_rng(0)
  corners = np.float32([[1, 1], [1, -1], [-1, 1], [-1, -1]])
  return data.from_arrays(x=corners[rng.integers(0, 4, 2048)] + 0.3 * rng.standard_normal((2048, 2)).astype(np.float32))


def gan():
  """Least squares: through the critic, not into it, for the generator; into it, not through it, for itself."""
  config = default_config()
  config.update(dict(total_steps=1500, batch_size=128))
  config.views = dict(z=dict(fn=normal, reads=("index",), dim=2))
  config.networks = dict(generator=dict(fn=Perceptron, width=2), critic=dict(fn=Perceptron, width=1))
  config.passes = dict(
    fake=dict(net="generator", reads=("z",)),
    judged=dict(net="critic", reads=("fake/features",), gradient="inputs"),
    told=dict(net="critic", reads=("fake/features",), gradient="params"),
    real=dict(net="critic", reads=("x",)),
  )
  config.losses = dict(
    fools=dict(fn=towards_loss, reads=("judged/features",), value=1.0),
    sees_fakes=dict(fn=towards_loss, reads=("told/features",), value=0.0),
    sees_data=dict(fn=towards_loss, reads=("real/features",), value=1.0),
  )
  config.optim.update(dict(lr=1e-3, lr_schedule="constant", weight_decay=0.0, b1=0.0))
  config.optim.groups = dict(critic=dict(params="^critic/", lr=5e-3))
  return config


@pytest.mark.slow
def test_a_gan_learns_a_mixture_in_the_plane():
  """Every blob gets its share of the samples, and nearly all of them lie in one; before training none of that holds."""
  trainer = Trainer(gan(), mixture(), devices=jax.devices()[:1])
  state = trainer.init_state()
  step = trainer.compile_step(state)

  def samples(state):
    index = np.arange(1024, dtype=np.int32)
    batch = dict(index=index, x=np.zeros((1024, 2), np.float32))
    return np.asarray(
      trainer.single_method.environment(state.variables, batch, key=run_key(1), step=0, positions=index)["fake/features"]
    )

  def found(x):
    corners = np.float32([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    distance = np.linalg.norm(x[:, None] - corners, axis=-1)
    near = distance.min(1) < 0.5  # which three quarters of the data are
    shares = np.bincount(distance.argmin(1)[near], minlength=4) / len(x)
    return near.mean(), shares.min()

  before = found(samples(state))
  for batch in trainer.batches(0, 1500):
    state, metrics = step(state, trainer.arrays, batch)
  after = found(samples(state))
  assert before[1] < 0.04 < 0.08 < after[1] and before[0] < 0.3 < 0.6 < after[0], (before, after)
  assert not [name for name in metrics if name.startswith("spread")]
