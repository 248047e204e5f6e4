"""InfoNCE, NT-Xent and SupCon."""

import functools

import jax
import jax.numpy as jnp
from loss_checks import check_loss, finite, log_softmax, normals, unit
import numpy as np
import pytest

from jssl.losses import info_nce_loss, nt_xent_loss, supervised_contrastive_loss


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


LABELS = np.array([0, 1, 0, 2, 1, 0, 3, 1])


def sup_con(views, label, tau):
  """The sums of the equation, one anchor and one partner at a time."""
  z, label = unit(np.concatenate(views)), np.tile(label, len(views))
  total = 0
  for i in range(len(z)):
    others = [k for k in range(len(z)) if k != i]
    log_probs = log_softmax(z[others] @ z[i] / tau)
    partners = [n for n, k in enumerate(others) if label[k] == label[i]]
    total = total - sum(log_probs[n] for n in partners) / max(len(partners), 1)
  return total / len(z)


@pytest.mark.parametrize("count", [1, 2])
def test_sup_con(count):
  def loss(*arrays, axis_name):
    *views, label = arrays
    return supervised_contrastive_loss(views, label, temperature=0.5, scale=0.3, axis_name=axis_name)

  moving = tuple(range(count))
  check_loss(loss, lambda *x: 0.3 * sup_con(x[:-1], x[-1], 0.5), [*normals(*[(8, 3)] * count), LABELS], moving)


def test_sup_con_with_a_class_for_each_image_is_nt_xent():
  a, b = (jnp.asarray(x, jnp.float32) for x in normals((4, 3), (4, 3)))
  got = supervised_contrastive_loss([a, b], jnp.array([5, 0, 9, 2]), temperature=0.2)
  want = nt_xent_loss(a, b, temperature=0.2)
  np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
  assert got[1] == want[1]


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
  for label in (np.zeros(len(array), int), np.arange(len(array))):
    finite(functools.partial(supervised_contrastive_loss, label=label, temperature=0.1), [array])


def test_the_temperature_may_be_traced():
  q, k = (jnp.asarray(x, jnp.float32) for x in normals((4, 3), (4, 3)))
  traced = jax.jit(lambda tau: info_nce_loss(q, k, temperature=tau)[0])(0.3)
  np.testing.assert_allclose(traced, info_nce_loss(q, k, temperature=0.3)[0], rtol=1e-6)
