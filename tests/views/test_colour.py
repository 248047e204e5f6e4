"""Colour operations against colorsys, Pillow, SciPy and formulae in NumPy."""

import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance
import pytest
import scipy.ndimage

from jssl import views

OPS = (views.adjust_brightness, views.adjust_contrast, views.adjust_saturation, views.adjust_hue)
LUMA = np.array([0.299, 0.587, 0.114])


def make_image(height=7, width=9, seed=0):
  """Random colours, with greys, ties between channels, black and white among them."""
  image = np.random.default_rng(seed).random((height, width, 3), np.float32)
  image[0, :5] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [0.7, 0.7, 0.2], [0.2, 0.7, 0.7]]
  return image


def grey(image):
  return image.astype(np.float64) @ LUMA


def blend(image, other, factor):
  return np.clip(factor * image.astype(np.float64) + (1 - factor) * other, 0, 1)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_blends(factor):
  image = make_image()
  np.testing.assert_allclose(views.adjust_brightness(image, factor), blend(image, 0, factor), atol=1e-6)
  np.testing.assert_allclose(views.adjust_contrast(image, factor), blend(image, grey(image).mean(), factor), atol=1e-6)
  np.testing.assert_allclose(views.adjust_saturation(image, factor), blend(image, grey(image)[..., None], factor), atol=1e-6)


@pytest.mark.parametrize(
  "op, enhancer",
  [
    (views.adjust_brightness, ImageEnhance.Brightness),
    (views.adjust_contrast, ImageEnhance.Contrast),
    (views.adjust_saturation, ImageEnhance.Color),
  ],
)
def test_blends_equal_pillow_on_bytes(op, enhancer):
  image = np.round(make_image() * 255).astype(np.uint8)
  for factor in (0.3, 1.6):
    expected = np.asarray(enhancer(Image.fromarray(image)).enhance(factor)) / 255
    np.testing.assert_allclose(op(image / np.float32(255), factor), expected, atol=2.5 / 255)


@pytest.mark.parametrize("shift", [-0.5, -0.13, 0.0, 0.02, 0.35, 0.5])
def test_hue_equals_colorsys(shift):
  image = make_image()

  def turn(pixel):
    h, s, v = colorsys.rgb_to_hsv(*pixel)
    return colorsys.hsv_to_rgb((h + shift) % 1.0, s, v)

  expected = np.array([[turn(pixel) for pixel in row] for row in image.astype(np.float64)])
  np.testing.assert_allclose(views.adjust_hue(image, shift), expected, atol=2e-6)


def test_grayscale_solarize_normalize():
  image = make_image()
  np.testing.assert_allclose(views.grayscale(image), np.repeat(grey(image)[..., None], 3, -1), atol=1e-6)
  edge = np.array([0, 127, 128, 255], np.float32).reshape(2, 2, 1) / np.float32(255)
  np.testing.assert_allclose(views.solarize(edge) * 255, [[[0], [127]], [[127], [0]]], atol=1e-4)
  mean, std = np.array(views.CIFAR_MEAN), np.array(views.CIFAR_STD)
  np.testing.assert_allclose(views.normalize(image, views.CIFAR_MEAN, views.CIFAR_STD), (image - mean) / std, atol=1e-5)
  assert views.normalize(image[..., :1], 0.5, 0.25).shape == (7, 9, 1)


@pytest.mark.parametrize("sigma, radius", [(0.1, 6), (1.3, 4), (2.0, 6), (2.0, 15)])
def test_blur_equals_scipy(sigma, radius):
  image = make_image(8, 11)
  expected = scipy.ndimage.gaussian_filter(
    image.astype(np.float64), (sigma, sigma, 0), mode="nearest", radius=(radius, radius, 0)
  )
  blur = jax.jit(lambda image, sigma: views.gaussian_blur(image, sigma, radius=radius))
  np.testing.assert_allclose(blur(image, sigma), expected, atol=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0), (1,), (3, 0)])
def test_adjust_colors_is_the_operations_in_order(order):
  image, factors = make_image(), (1.4, 0.6, 1.3, -0.1)
  expected = image
  for op in order:
    expected = OPS[op](expected, factors[op])
  np.testing.assert_allclose(views.adjust_colors(image, jnp.array(order), jnp.array(factors)), expected, atol=2e-6)


