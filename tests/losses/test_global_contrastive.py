"""SogCLR and iSogCLR: the losses, what they remember, and that it is the same on all devices."""

import jax
import jax.numpy as jnp
from loss_checks import assert_finite, check_loss, finite, normals, unit
import numpy as np
import pytest

from jssl.losses import isogclr_loss, sogclr_loss

EXAMPLES, INDEX = 12, np.array([7, 0, 3, 11])
# Powers of two, so that float32 tables are exact in float64 too. Half of the images were seen before.
SEEN = np.where(np.arange(EXAMPLES) % 2, 0.5, 0.0)
TEMPERATURES = np.where(np.arange(EXAMPLES) % 3, 0.5, 0.25)
MOMENTUM = np.linspace(-1, 1, EXAMPLES).round(1)
TABLES = dict(u=SEEN, temperature=TEMPERATURES, momentum=MOMENTUM)


def state(*names):
  return {name: jnp.asarray(TABLES[name], jnp.float32) for name in names}


def reference(a, b, index, tau, gamma):
  """The equations one row at a time; weights come from real parts, which the complex step does not move.

  Returns the loss, each image's new u and the mean over its rows of log u - mean w s / tau, and the objective.
  """
  z, batch = unit(np.concatenate([a, b])), len(a)
  tau = np.broadcast_to(tau, batch)
  loss, u, slope, objective = 0, np.zeros(batch), np.zeros(batch), 0
  for r in range(2 * batch):
    i = r % batch
    s = np.array([z[k] @ z[r] for k in range(2 * batch) if k % batch != i])
    positive = z[(r + batch) % (2 * batch)] @ z[r]
    g = np.mean(np.exp(s.real / tau[i]))
    before = SEEN[index[i]]
    now = g if before == 0 else (1 - gamma) * before + gamma * g
    w = np.exp(s.real / tau[i]) / now
    loss = loss + (np.mean(w * s) - positive) / batch
    u[i] += now / 2
    slope[i] += (np.log(now) - np.mean(w * s.real) / tau[i]) / 2
    objective += (tau[i] * np.log(now) - positive.real) / batch
  return loss, u, slope, objective


def test_sogclr():
  loss = lambda a, b, index, axis_name: sogclr_loss.apply(
    state("u"), a, b, index, temperature=0.5, gamma=0.8, axis_name=axis_name
  )[0]
  want = lambda a, b, index: reference(a, b, index, 0.5, 0.8)[0]
  check_loss(loss, want, [*normals((4, 3), (4, 3)), INDEX], (0, 1), 2)


def test_isogclr():
  loss = lambda a, b, index, axis_name: isogclr_loss.apply(
    state("u", "temperature", "momentum"), a, b, index, gamma=0.8, axis_name=axis_name
  )[0]
  want = lambda a, b, index: reference(a, b, index, TEMPERATURES[index], 0.8)[0]
  check_loss(loss, want, [*normals((4, 3), (4, 3)), INDEX], (0, 1), 2)


