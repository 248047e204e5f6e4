"""Barlow Twins, its mixed form, and VICReg."""

import functools

import jax.numpy as jnp
from loss_checks import check_loss, finite, normals, unit
import numpy as np
import pytest

from jssl.losses import barlow_twins_loss, mixed_barlow_twins_loss, vicreg_loss


def barlow(a, b, lambd, scale=1.0, eps=1e-5, ddof=0):
  hat = lambda z: (z - z.mean(0)) / np.sqrt(((z - z.mean(0)) ** 2).sum(0) / (len(z) - ddof) + eps)
  c = hat(a).T @ hat(b) / len(a)
  loss = 0
  for i, j in np.ndindex(c.shape):
    loss = loss + ((1 - c[i, i]) ** 2 if i == j else lambd * c[i, j] ** 2)
  return scale * loss


def mixed_barlow(a, b, m, lam, perm, form, normalize, stop):
  """The four matrices as the authors' two scripts write them; torch's `std` divides by one less than the batch."""
  hat = lambda z: (z - z.mean(0)) / np.sqrt(((z - z.mean(0)) ** 2).sum(0) / (len(z) - 1))
  a, b, m = (hat(unit(z) if normalize else z) for z in (a, b, m))
  batch, lam = len(a), lam[0]
  target_a = lam * a.T @ a / batch + (1 - lam) * b[perm].T @ a / batch
  target_b = lam * (a if form == "small" else b).T @ b / batch + (1 - lam) * b[perm].T @ b / batch
  if stop:
    target_a, target_b = target_a.real, target_b.real
  return ((m.T @ a / batch - target_a) ** 2).sum() + ((m.T @ b / batch - target_b) ** 2).sum()


def vicreg(a, b, s_weight, v_weight, c_weight):
  loss = s_weight * ((a - b) ** 2).mean()
  for z in (a, b):
    batch, dim = z.shape
    centered = z - z.mean(0)
    cov = centered.T @ centered / (batch - 1)
    gap = 1 - np.sqrt(np.diag(cov) + 1e-4)
    loss = loss + v_weight * np.where(gap.real > 0, gap, 0).mean() / 2
    loss = loss + c_weight * sum(cov[i, j] ** 2 for i, j in np.ndindex(cov.shape) if i != j) / dim
  return loss


def test_barlow_twins():
  check_loss(
    functools.partial(barlow_twins_loss, lambd=0.1, scale=0.5), lambda a, b: barlow(a, b, 0.1, 0.5), normals((8, 3), (8, 3))
  )


def test_barlow_twins_of_directions():
  loss = functools.partial(barlow_twins_loss, lambd=0.1, normalize=True)
  check_loss(loss, lambda a, b: barlow(unit(a), unit(b), 0.1), normals((8, 3), (8, 3)))


def test_barlow_twins_of_the_mixed_scripts_divides_by_one_less():
  loss = functools.partial(barlow_twins_loss, lambd=0.1, unbiased=True, eps=0.0)
  check_loss(loss, lambda a, b: barlow(a, b, 0.1, eps=0, ddof=1), normals((8, 3), (8, 3)))


@pytest.mark.parametrize("unbiased", [False, True])
def test_standardised_as_torch_does(unbiased):
  """Barlow Twins is standardised by a BatchNorm in training, its mixed form by `std(dim=0)`."""
  torch = pytest.importorskip("torch")
  a, b = (torch.tensor(z) for z in normals((8, 3), (8, 3)))
  if unbiased:
    hat, eps = lambda z: (z - z.mean(dim=0)) / z.std(dim=0), 0.0
  else:
    hat, eps = torch.nn.BatchNorm1d(3, affine=False, dtype=torch.float64), 1e-5
  c = (hat(a).T @ hat(b) / 8).numpy()
  want = ((1 - np.diag(c)) ** 2).sum() + 0.1 * ((c - np.diag(np.diag(c))) ** 2).sum()
  got, _ = barlow_twins_loss(jnp.asarray(a.numpy()), jnp.asarray(b.numpy()), lambd=0.1, unbiased=unbiased, eps=eps)
  np.testing.assert_allclose(got, want, rtol=1e-5)


