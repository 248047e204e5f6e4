"""Rows of tables, and the queue that is dealt out among the batch's examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.targets import feature_queue, sinkhorn, sinkhorn_codes, take_rows


def rows(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_step_sees_the_steps_before_it(shards):
  """Four steps of four examples and a queue of eight, against a list; what devices hold stays the same."""
  state, remembered = feature_queue.init(jax.ShapeDtypeStruct((4, 3), jnp.bfloat16), length=8), []
  apply = functools.partial(feature_queue.apply, axis_name="batch")
  step = jax.jit(jax.vmap(apply, (None, 0), axis_name="batch"))
  for i in range(4):
    x = rows(i, 4, 3)
    dealt, states = step(state, x.reshape(shards, -1, 3))
    assert dealt["rows"].shape == (shards, 4 // shards, 2, 3)
    kept, counts = np.asarray(dealt["rows"]).reshape(8, 3), np.asarray(dealt["counts"]).reshape(8)
    assert counts.tolist() == [True] * len(remembered) + [False] * (8 - len(remembered))
    np.testing.assert_array_equal(kept[: len(remembered)], np.reshape(remembered, (-1, 3)))
    for leaf in jax.tree.leaves(states):
      np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[0], leaf.shape))
    state, remembered = jax.tree.map(lambda leaf: leaf[0], states), [*x, *remembered][:8]


def test_a_queue_may_fill_before_it_counts():
  state = feature_queue.init(jnp.zeros((2, 1)), length=2)
  _, state = feature_queue.apply(state, jnp.ones((2, 1)), use=0.0)
  assert not feature_queue.apply(state, jnp.ones((2, 1)), use=0.0)[0]["counts"].any()
  assert feature_queue.apply(state, jnp.ones((2, 1)), use=1.0)[0]["counts"].all()
  with pytest.raises(ValueError, match="length=5 is not a multiple of the batch size 2"):
    feature_queue.apply(feature_queue.init(jnp.zeros((2, 1)), length=5), jnp.ones((2, 1)))


def test_codes_with_a_queue_are_those_of_the_larger_batch():
  """SwAV: the queue's rows are balanced with the batch's, and then forgotten; rows that do not count are not there."""
  own, queued = rows(0, 4, 5), rows(1, 4, 2, 5)
  counts = jnp.array([[True, True], [True, False], [True, True], [False, False]])
  (code,) = sinkhorn_codes([own], [queued], [counts], temp=0.3)
  together = np.concatenate([own, queued[np.asarray(counts)]])
  np.testing.assert_allclose(code, sinkhorn(together, temp=0.3)[:4], rtol=1e-4, atol=1e-6)
  (none,) = sinkhorn_codes([own], [queued], [jnp.zeros((4, 2), bool)], temp=0.3)
  np.testing.assert_allclose(none, sinkhorn(own, temp=0.3), rtol=1e-5, atol=1e-7)


def test_each_view_is_balanced_by_itself():
  a, b = rows(0, 4, 5), rows(1, 4, 5)
  for code, view in zip(sinkhorn_codes([a, b], temp=0.3), (a, b), strict=True):
    np.testing.assert_array_equal(code, sinkhorn(view, temp=0.3))


def test_rows():
  table, index = rows(0, 6, 2), np.array([5, 0, 5])
  np.testing.assert_array_equal(take_rows(jnp.asarray(table), index), table[index])
