"""Rectangular blocks of patches: BEiT's block-wise masks, as iBOT, MaskFeat and data2vec use them too."""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp

from jssl.batch_axis import global_size, positions
from jssl.checks import check_arrays, check_grid, check_values, Number, Range
from jssl.masking.random import check_count, keep_lowest

TRIES = 10  # rejected blocks in a row after which BEiT gives up


def block_mask(
  rng: jax.Array,
  grid: Sequence[int],
  *,
  count: int | None = None,
  ratio: float | Range | None = None,
  min_block: int,
  max_block: int | None = None,
  aspect: Range = (0.3, 1 / 0.3),
  prob: Number = 1.0,
  exact: bool = False,
) -> dict[str, jax.Array]:
  """Hides rectangles of patches until a target count is reached.

  BEiT (Bao et al., arXiv 2106.08254; microsoft/unilm, beit/masking_generator.py): a block has an area U(min_block, what
  remains to be hidden) and a log-uniform aspect ratio, is placed uniformly, and counts if it fits strictly inside the
  grid and hides at least one and at most the remaining number of new patches; after ten rejected blocks in a row the
  mask stays as it is. So the number hidden is at most the target, and varies. The loop runs as long as the original's
  does, which is bounded by ten blocks for each hidden patch.

  With `exact`, patches drawn uniformly from the visible ones are hidden as well until the count is the target in every
  image, so that tokens can be gathered. There is never a surplus to trim.

  iBOT (Zhou et al., arXiv 2111.07832; loader.py of bytedance/ibot) is `ratio=(0.1, 0.5), prob=0.5` with
  `min_block=(min(grid) // 3) ** 2`.

  Args:
    rng: a key.
    grid: (rows, columns) of patches.
    count: target number of hidden patches; give this or `ratio`.
    ratio: target share of hidden patches: int(ratio * tokens) of them; or (low, high), a uniform draw for each image,
      not rounded, as in iBOT.
    min_block: smallest area of a block in patches (before its sides are rounded).
    max_block: largest area of a block; by default only what remains to be hidden limits it.
    aspect: range of rows / columns of a block.
    prob: probability that the image is masked at all.
    exact: whether to hide exactly the target.

  Returns:
    A dict of `mask` [tokens] bool; with `exact` also `ids_keep` and `ids_restore` as from `random_patch_mask`.

  Raises:
    ValueError: if the numbers hide nothing or everything, do not fit the grid, or `exact` has no single target.
  """
  check_values("block_mask", prob=(prob, "(0, 1]"))
  low, high = _targets("block_mask", grid, count, ratio)
  _check_blocks("block_mask", grid, high, min_block, max_block, aspect)
  if exact and (low != high or prob < 1):
    raise ValueError("block_mask: exact needs one count or ratio and prob=1")
  target_key, block_key, fill_key = jax.random.split(rng, 3)
  coin, share = jax.random.uniform(target_key, (2,))
  target = jnp.where(coin < prob, low + (high - low) * share, 0.0)
  mask = _paint(block_key, grid, target, min_block, max_block, aspect).reshape(-1)
  if not exact:
    return dict(mask=mask)
  # Hidden patches score above all visible ones, so the highest scores are them first, then a uniform choice of others.
  return keep_lowest(mask + jax.random.uniform(fill_key, mask.shape), mask.size - int(high))


def stratified_block_mask(
  rng: jax.Array,
  views: Sequence[jax.Array],
  *,
  grid: Sequence[int],
  ratio: Range,
  min_block: int,
  aspect: Range = (0.3, 1 / 0.3),
  prob: float = 0.5,
  axis_name: str | None = None,
) -> list[jax.Array]:
  """Block masks whose ratios are spread evenly over the batch (scope="batch").

  DINOv2 (Oquab et al., arXiv 2304.07193; facebookresearch/dinov2, dinov2/data/collate.py and masking.py): of all crops
  of the batch, the views together, int(prob * crops) are masked; the range of ratios is cut into as many equal slices,
  and the k-th masked crop hides int(tokens * U(k-th slice)) patches, by blocks as in `block_mask`. Which crops these
  are is drawn anew each step. So a batch hides as much as any other, and every step sees light and heavy masks. The
  authors stratify each device's share of the batch, this the global batch.

  Args:
    rng: one key, the same on all devices.
    views: sequence of arrays [batch, ...], the local part of the batch; only their number and length matter.
    grid: (rows, columns) of patches.
    ratio: (low, high), the range of target shares of hidden patches: (0.1, 0.5).
    min_block: smallest area of a block in patches (before its sides are rounded): 4.
    aspect: range of rows / columns of a block.
    prob: share of crops that are masked at all.
    axis_name: None, or the mapped axis over which the global batch is split.

  Returns:
    A list of masks [batch, tokens] bool, one for each view.

  Raises:
    ValueError: if the numbers hide nothing or everything, or do not fit the grid.
  """
  check_arrays("stratified_block_mask", views=(views, "views of any [batch, ...]"))
  check_values("stratified_block_mask", prob=(prob, "(0, 1]"), ratio=(ratio, "range (0, 1)"))
  low, high = _targets("stratified_block_mask", grid, None, ratio)
  _check_blocks("stratified_block_mask", grid, high, min_block, None, aspect)
  batch = len(views[0])
  global_batch = global_size(batch, axis_name)
  crops = len(views) * global_batch
  masked = max(int(crops * prob), 1)
  order_key, crop_key = jax.random.split(rng)
  rank = jax.random.permutation(order_key, crops)

  def one_crop(crop: jax.Array) -> jax.Array:
    share_key, block_key = jax.random.split(jax.random.fold_in(crop_key, crop))
    slices = (rank[crop] + jax.random.uniform(share_key)) / masked
    target = jnp.where(rank[crop] < masked, jnp.floor(low + (high - low) * slices), 0)
    return _paint(block_key, grid, target, min_block, None, aspect).reshape(-1)

  mine = positions(batch, axis_name)
  masks = jax.vmap(one_crop)(jnp.concatenate([view * global_batch + mine for view in range(len(views))]))
  return jnp.split(masks, len(views))


