"""ConvNeXt: names, sizes, masks, stochastic depth, precision. Values are in tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import convnext, count_parameters
from jssl.models.convnext import GlobalResponseNorm

IMAGES = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))


def small(**numbers):
  return convnext(**dict(dict(width=8, depths=(1, 2), stem="cifar", layer_scale=1.0), **numbers))


def initialise(module, images=IMAGES):
  """Random variables, so that no parameter hides behind an initial 0 or 1 (and nothing is compiled to make them)."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), images)
  return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)


@functools.partial(jax.jit, static_argnums=0)  # compiled once for each module and its arrays' shapes
def compiled(module, variables, images, arrays):
  return module.apply(variables, images, **arrays)


def run(module, variables, images=IMAGES, **arrays):
  return compiled(module, variables, images, arrays)


@pytest.mark.parametrize(
  "numbers, count",
  [
    (dict(variant="T"), 27_820_128),
    (dict(variant="S"), 49_454_688),
    (dict(variant="B"), 87_566_464),
    (dict(variant="L"), 196_230_336),
    (dict(variant="A", grn=True, layer_scale=None), 3_387_400),
  ],
)
def test_parameter_counts(numbers, count):
  """The authors' numbers without the classifier."""
  params = jax.eval_shape(convnext(**numbers).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
  assert count_parameters(params) == count


def test_names_and_shapes():
  module = small(stem="imagenet", mask_token=True)
  shapes = jax.eval_shape(module.init, jax.random.key(0), IMAGES)
  params = shapes["params"]
  assert set(params) == {
    "downsample_layers_0_0",
    "downsample_layers_0_1",
    "downsample_layers_1_0",
    "downsample_layers_1_1",
    "mask_token",
    "norm",
    "stages_0_0",
    "stages_1_0",
    "stages_1_1",
  }
  assert set(params["stages_0_0"]) == {"dwconv", "norm", "pwconv1", "pwconv2", "gamma"}
  assert params["stages_1_1"]["dwconv"]["kernel"].shape == (7, 7, 1, 16)
  features, out = jax.eval_shape(module.apply, shapes, jnp.zeros((2, 16, 24, 3)))
  assert features.shape == (2, 16) and module.grid((16, 24, 3)) == (2, 3)
  assert {name: array.shape for name, array in out.items()} == dict(
    stage1=(2, 4, 6, 8), stage2=(2, 2, 3, 16), feature_map=(2, 2, 3, 16), patch_tokens=(2, 6, 16), mean=(2, 16)
  )


def test_cifar_stem_keeps_the_resolution():
  module = convnext(variant="T", stem="cifar")
  assert module.grid((32, 32, 3)) == (4, 4)
  _, out = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))[0])
  assert out["stage1"].shape == (1, 32, 32, 96) and out["patch_tokens"].shape == (1, 16, 768)


def test_features_are_the_norm_of_the_mean():
  module = small()
  variables = initialise(module)
  features, out = run(module, variables)
  norm, last = variables["params"]["norm"], np.float64(out["stage2"])

  def normalise(x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * norm["scale"] + norm["bias"]

  np.testing.assert_allclose(features, normalise(last.mean(axis=(1, 2))), atol=1e-5)
  np.testing.assert_allclose(out["feature_map"], normalise(last), atol=1e-5)
  np.testing.assert_array_equal(out["patch_tokens"], out["feature_map"].reshape(2, 16, 16))


def test_mask_token():
  """What the stem says of a cell is hidden, of the last map's cells or of its own places."""
  module = small(mask_token=True, stem="imagenet")
  variables = initialise(module)
  mask = jnp.array([[True], [False]])
  _, out = run(module, variables, mask=mask)
  changed = run(module, variables, IMAGES.at[0].set(0.0), mask=mask)[1]
  np.testing.assert_array_equal(out["patch_tokens"], changed["patch_tokens"])
  _, same = run(module, variables, mask=jnp.repeat(mask, 4, axis=1))
  np.testing.assert_array_equal(out["patch_tokens"], same["patch_tokens"])
  _, whole = run(module, variables, mask=jnp.zeros_like(mask))
  np.testing.assert_array_equal(out["patch_tokens"][1], whole["patch_tokens"][1])


def test_what_is_refused():
  with pytest.raises(ValueError, match="a ConvNeXt works on whole grids and cannot drop patches"):
    jax.eval_shape(small().init, jax.random.key(0), IMAGES, ids_keep=jnp.zeros((2, 3), int))
  with pytest.raises(ValueError, match="mask_token=True"):
    jax.eval_shape(small().init, jax.random.key(0), IMAGES, mask=jnp.ones((2, 16), bool))
  with pytest.raises(ValueError, match="16x20 is not divisible by the stride 32"):
    convnext(variant="T").grid((16, 20, 3))


def test_global_response_norm():
  """Against its equation in float64; at zero it is zero, and so is its gradient, not NaN."""
  rng = np.random.default_rng(0)
  x, gamma, beta = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=5), rng.normal(size=5)
  norm = np.sqrt((x**2).sum(axis=(1, 2), keepdims=True))
  wanted = gamma * x * (norm / (norm.mean(-1, keepdims=True) + 1e-6)) + beta + x
  params = dict(gamma=jnp.float32(gamma), beta=jnp.float32(beta))
  apply = lambda x: GlobalResponseNorm().apply(dict(params=params), x)
  np.testing.assert_allclose(apply(jnp.float32(x)), wanted, atol=1e-5)
  zero = jnp.zeros((1, 2, 2, 5))
  np.testing.assert_allclose(apply(zero), np.broadcast_to(beta, zero.shape), atol=1e-6)
  assert np.isfinite(jax.grad(lambda x: apply(x).sum())(zero)).all()


def test_drop_path_follows_the_example():
  module = small(drop_path=0.9)
  variables, keys = initialise(module), jax.random.split(jax.random.key(5), 2)
  whole = run(module, variables, keys=keys)[0]
  assert np.abs(whole - run(module, variables)[0]).max() > 1e-3  # without keys nothing is dropped
  np.testing.assert_allclose(whole[::-1], run(module, variables, IMAGES[::-1], keys=keys[::-1])[0], atol=1e-5)


def test_remat_and_bfloat16():
  one = dict(depths=(1,), grn=True)
  variables = initialise(small(**one))

  def value_and_grad(module):
    return jax.jit(jax.value_and_grad(lambda v: jnp.sum(module.apply(v, IMAGES)[0] ** 2)))(variables)

  exact, remat, half = (value_and_grad(small(**one, **n)) for n in ({}, dict(remat="dots_saveable"), dict(dtype="bfloat16")))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), exact, remat)
  assert 0 < abs(exact[0] - half[0]) < 0.02 * exact[0] and all(np.isfinite(x).all() for x in jax.tree.leaves(half))
  out = jax.eval_shape(small(dtype="bfloat16").apply, initialise(small()), IMAGES)[1]
  assert {array.dtype for array in out.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
  "numbers, message",
  [
    (dict(variant="XXL"), "unknown variant"),
    (dict(width=8), "needs width and depths"),
    (dict(variant="T", stem="tiny"), "stem must be"),
  ],
)
def test_wrong_numbers(numbers, message):
  with pytest.raises(ValueError, match=message):
    convnext(**numbers)
