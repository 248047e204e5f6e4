"""KoLeo and mean-entropy maximisation."""

import functools

import jax.numpy as jnp
from loss_checks import check_loss, finite, log_softmax, normals, unit
import numpy as np
import pytest

from jssl.losses import koleo_loss, mean_entropy_loss


def koleo(z, eps=1e-8):
  u = unit(z)
  total = 0
  for i in range(len(u)):
    others = [j for j in range(len(u)) if j != i]
    squares = [((u[i] - u[j]) ** 2).sum() for j in others]
    nearest = squares[int(np.argmin(np.real(squares)))]
    total = total - np.log(np.sqrt(nearest + eps**2) + eps)
  return total / len(u)


def test_koleo():
  check_loss(koleo_loss, koleo, normals((8, 3)))
  check_loss(functools.partial(koleo_loss, eps=0.5), lambda z: koleo(z, 0.5), normals((4, 5), seed=1), shards=2)


def test_koleo_is_the_official_codes():
  torch = pytest.importorskip("torch")
  (z,) = normals((6, 4))
  x = torch.nn.functional.normalize(torch.tensor(z), eps=1e-8)
  nearest = (x @ x.T - 2 * torch.eye(6)).argmax(1)
  want = -torch.log(torch.nn.PairwiseDistance(2, eps=1e-8)(x, x[nearest]) + 1e-8).mean()
  np.testing.assert_allclose(koleo_loss(jnp.asarray(z, jnp.float32))[0], want, rtol=1e-5)


def test_koleo_of_duplicates_is_finite_and_pushes_nothing():
  for array in (np.zeros((4, 3)), np.ones((4, 3)), np.ones((1, 3)), 1e4 * np.ones((2, 3))):
    finite(koleo_loss, [jnp.asarray(array, jnp.float32)])
  np.testing.assert_allclose(koleo_loss(jnp.ones((3, 4)))[0], -np.log(2e-8), rtol=1e-5)


def test_koleo_falls_as_embeddings_spread():
  close = jnp.array([[1.0, 0.1], [1.0, 0.0], [1.0, -0.1]])
  apart = jnp.array([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
  (near, near_metrics), (far, metrics) = koleo_loss(close), koleo_loss(apart)
  assert far < near and near_metrics["distance"] < 0.11
  np.testing.assert_allclose([far, metrics["distance"]], [-np.log(3) / 2, 3**0.5], rtol=1e-5)


def mean_entropy(groups, temp):
  """Mean over groups of ln K less the entropy of the group's mean distribution."""
  losses = []
  for logits in groups:
    p = np.exp(log_softmax(logits / temp)).mean(0)
    losses.append(np.log(p.shape[-1]) + (p * np.log(p)).sum())
  return sum(losses) / len(losses)


@pytest.mark.parametrize("per_view", [False, True])
def test_mean_entropy_over_all_views_or_each(per_view):
  loss = lambda a, b, axis_name: mean_entropy_loss([a, b], temp=0.5, per_view=per_view, axis_name=axis_name)
  reference = lambda a, b: mean_entropy([a, b] if per_view else [np.concatenate([a, b])], 0.5)
  check_loss(loss, reference, normals((8, 3), (8, 3)))


def test_a_style_may_hide_from_the_mean_over_views_only():
  """One prototype a view: used alike on the whole, but each view has collapsed."""
  views = [jnp.tile(jnp.array([[50.0, 0.0]]), (3, 1)), jnp.tile(jnp.array([[0.0, 50.0]]), (3, 1))]
  pooled, metrics = mean_entropy_loss(views)
  np.testing.assert_allclose([pooled, metrics["used"]], [0, 1], atol=1e-6)
  apart, metrics = mean_entropy_loss(views, per_view=True)
  np.testing.assert_allclose([apart, metrics["used"]], [np.log(2), 0.5], rtol=1e-6)


def test_mean_entropy_of_one_prototype_is_ln_k():
  np.testing.assert_allclose(mean_entropy_loss(jnp.zeros((5, 7)))[0], 0, atol=1e-6)
  collapsed = 1e6 * jnp.tile(jnp.eye(7)[:1], (5, 1))
  np.testing.assert_allclose(mean_entropy_loss(collapsed)[0], np.log(7), rtol=1e-6)
  for array in (collapsed, collapsed[:1], jnp.zeros((1, 3)), jnp.zeros((4, 1))):
    finite(mean_entropy_loss, [array])
