"""Crops and resizing against Pillow's float images, and the distribution of random boxes."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from jssl import views

FILTERS = dict(bicubic=Image.Resampling.BICUBIC, bilinear=Image.Resampling.BILINEAR)


resized_crop = jax.jit(views.resized_crop, static_argnums=(2, 3), static_argnames=("visible",))
resize = jax.jit(views.resize, static_argnums=(1, 2))


def make_image(height=20, width=26, channels=3, seed=0):
  return np.random.default_rng(seed).random((height, width, channels), np.float32)


def pillow(image, size, method, *, crop=None, box=None):
  """Pillow on each channel as a float image; `crop` first, or `box` of the whole; boxes are (top, left, height,
  width)."""

  def corners(b):
    return (b[1], b[0], b[1] + b[3], b[0] + b[2])

  planes = [Image.fromarray(np.ascontiguousarray(image[..., c]), mode="F") for c in range(image.shape[2])]
  planes = [plane.crop(corners(crop)) for plane in planes] if crop else planes
  planes = [plane.resize(size[::-1], FILTERS[method], box=corners(box) if box else None) for plane in planes]
  out = np.stack([np.asarray(plane) for plane in planes], axis=-1)
  return np.clip(out, 0, 1) if method == "bicubic" else out


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("box", [(0, 0, 20, 26), (3, 5, 9, 4), (19, 25, 1, 1), (2, 0, 18, 26), (7, 3, 5, 20)])
def test_resized_crop_equals_pillow_crop_then_resize(method, box):
  image = make_image()
  for size in [(8, 8), (31, 5)]:
    out = resized_crop(image, box, size, method)
    np.testing.assert_allclose(out, pillow(image, size, method, crop=box), atol=2e-6)


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_fractional_box_that_sees_the_image_equals_pillow_box(method):
  image, box = make_image(), (2.3, 4.75, 11.5, 17.2)
  out = resized_crop(image, box, (9, 12), method, visible=(0, 0, 20, 26))
  np.testing.assert_allclose(out, pillow(image, (9, 12), method, box=box), atol=2e-6)


def test_resized_crop_takes_one_box_an_image_under_one_compilation():
  images = jnp.stack([make_image(seed=s) for s in range(3)])
  boxes = jnp.array([[0, 0, 20, 26], [4, 2, 6, 6], [1, 20, 19, 5]], jnp.float32)
  out = jax.jit(jax.vmap(lambda image, box: views.resized_crop(image, box, 8)))(images, boxes)
  for image, box, got in zip(images, boxes, out, strict=True):
    np.testing.assert_allclose(got, resized_crop(image, tuple(box), 8), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 7])
def test_any_number_of_channels_and_identity(channels):
  image = make_image(channels=channels)
  np.testing.assert_allclose(resize(image, (20, 26)), image, atol=1e-6)
  assert resize(image, 5).shape == (5, 5, channels)


def test_resize_sees_the_extent_only():
  image = make_image()
  canvas = np.full((32, 32, 3), 9.0, np.float32)
  canvas[:20, :26] = image
  np.testing.assert_allclose(resize(canvas, 12, extent=jnp.array([20, 26])), resize(image, 12), atol=1e-6)


@pytest.mark.parametrize("shape, size, resize_to", [((20, 26), 8, 11), ((33, 17), 10, 10), ((19, 40), (6, 12), 16)])
def test_resize_view_equals_torchvisions_resize_then_center_crop(shape, size, resize_to):
  image, (height, width) = make_image(*shape), shape
  short = min(shape)
  big = tuple(resize_to if side == short else int(resize_to * side / short) for side in shape)
  out = size if isinstance(size, tuple) else (size, size)
  top, left = (int(round((b - o) / 2.0)) for b, o in zip(big, out, strict=True))
  expected = pillow(image, big, "bicubic", box=(0, 0, height, width))[top : top + out[0], left : left + out[1]]
  canvas = jnp.pad(jnp.asarray(image), ((0, 9), (0, 3), (0, 0)), constant_values=5.0)
  view = jax.jit(lambda c, e: views.resize_view(None, c, e, size=size, resize_to=resize_to, mean=0.0, std=1.0))(
    canvas, jnp.array(shape)
  )
  np.testing.assert_allclose(view, expected, atol=5e-6)


def test_resize_view_of_the_whole_image():
  image = make_image(12, 12)
  view = views.resize_view(None, image, size=7, mean=0.0, std=1.0)
  np.testing.assert_allclose(view, pillow(image, (7, 7), "bicubic"), atol=5e-6)


def test_center_crop():
  image = make_image(9, 12)
  np.testing.assert_array_equal(views.center_crop(image, (4, 5)), image[2:6, 4:9])  # 2.5 -> 2, 3.5 -> 4
  np.testing.assert_array_equal(views.center_crop(image, 3, extent=jnp.array([5, 3])), image[1:4, 0:3])
  with pytest.raises(ValueError, match="does not fit"):
    views.center_crop(image, 10)


def test_flip_and_its_rate():
  image = make_image(2, 3)
  np.testing.assert_array_equal(views.horizontal_flip(image), image[:, ::-1])
  keys = jax.random.split(jax.random.key(0), 2000)
  flipped = jax.vmap(lambda key: views.random_horizontal_flip(key, jnp.asarray(image), prob=0.3)[0, 0, 0])(keys)
  assert abs(np.mean(flipped == image[0, 2, 0]) - 0.3) < 0.04


def torchvision_box(rng, height, width, scale, ratio):
  """`RandomResizedCrop.get_params`, written from torchvision's documentation of it."""
  for _ in range(10):
    area = height * width * rng.uniform(*scale)
    aspect = np.exp(rng.uniform(*np.log(ratio)))
    w, h = int(round(np.sqrt(area * aspect))), int(round(np.sqrt(area / aspect)))
    if 0 < w <= width and 0 < h <= height:
      return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
  if width / height < min(ratio):
    w, h = width, int(round(width / min(ratio)))
  elif width / height > max(ratio):
    h, w = height, int(round(height * max(ratio)))
  else:
    h, w = height, width
  return (height - h) // 2, (width - w) // 2, h, w


