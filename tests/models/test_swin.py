"""Swin: names, sizes, masks, windows, stochastic depth, precision. Values are in tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import count_parameters, swin
from jssl.models.swin import FAR, from_windows, shift_bias, to_windows

IMAGES = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))


def small(**numbers):
  return swin(**dict(dict(patch_size=2, width=8, depths=(2, 2), num_heads=(1, 2), window=2, mlp_ratio=2.0), **numbers))


def initialise(module, images=IMAGES, scale=0.3):
  """Random variables, so that no parameter hides behind an initial 0 or 1 (and nothing is compiled to make them)."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), images)
  return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype), shapes)


@functools.partial(jax.jit, static_argnums=0)  # compiled once for each module and its arrays' shapes
def compiled(module, variables, images, arrays):
  return module.apply(variables, images, **arrays)


def run(module, variables, images=IMAGES, **arrays):
  return compiled(module, variables, images, arrays)


@pytest.mark.parametrize("variant, count", [("T", 27_519_354), ("S", 48_837_258), ("B", 86_743_224)])
def test_parameter_counts(variant, count):
  """The authors' numbers without the classifier."""
  params = jax.eval_shape(swin(variant=variant).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
  assert count_parameters(params) == count


def test_names_and_shapes():
  module = small(mask_token=True)
  shapes = jax.eval_shape(module.init, jax.random.key(0), IMAGES)
  params = shapes["params"]
  assert set(params) == {"embedding", "embedding_norm", "mask_token", "norm"} | {f"encoderblock_{i}" for i in range(4)}
  assert set(params["encoderblock_1"]) == {
    "LayerNorm_0",
    "LayerNorm_1",
    "MlpBlock_0",
    "MultiHeadDotProductAttention_0",
    "relative_position_bias",
  }
  assert set(params["encoderblock_2"]) - set(params["encoderblock_1"]) == {"merge"}
  assert params["encoderblock_2"]["merge"]["reduction"]["kernel"].shape == (32, 16)
  assert params["encoderblock_2"]["relative_position_bias"].shape == (9, 2)
  features, out = jax.eval_shape(module.apply, shapes, jnp.zeros((2, 12, 16, 3)))
  assert features.shape == (2, 16) and module.grid((12, 16, 3)) == (3, 4)
  assert {name: array.shape for name, array in out.items()} == dict(
    stage1=(2, 6, 8, 8), stage2=(2, 3, 4, 16), feature_map=(2, 3, 4, 16), patch_tokens=(2, 12, 16), mean=(2, 16)
  )


def test_windows_are_undone():
  x = np.random.default_rng(0).normal(size=(2, 4, 6, 3))
  windows = to_windows(x, 2)
  np.testing.assert_array_equal(windows[1], x[0, :2, 2:4].reshape(4, 3))
  np.testing.assert_array_equal(from_windows(windows, x.shape, 2), x)


def test_shifted_windows_join_neighbours_only():
  """On a line of 8 places, windows of 4 shifted by 2: the last holds places 6, 7 and, from the other end, 0, 1."""
  bias = shift_bias(4, 8, 4, 2)
  assert bias.shape == (2, 1, 16, 16)
  first_row = bias[1, 0, :4, :4]
  np.testing.assert_array_equal(first_row == FAR, np.kron([[0, 1], [1, 0]], np.ones((2, 2))).astype(bool))


def test_what_a_shifted_block_reaches():
  """In blocks of windows 2 at 0 and at 1, a place sees the windows that its shifted window touches, and no more."""
  module = small(depths=(2,), num_heads=(1,))
  variables = initialise(module)
  changed = IMAGES.at[:, 6:8, 6:8].add(1.0)  # patch (3, 3): window rows 2-3, shifted windows 1-2 and 3-4
  before, after = (run(module, variables, images)[1]["stage1"] for images in (IMAGES, changed))
  moved = np.abs(np.asarray(after - before)).max(axis=(0, 3)) > 1e-6
  wanted = np.zeros((8, 8), bool)
  wanted[1:5, 1:5] = True
  np.testing.assert_array_equal(moved, wanted)


def test_mask_token():
  """Cells of the last map; what lies under them does not matter."""
  module = small(mask_token=True, depths=(1, 1))
  variables = initialise(module)
  mask = jnp.zeros((2, 16), bool).at[:, 5].set(True)  # row 1, column 1 of 4 x 4
  changed = IMAGES.at[:, 4:8, 4:8].set(0.0)
  _, out = run(module, variables, mask=mask)
  np.testing.assert_array_equal(out["stage1"], run(module, variables, changed, mask=mask)[1]["stage1"])
  nothing = jnp.zeros_like(mask)
  assert np.abs(out["patch_tokens"] - run(module, variables, mask=nothing)[1]["patch_tokens"]).max() > 1e-3
  by_patch = jnp.repeat(jnp.repeat(mask.reshape(2, 4, 4), 2, axis=1), 2, axis=2).reshape(2, 64)
  np.testing.assert_array_equal(out["patch_tokens"], run(module, variables, mask=by_patch)[1]["patch_tokens"])


def test_what_is_refused():
  def trace(module, **arrays):
    return jax.eval_shape(module.init, jax.random.key(0), IMAGES, **arrays)

  with pytest.raises(ValueError, match="cannot drop patches"):
    trace(small(), ids_keep=jnp.zeros((2, 3), int))
  with pytest.raises(ValueError, match="mask_token=True"):
    trace(small(), mask=jnp.ones((2, 16), bool))
  with pytest.raises(ValueError, match=r"\(2, 16\) or \(2, 64\), not \(2, 9\)"):
    trace(small(mask_token=True), mask=jnp.ones((2, 9), bool))
  with pytest.raises(ValueError, match="16x16 is not divisible by the patch size 3"):
    trace(small(patch_size=3))


def test_drop_path_follows_the_example():
  module = small(drop_path=0.9, depths=(1, 1))
  variables, keys = initialise(module), jax.random.split(jax.random.key(3), 2)
  whole = run(module, variables, keys=keys)[0]
  assert np.abs(whole - run(module, variables)[0]).max() > 1e-3  # without keys nothing is dropped
  np.testing.assert_allclose(whole[::-1], run(module, variables, IMAGES[::-1], keys=keys[::-1])[0], atol=1e-5)


def test_remat_and_bfloat16():
  one = dict(depths=(1,), num_heads=(1,))
  variables = initialise(small(**one))

  def value_and_grad(module):
    return jax.jit(jax.value_and_grad(lambda v: jnp.sum(module.apply(v, IMAGES)[0] ** 2)))(variables)

  exact, remat, half = (value_and_grad(small(**one, **n)) for n in ({}, dict(remat="dots_saveable"), dict(dtype="bfloat16")))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), exact, remat)
  assert 0 < abs(exact[0] - half[0]) < 0.02 * exact[0] and all(np.isfinite(x).all() for x in jax.tree.leaves(half))
  out = jax.eval_shape(small(dtype="bfloat16").apply, initialise(small()), IMAGES)[1]
  assert {array.dtype for array in out.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
  "numbers, message",
  [
    (dict(variant="XL"), "unknown variant 'XL'"),
    (dict(width=8), "needs width, depths"),
    (dict(variant="T", depths=(2, 2)), "count different stages"),
    (dict(variant="T", width=32), "not divisible by num_heads"),
  ],
)
def test_wrong_numbers(numbers, message):
  with pytest.raises(ValueError, match=message):
    swin(**numbers)
