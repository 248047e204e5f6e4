"""Whole views of one image: the training pipeline and the evaluation view, from [0, 1] to normalised float32."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl.checks import check_values, Number, Range
from jssl.views import colour, crops, geometry
from jssl.views.colour import IMAGENET_MEAN, IMAGENET_STD, Levels
from jssl.views.crops import Crop
from jssl.views.geometry import Extent, Size


def _augment_crop(
  rng: jax.Array,
  extent: Extent,
  *,
  size: Size,
  scale: Range = (0.08, 1.0),
  ratio: Range = (3 / 4, 4 / 3),
  interpolation: str = "bicubic",
) -> Crop:
  return crops.random_crop(_augment_keys(rng)[0], extent, size=size, scale=scale, ratio=ratio, method=interpolation)


def _augment_finish(
  rng: jax.Array,
  image: jax.Array,
  *,
  flip: float = 0.5,
  jitter: Sequence[float] | None = None,
  jitter_prob: float = 0.8,
  grayscale: float = 0.0,
  blur: float = 0.0,
  blur_sigma: Range = (0.1, 2.0),
  solarize: float = 0.0,
  mean: Levels = IMAGENET_MEAN,
  std: Levels = IMAGENET_STD,
) -> jax.Array:
  _check_probabilities(flip=flip)
  _, flip_key, *color_keys = _augment_keys(rng)
  if flip > 0:
    image = geometry.random_horizontal_flip(flip_key, image, prob=flip)
  return _recolor(color_keys, image, jitter, jitter_prob, grayscale, blur, blur_sigma, solarize, mean, std)


def _augment_keys(rng: jax.Array) -> jax.Array:
  """Operations draw from keys of their own, so that switching one off leaves the others' draws alone."""
  return jax.random.split(rng, 6)


@crops.in_halves(_augment_crop, _augment_finish)
def augment(
  rng: jax.Array,
  image: jax.Array,
  extent: Extent | None = None,
  *,
  size: Size,
  scale: Range = (0.08, 1.0),
  ratio: Range = (3 / 4, 4 / 3),
  interpolation: str = "bicubic",
  flip: float = 0.5,
  jitter: Sequence[float] | None = None,
  jitter_prob: float = 0.8,
  grayscale: float = 0.0,
  blur: float = 0.0,
  blur_sigma: Range = (0.1, 2.0),
  solarize: float = 0.0,
  mean: Levels = IMAGENET_MEAN,
  std: Levels = IMAGENET_STD,
) -> jax.Array:
  """One random view: resized crop, flip, colour jitter, grey, blur, solarisation, normalisation, in this order.

  This is the pipeline of SimCLR (arXiv 2002.05709), MoCo v2 (2003.04297), BYOL (2006.07733), Barlow Twins (2103.03230)
  and DINO (2104.14294), which differ in its numbers; crop and flip alone are MAE's (2111.06377). Probabilities are
  drawn for each image. What has probability 0 or no strength is not compiled at all.

  Args:
    rng: the image's key.
    image: [height, width, channels] float32 in [0, 1]; 3 channels where `jitter` or `grayscale` is used.
    extent: [2] ints, the valid (height, width) at the top left of the image; None where all of it is.
    size: the view's side in pixels, or its (height, width).
    scale: range of the crop's share of the area.
    ratio: range of the crop's width / height.
    interpolation: "bicubic" or "bilinear".
    flip: probability of a horizontal flip.
    jitter: None or strengths (brightness, contrast, saturation, hue).
    jitter_prob: probability of the jitter.
    grayscale: probability of grey.
    blur: probability of a Gaussian blur.
    blur_sigma: range of its standard deviation in pixels of the view.
    solarize: probability of solarisation at 128/255.
    mean, std: of each channel, or scalars.

  Returns:
    [size, size, channels] float32, normalised.

  Raises:
    ValueError: for probabilities outside [0, 1] and whatever the operations refuse.
  """
  crop = _augment_crop(rng, crops.extent_of(image, extent), size=size, scale=scale, ratio=ratio, interpolation=interpolation)
  return _augment_finish(
    rng,
    crop.cut(image, extent),
    flip=flip,
    jitter=jitter,
    jitter_prob=jitter_prob,
    grayscale=grayscale,
    blur=blur,
    blur_sigma=blur_sigma,
    solarize=solarize,
    mean=mean,
    std=std,
  )


