"""Group masked model learning (GMML): destroy connected blocks of pixels, with noise or with content of other images.

SiT (Atito et al., arXiv 2104.03602; Sara-Ahmed/SiT) and GMML (arXiv 2205.14986; Sara-Ahmed/GMML), datasets_utils.py.
Their loop pastes random blocks until their union covers a target area. Here a fixed number of candidate blocks is drawn
at once, each pixel gets the index of the first block that covers it, and the mask keeps the pixels whose index lies
below the smallest number of blocks that reaches the area: the same distribution, without a loop over blocks.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.batch_axis import gather, positions
from jssl.checks import check_arrays, check_values, Number

FILLS = ("zeros", "noise", "self")

Blocks = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # top, left, height, width


def gmml_corrupt(
  rng: jax.Array,
  image: jax.Array,
  *,
  area: float,
  fill: str | Sequence[str] = "zeros",
  align: int = 1,
  block_max: float | None = 0.3,
  max_blocks: int = 160,
) -> dict[str, jax.Array]:
  """Destroys random blocks of one image until their union covers U(min(0.5, area), area) of its pixels.

  Block corners are uniform in [0, side - align), floored to multiples of `align`; sides are randint[align,
  int(block_max * side)), cut at the image's border and rounded to multiples of `align`. Blocks grow down and to the
  right of their corners, so the first row and column are rarely hidden, as in the authors' code.

  Args:
    rng: a key.
    image: [height, width, channels], the NORMALISED view.
    area: share of pixels to hide, 0 < area < 1: U(0.5, area) above one half, exactly `area` below, overshot by less
      than one block.
    fill: "zeros" (0 is the mean colour after normalisation), "noise" (N(0, 1) for each pixel and channel) or "self" (a
      block of the same size from a random place of the image), or a tuple of these, of which one is drawn for each
      image. "self" copies from the clean image and the first block on a pixel wins; in the authors' code the last one
      wins, and copies what may already be corrupted.
    align: corners and sides are multiples of this many pixels; the patch size makes every patch all hidden or all
      visible.
    block_max: largest side of a block, as a share of the image's side. None for single squares instead, of the grid whose
      cells have `align` pixels a side, all as likely: with the patch size, independent random patches.
    max_blocks: number of candidate blocks; of single squares all are candidates.

  Returns:
    A dict of `image` [height, width, channels], corrupted, and `mask` [height, width] bool, True where a pixel is
    hidden.

  Raises:
    ValueError: for an area outside (0, 1), an unknown fill, align >= int(block_max * side), single squares that do not
      divide the image, or too few candidate blocks.
  """
  check_arrays("gmml_corrupt", image=(image, "float [height, width, channels]"))
  kinds = (fill,) if isinstance(fill, str) else tuple(fill)
  if not kinds or any(kind not in FILLS for kind in kinds):
    raise ValueError(f"gmml_corrupt: fill must be one or more of {FILLS}, got {fill!r}")
  group_key, kind_key, fill_key = jax.random.split(rng, 3)
  mask, first, blocks = _group_mask("gmml_corrupt", group_key, image.shape[:2], area, align, block_max, max_blocks)
  chosen = _below(jax.random.uniform(kind_key), len(kinds)) if len(kinds) > 1 else 0
  filled = image
  for number, kind in enumerate(kinds):
    content = _content(jax.random.fold_in(fill_key, number), kind, image, first, blocks, align)
    filled = jnp.where(mask[..., None] & (chosen == number), content, filled)
  return dict(image=filled, mask=mask)


def alien_replace(
  rng: jax.Array,
  image: jax.Array,
  corrupted: jax.Array,
  mask: jax.Array,
  *,
  area: float = 0.3,
  prob: Number = 0.5,
  align: int = 1,
  block_max: float | None = 0.3,
  max_blocks: int = 160,
  axis_name: str | None = None,
) -> dict[str, jax.Array]:
  """Replaces the corruption of some images by blocks of another image of the batch (scope="batch").

  With probability `prob` an image's corruption is discarded: its CLEAN view gets blocks from the same place of the same
  view of an image drawn uniformly from the global batch (itself included) until they cover `area` as in `gmml_corrupt`,
  and its mask becomes that of these blocks. The others keep `corrupted` and `mask`. The authors' probability is
  1 / (number of fill kinds + 1).

  All draws depend on the position in the global batch only, so they are the same however the batch is split.

  Args:
    rng: one key, the same on all devices.
    image: [batch, height, width, channels], the clean normalised views; the local part of the batch.
    corrupted: [batch, height, width, channels], from `gmml_corrupt`.
    mask: [batch, height, width] bool, from `gmml_corrupt`.
    area, align, block_max, max_blocks: as in `gmml_corrupt`.
    prob: probability of replacement.
    axis_name: None, or the mapped axis over which the global batch is split.

  Returns:
    A dict of `image` [batch, height, width, channels] and `mask` [batch, height, width] bool.

  Raises:
    ValueError: as `gmml_corrupt`, or for a probability outside (0, 1].
  """
  check_arrays(
    "alien_replace",
    image=(image, "float [batch, height, width, channels]"),
    corrupted=(corrupted, "float [batch, height, width, channels]"),
    mask=(mask, "bool [batch, height, width]"),
  )
  check_values("alien_replace", prob=(prob, "(0, 1]"))
  gathered = gather(image, axis_name)

  def replace_one(position: jax.Array, clean: jax.Array, corrupted: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    coin_key, group_key = jax.random.split(jax.random.fold_in(rng, position))
    coin, partner = jax.random.uniform(coin_key, (2,))
    alien = gathered[_below(partner, gathered.shape[0])]
    alien_mask, _, _ = _group_mask("alien_replace", group_key, mask.shape, area, align, block_max, max_blocks)
    replaced = coin < prob
    pasted = jnp.where(alien_mask[..., None], alien, clean)
    return dict(image=jnp.where(replaced, pasted, corrupted), mask=jnp.where(replaced, alien_mask, mask))

  return jax.vmap(replace_one)(positions(len(image), axis_name), image, corrupted, mask)


def pixel_to_patch_mask(mask: jax.Array, *, patch: int, min_hidden: Number = 1.0) -> jax.Array:
  """Turns pixel masks into patch masks: [..., height, width] bool -> [..., tokens] bool, row-major.

  A function of arrays alone: in a config it is a target (`fn="jssl.masking:pixel_to_patch_mask"`).

  Args:
    mask: [..., height, width], True where a pixel is hidden.
    patch: side of a patch in pixels.
    min_hidden: a patch is hidden if at least this share of its pixels is. 1 asks for all of them; anything up to
      1 / patch**2 for one.

  Raises:
    ValueError: if the patch does not divide the image, or min_hidden is outside (0, 1].

  Example:

    >>> mask = jnp.array([[True, True, False, True], [True, True, False, False]])
    >>> pixel_to_patch_mask(mask, patch=2).tolist(), pixel_to_patch_mask(mask, patch=2, min_hidden=0.25).tolist()
    ([True, False], [True, True])
  """
  check_arrays("pixel_to_patch_mask", mask=(mask, "bool [..., height, width]"))
  check_values("pixel_to_patch_mask", patch=(patch, "int [1, inf)"), min_hidden=(min_hidden, "(0, 1]"))
  height, width = mask.shape[-2:]
  if height % patch or width % patch:
    raise ValueError(f"pixel_to_patch_mask: patch={patch} does not divide the mask's {height} x {width} pixels")
  pixels = mask.reshape(*mask.shape[:-2], height // patch, patch, width // patch, patch)
  hidden = pixels.sum(axis=(-3, -1), dtype=jnp.int32) >= min_hidden * patch**2
  return hidden.reshape(*mask.shape[:-2], -1)


def draw_blocks(
  rng: jax.Array,
  shape: tuple[int, ...],
  *,
  align: int = 1,
  block_min: float = 0.0,
  block_max: float = 0.3,
  max_blocks: int = 160,
) -> Blocks:
  """Candidate blocks (top, left, height, width), each [max_blocks] int32, of an image of `shape` (height, width).

  Sides are at least `align`, or int(block_min * side) if that is more; corners stay as far from the border.
  """

  def along(draws: jax.Array, side: int) -> tuple[jax.Array, jax.Array]:
    smallest = max(align, int(block_min * side))
    start = _below(draws[0], side - smallest) // align * align
    length = smallest + _below(draws[1], int(block_max * side) - smallest)
    length = jnp.round(jnp.minimum(length, side - start) / align).astype(jnp.int32) * align
    return start, length

  draws = jax.random.uniform(rng, (4, max_blocks))
  (top, height), (left, width) = along(draws[:2], shape[0]), along(draws[2:], shape[1])
  return top, left, height, width


def draw_squares(rng: jax.Array, shape: Sequence[int], *, side: int) -> Blocks:
  """The squares of a grid over an image of `shape` (height, width) in random order, as blocks of `side` x `side` pixels."""
  rows, columns = shape[0] // side, shape[1] // side
  order = jax.random.permutation(rng, rows * columns)
  sides = jnp.full_like(order, side)
  return order // columns * side, order % columns * side, sides, sides


def first_cover(blocks: Blocks, shape: tuple[int, ...]) -> jax.Array:
  """Index of the first block that covers each pixel, or the number of blocks where none does: [height, width] int32.

  Rows and columns hold the blocks that cross them as bits of 32-bit words, so that a pixel costs a few operations a
  word instead of one comparison a block.
  """
  top, left, height, width = blocks
  number = top.shape[0]
  rows = _bits(top, height, shape[0])
  columns = _bits(left, width, shape[1])
  first = jnp.full(shape, number, jnp.int32)
  for word in reversed(range(len(rows))):
    covering = rows[word][:, None] & columns[word]
    lowest_bit = jax.lax.population_count(~covering & (covering - 1)).astype(jnp.int32)
    first = jnp.where(covering > 0, 32 * word + lowest_bit, first)
  return first


def cover_until(first: jax.Array, number: int, pixels: Number) -> jax.Array:
  """The mask of the smallest number of blocks whose union reaches `pixels` (all `number` of them if none does).

  Args:
    first: [height, width] int32, from `first_cover`.
    number: static number of candidate blocks.
    pixels: traced target in pixels.

  Returns:
    [height, width] bool.
  """
  short = jnp.int32(0)  # the largest number of blocks that falls short, bit by bit from the highest
  for bit in reversed(range(number.bit_length())):
    attempt = short + (1 << bit)
    short = jnp.where((attempt <= number) & (jnp.sum(first < attempt) < pixels), attempt, short)
  return first < jnp.minimum(short + 1, number)


def _group_mask(
  function: str, rng: jax.Array, shape: tuple[int, ...], area: float, align: int, block_max: float | None, max_blocks: int
) -> tuple[jax.Array, jax.Array, Blocks]:
  """Blocks up to the target area: mask [height, width] bool, `first_cover` and the candidate blocks."""
  _check(function, tuple(shape), area, align, block_max, max_blocks)
  area_key, block_key = jax.random.split(rng)
  # In pixels before float32: 0.3 of 400 pixels rounded up would ask for 121.
  low, high = min(0.5, area) * shape[0] * shape[1], area * shape[0] * shape[1]
  pixels = low + (high - low) * jax.random.uniform(area_key)
  if block_max is None:
    blocks = draw_squares(block_key, shape, side=align)
  else:
    blocks = draw_blocks(block_key, shape, align=align, block_max=block_max, max_blocks=max_blocks)
  first = first_cover(blocks, shape)
  return cover_until(first, len(blocks[0]), pixels), first, blocks


def _content(rng: jax.Array, kind: str, image: jax.Array, first: jax.Array, blocks: Blocks, align: int) -> jax.Array:
  """What the hidden pixels of one fill kind show: [height, width, channels], or a scalar."""
  if kind == "zeros":
    return jnp.zeros((), image.dtype)
  if kind == "noise":
    return jax.random.normal(rng, image.shape, image.dtype)
  top, left, height, width = blocks
  draws = jax.random.uniform(rng, (2, top.shape[0]))
  source_top = _below(draws[0], image.shape[0] - height) // align * align
  source_left = _below(draws[1], image.shape[1] - width) // align * align
  rows = jnp.arange(image.shape[0])[:, None] + (source_top - top)[first]
  columns = jnp.arange(image.shape[1]) + (source_left - left)[first]
  return image[rows, columns]


def _below(draws: jax.Array, high: int | jax.Array) -> jax.Array:
  """Uniform draws in [0, 1) as uniform whole numbers in [0, high)."""
  return jnp.floor(draws * high).astype(jnp.int32)


def _bits(start: jax.Array, length: jax.Array, side: int) -> list[jax.Array]:
  """One uint32 word [side] for every 32 blocks, with bit i % 32 set at the positions inside block i."""
  position = jnp.arange(side)[:, None]
  inside = (position >= start) & (position < start + length)
  bits = inside.astype(jnp.uint32) << (jnp.arange(start.shape[0], dtype=jnp.uint32) % 32)
  return [bits[:, word : word + 32].sum(axis=1, dtype=jnp.uint32) for word in range(0, start.shape[0], 32)]


@functools.lru_cache(maxsize=64)
def _check(function: str, shape: tuple[int, ...], area: float, align: int, block_max: float | None, max_blocks: int) -> None:
  check_values(
    function,
    area=(area, "(0, 1)"),
    align=(align, "int [1, inf)"),
    block_max=(block_max, "(0, 1]"),
    max_blocks=(max_blocks, "int [1, inf)"),
  )
  if block_max is None:
    if any(side % align for side in shape) or align == max(shape):
      pixels = " x ".join(map(str, shape))
      raise ValueError(f"{function}: align={align} must divide the image's {pixels} pixels into squares, two or more")
    return
  if align >= int(block_max * min(shape)):
    largest = int(block_max * min(shape))
    raise ValueError(f"{function}: align={align} must lie in [1, int(block_max * side)) = [1, {largest})")
  expected = expected_cover(shape, align, block_max, 3 * max_blocks // 5)
  # Some images need 1.6 times as many blocks as the average one (155 against 97 in 2000 draws of an area of 0.8).
  if expected < area:
    raise ValueError(f"{function}: max_blocks={max_blocks} is too few: 3/5 of them cover {expected:.2f}, below area {area}")


def expected_cover(shape: tuple[int, ...], align: int, block_max: float, number: int) -> float:
  """Mean share of pixels that the union of `number` random blocks covers, in closed form from static numbers."""

  def along(side: int) -> np.ndarray:
    start = (np.arange(side - align) // align * align)[:, None, None]
    length = np.arange(align, int(block_max * side))[:, None]
    length = np.round(np.minimum(length, side - start) / align) * align
    position = np.arange(side)
    return np.mean((position >= start) & (position < start + length), axis=(0, 1))

  return float(1 - np.mean((1 - np.outer(along(shape[0]), along(shape[1]))) ** number))
