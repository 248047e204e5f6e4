"""k-means against NumPy's, and a codebook of whitened patches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.refresh import kmeans, patch_codebook
from jssl.targets import nearest_code

KEY = jax.random.key(0, impl="threefry2x32")


def groups(count=6, rows=12, dim=3, seed=0):
  rng = np.random.default_rng(seed)
  means = 10 * np.eye(count, dim + count)[:, :dim] + 20 * np.arange(count)[:, None]
  return means, (means[:, None] + rng.normal(size=(count, rows, dim))).reshape(-1, dim).astype(np.float32)


def test_groups_that_lie_apart_are_found():
  _, x = groups()
  centers = kmeans(KEY, x, clusters=6, iterations=4)
  found = np.asarray(centers)[np.argsort(centers[:, 2])]
  np.testing.assert_allclose(found, x.reshape(6, 12, 3).mean(1), rtol=1e-5)


def test_iterations_are_lloyds():
  """From the same seeds, in float64; an empty cluster keeps its center."""
  x = np.random.default_rng(1).normal(size=(40, 2))
  seeds = np.asarray(kmeans(KEY, x, clusters=7, iterations=0), np.float64)
  assert len(np.unique(seeds, axis=0)) == 7 and all(np.isclose(x, seed, atol=1e-6).all(1).any() for seed in seeds)
  wanted = seeds.copy()
  for _ in range(3):
    nearest = ((x[:, None] - wanted) ** 2).sum(-1).argmin(1)
    wanted = np.array([x[nearest == k].mean(0) if np.any(nearest == k) else wanted[k] for k in range(7)])
  np.testing.assert_allclose(kmeans(KEY, x, clusters=7, iterations=3), wanted, atol=1e-5)


def test_fewer_different_rows_than_clusters_stay_finite():
  centers = kmeans(KEY, jnp.ones((5, 2)), clusters=3)
  np.testing.assert_array_equal(centers, 1)
  with pytest.raises(ValueError, match="6 clusters of 5 rows"):
    kmeans(KEY, jnp.ones((5, 2)), clusters=6)


def test_whitened_patches_have_the_variance_that_eps_leaves():
  rng = np.random.default_rng(2)
  mixing = rng.normal(size=(4, 4)) * np.array([5.0, 1.0, 0.3, 0.01])
  x = (rng.normal(size=(50, 6, 4)) @ mixing.T + 3).astype(np.float32)
  tables = patch_codebook(KEY, x, codes=8, eps=0.1, iterations=3)
  flat = x.reshape(-1, 4).astype(np.float64)
  np.testing.assert_allclose(tables["mean"], flat.mean(0), rtol=1e-4)
  covariance = np.cov(flat.T, bias=True)
  values, axes = np.linalg.eigh(covariance)
  wanted = axes @ np.diag((values + 0.1) ** -0.5) @ axes.T
  np.testing.assert_allclose(tables["whitening"], wanted, atol=1e-4)
  white = (flat - flat.mean(0)) @ wanted
  left = np.linalg.eigvalsh(np.cov(white.T, bias=True))
  np.testing.assert_allclose(left, np.sort(values / (values + 0.1)), atol=1e-3)


def test_a_patch_gets_its_nearest_code():
  x = np.random.default_rng(3).normal(size=(9, 5, 4)).astype(np.float32)
  tables = patch_codebook(KEY, x, codes=6)
  white = (x - np.asarray(tables["mean"], np.float64)) @ np.asarray(tables["whitening"], np.float64)
  wanted = ((white[:, :, None] - np.asarray(tables["centers"], np.float64)) ** 2).sum(-1).argmin(-1)
  got = jax.jit(nearest_code)(x, **tables)
  assert got.dtype == jnp.int32 and got.shape == (9, 5)
  np.testing.assert_array_equal(got, wanted)
  assert np.all(np.bincount(wanted.ravel(), minlength=6) > 0)


@pytest.mark.slow
def test_flat_images_have_a_codebook():
  tables = patch_codebook(KEY, np.ones((4, 2, 3), np.float32), codes=2)
  assert all(np.all(np.isfinite(table)) for table in tables.values())
  np.testing.assert_array_equal(nearest_code(jnp.ones((1, 2, 3)), **tables), 0)