def _paint(
  rng: jax.Array, grid: Sequence[int], target: Number, min_block: int, max_block: int | None, aspect: Range
) -> jax.Array:
  """The loop: [rows, columns] bool with at most `target` (traced float) hidden patches."""
  rows, columns = jnp.arange(grid[0])[:, None], jnp.arange(grid[1])
  max_block = math.prod(grid) if max_block is None else max_block

  def unfinished(state):
    mask, rejected, _ = state
    return (mask.sum() < target) & (rejected < TRIES)

  def add_block(state):
    mask, rejected, drawn = state
    remaining = jnp.minimum(target - mask.sum(), max_block)
    (height, width), (top, left) = _draw(jax.random.fold_in(rng, drawn), grid, min_block, remaining, aspect)
    block = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    fresh = jnp.sum(block & ~mask)
    accepted = (height < grid[0]) & (width < grid[1]) & (fresh > 0) & (fresh <= remaining)
    return mask | (block & accepted), jnp.where(accepted, 0, rejected + 1), drawn + 1

  return jax.lax.while_loop(unfinished, add_block, (jnp.zeros(grid, bool), jnp.int32(0), jnp.int32(0)))[0]


def _draw(
  rng: jax.Array, grid: Sequence[int], min_area: int, max_area: jax.Array, aspect: Range
) -> tuple[jax.Array, jax.Array]:
  """A block's (height, width) and (top, left); the place is meaningless for a block that does not fit."""
  draws = jax.random.uniform(rng, (4,))
  # The area left may be below the minimum; BEiT then draws from between the two, and so does this.
  area = min_area + (max_area - min_area) * draws[0]
  ratio = jnp.exp(math.log(aspect[0]) + (math.log(aspect[1]) - math.log(aspect[0])) * draws[1])
  sides = jnp.round(jnp.sqrt(area * jnp.stack([ratio, 1 / ratio]))).astype(int)
  free = jnp.maximum(jnp.asarray(grid) - sides, 0)
  return sides, jnp.floor(draws[2:] * (free + 1)).astype(int)


def _targets(function: str, grid: Sequence[int], count: int | None, ratio: float | Range | None) -> tuple[float, float]:
  """(low, high) target counts, equal where the target is fixed."""
  check_grid(function, grid, axes=2)
  tokens = math.prod(grid)
  if (count is None) == (ratio is None):
    raise ValueError(f"{function}: give exactly one of count and ratio")
  if isinstance(ratio, (tuple, list)):
    check_values(function, ratio=(ratio, "range (0, 1)"))
    return ratio[0] * tokens, ratio[1] * tokens
  check_values(function, count=(count, "int (0, inf)"), ratio=(ratio, "(0, 1)"))
  target = int(ratio * tokens) if isinstance(ratio, float) else count or 0
  check_count(function, target, tokens)
  return target, target


def _check_blocks(
  function: str, grid: Sequence[int], target: float, min_block: int, max_block: int | None, aspect: Range
) -> None:
  check_values(function, aspect=(aspect, "range (0, inf)"), max_block=(max_block, "int [1, inf)"))
  largest = min((grid[0] - 1) * (grid[1] - 1), target, target if max_block is None else max_block)
  check_values(function, min_block=(min_block, "int [1, inf)"))
  if min_block > largest:
    raise ValueError(f"{function}: min_block={min_block} must be at most {largest:g}, the largest block")
