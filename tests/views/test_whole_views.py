"""The training view and the evaluation view as wholes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import views

FULL = dict(size=8, scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), grayscale=0.2, blur=0.5, solarize=0.2)


def make_images(number=4, height=10, width=12):
  return jax.random.uniform(jax.random.key(9), (number, height, width, 3))


def test_all_switched_off_is_a_normalised_resize():
  image = make_images()[0]
  whole = functools.partial(views.augment, size=6, scale=(1, 1), ratio=(1.2, 1.2), flip=0)
  view = jax.jit(whole)(jax.random.key(0), image)
  expected = views.normalize(views.resize(image, 6), views.IMAGENET_MEAN, views.IMAGENET_STD)
  np.testing.assert_allclose(view, expected, atol=1e-5)


def test_operations_come_in_the_stated_order():
  always = dict(
    size=7,
    scale=(0.3, 1),
    flip=1.0,
    jitter=(0.4, 0.4, 0.2, 0.1),
    jitter_prob=1.0,
    grayscale=1.0,
    blur=1.0,
    solarize=1.0,
    mean=0.5,
    std=0.2,
  )
  image, key = make_images()[0], jax.random.key(5)
  got = jax.jit(functools.partial(views.augment, **always))(key, image)
  np.testing.assert_allclose(got, jax.jit(by_hand)(key, image), atol=1e-5)


def by_hand(key, image):
  crop, flip, jitter, grey, blur, solar = jax.random.split(key, 6)
  expected = views.random_resized_crop(crop, image, size=7, scale=(0.3, 1))
  expected = views.random_horizontal_flip(flip, expected, prob=1.0)
  expected = views.color_jitter(jitter, expected, 0.4, 0.4, 0.2, 0.1)
  expected = views.random_grayscale(grey, expected, prob=1.0)
  expected = views.random_gaussian_blur(blur, expected, prob=1.0)
  return views.normalize(views.random_solarize(solar, expected, prob=1.0), 0.5, 0.2)


def test_switching_one_operation_off_leaves_the_other_draws_alone():
  image, key = make_images()[0], jax.random.key(2)
  plain = jax.jit(functools.partial(views.augment, size=8))
  blurred = jax.jit(functools.partial(views.augment, size=8, blur=1.0, blur_sigma=(1e-3, 1e-3)))
  np.testing.assert_allclose(blurred(key, image), plain(key, image), atol=1e-5)


@pytest.mark.slow
def test_vmap_and_jit_equal_one_image_at_a_time():
  images, keys = make_images(), jax.random.split(jax.random.key(1), 4)  # an extent each, down to one pixel
  extents = jnp.array([[10, 12], [5, 12], [10, 3], [1, 1]])
  batch = jax.jit(jax.vmap(lambda k, i, e: views.augment(k, i, e, **FULL)))(keys, images, extents)
  assert batch.shape == (4, 8, 8, 3) and batch.dtype == jnp.float32 and bool(jnp.isfinite(batch).all())
  for i in (0, 3):
    np.testing.assert_allclose(batch[i], views.augment(keys[i], images[i], extents[i], **FULL), atol=2e-4)


def test_an_extent_of_one_pixel_is_that_colour():
  canvas = jnp.ones((6, 6, 3)).at[0, 0].set(jnp.array([0.1, 0.2, 0.3]))
  for fn in (views.augment, views.resize_view):
    view = jax.jit(functools.partial(fn, size=4, mean=0.0, std=1.0))(jax.random.key(0), canvas, jnp.array([1, 1]))
    np.testing.assert_allclose(view, np.broadcast_to([0.1, 0.2, 0.3], (4, 4, 3)), atol=1e-6)


def test_an_evaluation_in_grey():
  image = make_images()[0]
  view = functools.partial(views.resize_view, None, size=6, mean=0.0, std=1.0)
  np.testing.assert_allclose(view(image, grayscale=True), views.grayscale(view(image)), atol=1e-6)


def test_one_channel_without_colour():
  image = make_images()[0, ..., :1]
  fn = functools.partial(views.augment, size=6, blur=0.5, solarize=0.5, mean=0.5, std=0.25)
  assert jax.eval_shape(fn, jax.random.key(0), image).shape == (6, 6, 1)
  assert jax.eval_shape(lambda i: views.resize_view(None, i, size=(4, 8), mean=0.5, std=0.25), image).shape == (4, 8, 1)


@pytest.mark.parametrize(
  "channels, numbers, message",
  [
    (3, dict(blur=1.2), "blur must be a probability"),
    (1, dict(grayscale=0.2, mean=0.5, std=0.2), "3 channels"),
    (1, {}, "1 channels"),
  ],
)
def test_errors_are_found_while_tracing(channels, numbers, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(functools.partial(views.augment, size=4, **numbers), jax.random.key(0), jnp.ones((6, 6, channels)))
