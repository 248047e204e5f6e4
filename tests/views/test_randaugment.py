"""RandAugment: each operation against Pillow, the draws by counting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance, ImageOps
import pytest

from jssl import views
from jssl.views import randaugment
from jssl.views.randaugment import apply_operation, OPERATIONS

FILL = tuple(round(255 * x) for x in views.IMAGENET_MEAN)


def make_image(height=21, width=26, seed=0):
  """A smooth ramp with noise on it, and less than the full range in one channel."""
  rng = np.random.default_rng(seed)
  ramp = np.linspace(20, 220, width) + np.linspace(-15, 15, height)[:, None]
  return np.clip(ramp[..., None] * [1, 0.5, 1.1] + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def with_table(image, table):
  return image.point([table(i) for i in range(256)] * 3)


def affine(image, matrix, resample):
  return image.transform(image.size, Image.AFFINE, matrix, resample, fillcolor=FILL)


def pillow(image, name, level, sign, resample):
  """The operations of timm's list of increasing ones, in Pillow."""
  enhance = max(0.1, 1 + sign * level / 10 * 0.9)
  shear, move = sign * level / 10 * 0.3, sign * level / 10 * 0.45
  threshold, added = 256 - int(level / 10 * 256), int(level / 10 * 110)
  return dict(
    auto_contrast=lambda: ImageOps.autocontrast(image),
    equalize=lambda: ImageOps.equalize(image),
    invert=lambda: ImageOps.invert(image),
    posterize=lambda: ImageOps.posterize(image, 4 - int(level / 10 * 4)),
    solarize=lambda: ImageOps.solarize(image, threshold),
    solarize_add=lambda: with_table(image, lambda i: min(255, i + added) if i < 128 else i),
    brightness=lambda: ImageEnhance.Brightness(image).enhance(enhance),
    contrast=lambda: ImageEnhance.Contrast(image).enhance(enhance),
    color=lambda: ImageEnhance.Color(image).enhance(enhance),
    sharpness=lambda: ImageEnhance.Sharpness(image).enhance(enhance),
    rotate=lambda: image.rotate(sign * level / 10 * 30, resample, fillcolor=FILL),
    shear_x=lambda: affine(image, (1, shear, 0, 0, 1, 0), resample),
    shear_y=lambda: affine(image, (1, 0, 0, shear, 1, 0), resample),
    translate_x=lambda: affine(image, (1, 0, move * image.size[0], 0, 1, 0), resample),
    translate_y=lambda: affine(image, (1, 0, 0, 0, 1, move * image.size[1]), resample),
  )[name]()


@functools.cache
def compiled(interpolation):
  return jax.jit(functools.partial(apply_operation, interpolation=interpolation))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_pillows(name):
  image = make_image()
  for interpolation in ("bicubic", "bilinear"):
    for level, sign in ((0.0, 1), (1.3, -1), (5.1, 1), (9.2, -1), (9.9, 1)):
      got = compiled(interpolation)(jnp.float32(image), OPERATIONS.index(name), level, float(sign))
      resample = Image.BICUBIC if interpolation == "bicubic" else Image.BILINEAR
      want = np.asarray(pillow(Image.fromarray(image), name, level, sign, resample), np.float32)
      wrong = np.abs(np.asarray(got) - want)
      assert wrong.max() <= 1 and np.mean(wrong > 0) < 0.005, (interpolation, level, sign)


@pytest.mark.parametrize("name", ["auto_contrast", "equalize", "contrast"])
def test_images_of_one_colour_and_of_two_values(name):
  flat, two = np.full((9, 9, 3), 77, np.uint8), np.full((9, 9, 3), 77, np.uint8)
  two[:5] = 80
  for image in (flat, two):
    got = compiled("bicubic")(jnp.float32(image), OPERATIONS.index(name), 5.0, 1.0)
    np.testing.assert_array_equal(got, np.asarray(pillow(Image.fromarray(image), name, 5.0, 1, None)))


def test_no_bits_left_is_black():
  assert not np.any(compiled("bicubic")(jnp.float32(make_image()), OPERATIONS.index("posterize"), 10.0, 1.0))


def drawn(**numbers):
  """What happens to a black and white pattern: `[1000]` images, flattened."""
  image = jnp.zeros((3, 3, 3)).at[0].set(1.0)
  keys = jax.random.split(jax.random.key(0), 1000)
  augment = functools.partial(randaugment.rand_augment, image=image, interpolation="bilinear", **numbers)
  return np.asarray(jax.jit(jax.vmap(lambda key: augment(key)))(keys)).reshape(1000, -1), np.asarray(image).reshape(-1)


def test_operations_are_drawn_uniformly_and_at_their_rate():
  out, image = drawn(magnitude=10.0, magnitude_std=0.0, layers=1, prob=1.0)
  inverted = np.all(out == 1 - image, axis=1)  # by `invert`, and by `solarize` at its strongest
  black = np.all(out == 0, axis=1)  # `posterize` keeps no bit
  assert abs(inverted.mean() - 2 / 15) < 0.035 and 0.03 < black.mean() < 0.2
  rarely, _ = drawn(magnitude=10.0, magnitude_std=0.0, layers=1, prob=0.25)
  assert abs(np.all(rarely == 1 - image, axis=1).mean() - 0.25 * 2 / 15) < 0.02
  never, _ = drawn(magnitude=10.0, layers=2, prob=0.0)
  np.testing.assert_array_equal(never, np.broadcast_to(image, never.shape))


def test_two_layers_follow_each_other_and_all_values_are_bytes():
  image = jnp.asarray(make_image(8, 10)) / 255.0
  keys = jax.random.split(jax.random.key(1), 64)
  out = jax.jit(jax.vmap(lambda key: views.rand_augment(key, image, magnitude=9.0)))(keys)
  assert out.shape == (64, 8, 10, 3) and out.dtype == jnp.float32
  assert float(out.min()) >= 0 and float(out.max()) <= 1
  np.testing.assert_allclose(out * 255, jnp.round(out * 255), atol=1e-4)
  untouched = np.mean(np.all(np.abs(np.asarray(out) - np.asarray(image)) < 1e-6, axis=(1, 2, 3)))
  assert 0.1 < untouched < 0.5  # both tosses of one half fail in a quarter of the draws


def test_errors():
  key = jax.random.key(0)
  with pytest.raises(ValueError, match="3 channels"):
    views.rand_augment(key, jnp.zeros((4, 4, 1)), magnitude=5)
  with pytest.raises(ValueError, match="interpolation"):
    views.rand_augment(key, jnp.zeros((4, 4, 3)), magnitude=5, interpolation="lanczos")
