"""A generator and its discriminator."""

import functools

import jax.numpy as jnp
from loss_checks import check_loss, finite, normals, uncoupled
import numpy as np
import pytest

from jssl.losses import adversarial_loss


@pytest.mark.parametrize("real", [True, False])
def test_it_is_the_cross_entropy_with_one_label(real):
  (logits,) = (3 * x for x in normals((8,)))

  def reference(s):
    p = 1 / (1 + np.exp(-s))
    return -np.log(p if real else 1 - p).mean()

  loss = uncoupled(functools.partial(adversarial_loss, real=real))
  check_loss(loss, reference, [logits])
  accuracy = loss(jnp.asarray(logits), axis_name=None)[1]["accuracy"]
  np.testing.assert_allclose(accuracy, ((logits > 0) == real).mean())


@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
def test_certain_discriminators(value):
  for real in (True, False):
    finite(uncoupled(functools.partial(adversarial_loss, real=real)), [jnp.full(1, value)])