def _shift_crop(
  rng: jax.Array,
  extent: Extent,
  *,
  size: int,
  shift: int,
  scale: Range = (0.2, 1.0),
  ratio: Range = (3 / 4, 4 / 3),
  interpolation: str = "bicubic",
) -> Crop:
  box_key, *_ = jax.random.split(rng, 3)
  return crops.random_crop(box_key, extent, size=size + shift, scale=scale, ratio=ratio, method=interpolation)


def _shift_finish(rng: jax.Array, image: jax.Array, *, size: int, shift: int, flip: float = 0.5) -> dict[str, jax.Array]:
  _check_probabilities(flip=flip)
  _, flip_key, shift_key = jax.random.split(rng, 3)
  image = geometry.random_horizontal_flip(flip_key, image, prob=flip)
  corner = jax.random.randint(shift_key, (2,), 0, shift + 1, jnp.int32)
  second = jax.lax.dynamic_slice(image, (*corner, 0), (size, size, image.shape[2]))
  return dict(first=image[:size, :size], second=second)


@crops.in_halves(_shift_crop, _shift_finish)
def shifted_pair(
  rng: jax.Array,
  image: jax.Array,
  extent: Extent | None = None,
  *,
  size: int,
  shift: int,
  scale: Range = (0.2, 1.0),
  ratio: Range = (3 / 4, 4 / 3),
  interpolation: str = "bicubic",
  flip: float = 0.5,
) -> dict[str, jax.Array]:
  """Two windows of one random crop, the second a few pixels off the first: what CMAE's networks see.

  A random box of the image is resized to `size + shift` pixels and flipped or not; the first window is its upper left
  corner, the second one lies up to `shift` pixels lower and further right. Colours are for `color_view`.

  Args:
    rng: the image's key.
    image: [height, width, channels] float32 in [0, 1].
    extent: [2] ints, the valid (height, width) at the top left of the image; None where all of it is.
    size: side of a window in pixels.
    shift: the most pixels between them along each axis, drawn uniformly from 0.
    scale, ratio, interpolation, flip: as in `augment`.

  Returns:
    A dict of `first` and `second` [size, size, channels] float32 in [0, 1].

  Raises:
    ValueError: for a size below 1, a negative shift, and a flip that is no probability.

  References:
    Huang, Jin, Lu, Hou, Cheng, Fu, Shen, Feng 2022 (CMAE), arXiv 2207.13532; ZhichengHuang/CMAE,
    cmae/datasets/cmae_dataset.py, with windows of 224 px, shifts of up to 31 and a crop of 256 px, of which none shows the
    last row and column.
  """
  check_values("shifted_pair", size=(size, "int [1, inf)"), shift=(shift, "int [0, inf)"))
  whole = crops.extent_of(image, extent)
  crop = _shift_crop(rng, whole, size=size, shift=shift, scale=scale, ratio=ratio, interpolation=interpolation)
  return _shift_finish(rng, crop.cut(image, extent), size=size, shift=shift, flip=flip)


