"""Views of one image that come with a label: what was done to it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.checks import Range
from jssl.views import colour, crops
from jssl.views.colour import Levels
from jssl.views.geometry import Extent

NEIGHBORS = np.array([(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)])  # (row, column), row-major
TILES = 9


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


def _check_jitter(function: str, jitter: int, gap: int) -> None:
  """Raises ValueError for tiles that could leave their cells."""
  if not 0 <= 2 * jitter <= gap:
    raise ValueError(f"{function}: jitter={jitter} must lie between 0 and half of gap={gap}")


def _tile_canvas(rng: jax.Array, canvas: jax.Array, grayscale: float, mean: Levels, std: Levels) -> jax.Array:
  """What tiles are cut from: grey or not, and normalised."""
  if grayscale > 0:
    canvas = colour.random_grayscale(rng, canvas, prob=grayscale)
  return colour.normalize(canvas, mean, std)


def _cut_tiles(rng: jax.Array, canvas: jax.Array, cells: jax.Array, *, size: int, gap: int, jitter: int) -> list[jax.Array]:
  """The tiles in some `cells` (row, column) of a canvas of three by three, each moved by up to `jitter` pixels."""
  shifts = jax.random.randint(rng, cells.shape, -jitter, jitter + 1, jnp.int32)
  corners = cells * (size + gap) + gap // 2 + shifts
  return [jax.lax.dynamic_slice(canvas, (*corner, 0), (size, size, canvas.shape[2])) for corner in corners]


def _pair_finish(
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
  _, label_key, jitter_key, grey_key = jax.random.split(rng, 4)
  _check_jitter("tile_pair", jitter, gap)
  canvas = _tile_canvas(grey_key, canvas, grayscale, mean, std)
  label = jax.random.randint(label_key, (), 0, len(NEIGHBORS), jnp.int32)
  cells = jnp.stack([jnp.ones(2, jnp.int32), 1 + jnp.asarray(NEIGHBORS, jnp.int32)[label]])
  first, second = _cut_tiles(jitter_key, canvas, cells, size=size, gap=gap, jitter=jitter)
  return dict(first=first, second=second, label=label)


@crops.in_halves(_tile_crop, _pair_finish)
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
  return _pair_finish(rng, canvas, size=size, gap=gap, jitter=jitter, grayscale=grayscale, mean=mean, std=std)


@functools.cache
def hamming_permutations(count: int, tiles: int = TILES) -> np.ndarray:
  """Permutations that differ from each other at as many places as can be, always the same ones.

  The first is the identity; each of the others differs from those before it at the most places in sum, of several such the
  one whose nearest is farthest, and then the first in lexicographic order. The first nine of nine tiles are a Latin square.

  Args:
    count: how many, at most the factorial of `tiles`.
    tiles: how many things are permuted; all their permutations are looked through.

  Returns:
    int32 `[count, tiles]`: row k says which tile stands at each place.

  Raises:
    ValueError: for more permutations than there are.

  References:
    Noroozi, Favaro 2016, arXiv 1603.09246, algorithm 1, whose first permutation is random, and which leaves open what is
    taken of several; facebookresearch/vissl, extra_scripts/generate_jigsaw_permutations.py.

  Example:

    >>> hamming_permutations(3, 3).tolist()
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
  """
  everything = np.array([*itertools.permutations(range(tiles))], np.int8).T
  if not 1 <= count <= everything.shape[1]:
    raise ValueError(f"hamming_permutations: count={count} must lie between 1 and {everything.shape[1]}")
  total = np.zeros(everything.shape[1], np.int32)
  nearest = np.full(everything.shape[1], tiles, np.int8)
  chosen = [0]
  for _ in range(count - 1):
    distance = np.zeros_like(nearest)
    for row in everything:
      distance += row != row[chosen[-1]]
    total += distance
    np.minimum(nearest, distance, out=nearest)
    rank = total * (tiles + 1) + nearest
    rank[chosen] = -1
    chosen.append(int(rank.argmax()))
  return everything[:, chosen].T.astype(np.int32)


def _jigsaw_finish(
  rng: jax.Array,
  canvas: jax.Array,
  *,
  permutations: int,
  size: int,
  gap: int,
  jitter: int = 0,
  grayscale: float = 0.0,
  mean: Levels = colour.IMAGENET_MEAN,
  std: Levels = colour.IMAGENET_STD,
) -> dict[str, jax.Array]:
  _, label_key, jitter_key, grey_key = jax.random.split(rng, 4)
  _check_jitter("jigsaw_tiles", jitter, gap)
  canvas = _tile_canvas(grey_key, canvas, grayscale, mean, std)
  label = jax.random.randint(label_key, (), 0, permutations, jnp.int32)
  shown = jnp.asarray(hamming_permutations(permutations))[label]
  tiles = _cut_tiles(jitter_key, canvas, jnp.stack([shown // 3, shown % 3], axis=-1), size=size, gap=gap, jitter=jitter)
  return {str(i): tile for i, tile in enumerate(tiles)} | dict(label=label)


@crops.in_halves(_tile_crop, _jigsaw_finish)
def jigsaw_tiles(
  rng: jax.Array,
  image: jax.Array,
  extent: Extent | None = None,
  *,
  permutations: int,
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
  """The nine tiles of an image in one of several orders, and which order it is.

  Tiles are cut as in `tile_pair`, where gap, jitter and grey are explained, too.

  Args:
    rng: a key.
    image: [height, width, 3] float32 in [0, 1].
    extent: [2] ints, the valid (height, width) at the top left of the image; None where all of it is.
    permutations: number of orders, those of `hamming_permutations`, drawn uniformly.
    size, gap, jitter, scale, ratio, grayscale, interpolation, mean, std: as in `tile_pair`.

  Returns:
    A dict of `0` to `8` [size, size, 3], the tiles as they are shown, normalised, and `label`, int32 in [0, permutations).

  Raises:
    ValueError: for a jitter above half of the gap, or more permutations than there are.

  References:
    Noroozi, Favaro 2016, arXiv 1603.09246: tiles of 64 px in cells of 75, each standardised by itself, an order of 1000.
    Cells of 85 px and grey (0.66) in the place of standardised tiles: facebookresearch/vissl,
    configs/config/pretrain/jigsaw/jigsaw_8gpu_resnet.yaml.
  """
  whole = crops.extent_of(image, extent)
  crop = _tile_crop(rng, whole, size=size, gap=gap, scale=scale, ratio=ratio, interpolation=interpolation)
  canvas = crop.cut(image, extent)
  return _jigsaw_finish(
    rng, canvas, permutations=permutations, size=size, gap=gap, jitter=jitter, grayscale=grayscale, mean=mean, std=std
  )
