"""SogCLR, iSogCLR and iSogCLR of pairs: the losses, what they remember, and that it is the same on all devices."""

import jax
import jax.numpy as jnp
from loss_checks import assert_finite, check_loss, finite, normals, unit
import numpy as np
import pytest

from jssl.losses import bimodal_isogclr_loss, isogclr_loss, sogclr_loss

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


BIMODAL = dict(
  image=dict(log_u=np.where(SEEN > 0, 1.5, -np.inf), temperature=TEMPERATURES / 2, momentum=MOMENTUM),
  text=dict(log_u=np.where(SEEN > 0, -2.25, -np.inf), temperature=TEMPERATURES[::-1], momentum=MOMENTUM[::-1]),
)


def bimodal_state():
  return {side: {name: jnp.asarray(x, jnp.float32) for name, x in tables.items()} for side, tables in BIMODAL.items()}


def bimodal_reference(image, text, index, gamma):
  """The authors' form, with u and the largest power b so far; returns the loss, and of each side log u and G without rho."""
  image, text = unit(image), unit(text)
  similarity, batch = image @ text.T, len(image)
  loss, found = 0, {}
  for side, s in (("image", similarity), ("text", similarity.T)):
    log_u, slope = np.zeros(batch), np.zeros(batch)
    for i in range(batch):
      tau, past = BIMODAL[side]["temperature"][index[i]], BIMODAL[side]["log_u"][index[i]]
      h = np.array([s[i, j] - s[i, i] for j in range(batch) if j != i])
      power = h.real / tau
      b = max(0.0, power.max())
      g = np.mean(np.exp(power - b))
      u = g if np.isneginf(past) else (1 - gamma) * np.exp(past - b) + gamma * g
      w = np.exp(power - b) / u
      loss = loss + np.mean(w * h) / batch
      log_u[i], slope[i] = np.log(u) + b, np.log(u) + b - np.mean(w * power)
    found[side] = log_u, slope
  return loss, found


def test_bimodal():
  loss = lambda image, text, index, axis_name: bimodal_isogclr_loss.apply(
    bimodal_state(), image, text, index, gamma=0.75, axis_name=axis_name
  )[0]
  want = lambda image, text, index: bimodal_reference(image, text, index, 0.75)[0]
  check_loss(loss, want, [*normals((4, 3), (4, 3)), INDEX], (0, 1), 2)


@pytest.mark.parametrize("shards", [1, 2])
def test_bimodal_tables(shards):
  """One step: both sides' rows of the global batch are written, and nothing else; all shards hold the same."""
  image, text = normals((4, 3), (4, 3))
  numbers = dict(gamma=0.75, rho=0.5, eta=0.25, beta=0.5, temperature_range=(0.005, 0.5), clip=0.75)
  apply = lambda *local: bimodal_isogclr_loss.apply(bimodal_state(), *local, **numbers, axis_name="batch")
  split = [jnp.asarray(x).reshape(shards, -1, *x.shape[1:]) for x in (np.float32(image), np.float32(text), INDEX)]
  (_, metrics), after = jax.jit(jax.vmap(apply, axis_name="batch"))(*split)

  _, found = bimodal_reference(image, text, INDEX, 0.75)
  objective = 0
  for side, (log_u, slope) in found.items():
    want = {name: table.copy() for name, table in BIMODAL[side].items()}
    objective += np.mean(want["temperature"][INDEX] * (log_u + 0.5))
    want["log_u"][INDEX] = log_u
    want["momentum"][INDEX] = 0.5 * want["momentum"][INDEX] + 0.5 * np.clip(slope + 0.5, -0.75, 0.75)
    want["temperature"][INDEX] = np.clip(want["temperature"][INDEX] - 0.25 * want["momentum"][INDEX], 0.005, 0.5)
    for name, table in after[side].items():
      assert table.dtype == jnp.float32
      np.testing.assert_array_equal(table, np.broadcast_to(table[0], table.shape))
      np.testing.assert_allclose(table[0], want[name], rtol=1e-4, atol=1e-5, err_msg=f"{side} {name}")
  np.testing.assert_allclose(metrics["objective"].mean(), objective, rtol=1e-4)


def test_the_gradient_of_pairs_is_the_objectives():
  """At the first visit, also that of the temperatures: of tau log mean exp(h / tau) + rho tau of both sides."""
  image, text = (jnp.asarray(x, jnp.float32) for x in normals((4, 3), (4, 3)))
  fresh = bimodal_isogclr_loss.init(image, text, INDEX, num_examples=EXAMPLES, temperature=0.25)

  def objective(image, text, tau):
    normed = [x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (image, text)]
    s, total = normed[0] @ normed[1].T, 0
    for one, own in ((s, tau[0]), (s.T, tau[1])):
      h = one - jnp.diagonal(one)[:, None]
      g = jnp.sum(jnp.where(jnp.eye(4, dtype=bool), 0, jnp.exp(h / own[:, None])), axis=1) / 3
      total += jnp.mean(own * jnp.log(g) + 0.4 * own)
    return total

  def loss(image, text):
    (value, _), after = bimodal_isogclr_loss.apply(fresh, image, text, INDEX, gamma=0.1, rho=0.4, beta=1.0, clip=100.0)
    return value, after

  *want, slopes = jax.jit(jax.grad(objective, (0, 1, 2)))(image, text, jnp.full((2, 4), 0.25))
  got, after = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(image, text)
  for x, y in zip(got, want, strict=True):
    np.testing.assert_allclose(x, y, atol=1e-6)
  for side, slope in zip(("image", "text"), slopes, strict=True):
    np.testing.assert_allclose(after[side]["momentum"][INDEX], slope * 4, atol=1e-5)


def test_degenerate_pairs():
  """The smallest temperature, with embeddings that are zero, equal, opposite; and one pair, which has no negatives."""
  for batch, values in ((2, (0.0, 1.0, -1.0)), (1, (1.0,))):
    fresh = bimodal_isogclr_loss.init(None, None, None, num_examples=EXAMPLES, temperature=0.005)

    @jax.jit
    def step(image, text, state, batch=batch):
      value = lambda *x: bimodal_isogclr_loss.apply(state, *x, INDEX[:batch])
      gradients = jax.grad(lambda *x: value(*x)[0][0], (0, 1))(image, text)
      return (gradients, value(image, text)[0]), value(image, text)[1]

    for value in values:
      state = fresh
      for _ in range(3):
        found, state = step(jnp.full((batch, 3), value), jnp.ones((batch, 3)), state)
        assert_finite(found)
        assert_finite([tables["temperature"] for tables in state.values()])
  aligned, state = jnp.eye(3), fresh
  for partner in (aligned, -aligned, aligned):  # powers of -200 and of 200
    (loss, _), state = bimodal_isogclr_loss.apply(state, aligned, partner, INDEX[:3])
    assert np.isfinite(loss)
