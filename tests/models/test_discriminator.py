"""DCGAN's discriminator against its equations in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import discriminator


def convolved(x, kernel):
  """A 4 x 4 kernel at every second place, one pixel of zeros around."""
  x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  rows, columns = (x.shape[1] - 2) // 2, (x.shape[2] - 2) // 2
  windows = [[x[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] for j in range(columns)] for i in range(rows)]
  return np.stack([np.stack([np.einsum("bhwc,hwco->bo", w, kernel) for w in row], 1) for row in windows], 1)


def leaky(x):
  return np.where(x > 0, x, 0.2 * x)


def reference(params, images):
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  x = leaky(convolved(np.asarray(images, np.float64), p["conv1"]["kernel"]) + p["conv1"]["bias"])
  x = convolved(x, p["conv2"]["kernel"])
  x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) * p["bn2"]["scale"] + p["bn2"]["bias"]
  return leaky(x).reshape(len(x), -1) @ p["head"]["kernel"].reshape(-1) + p["head"]["bias"]


def test_it_is_its_equations():
  module = discriminator(width=2, depth=2)
  images = jax.random.normal(jax.random.key(0), (3, 8, 12, 1))
  variables = module.init(jax.random.key(1), images, train=True)
  params = jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.size), x.shape), variables["params"])
  assert set(params) == {"conv1", "conv2", "bn2", "head"} and "bias" not in params["conv2"]

  def judge(images):
    out, _ = module.apply(dict(variables, params=params), images, train=True, mutable=["batch_stats"])
    return out["logits"]

  want = reference(params, images)
  np.testing.assert_allclose(judge(images), want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
  weights, direction = np.array([1.0, -2.0, 3.0]), np.random.default_rng(0).normal(size=images.shape)
  along = jnp.sum(jax.grad(lambda x: jnp.dot(jnp.asarray(weights, jnp.float32), judge(x)))(images) * direction)
  step = lambda h: weights @ reference(params, np.asarray(images, np.float64) + h * direction)
  np.testing.assert_allclose(along, (step(1e-6) - step(-1e-6)) / 2e-6, rtol=1e-3)


def test_small_images_are_refused():
  with pytest.raises(ValueError, match="depth=3 halves sides 3 times"):
    jax.eval_shape(discriminator(depth=3).init, jax.random.key(0), jnp.zeros((1, 12, 8, 3)))
