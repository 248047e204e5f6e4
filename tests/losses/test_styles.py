"""Contrast within one view."""

import functools

import jax.numpy as jnp
from loss_checks import check_loss, finite, normals, unit
import numpy as np
import pytest

from jssl.losses import nt_xent_loss, same_view_nt_xent_loss


def loss(*views, axis_name, **numbers):
  return same_view_nt_xent_loss(views, temperature=0.4, axis_name=axis_name, **numbers)


def reference(*views, everyone=False):
  z = [unit(view) for view in views]
  total = 0
  for v, anchors in enumerate(z):
    for i, anchor in enumerate(anchors):
      columns = z if everyone else [anchors]
      negatives = sum(np.exp(z_j @ anchor / 0.4) for column in columns for j, z_j in enumerate(column) if j != i)
      for w, column in enumerate(z):
        if w != v:
          positive = np.exp(column[i] @ anchor / 0.4)
          total = total - np.log(positive / (positive + negatives))
  return total / len(z[0]) / len(z) / (len(z) - 1)


@pytest.mark.parametrize("views", [2, 3])
def test_negatives_of_the_own_view(views):
  check_loss(loss, reference, normals(*[(8, 3)] * views))


def test_negatives_of_all_views():
  everywhere = functools.partial(loss, negatives="all")
  check_loss(everywhere, functools.partial(reference, everyone=True), normals((4, 3), (4, 3)))
  a, b = (jnp.asarray(x, jnp.float32) for x in normals((8, 3), (8, 3)))
  np.testing.assert_allclose(everywhere(a, b, axis_name=None)[0], nt_xent_loss(a, b, temperature=0.4)[0], rtol=1e-6)


@pytest.mark.parametrize("array", [np.zeros((4, 3)), np.ones((4, 3)), np.ones((1, 3)), 1e4 * np.ones((2, 3))])
def test_degenerate_batches(array):
  array = jnp.asarray(array, jnp.float32)
  finite(loss, [array, array])


def test_known_values_and_errors():
  same = jnp.ones((6, 4))
  np.testing.assert_allclose(same_view_nt_xent_loss([same, same], temperature=0.1)[0], np.log(6), rtol=1e-6)
  value, metrics = same_view_nt_xent_loss([jnp.eye(5)] * 3, temperature=0.1)
  np.testing.assert_allclose(value, np.log(1 + 4 * np.exp(-10)), rtol=1e-3)
  assert metrics["accuracy"] == 1
  with pytest.raises(ValueError, match="two views"):
    same_view_nt_xent_loss([same], temperature=1.0)
  with pytest.raises(ValueError, match="same_view"):
    same_view_nt_xent_loss([same, same], temperature=1.0, negatives="other")