def test_jitter_uses_every_order_equally_often():
  image, keys = jnp.asarray(make_image(2, 5)), jax.random.split(jax.random.key(0), 2400)
  low, span = np.array([0.5, 0.5, 0.5, -0.2]), np.array([1.0, 1.0, 1.0, 0.4])

  def factors_of(key):  # the draws of color_jitter, from which the order is found by trying all 24
    return low + span * jax.random.uniform(key, (9,))[1:5]

  got = jax.jit(jax.vmap(lambda key: views.color_jitter(key, image, 0.5, 0.5, 0.5, 0.2)))(keys)
  orders = jnp.array(list(itertools.permutations(range(4))))
  every = jax.jit(jax.vmap(lambda f: jax.vmap(lambda order: views.adjust_colors(image, order, f))(orders)))(
    jax.vmap(factors_of)(keys)
  )
  errors = np.abs(np.asarray(every) - np.asarray(got)[:, None]).max(axis=(2, 3, 4))
  assert errors.min(axis=1).max() < 1e-5
  matches = errors < errors.min(axis=1, keepdims=True) + 1e-6
  unique = matches.sum(axis=1) == 1  # operations that happen to commute leave the order open
  assert unique.mean() > 0.4
  counts = (matches / matches.sum(axis=1, keepdims=True)).sum(axis=0)
  assert counts.min() > 60 and counts.max() < 150


def test_jitter_factors_and_probability():
  image = jnp.full((2, 2, 3), 0.4)
  keys = jax.random.split(jax.random.key(3), 3000)
  bright = jax.jit(jax.vmap(lambda key: views.color_jitter(key, image, 0.4, 0, 0, 0, 0.8)[0, 0, 0]))(keys) / 0.4
  changed = np.asarray(bright)[np.abs(np.asarray(bright) - 1) > 1e-6]
  assert abs(changed.size / 3000 - 0.8) < 0.03
  assert 0.6 <= changed.min() < 0.62 and 1.38 < changed.max() <= 1.4001 and abs(changed.mean() - 1) < 0.02
  strong = jax.jit(jax.vmap(lambda key: views.color_jitter(key, image, 2.0, 0, 0, 0)[0, 0, 0]))(keys) / 0.4
  assert strong.min() >= 0 and abs(np.mean(np.asarray(strong) < 1.0) - 1 / 3) < 0.03  # U(0, 3), not U(-1, 3)
  np.testing.assert_array_equal(views.color_jitter(keys[0], image, 0, 0, 0, 0), image)


def test_random_wrappers_apply_at_their_rate():
  image, keys = jnp.asarray(make_image(2, 5, seed=2)), jax.random.split(jax.random.key(4), 1500)
  for fn in (views.random_grayscale, views.random_gaussian_blur, views.random_solarize):
    out = jax.jit(jax.vmap(lambda key, fn=fn: fn(key, image, prob=0.25)))(keys)
    assert abs(np.mean(np.any(np.asarray(out) != image, axis=(1, 2, 3))) - 0.25) < 0.05


def test_constant_images_stay_finite():
  jitter = jax.jit(lambda image: views.color_jitter(jax.random.key(0), image, 0, 0.4, 0.4, 0.5))
  for value in (0.0, 0.5, 1.0):
    image = jnp.full((4, 4, 3), value)
    np.testing.assert_allclose(jitter(image), image, atol=1e-6)
    np.testing.assert_allclose(views.gaussian_blur(image, 1e-3, radius=3), image, atol=1e-6)


def test_errors():
  image, key = jnp.zeros((4, 4, 1)), jax.random.key(0)
  for call in (
    lambda: views.grayscale(image),
    lambda: views.adjust_hue(image, 0.1),
    lambda: views.color_jitter(key, image, 0.1, 0, 0, 0),
  ):
    with pytest.raises(ValueError, match="3 channels"):
      call()
  with pytest.raises(ValueError, match="strengths"):
    views.color_jitter(key, image, 0.1, 0, 0, 0.6)
  with pytest.raises(ValueError, match="channels"):
    views.normalize(image, views.IMAGENET_MEAN, views.IMAGENET_STD)
  with pytest.raises(ValueError, match="sigma"):
    views.random_gaussian_blur(key, image, prob=1.0, sigma=(0, 1))


def test_grey_images_in_three_channels():
  image = jax.random.uniform(jax.random.key(0), (4, 5, 1))
  found = views.as_rgb(jax.random.key(1), image)
  assert found.shape == (4, 5, 3) and (found == image).all()
  assert (views.as_rgb(jax.random.key(1), found) == found).all()
  with pytest.raises(ValueError, match="1 or 3 channels"):
    views.as_rgb(jax.random.key(1), jnp.zeros((4, 5, 2)))
