"""Colours of places as classes: the target of colorization."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import patchify
from jssl.checks import check_arrays, check_values, Number
from jssl.views.lab import rgb_to_lab

STEP = 10  # of the grid of classes, in units of CIELAB's a and b


@functools.cache
def color_grid() -> np.ndarray:
  """The centers of those cells of 10 x 10 in the plane of a and b that a colour of sRGB falls into: `[262, 2]` float32.

  Zhang et al. have 313, from a file; some of theirs lie outside of sRGB.
  """
  shades = np.linspace(0, 1, 128)
  face = np.stack(np.meshgrid(shades, shades, [0.0, 1.0], indexing="ij"), axis=-1).reshape(-1, 3)
  # The gamut is a solid: whatever a and b it has inside, its surface has too.
  surface = np.concatenate([np.roll(face, axis, axis=-1) for axis in range(3)])
  return STEP * np.unique(np.round(rgb_to_lab(surface)[:, 1:] / STEP), axis=0).astype(np.float32)


def color_bins(
  ab: jax.Array, *, patch: int, stride: int = 4, neighbors: int = 5, sigma: Number = 5.0
) -> dict[str, jax.Array]:
  """Soft colour classes of each place: weights of the nearest centers of `color_grid`.

      y_q ~ exp(-|ab - c_q|^2 / 2 sigma^2)   for the nearest centers c_q, 0 for the others

  Args:
    ab: `[batch, height, width, 2]` in CIELAB's units, see `jssl.views.split_lab`.
    patch: side P of a patch in pixels, which divides height and width.
    stride: side of a place in pixels, whose mean colour counts; divides the patch.
    neighbors: number of centers with a weight: 5 in the paper, 10 in its code.
    sigma: of the kernel.

  Returns:
    A dict of `index` int32 and `weight` float32, both `[batch, patches, (P / stride)^2, neighbors]`: the classes, the
    nearest first, and their weights, which sum to 1.

  Raises:
    ValueError: if the stride does not divide the patch, or the patch the image.

  References:
    Zhang, Isola, Efros 2016, arXiv 1603.08511, section 2.1; richzhang/colorization,
    resources/caffe_traininglayers.py (`NNEncode`). Their network and their target have a quarter of the image's
    resolution, by a stride of 4 without the mean.

  Example:

    >>> out = color_bins(jnp.full((1, 4, 4, 2), 10.0), patch=4)
    >>> color_grid()[out["index"][0, 0, 0, 0]].tolist(), out["weight"].shape
    ([10.0, 10.0], (1, 1, 1, 5))
  """
  check_arrays("color_bins", ab=(ab, "float [batch, height, width, 2]"))
  check_values(
    "color_bins",
    patch=(patch, "int [1, inf)"),
    stride=(stride, "int [1, inf)"),
    neighbors=(neighbors, "int [1, 262]"),
    sigma=(sigma, "(0, inf)"),
  )
  if patch % stride:
    raise ValueError(f"color_bins: stride={stride} does not divide patch={patch}")
  batch, height, width, _ = ab.shape
  places = jnp.mean(ab.reshape(batch, height // stride, stride, width // stride, stride, 2), axis=(2, 4))
  patches = patchify(places.astype(jnp.promote_types(ab.dtype, jnp.float32)), patch=patch // stride)
  centers = jnp.asarray(color_grid())

  def nearest(patches: jax.Array) -> dict[str, jax.Array]:  # of one image: the distances of all at once would not fit
    points = patches.reshape(*patches.shape[:-1], -1, 2)
    distances = jnp.sum((points[..., None, :] - centers) ** 2, axis=-1)
    negative, index = jax.lax.top_k(-distances, neighbors)
    return dict(index=index, weight=jax.nn.softmax(negative / (2 * sigma**2), axis=-1))

  return jax.lax.map(nearest, patches)
