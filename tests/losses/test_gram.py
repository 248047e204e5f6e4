"""Gram anchoring against the equation, and what it does not see."""

import jax
import jax.numpy as jnp
from loss_checks import check_loss, finite, normals, uncoupled, unit
import numpy as np
import pytest

from jssl.losses import gram_loss


def reference(x, t):
  gram = lambda y: np.einsum("bid,bjd->bij", unit(y), unit(y))
  return ((gram(x) - gram(t)) ** 2).mean()


def test_the_equation_for_one_view_and_for_two():
  x, t = normals((4, 3, 5), (4, 3, 6))  # of other widths
  check_loss(uncoupled(gram_loss), reference, [x, t], moving=(0,))
  arrays = normals((4, 3, 5), (4, 3, 5), (4, 3, 6), (4, 3, 6), seed=1)
  both = lambda a, b, t, u: gram_loss([a, b], [t, u])
  check_loss(uncoupled(both), lambda a, b, t, u: (reference(a, t) + reference(b, u)) / 2, arrays, moving=(0, 1))


def test_turned_and_stretched_features_are_as_alike():
  """The similarities of patches count, not where they point."""
  (x,) = normals((2, 4, 5))
  turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
  scale = np.random.default_rng(2).uniform(0.5, 2, (2, 4, 1))
  np.testing.assert_allclose(gram_loss(jnp.asarray(x), jnp.asarray(scale * (x @ turn)))[0], 0, atol=1e-12)
  assert gram_loss(jnp.asarray(x), jnp.asarray(x[:, ::-1]))[0] > 0.05


def test_no_gradient_goes_to_the_teacher():
  x, t = (jnp.asarray(a, jnp.float32) for a in normals((2, 3, 4), (2, 3, 4)))
  gradient = jax.grad(lambda t: gram_loss(x, t)[0])(t)
  assert not np.any(gradient)


def test_degenerate_tokens():
  (x,) = normals((2, 3, 4))
  for tokens in (np.zeros((2, 3, 4)), np.ones((1, 1, 4)), np.repeat(x[:, :1], 3, 1)):
    finite(uncoupled(gram_loss), [jnp.asarray(tokens, jnp.float32), jnp.asarray(tokens[:, ::-1], jnp.float32)])
  with pytest.raises(ValueError, match="gram_loss: 2 student views and 1 teacher views"):
    gram_loss([jnp.asarray(x)] * 2, [jnp.asarray(x)])
