"""InfoNCE and NT-Xent."""

import functools

import jax
import jax.numpy as jnp
from loss_checks import check_loss, finite, log_softmax, normals, unit
import numpy as np
import pytest

from jssl.losses import info_nce_loss, nt_xent_loss


def info_nce(q, k, tau, scale=1.0, normalize=True):
  if normalize:
    q, k = unit(q), unit(k)
  return -scale * np.mean(np.diag(log_softmax(q @ k.T / tau)))


@pytest.mark.parametrize("normalize", [True, False])
def test_info_nce(normalize):
  loss = functools.partial(info_nce_loss, temperature=0.2, scale=0.4, normalize=normalize)
  check_loss(loss, lambda q, k: info_nce(q, k, 0.2, 0.4, normalize), normals((8, 3), (8, 3)))


def test_nt_xent():
  def reference(a, b):
    z = unit(np.concatenate([a, b]))
    batch = len(a)
    total = 0
    for i in range(2 * batch):
      others = [k for k in range(2 * batch) if k != i]
      row = z[others] @ z[i] / 0.5
      total = total - log_softmax(row)[others.index((i + batch) % (2 * batch))]
    return total / (2 * batch)

  check_loss(functools.partial(nt_xent_loss, temperature=0.5), reference, normals((8, 3), (8, 3)))


def test_known_values():
  eye = jnp.eye(5)
  loss, metrics = info_nce_loss(eye, eye, temperature=0.1)
  np.testing.assert_allclose(loss, np.log(1 + 4 * np.exp(-10)), rtol=1e-3)
  assert metrics["accuracy"] == 1
  same = jnp.ones((6, 4))
  np.testing.assert_allclose(info_nce_loss(same, same, temperature=0.1)[0], np.log(6), rtol=1e-6)
  np.testing.assert_allclose(nt_xent_loss(same, same, temperature=0.1)[0], np.log(11), rtol=1e-6)
  assert info_nce_loss(eye, jnp.roll(eye, 1, 0), temperature=0.1)[1]["accuracy"] == 0
  np.testing.assert_allclose(info_nce_loss(eye, 7 * eye, temperature=0.1)[0], loss, rtol=1e-5)


@pytest.mark.parametrize("array", [np.zeros((4, 3)), np.ones((4, 3)), np.ones((1, 3)), 1e4 * np.ones((2, 3))])
def test_degenerate_batches(array):
  array = jnp.asarray(array, jnp.float32)
  finite(functools.partial(info_nce_loss, temperature=0.1), [array, array])
  finite(functools.partial(nt_xent_loss, temperature=0.1), [array, array])


def test_the_temperature_may_be_traced():
  q, k = (jnp.asarray(x, jnp.float32) for x in normals((4, 3), (4, 3)))
  traced = jax.jit(lambda tau: info_nce_loss(q, k, temperature=tau)[0])(0.3)
  np.testing.assert_allclose(traced, info_nce_loss(q, k, temperature=0.3)[0], rtol=1e-6)
