"""Histograms of oriented gradients: what MaskFeat predicts."""

import math

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, patchify, precise
from jssl.checks import check_arrays, check_values


def hog(image: jax.Array, *, patch: int, cell: int = 8, bins: int = 9) -> jax.Array:
  """Which way the edges of each patch run: a histogram of orientations for every cell and channel.

      h[cell, channel, k] = sum of |g(p)| over the cell's pixels p with floor(bins * angle(p) / pi) = k

  divided by its L2 norm over the bins. The gradient g is Sobel's on each channel by itself, on an image that is
  reflected by one pixel at its border; its angle `atan2(gx, gy)` is folded into [0, pi), so an edge and its negative
  are the same. Each pixel falls into one bin, by its magnitude; the original weights pixels by no window either.

  Args:
    image: `[batch, height, width, channels]`, normalised as the network sees it.
    patch: side P of a patch, which divides height and width.
    cell: side of a cell, which divides P: 8 of patches of 16 in the paper.
    bins: number of orientations in half a turn.

  Returns:
    float32 `[batch, patches, (P / cell) ** 2 * channels * bins]`; in a patch by cell (row, column), channel and bin. A
    flat cell is all zeros.

  Raises:
    ValueError: if the sides do not divide each other.

  References:
    Dalal and Triggs 2005, Histograms of Oriented Gradients for Human Detection. Wei et al. 2022 (MaskFeat), arXiv
    2112.09133, section 3.2; facebookresearch/SlowFast, slowfast/models/operators.py (`HOGLayerC`), which counts cells
    after bins and channels.

  Example:

    >>> edge = jnp.zeros((1, 4, 4, 1)).at[:, :, 2:].set(1.0)   # upright: dark on the left, bright on the right
    >>> hog(edge, patch=4, cell=4, bins=2).tolist()
    [[[0.0, 1.0]]]
  """
  check_arrays("hog", image=(image, "float [batch, height, width, channels]"))
  check_values("hog", patch=(patch, "int [1, inf)"), cell=(cell, "int [1, inf)"), bins=(bins, "int [1, inf)"))
  if patch % cell or image.shape[1] % patch or image.shape[2] % patch:
    raise ValueError(
      f"hog: cell={cell}, patch={patch} and the image {image.shape[1]} x {image.shape[2]} do not divide each other"
    )
  gx, gy = _sobel(precise(image))
  # Folding before the angle is taken keeps edges along the axes, whose angles are 0 and pi, in one bin.
  sign = jnp.where((gx < 0) | ((gx == 0) & (gy < 0)), -1.0, 1.0)
  angle = jnp.arctan2(sign * gx, sign * gy)
  kind = jnp.minimum(jnp.floor(bins / math.pi * angle).astype(int), bins - 1)
  size = jnp.sqrt(gx * gx + gy * gy)
  votes = jnp.where(kind[..., None] == jnp.arange(bins), size[..., None], 0.0)
  batch, height, width, channels = image.shape
  # Pixels are summed where they lie: one reduction, which never writes the votes to memory.
  rows, columns = height // cell, width // cell
  histogram = votes.reshape(batch, rows, cell, columns, cell, channels, bins).sum(axis=(2, 4))
  return patchify(l2_normalize(histogram, eps=1e-24).reshape(batch, rows, columns, channels * bins), patch=patch // cell)


def _sobel(image: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Left less right and upper less lower neighbours, weighted 1, 2, 1 across: two arrays of the image's shape."""
  x = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
  across, down = x[:, :, :-2] - x[:, :, 2:], x[:, :-2] - x[:, 2:]
  return (across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:], down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:])
