"""I-JEPA's masks: blocks to predict, and a context that overlaps none of them."""

from collections.abc import Sequence
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jssl.checks import check_grid, check_values, Range
from jssl.masking.random import keep_lowest


def multi_block_mask(
  rng: jax.Array, grid: Sequence[int], *, targets: int = 4, scale: Range = (0.15, 0.2), aspect: Range = (0.75, 1.5)
) -> dict[str, jax.Array]:
  """Draws target blocks of patches, which may overlap each other, and a context of patches outside of all of them.

  Counts are the same for every image. A target block has the area `block_shapes` settles on, one of its shapes, drawn
  for each block, and a uniform place. The context is a random choice of as many patches as are left where the blocks do
  not overlap: `tokens - targets * area`.

  I-JEPA's code draws one shape a batch, and cuts every index list to the shortest of the batch by its first patches, so
  that a context never holds the lowest rows of an image; its context is moreover taken from a block of 0.85 to 1 of the
  grid, always the upper left one, since block corners exclude their last place. None of this is kept: a context patch
  here may be any that no target holds.

  Args:
    rng: a key.
    grid: (rows, columns) of patches.
    targets: number of target blocks.
    scale: range of a block's share of the grid.
    aspect: range of rows / columns of a block.

  Returns:
    A dict of `context` [kept] int32, in random order, `target` [targets, area] int32, each block row by row, and `mask`
    [tokens] bool, False for the context.

  Raises:
    ValueError: if no block fits the numbers, or the blocks may leave no context.

  References:
    Assran et al. 2023, arXiv 2301.08243, section 3; facebookresearch/ijepa, src/masks/multiblock.py.
  """
  check_grid("multi_block_mask", grid, axes=2)
  check_values(
    "multi_block_mask", targets=(targets, "int [1, inf)"), scale=(scale, "range (0, 1)"), aspect=(aspect, "range (0, inf)")
  )
  shapes = block_shapes((grid[0], grid[1]), (scale[0], scale[1]), (aspect[0], aspect[1]))
  tokens, area = math.prod(grid), math.prod(shapes[0])
  kept = tokens - targets * area
  if kept < 1:
    raise ValueError(f"multi_block_mask: targets={targets} blocks of {area} patches may leave no context in {tokens}")
  shape_key, place_key, context_key = jax.random.split(rng, 3)
  shape = jax.random.randint(shape_key, (targets,), 0, len(shapes))
  free = jnp.asarray(grid) - jnp.asarray(shapes)[shape]
  corner = jnp.floor(jax.random.uniform(place_key, (targets, 2)) * (free + 1)).astype(jnp.int32)
  inside = np.stack([np.stack(np.divmod(np.arange(area), columns), axis=-1) for _, columns in shapes])
  places = corner[:, None] + jnp.asarray(inside, jnp.int32)[shape]
  target = places[..., 0] * grid[1] + places[..., 1]
  hidden = jnp.zeros(tokens, bool).at[target.reshape(-1)].set(True)
  context = keep_lowest(hidden + jax.random.uniform(context_key, (tokens,)), kept)
  return dict(context=context["ids_keep"], target=target, mask=context["mask"])


@functools.lru_cache(maxsize=64)
def block_shapes(grid: tuple[int, int], scale: Range, aspect: Range) -> tuple[tuple[int, int], ...]:
  """The shapes (rows, columns) of one area whose share of the grid lies within `scale` and rows / columns in `aspect`.

  Of all areas it is the one with the most shapes, and of those the one nearest to the middle of the range: 5 x 6 and
  6 x 5 for I-JEPA's numbers on 14 x 14 patches, 3 x 4 and 4 x 3 on 8 x 8.

  Raises:
    ValueError: if there is none.
  """
  low, high = (share * math.prod(grid) for share in scale)
  by_area: dict[int, list[tuple[int, int]]] = {}
  for rows in range(1, grid[0]):
    for columns in range(1, grid[1]):
      if low <= rows * columns <= high and aspect[0] <= rows / columns <= aspect[1]:
        by_area.setdefault(rows * columns, []).append((rows, columns))
  if not by_area:
    raise ValueError(f"multi_block_mask: no block of {scale} of a grid of {grid} patches has an aspect within {aspect}")
  return tuple(by_area[max(by_area, key=lambda area: (len(by_area[area]), -abs(area - (low + high) / 2)))])
