"""Vector quantisation: nearest entries, and gradients that pass straight through."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.losses import mean_entropy_loss, quantization_loss
from jssl.models import vector_quantizer
from jssl.models.quantizer import moved_codebook

X = jax.random.normal(jax.random.key(1), (3, 4, 6))
MODULE = vector_quantizer(codes=5, dim=3)
VARIABLES = MODULE.init(jax.random.key(0), X)


def unit(x):
  return x / np.sqrt((x**2).sum(-1, keepdims=True))


def test_each_token_becomes_its_nearest_entry():
  out = MODULE.apply(VARIABLES, X)
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), VARIABLES["params"])
  latents = unit(np.asarray(X) @ params["projection"]["kernel"] + params["projection"]["bias"])
  codebook = unit(params["codebook"])
  codes = ((latents[:, :, None] - codebook) ** 2).sum(-1).argmin(-1)
  np.testing.assert_array_equal(out["codes"], codes)
  np.testing.assert_allclose(out["latents"], latents, atol=1e-5)
  for name in ("entries", "quantized"):
    np.testing.assert_allclose(out[name], codebook[codes], atol=1e-5)
  np.testing.assert_allclose(out["cosines"], latents @ codebook.T, atol=1e-5)
  assert out["codes"].dtype == jnp.int32 and len(np.unique(codes)) > 1


def test_gradients_pass_straight_through():
  weights = jax.random.normal(jax.random.key(2), (3, 4, 3))

  def gradient(name):
    loss = lambda v: jnp.sum(weights * MODULE.apply(v, X)[name])
    return jax.grad(loss)(VARIABLES)["params"]

  through, of_latents, of_entries = (gradient(name) for name in ("quantized", "latents", "entries"))
  assert not np.any(through["codebook"]) and not np.any(of_entries["projection"]["kernel"])
  np.testing.assert_allclose(through["projection"]["kernel"], of_latents["projection"]["kernel"], atol=1e-6)
  assert np.any(of_entries["codebook"])


def test_dead_entries_move_by_the_usage_loss_alone():
  start = VARIABLES["params"]["codebook"]
  dead = np.setdiff1d(np.arange(5), np.asarray(MODULE.apply(VARIABLES, X[:, :1])["codes"]))

  def losses(codebook):
    out = MODULE.apply({"params": VARIABLES["params"] | dict(codebook=codebook)}, X[:, :1])
    usage, metrics = mean_entropy_loss(out["cosines"], temp=0.1)
    return jnp.array([quantization_loss(out["latents"], out["entries"])[0], usage]), metrics["used"]

  @jax.jit
  def train(weights):
    gradient = jax.grad(lambda x: jnp.dot(weights, losses(x)[0]))
    moved = jax.lax.fori_loop(0, 20, lambda _, x: x - 0.5 * gradient(x), start)
    return jnp.abs(moved - start).max(axis=1), losses(moved)[1]

  moved, used = train(jnp.array([1.0, 0.0]))
  assert len(dead) and not np.any(moved[dead]) and np.any(moved)
  moved, more_used = train(jnp.array([1.0, 1.0]))
  assert np.all(moved[dead] > 1e-3) and more_used > used


def test_half_precision():
  out = vector_quantizer(codes=5, dim=3, dtype="bfloat16").apply(VARIABLES, X.astype(jnp.bfloat16))
  assert out["latents"].dtype == out["quantized"].dtype == out["cosines"].dtype == jnp.float32
  np.testing.assert_allclose(jnp.sum(out["entries"] ** 2, -1), 1, rtol=1e-5)


def test_a_codebook_follows_what_is_nearest_to_it():
  """The authors' loop in NumPy; and on two shards as on one."""
  rng = np.random.default_rng(0)
  codebook, latents = unit(rng.normal(size=(6, 3))), unit(rng.normal(size=(16, 3)))
  codes = np.minimum((latents @ codebook.T).argmax(-1), 4)  # nothing is nearest to the last one
  want = codebook.copy()
  for k in set(codes):
    want[k] = unit(0.9 * codebook[k] + 0.1 * unit(latents[codes == k].mean(0)))
  assert len(set(codes)) > 2 and np.abs(want - codebook).max() > 0.01
  arrays = [jnp.asarray(x, jnp.float32) for x in (codebook, latents)]
  np.testing.assert_allclose(moved_codebook(*arrays, codes, decay=0.9), want, atol=1e-6)
  split = functools.partial(moved_codebook, arrays[0], decay=0.9, axis_name="batch")
  shards = jax.vmap(split, axis_name="batch")(arrays[1].reshape(2, 8, 3), codes.reshape(2, 8))
  np.testing.assert_allclose(shards, np.stack([want, want]), atol=1e-6)


def test_a_moving_codebook_begins_as_means_of_the_first_batch_and_has_no_gradient():
  module = vector_quantizer(codes=5, dim=3, hidden=7, decay=0.5)
  variables = module.init(jax.random.key(0), X)
  assert {*variables["params"]} == {"hidden", "projection"}

  @jax.jit
  def step(params, stats):
    out, changed = module.apply(dict(params=params, batch_stats=stats), X, train=True, mutable=["batch_stats"])
    return jnp.sum(out["quantized"] ** 3), (out, changed["batch_stats"])

  params, stats = variables["params"], variables["batch_stats"]
  (_, (out, stats)), gradient = jax.value_and_grad(step, has_aux=True)(params, stats)
  hidden = np.tanh(np.asarray(X) @ params["hidden"]["kernel"] + params["hidden"]["bias"])
  latents = unit(hidden @ params["projection"]["kernel"] + params["projection"]["bias"]).reshape(-1, 3)
  np.testing.assert_allclose(out["latents"].reshape(-1, 3), latents, atol=1e-5)
  codes, entries = np.asarray(out["codes"]).ravel(), np.asarray(out["entries"]).reshape(-1, 3)
  assert set(codes) == set(range(5))
  for k in range(5):  # after ten moves of so few rows
    np.testing.assert_allclose(entries[codes == k][0], unit(latents[codes == k].mean(0)), atol=1e-5)
  assert np.any(gradient["projection"]["kernel"]) and stats["begun"] == 1
  still = module.apply(dict(params=params, batch_stats=stats), X)
  np.testing.assert_allclose(still["entries"], stats["codebook"][still["codes"]])
  before = stats["codebook"]
  _, (out, after) = step(params, stats)
  want = moved_codebook(before, jnp.asarray(latents), out["codes"].ravel(), decay=0.5)
  np.testing.assert_allclose(after["codebook"], want, atol=1e-5)