def color_view(
  rng: jax.Array,
  image: jax.Array,
  *,
  jitter: Sequence[float] | None = None,
  jitter_prob: float = 0.8,
  grayscale: float = 0.0,
  blur: float = 0.0,
  blur_sigma: Range = (0.1, 2.0),
  solarize: float = 0.0,
  mean: Levels = IMAGENET_MEAN,
  std: Levels = IMAGENET_STD,
) -> jax.Array:
  """The second half of `augment`: colour jitter, grey, blur, solarisation, normalisation; by default the last alone.

  For views that need something between the crop and the colours, or before the normalisation:

      crop=dict(fn="augment", reads=("image", "extent=extent"), size=224, mean=0.0, std=1.0)    # stays in [0, 1]
      styled=dict(fn="standardize_styles", scope="batch", reads=("crop",), ratio=(0.02, 0.2))
      v=dict(fn="color_view", reads=("styled",), grayscale=0.2)

  Args:
    rng: the image's key.
    image: [height, width, channels] float32 in [0, 1].
    jitter, jitter_prob, grayscale, blur, blur_sigma, solarize, mean, std: as in `augment`.

  Returns:
    [height, width, channels] float32, normalised.

  Raises:
    ValueError: as `augment`.
  """
  color_keys = jax.random.split(rng, 4)
  return _recolor(color_keys, image, jitter, jitter_prob, grayscale, blur, blur_sigma, solarize, mean, std)


def _recolor(
  keys: jax.Array | Sequence[jax.Array],
  image: jax.Array,
  jitter: Sequence[float] | None,
  jitter_prob: float,
  grayscale: float,
  blur: float,
  blur_sigma: Range,
  solarize: float,
  mean: Levels,
  std: Levels,
) -> jax.Array:
  _check_probabilities(jitter_prob=jitter_prob, grayscale=grayscale, blur=blur, solarize=solarize)
  jitter_key, grey_key, blur_key, solarize_key = keys
  if jitter is not None and jitter_prob > 0 and any(jitter):
    image = colour.color_jitter(jitter_key, image, *jitter, prob=jitter_prob)
  if grayscale > 0:
    image = colour.random_grayscale(grey_key, image, prob=grayscale)
  if blur > 0:
    image = colour.random_gaussian_blur(blur_key, image, prob=blur, sigma=blur_sigma)
  if solarize > 0:
    image = colour.random_solarize(solarize_key, image, prob=solarize)
  return colour.normalize(image, mean, std)


def _check_probabilities(**probabilities: Number) -> None:
  for name, prob in probabilities.items():
    if not 0 <= prob <= 1:
      raise ValueError(f"{name} must be a probability, got {prob}")


def _resize_crop(
  rng: jax.Array | None, extent: Extent, *, size: Size, resize_to: int | None = None, interpolation: str = "bicubic"
) -> Crop:
  del rng
  box = geometry.center_box(extent, size, resize_to)
  return crops.Crop(box, geometry.to_pair(size), interpolation, around=True)


def _resize_finish(
  rng: jax.Array | None,
  image: jax.Array,
  *,
  grayscale: bool = False,
  mean: Levels = IMAGENET_MEAN,
  std: Levels = IMAGENET_STD,
) -> jax.Array:
  del rng
  return colour.normalize(colour.grayscale(image) if grayscale else image, mean, std)


@crops.in_halves(_resize_crop, _resize_finish)
def resize_view(
  rng: jax.Array | None,
  image: jax.Array,
  extent: Extent | None = None,
  *,
  size: Size,
  resize_to: int | None = None,
  interpolation: str = "bicubic",
  grayscale: bool = False,
  mean: Levels = IMAGENET_MEAN,
  std: Levels = IMAGENET_STD,
) -> jax.Array:
  """The evaluation view: shorter side to `resize_to`, center crop of `size`, normalisation. Nothing is random.

  Args:
    rng: unused; here so that views are interchangeable.
    image: [height, width, channels] float32 in [0, 1].
    extent: [2] ints, the valid (height, width) at the top left of the image; None where all of it is.
    size: the view's side in pixels, or its (height, width).
    resize_to: pixels of the shorter side before the crop, 256 for the usual 224; by default the fewest that the crop
      fits into, which keeps as much of the image as a crop of its shape can.
    interpolation: "bicubic" or "bilinear".
    grayscale: show it in grey, in all 3 channels.
    mean, std: of each channel, or scalars.

  Returns:
    [size, size, channels] float32, normalised.
  """
  crop = _resize_crop(rng, crops.extent_of(image, extent), size=size, resize_to=resize_to, interpolation=interpolation)
  return _resize_finish(rng, crop.cut(image, extent), grayscale=grayscale, mean=mean, std=std)
