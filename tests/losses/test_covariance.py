"""TiCo's loss and its running covariance."""

import jax
import jax.numpy as jnp
from loss_checks import AXIS, check_loss, finite, normals, unit
import numpy as np
import pytest

from jssl.losses import tico_loss

STATE = np.array([[0.5, 0.25, 0.0], [0.25, 0.25, -0.125], [0.0, -0.125, 0.25]])


def tico(a, b, stop, rho=8.0, beta=0.9):
  a, b = unit(a), unit(b)
  batch = a.T @ a / len(a)
  moved = beta * STATE + (1 - beta) * (batch.real if stop else batch)
  contrast = sum(x @ moved @ x for x in a) / len(a)
  return 1 - (a * b).sum(1).mean() + rho * contrast


def apply(a, b, axis_name=None, **numbers):
  return tico_loss.apply(jnp.asarray(STATE, jnp.float32), a, b, axis_name=axis_name, **numbers)


@pytest.mark.parametrize("stop", [False, True])
def test_tico(stop):
  check_loss(
    lambda a, b, axis_name: apply(a, b, axis_name, stop_gradient=stop)[0],
    lambda a, b: tico(a, b, stop),
    normals((8, 3), (8, 3)),
  )


def test_the_covariance_averages_batches_and_is_the_same_on_all_shards():
  a, b = (jnp.asarray(x, jnp.float32) for x in normals((8, 3), (8, 3)))
  state, by_hand = tico_loss.init(a, b), np.zeros((3, 3))
  for rows in (a, b):
    _, state = tico_loss.apply(state, rows, b, momentum=0.8)
    by_hand = 0.8 * by_hand + 0.2 * unit(np.asarray(rows, np.float64)).T @ unit(np.asarray(rows, np.float64)) / 8
  np.testing.assert_allclose(state, by_hand, atol=1e-6)
  assert np.trace(state) == pytest.approx(1 - 0.8**2, rel=1e-5)
  split = jax.vmap(lambda a, b: apply(a, b, AXIS)[1], axis_name=AXIS)(a.reshape(4, 2, 3), b.reshape(4, 2, 3))
  np.testing.assert_allclose(split, np.broadcast_to(apply(a, b)[1], (4, 3, 3)), atol=1e-6)


def test_collapse_costs_more_than_spreading():
  spread, collapsed = jnp.eye(3), jnp.ones((3, 3))
  loss = lambda z: float(tico_loss.apply(z.T @ z / 9, z, z)[0][0])
  assert loss(collapsed / np.sqrt(3)) > 2.5 * loss(spread)


@pytest.mark.parametrize("array", [np.zeros((4, 3)), np.ones((4, 3)), np.ones((1, 3)), 1e4 * np.ones((2, 3))])
def test_degenerate_batches(array):
  array = jnp.asarray(array, jnp.float32)
  finite(lambda a, b, axis_name: apply(a, b)[0], [array, array])
