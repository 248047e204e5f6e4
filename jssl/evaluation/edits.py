"""Edits of images, as people make when they copy one: `(key, image [H, W, C] float32 in [0, 1]) -> the same`."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl import views
from jssl.errors import nearest
from jssl.evaluation.drawn import Edit


def _crop(key, image):
  return views.random_resized_crop(key, image, size=image.shape[:2], scale=(0.4, 0.7))


def _blur(key, image):
  side = min(image.shape[:2])
  return views.random_gaussian_blur(key, image, prob=1.0, sigma=(side / 32, side / 16))


def _flip(key, image):
  del key
  return views.horizontal_flip(image)


def _rotation(key, image):
  """Linear interpolation around the middle; what comes from outside is black."""
  low, high, sign = jnp.deg2rad(10.0), jnp.deg2rad(30.0), jax.random.rademacher(key, (), jnp.float32)
  angle = sign * jax.random.uniform(jax.random.fold_in(key, 1), (), minval=low, maxval=high)
  height, width = image.shape[:2]
  y, x = jnp.meshgrid(jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij")
  places = [
    jnp.cos(angle) * y - jnp.sin(angle) * x + (height - 1) / 2,
    jnp.sin(angle) * y + jnp.cos(angle) * x + (width - 1) / 2,
  ]
  turn = lambda plane: jax.scipy.ndimage.map_coordinates(plane, places, order=1)
  return jax.vmap(turn, -1, -1)(image)


def _color(key, image):
  if image.shape[-1] != 3:
    return views.adjust_brightness(image, jax.random.uniform(key, (), minval=0.5, maxval=1.5))
  return views.color_jitter(key, image, 0.5, 0.5, 0.5, 0.1)


def _overlay(key, image):
  """An upright box of one colour, as a sticker covers a part."""
  height, width, channels = image.shape
  place, shade = jax.random.uniform(key, (2,)), jax.random.uniform(jax.random.fold_in(key, 1), (channels,))
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]
  top, left = place * jnp.array([height / 2, width / 2])
  inside = (rows >= top) & (rows < top + height / 2) & (columns >= left) & (columns < left + width / 2)
  return jnp.where(inside[..., None], shade, image)


def _shrink(key, image):
  """Half the pixels of each side, and the image's own size again."""
  del key
  height, width = image.shape[:2]
  return views.resize(views.resize(image, (max(height // 2, 1), max(width // 2, 1))), (height, width))


EDITS: dict[str, tuple[Edit, str]] = dict(
  crop=(_crop, "0.4 to 0.7 of the area, at the full size"),
  blur=(_blur, "a Gaussian of a side / 32 to / 16"),
  flip=(_flip, "horizontal"),
  rotation=(_rotation, "by 10 to 30 degrees"),
  color=(_color, "brightness, contrast, saturation by up to 0.5, hue by up to 0.1"),
  overlay=(_overlay, "a box of half of each side in one colour"),
  shrink=(_shrink, "to half of each side and back"),
)


def edits_by_name(names: Sequence[str]) -> tuple[Edit, ...]:
  """The edits of these names.

  Raises:
    ValueError: for another name, or one that is there twice.
  """
  for name in names:
    if name not in EDITS:
      raise ValueError(f"edits: there is no edit '{name}'; {nearest(str(name), EDITS)}")
  if not names or len(set(names)) < len(names):
    raise ValueError(f"edits={tuple(names)}: give at least one, each once")
  return tuple(EDITS[name][0] for name in names)
