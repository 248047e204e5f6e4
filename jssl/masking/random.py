"""Independent random patches (MAE) and random cells of patches (SimMIM). Masks are True where a patch is hidden."""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp

from jssl.checks import check_arrays, check_grid, check_values


def random_patch_mask(
  rng: jax.Array, grid: Sequence[int], *, ratio: float, valid: jax.Array | None = None
) -> dict[str, jax.Array]:
  """Hides a fixed share of the patches, drawn uniformly without replacement.

  MAE (He et al., arXiv 2111.06377; facebookresearch/mae, models_mae.py `random_masking`): patches are sorted by uniform
  noise and the first int(tokens * (1 - ratio)) are kept.

  Args:
    rng: a key.
    grid: numbers of patches along each axis, of any rank; tokens are counted in row-major order.
    ratio: static share of patches to hide.
    valid: [tokens] bool, where there is data; None for everywhere. Of n valid tokens int(n * (1 - ratio)), at least one,
      are visible, and the others hidden. What is not valid is neither: it fills the rest of `ids_keep`, and a network that
      is told `valid` leaves it out.

  Returns:
    A dict of `mask` [tokens] bool, `ids_keep` [kept] int32, the visible tokens in the order in which the encoder gets
    them, and `ids_restore` [tokens] int32, each token's place in the sequence of visible, then hidden tokens.

  Raises:
    ValueError: if nothing or everything would be hidden.

  Example:

    >>> out = random_patch_mask(jax.random.key(0), (2, 2), ratio=0.75)
    >>> int(out["mask"].sum()), out["ids_keep"].shape, out["ids_restore"].shape
    (3, (1,), (4,))
  """
  check_grid("random_patch_mask", grid)
  check_values("random_patch_mask", ratio=(ratio, "(0, 1)"))
  tokens = math.prod(grid)
  kept = int(tokens * (1 - ratio))
  check_count("random_patch_mask", tokens - kept, tokens)
  noise = jax.random.uniform(rng, (tokens,))
  if valid is None:
    return keep_lowest(noise, kept)
  check_arrays("random_patch_mask", valid=(valid, f"bool [{tokens}]"))
  counts = jnp.array([min(max(int(n * (1 - ratio)), 1), n) for n in range(tokens + 1)])
  visible = valid & (jnp.argsort(jnp.argsort(jnp.where(valid, noise, 2.0))) < counts[jnp.sum(valid)])
  # Padding comes before what is hidden, so that none of this is among the kept tokens.
  return keep_lowest(noise + jnp.where(visible, 0, jnp.where(valid, 2, 1)), kept) | dict(mask=valid & ~visible)


def cell_mask(rng: jax.Array, grid: Sequence[int], *, cell: int, ratio: float) -> dict[str, jax.Array]:
  """Hides ceil(ratio * cells) of the square cells of `cell` patches a side, drawn uniformly without replacement.

  SimMIM (Xie et al., arXiv 2111.09886; microsoft/SimMIM, data/data_simmim.py `MaskGenerator`): cells of 32 pixels over
  patches of 16 at 224 pixels are cell=2.

  Args:
    rng: a key.
    grid: numbers of patches along each axis, of any rank.
    cell: static side of a cell in patches; divides every axis of the grid.
    ratio: static share of cells to hide.

  Returns:
    A dict of `mask` [tokens] bool, `ids_keep` and `ids_restore` as of `random_patch_mask`; visible tokens are in order.

  Raises:
    ValueError: if the cell does not divide the grid, or nothing or everything would be hidden.

  Example:

    >>> mask = cell_mask(jax.random.key(0), (2, 4), cell=2, ratio=0.5)["mask"].reshape(2, 4)
    >>> int(mask.sum()), bool((mask[0] == mask[1]).all())
    (4, True)
  """
  check_grid("cell_mask", grid)
  check_values("cell_mask", cell=(cell, "int [1, inf)"), ratio=(ratio, "(0, 1)"))
  if any(side % cell for side in grid):
    raise ValueError(f"cell_mask: cells of {cell} patches do not divide a grid of {tuple(grid)}")
  cells = tuple(side // cell for side in grid)
  hidden = math.ceil(ratio * math.prod(cells))
  check_count("cell_mask", hidden, math.prod(cells))
  noise = jax.random.uniform(rng, (math.prod(cells),))
  mask = keep_lowest(noise, noise.size - hidden)["mask"].reshape(cells)
  for axis in range(len(cells)):
    mask = jnp.repeat(mask, cell, axis=axis)
  mask = mask.reshape(-1)
  return keep_lowest(mask, mask.size - hidden * cell ** len(cells)) | dict(mask=mask)


def keep_lowest(scores: jax.Array, kept: int) -> dict[str, jax.Array]:
  """Keeps the `kept` tokens of the lowest [tokens] scores: the dict that `random_patch_mask` returns."""
  order = jnp.argsort(scores).astype(jnp.int32)
  ids_restore = jnp.argsort(order).astype(jnp.int32)
  return dict(mask=ids_restore >= kept, ids_keep=order[:kept], ids_restore=ids_restore)


def check_count(name: str, hidden: int, total: int) -> None:
  """Raises ValueError unless 0 < hidden < total."""
  if not 0 < hidden < total:
    raise ValueError(f"{name}: {hidden} of {total} hidden; it must hide something and leave something visible")
