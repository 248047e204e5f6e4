"""Sinkhorn-Knopp, and what is built from it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import targets

sinkhorn = jax.jit(targets.sinkhorn, static_argnames=("iterations", "rows_first", "axis_name"))


def scores(*shape, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, size=shape).astype(np.float32)


def by_hand(logits, temp, iterations):
  """The matrix form, prototypes by examples, in float64."""
  q = np.exp(logits.astype(np.float64) / temp).T
  q /= q.sum()
  for _ in range(iterations):
    q /= q.sum(1, keepdims=True) * q.shape[0]
    q /= q.sum(0, keepdims=True) * q.shape[1]
  return (q / q.sum(0, keepdims=True)).T


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_sinkhorn_is_the_matrix_form(iterations):
  x = scores(6, 4)
  got = sinkhorn(jnp.asarray(x), temp=0.1, iterations=iterations)
  np.testing.assert_allclose(got, by_hand(x, 0.1, iterations), rtol=2e-5, atol=1e-7)
  np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-5)
  with jax.enable_x64(True):
    exact = sinkhorn(jnp.asarray(x, jnp.float64), temp=0.1, iterations=iterations)
    np.testing.assert_allclose(exact, by_hand(x, 0.1, iterations), rtol=1e-9)


def test_sinkhorn_balances():
  """Everybody prefers the first prototype; after many iterations each has its share."""
  x = scores(12, 4) + np.array([1.0, 0, 0, 0])
  got = sinkhorn(jnp.asarray(x), temp=0.2, iterations=100)
  np.testing.assert_allclose(got.sum(0), 3, rtol=1e-3)


def test_four_shards_are_one():
  x = jnp.asarray(scores(8, 3, 5))
  mask = jnp.asarray(scores(8, 3, seed=1) > 0)
  fn = functools.partial(sinkhorn, temp=0.05)
  got = jax.vmap(functools.partial(fn, axis_name="batch"), axis_name="batch")(x.reshape(4, 2, 3, 5), mask.reshape(4, 2, 3))
  np.testing.assert_allclose(got.reshape(x.shape), fn(x, mask), rtol=1e-4, atol=1e-7)


def test_masked_rows_change_nothing():
  x = jnp.asarray(scores(8, 4))
  mask = jnp.arange(8) % 2 == 0
  got = sinkhorn(x, mask, temp=0.1)
  np.testing.assert_allclose(got[mask], sinkhorn(x[mask], temp=0.1), rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-5)
  moved = sinkhorn(jnp.where(mask[:, None], x, 9 * x), mask, temp=0.1)
  np.testing.assert_array_equal(moved[mask], got[mask])


def test_views_are_balanced_together():
  x, mask = jnp.asarray(scores(8, 2, 4)), jnp.asarray(scores(8, 2, seed=1) > 0)
  want, got = sinkhorn(x, mask, temp=0.1), sinkhorn([x[:3], x[3:]], [mask[:3], mask[3:]], temp=0.1)
  assert isinstance(got, list) and len(got) == 2
  np.testing.assert_array_equal(np.concatenate(got), want)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_rows_first_is_msns_sinkhorn_of_sharpened_probabilities(iterations):
  x = scores(6, 4)
  sharpened = np.exp(x.astype(np.float64) / 0.1) / np.exp(x.astype(np.float64) / 0.1).sum(1, keepdims=True)
  sharpened = sharpened ** (1 / 0.25) / (sharpened ** (1 / 0.25)).sum(1, keepdims=True)
  got = sinkhorn(jnp.asarray(x), temp=0.1 * 0.25, iterations=iterations, rows_first=True)
  np.testing.assert_allclose(got, by_hand(np.log(sharpened), 1.0, iterations), rtol=5e-5, atol=1e-7)


@pytest.mark.parametrize("x", [np.zeros((4, 3)), np.ones((1, 3)), 1e6 * scores(4, 3), np.array([[1.0, 0.0]] * 3)])
def test_degenerate_scores(x):
  for got in (
    sinkhorn(jnp.asarray(x, jnp.bfloat16), temp=1e-3),
    sinkhorn(jnp.asarray(x, jnp.float32), jnp.zeros(len(x), bool), temp=1e-3),
  ):
    assert got.dtype == jnp.float32 and np.all(np.isfinite(got))
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-5)


def test_equal_rows_are_uniform():
  np.testing.assert_allclose(sinkhorn(jnp.array([[3.0, 1.0]] * 4), temp=0.1), 0.5, rtol=1e-5)
