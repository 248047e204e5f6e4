"""Histograms of gradients against loops in NumPy float64, and against the formula of torch's operators."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.targets import hog


def images(shape=(2, 8, 12, 3), seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def histogram(image, cell, bins):
  """Pixel by pixel: `[rows, columns, channels, bins]` of one image, from the definition."""
  height, width, channels = image.shape
  x = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="reflect")
  h = np.zeros((height // cell, width // cell, channels, bins))
  weights = np.array([1, 2, 1])
  for i, j, c in np.ndindex(image.shape):
    near = x[i : i + 3, j : j + 3, c]
    gx, gy = weights @ (near[:, 0] - near[:, 2]), weights @ (near[0] - near[2])
    k = math.floor(bins * math.atan2(gx, gy) / math.pi) % bins
    h[i // cell, j // cell, c, k] += math.hypot(gx, gy)
  return h / np.maximum(np.sqrt((h**2).sum(-1, keepdims=True)), 1e-12)


@pytest.mark.parametrize("patch, cell, bins", [(4, 2, 9), (4, 4, 9), (2, 1, 5)])
def test_the_definition(patch, cell, bins):
  x = images()
  got = np.asarray(jax.jit(hog, static_argnames=("patch", "cell", "bins"))(x, patch=patch, cell=cell, bins=bins))
  side = patch // cell
  assert got.shape == (2, 8 * 12 // patch**2, side**2 * 3 * bins) and got.dtype == np.float32
  for b in range(2):
    cells = histogram(x[b], cell, bins)
    for n in range(got.shape[1]):
      row, column = np.array(divmod(n, 12 // patch)) * side
      wanted = cells[row : row + side, column : column + side]
      np.testing.assert_allclose(got[b, n].reshape(wanted.shape), wanted, atol=2e-5)


def test_the_original_in_torch():
  """`HOGLayerC` of SlowFast, whose cells come as [channel, bin, row, column]; no patches, so one cell a patch."""
  torch = pytest.importorskip("torch")
  x = images((2, 16, 16, 3), seed=1)
  padded = torch.nn.functional.pad(torch.tensor(x).permute(0, 3, 1, 2), (1, 1, 1, 1), mode="reflect")
  sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
  gx, gy = (torch.nn.functional.conv2d(padded, k.repeat(3, 1, 1, 1), groups=3) for k in (sobel, sobel.T))
  kind = (torch.atan2(gx, gy) / math.pi * 9).floor().long() % 9
  votes = torch.nn.functional.one_hot(kind, 9) * torch.hypot(gx, gy)[..., None]
  cells = torch.nn.functional.avg_pool2d(votes.permute(0, 1, 4, 2, 3).flatten(1, 2), 8).unflatten(1, (3, 9))
  wanted = torch.nn.functional.normalize(cells, dim=2).permute(0, 3, 4, 1, 2).reshape(2, 4, 27)
  np.testing.assert_allclose(hog(jnp.asarray(x), patch=8, cell=8), wanted.numpy(), atol=1e-5)


def test_contrast_and_its_sign_do_not_matter():
  x = jnp.asarray(images())
  np.testing.assert_allclose(hog(x, patch=4, cell=4), hog(5 - 3 * x, patch=4, cell=4), atol=1e-4)


@pytest.mark.parametrize("axis, kind", [(0, 0), (1, 4)])
def test_edges_along_the_axes(axis, kind):
  """Dark above bright has the angle pi and bright above dark 0: both are bin 0, whatever the rounding."""
  ramp = np.cumsum(np.array([0, 1, 3, 2, -5, 7, 1, 1.0]))[:, None] * np.ones(8)
  image = jnp.asarray(ramp if axis == 0 else ramp.T, jnp.float32)[None, :, :, None]
  got = np.asarray(hog(image, patch=8, cell=8))[0, 0]
  np.testing.assert_allclose(got, np.eye(9)[kind], atol=1e-6)


def test_a_flat_image_has_no_edges():
  got = hog(jnp.full((1, 8, 8, 3), 0.7, jnp.bfloat16), patch=4, cell=2)
  assert got.dtype == jnp.float32
  np.testing.assert_array_equal(got, 0)


def test_sides_that_do_not_fit_are_refused():
  for patch, cell in ((4, 3), (5, 5)):
    with pytest.raises(ValueError, match="do not divide each other"):
      hog(jnp.zeros((1, 8, 8, 1)), patch=patch, cell=cell)
