"""Where a patch is: sine-cosine tables, learned tables at other grids, and offsets between pairs of patches."""

from collections.abc import Sequence
import math

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import by


def sincos(grid: Sequence[int], dim: int) -> np.ndarray:
  """Fixed positions of a grid of patches, as in MAE.

  The axes share the width equally, the last one first: each has F = dim / (2 axes) frequencies, and encodes the place n
  along it as `[sin(n * w_k), cos(n * w_k)]` with `w_k = 10000 ** (-k / F)`, `k = 0 .. F - 1`. Of images the first half
  therefore encodes the column ("w goes first" in the code of MAE); MoCo v3 has rows first, and big_vision divides k by
  `F - 1`. Where three axes do not divide the width, F is rounded up, and what is too much is cut off at the end, as in
  V-JEPA's code with `uniform_power`.

  Args:
    grid: numbers of patches along each axis.
    dim: width of the embedding, divisible by 4 for images and else by 2.

  Returns:
    float32 `[patches, dim]`, row by row.

  Raises:
    ValueError: `dim` is not divisible.

  References:
    He et al., Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377; facebookresearch/mae
    util/pos_embed.py. facebookresearch/jepa src/models/utils/pos_embs.py (get_3d_sincos_pos_embed).
  """
  divisor = 4 if len(grid) == 2 else 2
  if dim % divisor:
    raise ValueError(f"sine-cosine positions need a width divisible by {divisor}, not {dim}")
  number = -(-dim // (2 * len(grid)))
  frequencies = 10000.0 ** (-np.arange(number) / number)
  angles = [np.outer(axis.reshape(-1), frequencies) for axis in np.indices(tuple(grid))[::-1]]
  table = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
  return table[:, :dim].astype(np.float32)


def interpolate_positions(
  positions: jax.Array, source: Sequence[int], target: Sequence[int], *, offset: float = 0.1, antialias: bool = False
) -> jax.Array:
  """Learned positions at another grid, as torch's bicubic interpolation (a = -0.75) gives them in DINO and DINOv2.

  DINO hands torch the factor `(new + 0.1) / old` instead of the new size, against rounding errors, and torch maps
  coordinates by that factor; so the 0.1 is part of the result. DINOv2 with registers interpolates with `offset=0` and
  `antialias=True`, for which torch takes a = -0.5.

  Args:
    positions: `[..., patches of source, dim]`.
    source: the grid of `positions`, of any number of axes.
    target: the grid wanted. Equal to `source`, the positions come back as they are.
    offset: added to the new size in the factor.
    antialias: widen the kernel when the grid shrinks.

  Returns:
    `[..., patches of target, dim]`, float32.

  References:
    facebookresearch/dino vision_transformer.py (interpolate_pos_encoding), facebookresearch/dinov2 hub/backbones.py.
  """
  if tuple(source) == tuple(target):
    return positions
  lead, dim = positions.shape[:-2], positions.shape[-1]
  table = positions.astype(jnp.float32).reshape(*lead, *source, dim)
  scale = jnp.array([(new + offset) / old for new, old in zip(target, source, strict=True)])
  axes = tuple(range(len(lead), len(lead) + len(target)))
  method = jax.image.ResizeMethod.CUBIC if antialias else jax.image.ResizeMethod.CUBIC_PYTORCH
  table = jax.image.scale_and_translate(
    table, (*lead, *target, dim), axes, scale, jnp.zeros(len(target)), method=method, antialias=antialias
  )
  return table.reshape(*lead, math.prod(target), dim)


def relative_rows(window: tuple[int, int]) -> int:
  """Rows of the table that `relative_offsets` points into, the three of the prefix among them."""
  return (2 * window[0] - 1) * (2 * window[1] - 1) + 3


def relative_offsets(window: tuple[int, int], grid: tuple[int, int], prefix: int) -> np.ndarray:
  """Row of the table of relative position biases for every pair of tokens, as in BEiT and SimMIM.

  The table has one row for each offset within `window`, then three more: from the prefix to a patch, from a patch to
  the prefix, and within the prefix. The prefix (class token) is one token there; registers share its rows here. Swin,
  whose windows have no prefix, does without the three.

  Args:
    window: the largest grid that the table covers.
    grid: the grid of this image, within the window.
    prefix: number of tokens before the patches.

  Returns:
    int32 `[prefix + patches, prefix + patches]`, from 0 to `(2 * rows - 1) * (2 * columns - 1) + 2` of the window.

  Raises:
    ValueError: the grid does not fit in the window.

  References:
    microsoft/SimMIM models/vision_transformer.py (RelativePositionBias).
  """
  if grid[0] > window[0] or grid[1] > window[1]:
    raise ValueError(f"relative positions cover a grid of {by(window)} patches, not {by(grid)}")
  places = np.indices(grid).reshape(2, -1)
  rows, columns = places[:, :, None] - places[:, None, :]
  across = 2 * window[1] - 1
  between_patches = (rows + window[0] - 1) * across + columns + window[1] - 1
  first_extra = relative_rows(window) - 3
  index = np.full((prefix + between_patches.shape[0],) * 2, first_extra + 2, np.int32)
  index[:prefix, prefix:] = first_extra
  index[prefix:, :prefix] = first_extra + 1
  index[prefix:, prefix:] = between_patches
  return index