PERM = np.array([3, 1, 7, 0, 5, 2, 4, 6])


@pytest.mark.parametrize("form, normalize, stop", [("small", True, False), ("imagenet", False, True)])
def test_mixed_barlow_twins(form, normalize, stop):
  numbers = dict(form=form, normalize=normalize, stop_gradient=stop)
  check_loss(
    lambda *x, axis_name: mixed_barlow_twins_loss(*x, **numbers, axis_name=axis_name),
    lambda *x: mixed_barlow(*x, *numbers.values()),
    [*normals((8, 3), (8, 3), (8, 3)), np.full(8, 0.3), PERM],
    moving=(0, 1, 2),
  )


@pytest.mark.parametrize("form, nothing", [("small", True), ("imagenet", False)])
def test_mixed_embeddings_that_are_mixtures_cost_nothing_in_the_form_of_small_data(form, nothing):
  a, b = (jnp.asarray(x, jnp.float32) for x in normals((8, 3), (8, 3)))
  hat = lambda z: (z - z.mean(0)) / z.std(0, ddof=1)
  # What is mixed must be standardised as it is.
  a, b = hat(a), hat(b)
  loss, _ = mixed_barlow_twins_loss(a, b, a, jnp.ones(8), PERM, form=form)
  assert (abs(loss) < 1e-6) == nothing
  with pytest.raises(ValueError, match="form must be"):
    mixed_barlow_twins_loss(a, b, a, jnp.ones(8), PERM, form="cifar")


def test_vicreg():
  a, b = normals((8, 3), (8, 3))
  a[:, 0] *= 3  # one dimension above the hinge, the others below
  check_loss(vicreg_loss, lambda a, b: vicreg(a, b, 25, 25, 1), [a, b])
  loss = functools.partial(vicreg_loss, invariance_weight=1.0, variance_weight=2.0, covariance_weight=3.0)
  check_loss(loss, lambda a, b: vicreg(a, b, 1, 2, 3), [a, b])


def test_barlow_twins_ignores_scale_and_shift_and_joint_permutation():
  a, b = (jnp.asarray(x, jnp.float32) for x in normals((16, 4), (16, 4)))
  loss = lambda a, b: barlow_twins_loss(a, b, lambd=0.1, eps=0.0)[0]
  want = loss(a, b)
  np.testing.assert_allclose(loss(a * jnp.array([1.0, 2.0, 3.0, 4.0]) + 5, b), want, rtol=1e-4)
  order = jnp.array([2, 0, 3, 1])
  np.testing.assert_allclose(loss(a[:, order], b[:, order]), want, rtol=1e-5)
  assert abs(loss(a[:, order], b) - want) > 1e-2


def test_barlow_twins_vanishes_only_at_the_identity():
  z = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
  loss, metrics = barlow_twins_loss(z, 3 * z + 1, lambd=1.0)
  np.testing.assert_allclose(loss, 0, atol=1e-8)
  np.testing.assert_allclose([metrics["diagonal"], metrics["off_diagonal"]], [1, 0], atol=1e-4)
  np.testing.assert_allclose(barlow_twins_loss(z, -z, lambd=1.0)[0], 8, rtol=1e-4)


def test_vicreg_of_collapsed_embeddings_is_the_variance_term():
  _, metrics = vicreg_loss(jnp.ones((4, 3)), jnp.ones((4, 3)))
  terms = [metrics["invariance"], metrics["variance"], metrics["covariance"]]
  np.testing.assert_allclose(terms, [0, 0.99, 0], atol=1e-6)


@pytest.mark.parametrize("array", [np.zeros((4, 3)), np.ones((4, 3)), np.ones((1, 3)), 1e4 * np.eye(3)])
def test_degenerate_batches(array):
  array = jnp.asarray(array, jnp.float32)
  finite(functools.partial(barlow_twins_loss, lambd=0.1), [array, array])
  finite(vicreg_loss, [array, array])
  own = jnp.arange(len(array))
  for normalize in (False, True):
    loss = functools.partial(mixed_barlow_twins_loss, lam=jnp.full(len(array), 0.5), perm=own, normalize=normalize)
    finite(loss, [array, array, array])
