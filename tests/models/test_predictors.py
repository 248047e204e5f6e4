"""The predictor of I-JEPA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import jepa_predictor, positions

CONTEXT = jnp.array([[5, 0, 3], [1, 2, 4]])
TARGET = jnp.array([[[1, 2], [4, 1]], [[0, 3], [3, 5]]])


def small(**numbers):
  return jepa_predictor(**dict(dict(grid=(2, 3), width=8, depth=1, num_heads=2), **numbers))


def predict(module, tokens, context=CONTEXT, target=TARGET):
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), tokens, context, target)
  variables = jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)
  return variables, module.apply(variables, tokens, context, target)["tokens"]


def tokens(dim=6):
  return jax.random.normal(jax.random.key(1), (2, 3, dim))


def test_shapes_and_dtypes():
  variables, out = predict(small(dtype="bfloat16"), tokens())
  assert set(variables["params"]) == {"embedding", "mask_token", "Transformer", "head"}
  assert out.shape == (2, 2, 2, 6) and out.dtype == jnp.float32 and np.isfinite(out).all()
  with pytest.raises(ValueError, match="not divisible by num_heads"):
    small(num_heads=3)


def test_each_block_is_predicted_by_itself():
  module = small()
  variables, out = predict(module, tokens())
  for block in range(2):
    alone = module.apply(variables, tokens(), CONTEXT, TARGET[:, block : block + 1])["tokens"]
    np.testing.assert_allclose(alone[:, 0], out[:, block], atol=1e-5)
  assert np.abs(out[0, 0, 0] - out[0, 1, 1]).max() > 1e-3  # patch 1 in the company of patch 2 and of patch 4


@pytest.mark.slow
def test_remat_and_scan():
  """As a loop the program has the products of one block, and with remat more of them."""
  variables, out = predict(small(depth=2), tokens())

  def products(**options):
    module = small(depth=2, **options)
    run = lambda v: module.apply(v, tokens(), CONTEXT, TARGET)["tokens"]
    np.testing.assert_allclose(run(variables), out, atol=1e-5)
    return str(jax.make_jaxpr(jax.grad(lambda v: jnp.sum(run(v) ** 2)))(variables)).count("dot_general[")

  plain, remat, scan, both = products(), products(remat=True), products(scan=True), products(remat=True, scan=True)
  assert scan < both < plain < remat


def test_context_is_a_set():
  module = small()
  variables, out = predict(module, tokens())
  order = jnp.array([2, 0, 1])
  np.testing.assert_allclose(
    module.apply(variables, tokens()[:, order], CONTEXT[:, order], TARGET)["tokens"], out, atol=1e-5
  )
  assert np.abs(module.apply(variables, tokens(), CONTEXT[:, order], TARGET)["tokens"] - out).max() > 1e-3


def test_without_blocks_it_is_the_equation():
  """depth=0: each target is LN(mask token + its position), projected."""
  module = small(depth=0)
  variables, out = predict(module, tokens())
  params = jax.tree.map(np.asarray, variables["params"])
  x = params["mask_token"] + np.asarray(positions.sincos((2, 3), 8))[np.asarray(TARGET)]
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  norm = params["Transformer"]["encoder_norm"]
  wanted = (x * norm["scale"] + norm["bias"]) @ params["head"]["kernel"] + params["head"]["bias"]
  np.testing.assert_allclose(out, wanted, atol=1e-5)
