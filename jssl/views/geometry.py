"""Crops, resizing and flips: `image [height, width, channels]` float32 in [0, 1] -> image of the same kind.

Resampling is separable, so a crop is two small matrix products: `rows [out, height] @ image @ columns [width, out]`.
The weights are those of Pillow's and of torchvision's antialiased resize, and boxes may be traced, so that crops of
every size share one compiled program and run as fast on a CPU as on an accelerator.
"""

from collections.abc import Sequence
import functools
import math

import jax
import jax.numpy as jnp

from jssl.checks import Number, Range

Size = int | tuple[int, int]  # a side, or (height, width)
Extent = Sequence[Number] | jax.Array  # (height, width) in pixels
Box = Sequence[Number] | jax.Array  # (top, left, height, width) in pixels


def resized_crop(
  image: jax.Array, box: Box, size: Size, method: str = "bicubic", *, visible: Box | None = None
) -> jax.Array:
  """Cuts a box out of an image and resizes it, with antialiasing.

  The same as Pillow's `image.crop(box).resize(size)` on float images (mode "F") and torchvision's `resized_crop`:
  pixels outside the box do not leak into its border.

  Args:
    image: [height, width, channels] floats in [0, 1], any number of channels.
    box: (top, left, height, width) in pixels of the image; may be fractional and traced. Height and width must be
      positive.
    size: the output's side, or its (height, width).
    method: "bicubic" (Keys' kernel with a = -0.5; the result is clipped to [0, 1]) or "bilinear".
    visible: the box whose pixels may be used, those with their centers inside it; by default the box itself. Pillow's
      `image.resize(size, box=box)` is `visible=(0, 0, height, width)`.

  Returns:
    [size, size, channels], in the image's dtype.

  Raises:
    ValueError: for an unknown method, a size below 1, or an image of integers.
  """
  _check_image(image)
  if method not in _KERNELS:
    raise ValueError(f"method must be one of {sorted(_KERNELS)}, got {method!r}")
  height, width = to_pair(size)
  top, left, box_height, box_width = box
  low, start, visible_height, visible_width = box if visible is None else visible
  rows = _weights(height, top, box_height, low, visible_height, image.shape[0], method)
  columns = _weights(width, left, box_width, start, visible_width, image.shape[1], method)
  multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
  # The image on the right of the first product, as it lies in memory: on the left XLA would transpose it.
  out = multiply(rows, image.reshape(image.shape[0], -1)).reshape(height, *image.shape[1:])
  out = multiply(to_planes(out), columns.T)
  out = jnp.clip(out, 0, 1) if method == "bicubic" else out
  return from_planes(out).astype(image.dtype)


def resize(image: jax.Array, size: Size, method: str = "bicubic", *, extent: Extent | None = None) -> jax.Array:
  """Resizes an image, or the `extent` (height, width) at the top left that holds it, to `size`: see `resized_crop`."""
  height, width = _extent(image, extent)
  return resized_crop(image, (0, 0, height, width), size, method)


def center_crop(image: jax.Array, size: Size, *, extent: Extent | None = None) -> jax.Array:
  """Cuts `size` (a side or (height, width)) out of the middle of an image or of its valid `extent` at the top left.

  Offsets are rounded to even as in torchvision. Where the extent is smaller than the crop, the crop starts at 0.

  Raises:
    ValueError: if the crop is larger than the image.
  """
  height, width = to_pair(size)
  if height > image.shape[0] or width > image.shape[1]:
    raise ValueError(f"a center crop of {height} x {width} does not fit into an image of {image.shape[:2]}")
  offsets = [
    jnp.maximum(jnp.round((valid - side) / 2), 0).astype(int)
    for valid, side in zip(_extent(image, extent), (height, width), strict=True)
  ]
  return jax.lax.dynamic_slice(image, (*offsets, 0), (height, width, image.shape[2]))


