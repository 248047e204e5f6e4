"""Clusters as classes (DeepCluster-v2), and the relation to a queue of other images (ReSSL)."""

import functools

import jax
import jax.numpy as jnp
from loss_checks import check_loss, finite, log_softmax, normals, uncoupled, unit
import numpy as np
import pytest

from jssl.losses import cluster_loss, relational_loss

CENTROIDS = jnp.asarray(unit(normals((2, 5, 3), seed=7)[0]), jnp.float32)
LABELS = np.random.default_rng(8).integers(0, 5, (8, 2))
QUEUE = jnp.asarray(unit(normals((6, 3), seed=9)[0]), jnp.float32)


def test_cluster_loss():
  """Two views, two clusterings: one example, view and clustering at a time."""

  def loss(a, b, labels):
    return cluster_loss([a, b], labels, CENTROIDS, temperature=0.2)

  def reference(a, b, labels):
    total = 0
    for z in (unit(a), unit(b)):
      for h in range(2):
        for i, row in enumerate(z):
          total = total - log_softmax(np.float64(CENTROIDS)[h] @ row / 0.2)[labels[i, h]]
    return total / (2 * 2 * len(a))

  check_loss(uncoupled(loss), reference, [*normals((8, 3), (8, 3)), LABELS], moving=(0, 1))


def test_no_gradient_reaches_the_centroids():
  z = jnp.asarray(normals((8, 3))[0], jnp.float32)
  assert not jax.grad(lambda c: cluster_loss(z, LABELS, c)[0])(CENTROIDS).any()
  on_centroids = CENTROIDS[0, LABELS[:, 0]]
  assert cluster_loss(on_centroids, LABELS[:, :1], CENTROIDS[:1])[1]["accuracy"] == 1


def relation(student, teacher, axis_name):
  return relational_loss.apply(QUEUE, student, teacher, student_temp=0.2, teacher_temp=0.1, axis_name=axis_name)[0]


def test_relational_loss():
  def reference(student, teacher):
    queue = np.float64(QUEUE)
    wanted = np.exp(log_softmax(unit(teacher) @ queue.T / 0.1))
    return -np.mean(np.sum(wanted * log_softmax(unit(student) @ queue.T / 0.2), -1))

  check_loss(relation, reference, normals((8, 3), (8, 3)), moving=(0,))


def test_the_teacher_has_no_gradient_and_equal_views_no_divergence():
  z = jnp.asarray(normals((8, 3))[0], jnp.float32)
  assert not jax.grad(lambda t: relation(z, t, None)[0])(z).any()
  same = functools.partial(relational_loss.apply, QUEUE, student_temp=0.1, teacher_temp=0.1)
  (_, metrics), _ = same(z, z)
  np.testing.assert_allclose(metrics["kl"], 0, atol=1e-6)
  gradient = jax.grad(lambda s: same(s, z)[0][0])(z)
  np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("shards", [1, 2])
def test_this_steps_teachers_join_the_queue_afterwards(shards):
  student, teacher = (jnp.asarray(x, jnp.float32) for x in normals((4, 3), (4, 3)))
  split = [x.reshape(shards, -1, 3) for x in (student, teacher)]
  step = lambda s, t: relational_loss.apply(QUEUE, s, t, axis_name="batch")[1]
  queues = jax.vmap(step, axis_name="batch")(*split)
  for queue in queues:
    np.testing.assert_allclose(queue, np.concatenate([unit(np.float64(teacher)), QUEUE[:2]]), atol=1e-6)


def test_the_first_queue_is_random_directions():
  z = jax.ShapeDtypeStruct((4, 16), jnp.bfloat16)
  queue = relational_loss.init(z, z, size=64, rng=jax.random.key(0))
  assert queue.shape == (64, 16) and queue.dtype == jnp.float32
  np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("array", [np.zeros((4, 3)), np.ones((1, 3)), 1e6 * np.ones((2, 3))])
def test_degenerate_batches(array):
  array = jnp.asarray(array, jnp.float32)
  finite(uncoupled(lambda z: cluster_loss(z, jnp.zeros((len(z), 2), jnp.int32), CENTROIDS)), [array])
  finite(uncoupled(lambda z: cluster_loss(z, jnp.zeros((len(z), 2), jnp.int32), 0 * CENTROIDS)), [array])
  finite(relation, [array, array])
