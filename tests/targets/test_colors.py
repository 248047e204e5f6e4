"""The classes of colours and the soft codes of places."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.targets import color_bins, color_grid
from jssl.views import rgb_to_lab


def test_every_colour_is_near_a_center():
  grid = color_grid()
  assert grid.shape == (262, 2) and np.all(grid % 10 == 0) and len(np.unique(grid, axis=0)) == 262
  ab = rgb_to_lab(np.random.default_rng(0).uniform(size=(2000, 3)))[:, 1:]
  nearest = np.abs(ab[:, None] - grid).max(-1).min(-1)
  assert nearest.max() < 5.5  # half a cell, and a little where a colour lies in a cell that no surface point is in


def test_codes_are_gaussian_weights_of_the_nearest_centers():
  ab = np.random.default_rng(1).uniform(-40, 40, (2, 8, 16, 2)).astype(np.float32)
  out = color_bins(jnp.asarray(ab), patch=8, stride=4, neighbors=3, sigma=5.0)
  assert out["index"].shape == out["weight"].shape == (2, 2, 4, 3)
  np.testing.assert_allclose(out["weight"].sum(-1), 1, rtol=1e-5)
  for image, patch, place in np.ndindex(2, 2, 4):
    top, left = 4 * (place // 2), 8 * patch + 4 * (place % 2)
    color = ab[image, top : top + 4, left : left + 4].mean((0, 1))
    distances = ((color - color_grid()) ** 2).sum(-1)
    order = np.argsort(distances)[:3]
    np.testing.assert_array_equal(out["index"][image, patch, place], order)
    weights = np.exp(-distances[order] / 50)
    np.testing.assert_allclose(out["weight"][image, patch, place], weights / weights.sum(), rtol=1e-4)


def test_the_stride_divides_the_patch():
  with pytest.raises(ValueError, match="stride=4"):
    color_bins(jnp.zeros((1, 12, 12, 2)), patch=6)
