"""Vector quantisation: nearest entries, and gradients that pass straight through."""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.losses import mean_entropy_loss, quantization_loss
from jssl.models import vector_quantizer

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