def draw_boxes(number, extent, **numbers):
  keys = jax.random.split(jax.random.key(1), number)
  return np.stack(jax.jit(jax.vmap(lambda key: jnp.stack(views.random_crop_box(key, extent, **numbers))))(keys))


@pytest.mark.parametrize(
  "extent, scale, ratio", [((20, 28), (0.08, 1.0), (3 / 4, 4 / 3)), ((9, 40), (0.3, 1.0), (0.5, 2.0))]
)
def test_random_boxes_have_torchvisions_distribution(extent, scale, ratio):
  boxes = draw_boxes(6000, extent, scale=scale, ratio=ratio)
  top, left, height, width = boxes.T
  assert np.all(boxes == np.round(boxes)) and np.all(boxes[:, :2] >= 0) and np.all(boxes[:, 2:] >= 1)
  assert np.all(top + height <= extent[0]) and np.all(left + width <= extent[1])
  rng = np.random.default_rng(0)
  expected = np.array([torchvision_box(rng, *extent, scale, ratio) for _ in range(6000)], np.float64)
  for column in range(4):
    a, b = np.sort(boxes[:, column]), np.sort(expected[:, column])
    grid = np.arange(41)
    distance = np.abs(np.searchsorted(a, grid, "right") - np.searchsorted(b, grid, "right")).max() / 6000
    assert distance < 0.035  # the 0.1 % point of the two-sample Kolmogorov-Smirnov statistic
  fallback = (height == extent[0]) & (width == round(extent[0] * ratio[1]))
  share = (height * width / (extent[0] * extent[1]))[~fallback]
  assert scale[0] * 0.85 < share.min() < scale[0] * 1.1 and share.max() > 0.45  # sides are whole pixels


def test_fallback_is_the_center_of_the_allowed_ratio():
  box = jax.jit(lambda extent: jnp.stack(views.random_crop_box(jax.random.key(0), extent, scale=(1.0, 1.0))))
  for extent, expected in [((4, 40), (0, 17, 4, 5)), ((40, 3), (18, 0, 4, 3)), ((1, 1), (0, 0, 1, 1))]:
    np.testing.assert_array_equal(box(jnp.array(extent)), expected)


def test_random_resized_crop_stays_inside_a_traced_extent():
  canvas = jnp.ones((16, 16, 1)).at[:5, :7].set(0.0)

  def crop(key, extent):
    return views.random_resized_crop(key, canvas, size=6, scale=(0.1, 1), extent=extent)

  out = jax.jit(jax.vmap(crop, (0, None)))(jax.random.split(jax.random.key(0), 64), jnp.array([5, 7]))
  assert out.shape == (64, 6, 6, 1) and float(jnp.abs(out).max()) == 0.0


def test_errors():
  image, key = make_image(), jax.random.key(0)
  with pytest.raises(ValueError, match="method"):
    views.resize(image, 8, "nearest")
  with pytest.raises(ValueError, match="floats"):
    views.resize((image * 255).astype(np.uint8), 8)
  with pytest.raises(ValueError, match="size"):
    views.resize(image, 0)
  with pytest.raises(ValueError, match="scale"):
    views.random_resized_crop(key, image, size=8, scale=(0, 1))
  with pytest.raises(ValueError, match="ratio"):
    views.random_resized_crop(key, image, size=8, scale=(0.1, 1), ratio=(2, 1))
  with pytest.raises(ValueError, match="does not fit"):
    views.resize_view(key, image, size=8, resize_to=7)