@pytest.mark.parametrize("shards", [1, 2])
def test_tables(shards):
  """One step: the images of the global batch are written, each once, and nothing else; all shards hold the same."""
  a, b = normals((4, 3), (4, 3))
  numbers = dict(gamma=0.8, rho=0.3, eta=0.25, beta=0.5, temperature_range=(0.2, 0.55), clip=0.5)
  tables = state("u", "temperature", "momentum")
  apply = lambda *local: isogclr_loss.apply(tables, *local, **numbers, axis_name="batch")
  split = [jnp.asarray(x).reshape(shards, -1, *x.shape[1:]) for x in (np.float32(a), np.float32(b), INDEX)]
  (_, metrics), after = jax.jit(jax.vmap(apply, axis_name="batch"))(*split)

  _, u, slope, objective = reference(a, b, INDEX, TEMPERATURES[INDEX], 0.8)
  gradient = np.clip(slope + 0.3, -0.5, 0.5)
  want = {name: table.copy() for name, table in TABLES.items()}
  want["u"][INDEX] = u
  want["momentum"][INDEX] = 0.5 * MOMENTUM[INDEX] + 0.5 * gradient
  want["temperature"][INDEX] = np.clip(TEMPERATURES[INDEX] - 0.25 * want["momentum"][INDEX], 0.2, 0.55)
  for name in want:
    assert after[name].dtype == jnp.float32
    np.testing.assert_array_equal(after[name], np.broadcast_to(after[name][0], after[name].shape))
    np.testing.assert_allclose(after[name][0], want[name], rtol=1e-5, atol=1e-6, err_msg=name)
  np.testing.assert_allclose(metrics["objective"].mean(), objective + 2 * 0.3 * TEMPERATURES[INDEX].mean(), rtol=1e-5)
  np.testing.assert_allclose(metrics["temperature_gradient"].mean(), gradient.mean(), rtol=1e-5)


def test_at_the_first_visit_the_gradient_is_the_objectives():
  """Also that of the temperature: of sum over views of tau log mean exp(s / tau) - s' + rho tau, halved."""
  a, b = (jnp.asarray(x, jnp.float32) for x in normals((4, 3), (4, 3)))
  fresh = isogclr_loss.init(a, b, INDEX, num_examples=EXAMPLES, temperature=0.5)

  def objective(a, b, tau):
    z = jnp.concatenate([a, b])
    z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
    s, other = z @ z.T, ~jnp.tile(jnp.eye(4, dtype=bool), (2, 2))
    tau = jnp.tile(tau, 2)
    g = jnp.sum(jnp.where(other, jnp.exp(s / tau[:, None]), 0), axis=1) / 6
    return 2 * jnp.mean(tau * jnp.log(g) - jnp.tile(jnp.diagonal(s, 4), 2) + 0.4 * tau)

  def loss(a, b):
    (value, _), after = isogclr_loss.apply(fresh, a, b, INDEX, gamma=0.1, rho=0.4, beta=1.0, clip=100.0)
    return value, after

  *want, slope = jax.jit(jax.grad(objective, (0, 1, 2)))(a, b, jnp.full(4, 0.5))
  got, after = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(a, b)
  for x, y in zip(got, want, strict=True):
    np.testing.assert_allclose(x, y, atol=1e-6)
  # The mean over four images, and the sum over two views of which the gradient takes the mean.
  np.testing.assert_allclose(after["momentum"][INDEX], slope * 4 / 2, atol=1e-6)


def test_init():
  fresh = sogclr_loss.init(None, None, None, num_examples=5)
  assert set(fresh) == {"u"} and not fresh["u"].any()
  fresh = isogclr_loss.init(None, None, None, num_examples=5, temperature=0.2)
  np.testing.assert_allclose(fresh["temperature"], 0.2, rtol=1e-6)
  assert not fresh["u"].any() and not fresh["momentum"].any()


@pytest.mark.parametrize("loss, names", [(sogclr_loss, ("u",)), (isogclr_loss, tuple(TABLES))])
def test_degenerate_batches(loss, names):
  """All embeddings zero, equal, huge; and one image, which has no negatives."""
  for batch, values in ((2, (0.0, 1.0, 1e4)), (1, (1.0,))):

    @jax.jit
    def step(array):
      value = lambda a, b: loss.apply(state(*names), a, b, INDEX[: len(array)])
      gradients = jax.grad(lambda *x: value(*x)[0][0], (0, 1))(array, array)
      return gradients, value(array, array)

    for value in values:
      assert_finite(step(jnp.full((batch, 3), value)))


def test_the_smallest_temperature_does_not_overflow():
  same = jnp.ones((4, 3))
  finite(lambda a, axis_name: sogclr_loss.apply(state("u"), a, a, INDEX, temperature=0.0125)[0], [same])
