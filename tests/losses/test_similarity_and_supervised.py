"""Cosine agreement, cross-entropy with labels, and the docstrings' examples."""

import functools

import jax.numpy as jnp
from loss_checks import check_loss, finite, log_softmax, normals, uncoupled, unit
import numpy as np
import pytest

from jssl.losses import negative_cosine_loss, softmax_cross_entropy_loss


def test_negative_cosine():
  reference = lambda p, z: -2 * (unit(p) * unit(z)).sum(-1).mean()
  check_loss(uncoupled(functools.partial(negative_cosine_loss, scale=2.0)), reference, normals((4, 3), (4, 3)))


def test_byols_distance_is_this_loss_plus_two():
  p, z = normals((4, 3), (4, 3))
  distance = ((unit(p) - unit(z)) ** 2).sum(-1).mean()
  loss, _ = negative_cosine_loss(jnp.asarray(p), jnp.asarray(z), scale=2.0)
  np.testing.assert_allclose(2 + loss, distance, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(smoothing):
  logits, labels = 3 * normals((4, 5))[0], np.array([0, 4, 2, 2])

  def reference(logits, labels):
    q = (1 - smoothing) * np.eye(5)[labels] + smoothing / 5
    return -(q * log_softmax(logits)).sum(-1).mean()

  loss = uncoupled(functools.partial(softmax_cross_entropy_loss, label_smoothing=smoothing))
  check_loss(loss, reference, [logits, labels], moving=(0,))
  accuracy = loss(jnp.asarray(logits), jnp.asarray(labels), axis_name=None)[1]["accuracy"]
  np.testing.assert_allclose(accuracy, (logits.argmax(-1) == labels).mean())


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.ones((1, 3)), 1e4 * np.eye(3)])
def test_degenerate_inputs(array):
  array = jnp.asarray(array, jnp.float32)
  finite(uncoupled(negative_cosine_loss), [array, array])
  finite(uncoupled(lambda x: softmax_cross_entropy_loss(x, jnp.zeros(len(x), int))), [array])
