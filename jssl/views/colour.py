"""Colour, blur, solarisation and normalisation: `image [height, width, channels]` float32 in [0, 1] -> the same shape.

The deterministic functions are torchvision's on float tensors: blend, then clip to [0, 1]. Grey is Pillow's ITU-R 601-2
luma 0.299 R + 0.587 G + 0.114 B; torchvision's tensors use 0.2989 for red, which would darken white by 1e-4.

What a view is made of computes on planes [channels, height, width], in which this arithmetic vectorises. Where one such
function follows another, XLA leaves out the transpositions between them.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jssl.checks import Number, Range
from jssl.views.geometry import from_planes, to_planes

Levels = float | Sequence[float] | np.ndarray  # one for all channels, or one a channel

LUMA = (0.299, 0.587, 0.114)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.247, 0.2435, 0.2616)

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
NOTHING = -1


def adjust_brightness(image: jax.Array, factor: Number) -> jax.Array:
  """clip(factor * image); any number of channels. 0 is black, 1 changes nothing."""
  return _blend(image, 0.0, factor)


def adjust_contrast(image: jax.Array, factor: Number) -> jax.Array:
  """Blends with the mean grey of the whole image; 3 channels. 0 is that grey, 1 changes nothing."""
  return _blend(image, jnp.mean(_luma(_rgb_planes(image, "adjust_contrast"))), factor)


def adjust_saturation(image: jax.Array, factor: Number) -> jax.Array:
  """Blends with the grey image; 3 channels. 0 is grey, 1 changes nothing."""
  return _blend(image, grayscale(image), factor)


def adjust_hue(image: jax.Array, shift: Number) -> jax.Array:
  """Turns the hue of the HSV representation by `shift` in [-0.5, 0.5] turns; 3 channels."""
  return from_planes(_shift_hue(_rgb_planes(image, "adjust_hue"), shift))


def grayscale(image: jax.Array) -> jax.Array:
  """Grey in all 3 channels: 0.299 R + 0.587 G + 0.114 B."""
  return jnp.broadcast_to(_luma(_rgb_planes(image, "grayscale"))[..., None], image.shape)


def as_rgb(rng: jax.Array, image: jax.Array) -> jax.Array:
  """A grey image `[height, width, 1]` in 3 channels, for views that jitter colours; one of 3 stays. Nothing is random."""
  del rng
  if image.shape[-1] not in (1, 3):
    raise ValueError(f"as_rgb takes images of 1 or 3 channels, got {list(image.shape)}")
  return jnp.broadcast_to(image, (*image.shape[:-1], 3))


def random_grayscale(rng: jax.Array, image: jax.Array, *, prob: Number) -> jax.Array:
  """`grayscale` with probability `prob`."""
  planes = _rgb_planes(image, "random_grayscale")
  return from_planes(jnp.where(jax.random.bernoulli(rng, prob), _luma(planes), planes))


def adjust_colors(
  image: jax.Array, order: jax.Array | np.ndarray, factors: jax.Array | np.ndarray, *, turn_hue: bool = True
) -> jax.Array:
  """Brightness, contrast, saturation and hue, one after the other in a traced order.

  The three blends differ only in two scalars, and a blend with the factor 1 changes nothing: a random order is the blends
  that come before the hue, one turn of the hue, and the blends that come after it, without gathers or branches.

  Args:
    image: [height, width, 3] in [0, 1].
    order: [steps] ints, 0 brightness, 1 contrast, 2 saturation, 3 hue, each once at most, and any number of -1, which do
      nothing.
    factors: [4], the factor (or the shift, for hue) of each of the four operations.
    turn_hue: False promises that `order` has no 3.
  """
  order, factors = jnp.asarray(order), jnp.asarray(factors)
  planes = _rgb_planes(image, "adjust_colors")
  if not turn_hue:
    return from_planes(_blends(planes, order, factors, order != HUE))
  steps = jnp.arange(order.size)
  turn = jnp.min(jnp.where(order == HUE, steps, order.size))
  planes = _blends(planes, order, factors, steps < turn)
  planes = jnp.where(turn < order.size, _shift_hue(planes, factors[HUE]), planes)
  return from_planes(_blends(planes, order, factors, steps > turn))


def _blends(planes: jax.Array, order: jax.Array, factors: jax.Array, wanted: jax.Array) -> jax.Array:
  """The blends of `order` that are `wanted`. A loop, because unrolled XLA computes again what comes before a mean."""
  chosen = order[:, None] == jnp.arange(HUE)
  factors = jnp.where(wanted & chosen.any(axis=1), jnp.where(chosen, factors[:HUE], 0.0).sum(axis=1), 1.0)

  def step(planes, op_and_factor):
    op, factor = op_and_factor
    grey = _luma(planes)
    other = jnp.where(op == CONTRAST, grey.mean(), jnp.where(op == SATURATION, grey, 0.0))
    return _blend(planes, other, factor), None

  return jax.lax.scan(step, planes, (order, factors))[0]


def color_jitter(
  rng: jax.Array, image: jax.Array, brightness: float, contrast: float, saturation: float, hue: float, prob: Number = 1.0
) -> jax.Array:
  """torchvision's `ColorJitter` with probability `prob`: random factors, in a random order for each image.

  Factors are U(max(0, 1 - strength), 1 + strength), the hue's shift is U(-hue, hue). An operation of strength 0 is left
  out, which does not change the distribution.

  Args:
    rng: a key.
    image: [height, width, 3] in [0, 1].
    brightness, contrast, saturation: static strengths >= 0.
    hue: static strength in [0, 0.5], in turns.
    prob: probability that anything is done at all.

  Raises:
    ValueError: for strengths out of range or an image without 3 channels.
  """
  strengths = (brightness, contrast, saturation, hue)
  if min(strengths) < 0 or hue > 0.5:
    raise ValueError(f"jitter strengths must be >= 0 and hue <= 0.5, got {strengths}")
  low = np.array([max(0.0, 1 - s) for s in strengths[:3]] + [-hue], np.float32)
  high = np.array([1.0 + s for s in strengths[:3]] + [hue], np.float32)
  active = np.array([op for op, strength in enumerate(strengths) if strength > 0], np.int32)
  if not active.size:
    return image
  draws = jax.random.uniform(rng, (5 + active.size,))
  order = jnp.where(draws[0] < prob, jnp.asarray(active)[jnp.argsort(draws[5:])], NOTHING)
  return adjust_colors(image, order, low + (high - low) * draws[1:5], turn_hue=hue > 0)


def batch_color_jitter(rng: jax.Array, image: jax.Array, *, jitter: Sequence[float], prob: Number = 1.0) -> jax.Array:
  """`color_jitter` with one draw for the whole batch (scope="batch"): a view's images change alike.

  Args:
    rng: one key, the same on all devices.
    image: [batch, height, width, 3] in [0, 1].
    jitter: static strengths (brightness, contrast, saturation, hue).
    prob: probability that anything is done at all, to all images.

  Raises:
    ValueError: as `color_jitter`.

  References:
    Scalbert et al. 2024, arXiv 2303.06088: the ablation that goes with `standardize_styles`.
  """
  return jax.vmap(lambda x: color_jitter(rng, x, *jitter, prob=prob))(image)


def gaussian_blur(image: jax.Array, sigma: Number, *, radius: int) -> jax.Array:
  """Convolves with a Gaussian of `sigma` pixels (may be traced), cut at `radius` pixels and normalised to sum 1.

  The border is extended by its edge pixels, as in Pillow. Pillow's own `GaussianBlur(radius=sigma)` only approximates
  this by three box blurs. Any number of channels. A radius of at least 3 sigma leaves less than 0.3 % of the Gaussian
  out.
  """
  return from_planes(_blur(to_planes(image), sigma, radius))


def random_gaussian_blur(rng: jax.Array, image: jax.Array, *, prob: Number, sigma: Range = (0.1, 2.0)) -> jax.Array:
  """`gaussian_blur` with probability `prob`, a standard deviation U(sigma) in pixels and a radius of 3 * max(sigma).

  Raises:
    ValueError: unless 0 < sigma[0] <= sigma[1].
  """
  if not 0 < sigma[0] <= sigma[1]:
    raise ValueError(f"blur sigma must satisfy 0 < low <= high, got {sigma}")
  coin, share = jax.random.uniform(rng, (2,))
  planes = to_planes(image)
  blurred = _blur(planes, sigma[0] + (sigma[1] - sigma[0]) * share, int(np.ceil(3 * sigma[1])))
  return from_planes(jnp.where(coin < prob, blurred, planes))


def solarize(image: jax.Array, threshold: Number = 128 / 255) -> jax.Array:
  """Inverts the values at or above the threshold: x -> 1 - x where x >= threshold."""
  return jnp.where(image >= threshold, 1.0 - image, image)


def random_solarize(rng: jax.Array, image: jax.Array, *, prob: Number, threshold: Number = 128 / 255) -> jax.Array:
  """`solarize` with probability `prob`."""
  planes = to_planes(image)
  return from_planes(jnp.where(jax.random.bernoulli(rng, prob), solarize(planes, threshold), planes))


def normalize(image: jax.Array, mean: Levels, std: Levels) -> jax.Array:
  """(image - mean) / std; `mean` and `std` are scalars or one number a channel.

  Raises:
    ValueError: if their number is neither 1 nor the number of channels, or a std is not positive.
  """
  mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
  if mean.size not in (1, image.shape[-1]) or std.size not in (1, image.shape[-1]) or not np.all(std > 0):
    raise ValueError(f"mean {mean} and positive std {std} do not fit {image.shape[-1]} channels")
  return from_planes((to_planes(image) - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1))


def _blend(image: jax.Array, other: Number, factor: Number) -> jax.Array:
  return jnp.clip(factor * image + (1.0 - factor) * other, 0.0, 1.0)


def _rgb_planes(image: jax.Array, name: str) -> jax.Array:
  if image.ndim != 3 or image.shape[-1] != 3:
    raise ValueError(f"{name} needs an image with 3 channels, got shape {image.shape}")
  return to_planes(image)


def _luma(planes: jax.Array) -> jax.Array:
  return LUMA[0] * planes[0] + LUMA[1] * planes[1] + LUMA[2] * planes[2]


def _shift_hue(planes: jax.Array, shift: Number) -> jax.Array:
  """HSV and back in closed form: channel n in (5, 3, 1) is v - c * clip(min(k, 4 - k), 0, 1), k = (n + 6 hue) mod 6."""
  red, green, blue = planes
  value = planes.max(axis=0)
  chroma = value - planes.min(axis=0)
  inverse = 1.0 / jnp.where(chroma > 0, chroma, 1.0)
  sextant = jnp.where(
    value == red,
    (green - blue) * inverse,
    jnp.where(value == green, 2.0 + (blue - red) * inverse, 4.0 + (red - green) * inverse),
  )
  k = sextant + 6.0 * shift + jnp.array([5.0, 3.0, 1.0])[:, None, None]
  k = k - 6.0 * jnp.floor(k / 6.0)
  return value - chroma * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)


def _blur(planes: jax.Array, sigma: Number, radius: int) -> jax.Array:
  kernel = jax.nn.softmax(-0.5 * (jnp.arange(-radius, radius + 1) / sigma) ** 2)
  for axis in (1, 2):
    pixels = planes.shape[axis]
    padded = jnp.pad(planes, [(radius, radius) if a == axis else (0, 0) for a in range(3)], mode="edge")
    padded = jax.lax.optimization_barrier(padded)  # Else XLA fuses what made the image into every shift.
    planes = sum(
      weight * jax.lax.slice_in_dim(padded, start, start + pixels, axis=axis) for start, weight in enumerate(kernel)
    )
  return planes
