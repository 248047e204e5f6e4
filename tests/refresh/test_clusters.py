"""Spherical k-means against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.refresh import cluster_views, spherical_kmeans

KEY = jax.random.key(0, impl="threefry2x32")


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rows(seed=0, count=40, dim=3):
  return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def test_iterations_are_those_of_cosines():
  """From the same random rows, in float64; an empty cluster keeps its centroid, and norms of rows do not matter."""
  x = rows()
  start = np.asarray(spherical_kmeans(KEY, x, clusters=7, iterations=0)[0], np.float64)
  assert len(np.unique(start, axis=0)) == 7
  assert all(np.isclose(unit(x), row, atol=1e-6).all(1).any() for row in start)
  wanted = start.copy()
  for _ in range(3):
    nearest = (unit(np.float64(x)) @ wanted.T).argmax(1)
    for k in set(nearest):
      wanted[k] = unit(unit(np.float64(x))[nearest == k].sum(0))
  centroids, found = spherical_kmeans(KEY, x * np.linspace(0.1, 9, 40)[:, None], clusters=7, iterations=3)
  np.testing.assert_allclose(centroids, wanted, atol=1e-5)
  np.testing.assert_array_equal(found, (unit(np.float64(x)) @ wanted.T).argmax(1))
  assert found.dtype == jnp.int32


def test_directions_that_lie_apart_are_found():
  """One start on each direction would do; ten iterations from unlucky ones need not, so the start is checked first."""
  x = np.repeat(np.eye(4), 5, 0).astype(np.float32) + 0.05 * rows(1, 20, 4)
  for seed in range(50):
    key = jax.random.key(seed)
    if len(set(np.asarray(spherical_kmeans(key, x, clusters=4, iterations=0)[0]).argmax(1))) == 4:
      break
  _, found = spherical_kmeans(key, x, clusters=4, iterations=2)
  groups = np.asarray(found).reshape(4, 5)
  assert (groups == groups[:, :1]).all() and len(set(groups[:, 0])) == 4


def test_clusterings_take_the_views_in_turn():
  views = [rows(0), rows(1)]
  tables = cluster_views(KEY, views, clusters=5, clusterings=3, iterations=2)
  assert tables["centroids"].shape == (3, 5, 3) and tables["assignments"].shape == (40, 3)
  for h, view in enumerate((0, 1, 0)):
    nearest = (unit(views[view]) @ np.asarray(tables["centroids"][h]).T).argmax(1)
    np.testing.assert_array_equal(tables["assignments"][:, h], nearest)
  assert not np.array_equal(tables["centroids"][0], tables["centroids"][2])


def test_equal_and_zero_rows_stay_finite():
  for x in (jnp.ones((5, 2)), jnp.zeros((5, 2))):
    centroids, found = spherical_kmeans(KEY, x, clusters=3)
    assert np.all(np.isfinite(centroids)) and np.all(np.asarray(found) == found[0])
  with pytest.raises(ValueError, match="6 clusters of 5 rows"):
    spherical_kmeans(KEY, jnp.ones((5, 2)), clusters=6)