def random_crop_box(
  rng: jax.Array, extent: Extent, *, scale: Range, ratio: Range = (3 / 4, 4 / 3)
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Draws torchvision's `RandomResizedCrop` box: (top, left, height, width), whole numbers as float32.

  Up to ten times: a share of the area U(scale), an aspect ratio width / height log-uniform in `ratio`, sides rounded to
  whole pixels; the first draw that fits is placed uniformly. If none fits, the whole extent, center-cropped to the
  nearest allowed ratio.

  Args:
    rng: a key.
    extent: valid (height, width) at the top left of the image; may be traced.
    scale: (low, high) share of the extent's area, 0 < low <= high.
    ratio: (low, high) width / height.
  """
  _check_range("scale", scale)
  _check_range("ratio", ratio)
  full_height, full_width = (jnp.asarray(side, jnp.float32) for side in extent)
  # One draw of ten tries and one place: every call of a random function costs compile time.
  draws = jax.random.uniform(rng, (11, 2))
  area = full_height * full_width * (scale[0] + (scale[1] - scale[0]) * draws[:10, 0])
  log_ratio = math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * draws[:10, 1]
  heights = jnp.round(jnp.sqrt(area * jnp.exp(-log_ratio)))
  widths = jnp.round(jnp.sqrt(area * jnp.exp(log_ratio)))
  fits = (heights > 0) & (heights <= full_height) & (widths > 0) & (widths <= full_width)
  first, any_fits = jnp.argmax(fits), jnp.any(fits)
  central_height = jnp.clip(jnp.round(full_width / ratio[0]), 1, full_height)
  central_width = jnp.clip(jnp.round(full_height * ratio[1]), 1, full_width)
  height = jnp.where(any_fits, heights[first], central_height)
  width = jnp.where(any_fits, widths[first], central_width)

  free = jnp.stack([full_height - height, full_width - width])
  top, left = jnp.where(any_fits, jnp.floor(draws[10] * (free + 1)), jnp.floor(free / 2))
  return top, left, height, width


def horizontal_flip(image: jax.Array) -> jax.Array:
  """Mirrors left and right: [height, width, channels] -> the same shape."""
  return image[:, ::-1]


def random_horizontal_flip(rng: jax.Array, image: jax.Array, *, prob: Number = 0.5) -> jax.Array:
  """Mirrors left and right with probability `prob`."""
  planes = to_planes(image)
  return from_planes(jnp.where(jax.random.bernoulli(rng, prob), planes[:, :, ::-1], planes))


def resize_shorter_side(
  image: jax.Array, size: Size, resize_to: int | None = None, method: str = "bicubic", *, extent: Extent | None = None
) -> jax.Array:
  """Resizes the shorter side to `resize_to`, keeping the aspect ratio, and cuts `size` out of the middle, in one go.

  The same numbers as torchvision's `Resize(resize_to)` and `CenterCrop(size)`, whose roundings it follows: only the
  pixels that remain are computed. See `center_box` for `resize_to=None`.

  Raises:
    ValueError: if `size` does not fit into `resize_to`.
  """
  sides = [jnp.asarray(side, jnp.int32) for side in _extent(image, extent)]
  box = center_box(sides, size, resize_to)
  return resized_crop(image, box, to_pair(size), method, visible=(0, 0, *sides))


def center_box(extent: Extent, size: Size, resize_to: int | None = None) -> tuple[Number, Number, Number, Number]:
  """The box in the middle of an image that `resize_shorter_side` shows.

  Args:
    extent: valid (height, width) of the image, whole numbers; may be traced.
    size: the view's side in pixels, or its (height, width).
    resize_to: pixels of the shorter side before the crop; None for the fewest that the crop fits into, which keeps as
      much of the image as a crop of its shape can.

  Returns:
    (top, left, height, width) in pixels of the image, fractional.

  Raises:
    ValueError: if `size` does not fit into `resize_to`.
  """
  out = to_pair(size)
  height, width = (jnp.asarray(side, jnp.int32) for side in extent)
  if resize_to is None:
    by_height = out[0] * width >= out[1] * height  # whether the crop takes the whole height
    resized = [
      jnp.where(by_height, out[0], out[1] * height // width),
      jnp.where(by_height, out[0] * width // height, out[1]),
    ]
  else:
    if max(out) > resize_to:
      raise ValueError(f"a center crop of {out} does not fit into a shorter side resized to {resize_to}")
    resized = [resize_to * side // jnp.minimum(height, width) for side in (height, width)]
  starts = [jnp.round((big - side) / 2) * full / big for big, side, full in zip(resized, out, (height, width), strict=True)]
  lengths = [side * full / big for big, side, full in zip(resized, out, (height, width), strict=True)]
  return starts[0], starts[1], lengths[0], lengths[1]


def to_pair(size: Size) -> tuple[int, int]:
  """(height, width) from a side or a pair.

  Raises:
    ValueError: unless both are at least 1.
  """
  height, width = (size, size) if isinstance(size, int) else size
  if height < 1 or width < 1:
    raise ValueError(f"size must be at least 1, got {size}")
  return height, width


def to_planes(image: jax.Array) -> jax.Array:
  """[height, width, channels] -> [channels, height, width]."""
  return jnp.moveaxis(image, -1, 0)


def from_planes(planes: jax.Array) -> jax.Array:
  """[channels, height, width] -> [height, width, channels]."""
  return jnp.moveaxis(planes, 0, -1)


def _extent(image: jax.Array, extent: Extent | None) -> Extent:
  return image.shape[:2] if extent is None else (extent[0], extent[1])


def _weights(
  out: int, start: Number, length: Number, visible_start: Number, visible_length: Number, pixels: int, method: str
) -> jax.Array:
  """Resampling weights [out, pixels] of one axis; every row sums to 1."""
  step = jnp.asarray(length, jnp.float32) / out
  centers = start + (jnp.arange(out) + 0.5) * step
  position = jnp.arange(pixels) + 0.5
  # A kernel that grows with the step when shrinking is what "antialias" means.
  weights = _KERNELS[method]((position - centers[:, None]) / jnp.maximum(step, 1.0))
  seen = (position > visible_start) & (position < visible_start + visible_length)
  weights = jnp.where(seen, weights, 0.0)
  total = weights.sum(axis=1, keepdims=True)
  return weights / jnp.where(total == 0, 1.0, total)


def _triangle(x: jax.Array) -> jax.Array:
  return jnp.maximum(1.0 - jnp.abs(x), 0.0)


def _cubic(x: jax.Array, a: float = -0.5) -> jax.Array:
  x = jnp.abs(x)
  near = ((a + 2) * x - (a + 3)) * x * x + 1
  far = (((x - 5) * x + 8) * x - 4) * a
  return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))


_KERNELS = {"bicubic": _cubic, "bilinear": _triangle}


def _check_image(image: jax.Array) -> None:
  if image.ndim != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
    raise ValueError(f"expected an image [height, width, channels] of floats in [0, 1], got {image.dtype}{image.shape}")


def _check_range(name: str, pair: Range) -> None:
  low, high = pair
  if not 0 < low <= high:
    raise ValueError(f"{name} must satisfy 0 < low <= high, got {pair}")
