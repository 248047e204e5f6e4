"""InfoNCE with a queue, of images (MoCo) and of positions (DenseCL)."""

import functools

import jax
import jax.numpy as jnp
from loss_checks import check_loss, finite, log_softmax, normals, unit
import numpy as np
import pytest

from jssl.losses import queue_info_nce_loss

QUEUE = jnp.asarray(unit(normals((6, 3), seed=9)[0]), jnp.float32)


def loss(*arrays, axis_name):
  return queue_info_nce_loss.apply(QUEUE, *arrays, temperature=0.2, axis_name=axis_name)[0]


def reference(query, key, *_):
  """One query at a time: cross-entropy of its own key among the own key and the queue."""
  q, k = (unit(x).reshape(-1, 3) for x in (query, key))
  rows = [log_softmax(np.concatenate([[qi @ ki], np.float64(QUEUE) @ qi]) / 0.2)[0] for qi, ki in zip(q, k, strict=True)]
  return -sum(rows) / len(rows)


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 2, 3)])
def test_queue_info_nce(shape):
  check_loss(loss, reference, normals(shape, shape))


def test_what_joins_the_queue_does_not_change_the_loss():
  query, key, joining = (jnp.asarray(x, jnp.float32) for x in normals((4, 5, 3), (4, 5, 3), (4, 5, 3)))
  np.testing.assert_array_equal(loss(query, key, joining, axis_name=None)[0], loss(query, key, axis_name=None)[0])
  gradient = jax.grad(lambda x: queue_info_nce_loss.apply(QUEUE, query, key, x, temperature=0.2)[1].sum())(joining)
  assert not gradient.any()


@pytest.mark.parametrize("shards", [1, 2])
def test_every_key_joins_once_and_the_oldest_leave(shards):
  """Three steps against a list; two shards end with equal queues."""
  keys = [jnp.asarray(normals((4, 2, 3), seed=s)[0], jnp.float32) for s in range(3)]
  apply = functools.partial(queue_info_nce_loss.apply, temperature=0.2, axis_name="batch")
  step = jax.jit(jax.vmap(lambda queue, k: apply(queue, k, k)[1], (None, 0), axis_name="batch"))
  queue, expected = QUEUE, [np.asarray(row) for row in QUEUE]
  for key in keys:
    queues = step(queue, key.reshape(shards, -1, 2, 3))
    np.testing.assert_array_equal(queues, np.broadcast_to(queues[0], queues.shape))
    queue = queues[0]
    expected = [*unit(np.asarray(key, np.float64).mean(1)), *expected][:6]
    np.testing.assert_allclose(queue, expected, atol=1e-6)


def test_the_first_queue_is_random_directions():
  key = jax.ShapeDtypeStruct((4, 7, 32), jnp.bfloat16)
  queue = queue_info_nce_loss.init(key, key, size=64, rng=jax.random.key(0))
  assert queue.shape == (64, 32) and queue.dtype == jnp.float32
  np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, rtol=1e-5)
  products = np.asarray(queue @ queue.T)[~np.eye(64, dtype=bool)]
  assert abs(products.mean()) < 0.03 and abs(products.std() - 32**-0.5) < 0.02


def test_degenerate_batches():
  for array in (jnp.zeros((1, 3)), 1e4 * QUEUE[:1]):
    finite(loss, [array, array])
  assert np.isfinite(queue_info_nce_loss.apply(QUEUE, jnp.zeros((1, 3)), jnp.zeros((1, 3)), temperature=0.2)[1]).all()


def test_a_batch_larger_than_the_queue():
  key = jnp.asarray(normals((9, 3))[0], jnp.float32)
  (value, metrics), queue = queue_info_nce_loss.apply(QUEUE, key, key, temperature=0.2)
  assert queue.shape == QUEUE.shape and np.isfinite(value) and metrics["accuracy"] == 1
