"""VGG: parameter counts, values against a loop over pixels, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import count_parameters, vgg

IMAGES = np.random.default_rng(1).normal(size=(2, 33, 40, 3)).astype(np.float32)


@pytest.mark.parametrize("depth, count", [(11, 9_220_480), (13, 9_404_992), (16, 14_714_688), (19, 20_024_384)])
def test_parameter_counts(depth, count):
  """torchvision's, of `vgg<depth>().features`."""
  params = jax.eval_shape(vgg(depth=depth).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
  assert count_parameters(params) == count
  assert params["conv1_1"]["kernel"].shape == (3, 3, 3, 64) and params["conv5_2"]["bias"].shape == (512,)


def convolved(x, kernel, bias):
  """A 3 x 3 convolution with zeros around the image, and ReLU."""
  x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  height, width = x.shape[1] - 2, x.shape[2] - 2
  y = sum(x[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)) + bias
  return np.maximum(y, 0)


def halved(x):
  """The largest of 2 x 2 pixels; an odd row or column at the end is left out."""
  x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
  return np.max([x[:, i::2, j::2] for i in range(2) for j in range(2)], axis=0)


def test_values():
  module = vgg(width=2)
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), IMAGES)
  variables = jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)
  features, out = jax.jit(module.apply)(variables, IMAGES)
  params, x = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"]), IMAGES.astype(np.float64)
  for stage, count in enumerate((1, 1, 2, 2, 2), start=1):
    for i in range(count):
      x = convolved(x, *(params[f"conv{stage}_{i + 1}"][part] for part in ("kernel", "bias")))
    x = halved(x)
    np.testing.assert_allclose(out[f"layer{stage}"], x, rtol=1e-4, atol=1e-4, err_msg=f"layer{stage}")
  assert x.shape == (2, *module.grid(IMAGES.shape), 16) and np.any(x)
  np.testing.assert_allclose(features, x.mean((1, 2)), rtol=1e-4, atol=1e-4)
  assert out["patch_tokens"].shape == (2, 1, 16)


def test_refusals():
  with pytest.raises(ValueError, match="depth must be one of 11, 13, 16, 19, not 12"):
    vgg(depth=12)
  for arrays, match in ((dict(mask=True), "no mask token"), (dict(ids_keep=True), "cannot drop patches")):
    with pytest.raises(ValueError, match=match):
      jax.eval_shape(lambda images, arrays=arrays: vgg(width=2).init(jax.random.key(0), images, **arrays), IMAGES)
  with pytest.raises(ValueError, match=r"\[31, 40\] pixels are too few"):
    jax.eval_shape(vgg(width=2).init, jax.random.key(0), IMAGES[:, :31])
