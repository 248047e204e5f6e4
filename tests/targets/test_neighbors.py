"""Nearest neighbours in a support set (NNCLR) and in another view (DenseCL)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.targets import match_tokens, nearest_neighbors


def normals(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("shards", [1, 2])
def test_neighbors_of_the_past_against_a_loop(shards):
  """Three steps; a batch is looked up before it joins, and the first view joins alone."""
  spec = jax.ShapeDtypeStruct((4, 3), jnp.bfloat16)
  support = nearest_neighbors.init([spec, spec], size=6, rng=jax.random.key(1))
  assert support.shape == (6, 3) and support.dtype == jnp.float32
  by_hand = np.asarray(support)
  apply = lambda support, *views: nearest_neighbors.apply(support, views, axis_name="batch")
  step = jax.jit(jax.vmap(apply, (None, 0, 0), axis_name="batch"))
  for i in range(3):
    views = [normals(4, 3, seed=2 * i), 5 * normals(4, 3, seed=2 * i + 1)]
    found, supports = step(support, *(view.reshape(shards, -1, 3) for view in views))
    for got, view in zip(found, views, strict=True):
      want = [by_hand[np.argmin(np.linalg.norm(by_hand - z, axis=1))] for z in unit(view)]
      np.testing.assert_allclose(got.reshape(4, 3), want, atol=1e-6)
    by_hand = np.concatenate([unit(views[0]), by_hand])[:6]
    np.testing.assert_array_equal(supports, np.broadcast_to(supports[0], supports.shape))
    support = supports[0]
    np.testing.assert_allclose(support, by_hand, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 0])
def test_match_tokens(scale):
  query, key, values = scale * normals(2, 2, 2, 5), normals(2, 3, 5, seed=1), normals(2, 3, 4, seed=2)
  got = match_tokens(jnp.asarray(query), jnp.asarray(key), jnp.asarray(values))
  assert got.shape == (2, 4, 4)
  for b in range(2):
    for i, q in enumerate(query[b].reshape(4, 5)):
      np.testing.assert_array_equal(got[b, i], values[b, np.argmax(unit(key[b]) @ q)])


def test_a_view_matches_itself():
  features, values = jnp.asarray(normals(2, 3, 3, 8)), jnp.asarray(normals(2, 3, 3, 2))
  np.testing.assert_array_equal(match_tokens(features, 7 * features, values), values.reshape(2, 9, 2))
  assert match_tokens(features.astype(jnp.bfloat16), features, values).dtype == jnp.float32


def test_zeros_are_finite():
  found, support = nearest_neighbors.apply(jnp.zeros((2, 3)), [jnp.zeros((4, 3))])
  assert np.isfinite(found[0]).all() and np.isfinite(support).all()
