"""RandAugment: a few operations, drawn for each image, all of one strength.

Operations are Pillow's on bytes, including where it rounds: images hold whole numbers from 0 to 255 between them. There
are three kinds, and an image under `vmap` pays for one of each kind instead of for fifteen operations: a table for the
values of every channel, a blend with another image, and an affine map of the pixels' places.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.checks import Number
from jssl.views.colour import IMAGENET_MEAN, Levels

TABLES = ("auto_contrast", "equalize", "invert", "posterize", "solarize", "solarize_add")
BLENDS = ("brightness", "contrast", "color", "sharpness")
WARPS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = TABLES + BLENDS + WARPS


def rand_augment(
  rng: jax.Array,
  image: jax.Array,
  *,
  magnitude: Number,
  magnitude_std: float = 0.5,
  layers: int = 2,
  prob: Number = 0.5,
  fill: Levels = IMAGENET_MEAN,
  interpolation: str = "bicubic",
) -> jax.Array:
  """RandAugment in the form of timm: `layers` of fifteen operations, with replacement, each with probability `prob`.

  The defaults are timm's "rand-m<magnitude>-mstd0.5-inc1": the strength is N(magnitude, magnitude_std), clipped to
  [0, 10]; the directions of the geometric operations, and whether an enhancement goes up or down, are tossed.

  Args:
    rng: the image's key.
    image: [height, width, 3] float32 in [0, 1], not normalised; it is rounded to 1/255 as a decoded image is.
    magnitude: 0 to 10; may be a schedule.
    magnitude_std: standard deviation of the strength, >= 0.
    layers: static number of operations.
    prob: probability of each.
    fill: colour in [0, 1] of what a geometric operation brings in from outside: the data set's mean.
    interpolation: "bicubic" (DeiT and EfficientTrain) or "bilinear".

  Returns:
    [height, width, 3] float32 in [0, 1], multiples of 1/255.

  Raises:
    ValueError: for an image without 3 channels, or an unknown interpolation.

  References:
    Cubuk, Zoph, Shlens, Le 2019, arXiv 1909.13719; huggingface/pytorch-image-models, timm/data/auto_augment.py (the
    list of "increasing" operations).
  """

  def layer(image, key):
    which_key, noise_key, coin_key = jax.random.split(key, 3)
    which = jax.random.randint(which_key, (), 0, len(OPERATIONS))
    coins = jax.random.uniform(coin_key, (2,))
    level = jnp.clip(magnitude + magnitude_std * jax.random.normal(noise_key), 0, 10)
    sign = jnp.where(coins[0] < 0.5, -1.0, 1.0)
    changed = apply_operation(image, which, level, sign, fill=fill, interpolation=interpolation)
    return jnp.where(coins[1] < prob, changed, image), None

  if image.shape[-1:] != (3,) or image.ndim != 3:
    raise ValueError(f"rand_augment needs an image with 3 channels, got shape {image.shape}")
  augmented, _ = jax.lax.scan(layer, jnp.round(image * 255), jax.random.split(rng, layers))
  return augmented / 255


def apply_operation(
  image: jax.Array,
  which: int | jax.Array,
  level: Number,
  sign: Number,
  *,
  fill: Levels = IMAGENET_MEAN,
  interpolation: str = "bicubic",
) -> jax.Array:
  """One operation of RandAugment.

  | operation | at strength `level`, 0 to 10 |
  |---|---|
  | auto_contrast, equalize, invert | have none |
  | posterize | keeps 4 - int(0.4 level) bits; 0 bits is black |
  | solarize | inverts values from 256 - int(25.6 level) on |
  | solarize_add | adds int(11 level) to values below 128 |
  | brightness, contrast, color, sharpness | enhanced by max(0.1, 1 + 0.09 sign level) |
  | rotate | by 3 sign level degrees, counter-clockwise |
  | shear_x, shear_y | by 0.03 sign level |
  | translate_x, translate_y | by 0.045 sign level of the width or height |

  Args:
    image: [height, width, 3] whole numbers in [0, 255], as floats.
    which: number of the operation in `OPERATIONS`; may be traced.
    level: strength in [0, 10]; may be traced.
    sign: -1 or 1; may be traced.
    fill: colour in [0, 1].
    interpolation: "bicubic" or "bilinear".

  Returns:
    the same shape and range.
  """
  if interpolation not in _TAPS:
    raise ValueError(f"interpolation must be one of {sorted(_TAPS)}, got {interpolation!r}")
  tables, blends = len(TABLES), len(TABLES) + len(BLENDS)
  pick = lambda things, first: jnp.stack(things)[jnp.clip(which - first, 0, len(things) - 1)]
  values = image.astype(jnp.int32)
  looked_up = jnp.take_along_axis(pick(_tables(values, level), 0), values.reshape(-1, 3), axis=0).reshape(image.shape)
  factor = jnp.maximum(0.1, 1 + 0.09 * sign * level)
  other = pick(_degenerates(image), tables)
  # Pillow cuts fractions off. Float32 may stand just below a whole number that its doubles reach, here and in _warp.
  blended = jnp.floor(jnp.clip(other + factor * (image - other), 0, 255) + 1e-4)
  matrix = pick(_matrices(jnp.asarray(sign * level), *image.shape[:2]), blends)
  warped = _warp(image, matrix, jnp.round(255 * jnp.asarray(fill, jnp.float32)), interpolation)
  return jnp.where(which < tables, looked_up.astype(image.dtype), jnp.where(which < blends, blended, warped))


def _tables(values: jax.Array, level: Number) -> tuple[jax.Array, ...]:
  """What becomes of each value in each channel, [256, 3] int32, in the order of `TABLES`."""
  ramp = jnp.broadcast_to(jnp.arange(256)[:, None], (256, 3))
  low, high = values.min((0, 1)), values.max((0, 1))
  stretched = jnp.clip((ramp - low) * 255 // jnp.maximum(high - low, 1), 0, 255)
  counts = jnp.zeros((256, 3), jnp.int32).at[values.reshape(-1, 3), jnp.arange(3)].add(1)
  step = (counts.sum(0) - jnp.take_along_axis(counts, high[None], axis=0)[0]) // 255
  before = jnp.cumsum(counts, axis=0) - counts
  equal = jnp.minimum((step // 2 + before) // jnp.maximum(step, 1), 255)
  dropped = 4 + jnp.floor(0.4 * level).astype(jnp.int32)
  threshold = 256 - jnp.floor(25.6 * level).astype(jnp.int32)
  added = jnp.minimum(ramp + jnp.floor(11 * level).astype(jnp.int32), 255)
  return (
    jnp.where(high > low, stretched, ramp),
    jnp.where(step > 0, equal, ramp),
    255 - ramp,
    ramp >> dropped << dropped,
    jnp.where(ramp < threshold, ramp, 255 - ramp),
    jnp.where(ramp < 128, added, ramp),
  )


def _degenerates(image: jax.Array) -> tuple[jax.Array, ...]:
  """The image at factor 0 of each enhancement, in the order of `BLENDS`."""
  # Pillow's weights of grey, in 65536ths: exact in float32, since all sums stay below 2^24.
  red, green, blue = jnp.moveaxis(image, -1, 0)
  grey = jnp.floor((19595 * red + 38470 * green + 7471 * blue + 32768) / 65536)
  mean = jnp.floor(grey.mean() + 0.5)
  height, width, _ = image.shape
  neighbours = sum(image[i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3))
  smooth = jnp.floor((neighbours + 4 * image[1:-1, 1:-1]) / 13 + 0.5)
  return (
    jnp.zeros_like(image),
    jnp.broadcast_to(mean, image.shape),
    jnp.broadcast_to(grey[..., None], image.shape),
    image.at[1:-1, 1:-1].set(smooth),
  )


def _matrices(level: jax.Array, height: int, width: int) -> list[jax.Array]:
  """Rows (a, b, c, d, e, f): the pixel at (x, y) shows what is at (a x + b y + c, d x + e y + f). Order of `WARPS`."""
  angle = jnp.deg2rad(3.0 * level)
  cos, sin, zero, one = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)
  x, y = width / 2, height / 2
  rows = (
    (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y),
    (one, 0.03 * level, zero, zero, one, zero),
    (one, zero, zero, 0.03 * level, one, zero),
    (one, zero, 0.045 * level * width, zero, one, zero),
    (one, zero, zero, zero, one, 0.045 * level * height),
  )
  return [jnp.stack(row) for row in rows]


def _warp(image: jax.Array, matrix: jax.Array, fill: jax.Array, interpolation: str) -> jax.Array:
  """Pillow's `Image.transform(AFFINE)`: interpolates at mapped places; those outside of the image get `fill`."""
  height, width, _ = image.shape
  a, b, c, d, e, f = matrix
  y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing="ij")
  source_x, source_y = a * x + b * y + c, d * x + e * y + f
  left, top = jnp.floor(source_x - 0.5), jnp.floor(source_y - 0.5)
  offsets, kernel = _TAPS[interpolation]
  weights_x = [kernel(source_x - 0.5 - left - o) for o in offsets]
  weights_y = [kernel(source_y - 0.5 - top - o) for o in offsets]
  row = lambda o: jnp.clip(top + o, 0, height - 1).astype(jnp.int32)
  column = lambda o: jnp.clip(left + o, 0, width - 1).astype(jnp.int32)
  total = sum(
    (wy * wx)[..., None] * image[row(oy), column(ox)]
    for oy, wy in zip(offsets, weights_y, strict=True)
    for ox, wx in zip(offsets, weights_x, strict=True)
  )
  inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
  return jnp.where(inside[..., None], jnp.floor(jnp.clip(total, 0, 255) + 1e-3), fill)


def _linear(t: jax.Array) -> jax.Array:
  return jnp.maximum(1 - jnp.abs(t), 0)


def _cubic(t: jax.Array) -> jax.Array:
  """Keys' kernel with a = -1, which Pillow has for transforms, unlike for resizing."""
  t = jnp.abs(t)
  return jnp.where(t < 1, (t - 2) * t * t + 1, jnp.where(t < 2, ((5 - t) * t - 8) * t + 4, 0))


# Offsets of the pixels that count, and their weights by distance.
_TAPS = {"bilinear": (np.arange(2), _linear), "bicubic": (np.arange(-1, 3), _cubic)}
