"""The decoder of masked autoencoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import mae_decoder


def decode(module, tokens, ids_restore):
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), tokens, ids_restore)
  variables = jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.normal(size=leaf.shape), leaf.dtype), shapes)
  return variables, module.apply(variables, tokens, ids_restore)


def small(**numbers):
  return mae_decoder(**dict(dict(patch_size=2, width=16, depth=1, num_heads=2, channels=1), **numbers))


def test_shapes_and_dtypes():
  tokens = jnp.ones((2, 1 + 2, 8))
  ids_restore = jnp.tile(jnp.arange(4), (2, 1))
  variables, out = decode(small(dtype="bfloat16"), tokens, ids_restore)
  assert set(variables["params"]) == {"embedding", "mask_token", "Transformer", "head"}
  assert out["pixels"].shape == (2, 4, 4) and out["tokens"].shape == (2, 4, 16)
  assert out["pixels"].dtype == out["tokens"].dtype == jnp.float32 and np.isfinite(out["pixels"]).all()
  np.testing.assert_allclose(out["mean"], np.float64(out["pixels"]).mean(1), rtol=1e-5, atol=1e-6)
  features = decode(small(output=6), tokens, ids_restore)[1]
  assert features["pixels"].shape == (2, 4, 6) and features["mean"].shape == (2, 6)


def test_tokens_return_to_their_places():
  """The order in which the encoder kept its patches does not matter once ids_restore undoes it."""
  tokens = jax.random.normal(jax.random.key(1), (1, 1 + 4, 8))
  module = small()
  variables, straight = decode(module, tokens, jnp.arange(4)[None])
  order = jnp.array([2, 0, 3, 1])
  shuffled = jnp.concatenate([tokens[:, :1], tokens[:, 1:][:, order]], axis=1)
  out = module.apply(variables, shuffled, jnp.argsort(order)[None])
  np.testing.assert_allclose(out["pixels"], straight["pixels"], atol=1e-5)


def test_hidden_patches_differ_by_their_positions_only():
  module = small()
  tokens = jnp.zeros((2, 1 + 1, 8))
  _, out = decode(module, tokens, jnp.array([[0, 1, 2, 3], [0, 3, 1, 2]]))
  np.testing.assert_allclose(out["pixels"][0], out["pixels"][1], atol=1e-5)
  assert np.abs(out["pixels"][0, 1] - out["pixels"][0, 2]).max() > 1e-4


def test_a_mask_hides_in_place_what_ids_restore_would_put_there():
  module, tokens = small(), jax.random.normal(jax.random.key(1), (1, 1 + 4, 8))
  variables, wanted = decode(module, tokens[:, :3], jnp.array([[0, 2, 1, 3]]))  # patches 0 and 2 are seen
  in_place = tokens[:, jnp.array([0, 1, 3, 2, 4])]
  got = module.apply(variables, in_place, mask=jnp.array([[False, True, False, True]]))
  np.testing.assert_allclose(got["pixels"], wanted["pixels"], atol=1e-5)


def test_nothing_hidden():
  module, tokens = small(prefix=0), jax.random.normal(jax.random.key(1), (2, 4, 8))
  variables, out = decode(module, tokens, None)
  assert out["pixels"].shape == (2, 4, 4) and "mask_token" not in variables["params"]
  masked = decode(module, tokens, jnp.tile(jnp.arange(4), (2, 1)))[0]
  same = module.apply(masked, tokens, mask=jnp.zeros((2, 4), bool))
  np.testing.assert_allclose(module.apply(masked, tokens)["pixels"], same["pixels"], atol=1e-6)


def test_grids():
  tokens, six = jnp.zeros((1, 3, 8)), jnp.arange(6)[None]
  with pytest.raises(ValueError, match="6 patches do not fill a grid of 2x2"):
    decode(small(), tokens, six)
  for prefix in (1, 2):
    module = small(grid=(2, 3), prefix=prefix)
    out = jax.eval_shape(lambda m=module: m.init_with_output(jax.random.key(0), tokens, six)[0])
    assert out["pixels"].shape == (1, 6, 4) and out["tokens"].shape == (1, 6, 16)
  with pytest.raises(ValueError, match="not divisible by num_heads"):
    small(num_heads=3)
