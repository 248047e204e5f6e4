"""Views of one image that come with a label: what was done to it."""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.checks import Range
from jssl.views import colour, crops
from jssl.views.colour import Levels
from jssl.views.geometry import Extent

NEIGHBORS = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)])  # (row, column), row-major


def rotate(rng: jax.Array, image: jax.Array, *, turns: int | None = None) -> dict[str, jax.Array]:
  """Turns an image by a multiple of 90 degrees, counter-clockwise.

  RotNet shows every image in all four ways, which its paper finds much better than one at random: four views with
  `turns` 0 to 3. SiT of 2021 draws one for each view.

  Args:
    rng: a key, unused where `turns` is given.
    image: [side, side, channels].
    turns: static number of quarters; None draws it uniformly from 0 to 3.

  Returns:
    A dict of `image` [side, side, channels] and `label`, int32: the number of quarters, 0 to 3.

  Raises:
    ValueError: if the image is not square.

  References:
    Gidaris, Singh, Komodakis 2018, arXiv 1803.07728; gidariss/FeatureLearningRotNet, dataloader.py (`rotate_img`).
    Atito, Awais, Kittler 2021 (SiT), arXiv 2104.03602.
  """
  if image.shape[0] != image.shape[1]:
    raise ValueError(f"rotate needs a square image, not {image.shape[0]} x {image.shape[1]}")
  if turns is not None:
    return dict(image=jnp.rot90(image, turns), label=jnp.int32(turns % 4))
  label = jax.random.randint(rng, (), 0, 4, jnp.int32)
  return dict(image=jnp.stack([jnp.rot90(image, k) for k in range(4)])[label], label=label)


def _tile_crop(
  rng: jax.Array,
  extent: Extent,
  *,
  size: int,
  gap: int,
  scale: Range = (0.3, 1.0),
  ratio: Range = (3 / 4, 4 / 3),
  interpolation: str = "bicubic",
):
  box_key, *_ = jax.random.split(rng, 4)
  return crops.random_crop(box_key, extent, size=3 * (size + gap), scale=scale, ratio=ratio, method=interpolation)


def _tile_finish(
  rng: jax.Array,
  canvas: jax.Array,
  *,
  size: int,
  gap: int,
  jitter: int = 0,
  grayscale: float = 0.0,
  mean: Levels = colour.IMAGENET_MEAN,
  std: Levels = colour.IMAGENET_STD,
) -> dict[str, jax.Array]:
  if not 0 <= 2 * jitter <= gap:
    raise ValueError(f"tile_pair: jitter={jitter} must lie between 0 and half of gap={gap}")
  _, label_key, jitter_key, grey_key = jax.random.split(rng, 4)
  cell = size + gap
  if grayscale > 0:
    canvas = colour.random_grayscale(grey_key, canvas, prob=grayscale)
  canvas = colour.normalize(canvas, mean, std)
  label = jax.random.randint(label_key, (), 0, len(NEIGHBORS), jnp.int32)
  cells = jnp.stack([jnp.ones(2, jnp.int32), 1 + jnp.asarray(NEIGHBORS, jnp.int32)[label]])
  shifts = jax.random.randint(jitter_key, (2, 2), -jitter, jitter + 1, jnp.int32)
  corners = cells * cell + gap // 2 + shifts
  first, second = (jax.lax.dynamic_slice(canvas, (*corner, 0), (size, size, canvas.shape[2])) for corner in corners)
  return dict(first=first, second=second, label=label)


@crops.in_halves(_tile_crop, _tile_finish)
def tile_pair(
  rng: jax.Array,
  image: jax.Array,
  extent: Extent | None = None,
  *,
  size: int,
  gap: int,
  jitter: int = 0,
  scale: Range = (0.3, 1.0),
  ratio: Range = (3 / 4, 4 / 3),
  grayscale: float = 0.0,
  interpolation: str = "bicubic",
  mean: Levels = colour.IMAGENET_MEAN,
  std: Levels = colour.IMAGENET_STD,
) -> dict[str, jax.Array]:
  """Two tiles of an image, and on which of eight sides of the first the second lies.

  A random box of the image is resized to three by three cells of `size + gap` pixels; each tile lies in the middle of
  its cell, moved by up to `jitter` pixels along each axis. The first tile is the central one and the second one of its
  neighbours, so that where the first lies says nothing. Gap and jitter deny the network the answer that continued lines
  give; grey denies it chromatic aberration, by which a network can tell where on the lens a tile was.

  Args:
    rng: a key.
    image: [height, width, 3] float32 in [0, 1].
    extent: [2] ints, the valid (height, width) at the top left of the image; None where all of it is.
    size: side of a tile in pixels.
    gap: pixels between cells' tiles before the jitter; about half a tile in the paper.
    jitter: largest shift of a tile in pixels, at most gap / 2: tiles then neither overlap nor leave the box.
    scale, ratio: of the box, see `jssl.views.random_crop_box`.
    grayscale: probability that both tiles are grey.
    interpolation: "bicubic" or "bilinear".
    mean, std: of each channel, or scalars.

  Returns:
    A dict of `first` and `second` [size, size, 3], normalised, and `label`, int32: 0 to 7, row by row from the upper
    left of the first.

  Raises:
    ValueError: for a jitter above half of the gap.

  References:
    Doersch, Gupta, Efros 2015, arXiv 1505.05192: tiles of 96 px, gaps of 48, jitter 7, one colour channel in place of
    grey; cdoersch/deepcontext, train.py. Central tile and grey (0.66) as in open-mmlab/mmselfsup, relative_loc.
  """
  whole = crops.extent_of(image, extent)
  crop = _tile_crop(rng, whole, size=size, gap=gap, scale=scale, ratio=ratio, interpolation=interpolation)
  canvas = crop.cut(image, extent)
  return _tile_finish(rng, canvas, size=size, gap=gap, jitter=jitter, grayscale=grayscale, mean=mean, std=std)
