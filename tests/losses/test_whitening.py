"""W-MSE, SIGReg, and the distance of views from their center."""

import jax
import jax.numpy as jnp
from loss_checks import check_loss, finite, normals, uncoupled, unit
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg

from jssl.losses import sigreg_loss, view_center_loss, w_mse_loss, whitening

KEY = jax.random.key(3, impl="threefry2x32")


def factor(matrix):
  """Cholesky-Banachiewicz; NumPy's conjugates, which a complex step must not."""
  lower = np.zeros_like(matrix)
  for i, j in np.ndindex(matrix.shape):
    rest = matrix[i, j] - lower[i, :j] @ lower[j, :j]
    if i >= j:
      lower[i, j] = np.sqrt(rest) if i == j else rest / lower[j, j]
  return lower


def whitened(x, eps):
  centered = x - x.mean(0)
  covariance = (1 - eps) * centered.T @ centered / (len(x) - 1) + eps * np.eye(x.shape[1])
  return np.linalg.solve(factor(covariance), centered.T).T


def w_mse(views, subbatch, iterations, normalize, eps):
  total = []
  for iteration in range(iterations):
    order = np.asarray(jax.random.permutation(jax.random.fold_in(KEY, iteration), len(views[0])))
    white = [np.concatenate([whitened(view[rows], eps) for rows in order.reshape(-1, subbatch)]) for view in views]
    for u in range(len(views)):
      for v in range(u):
        if normalize:
          total.append(2 - 2 * (unit(white[u]) * unit(white[v])).sum(1).mean())
        else:
          total.append(((white[u] - white[v]) ** 2).mean())
  return sum(total) / len(total)


@pytest.mark.parametrize(
  "views, numbers",
  [
    (2, dict(subbatch=8, iterations=1, normalize=True, eps=0.01)),
    (3, dict(subbatch=4, iterations=2, normalize=False, eps=0.1)),
  ],
)
def test_w_mse(views, numbers):
  check_loss(
    lambda *x, axis_name: w_mse_loss(x, **numbers, rng=KEY, axis_name=axis_name),
    lambda *x: w_mse(x, **numbers),
    normals(*[(8, 2)] * views),
  )


def test_white_embeddings_have_the_identity_for_covariance():
  x = jnp.asarray(normals((12, 3))[0] @ normals((3, 3), seed=1)[0] + 4, jnp.float32)
  white = np.asarray(whitening.whiten(x))
  np.testing.assert_allclose(white.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(white.T @ white / 11, np.eye(3), atol=1e-4)
  lower = scipy.linalg.cholesky(np.cov(np.asarray(x), rowvar=False), lower=True)
  np.testing.assert_allclose(white, np.linalg.solve(lower, np.asarray(x - x.mean(0)).T).T, atol=1e-4)


def test_w_mse_needs_two_views_and_whole_sub_batches():
  z = jnp.ones((6, 2))
  for views, subbatch in (([z], 3), ([z, z], 4)):
    with pytest.raises(ValueError, match="w_mse_loss"):
      w_mse_loss(views, subbatch=subbatch, rng=KEY)


def sigreg(views, draws, t_max):
  t = np.linspace(0, t_max, 17)
  statistics = []
  for view in views:
    for s in (draws / np.linalg.norm(draws, axis=0)).T:
      # |phi - exp|^2 is not analytic; its two squares are.
      real, imaginary = np.cos(np.outer(t, view @ s)).mean(1), np.sin(np.outer(t, view @ s)).mean(1)
      integrand = ((real - np.exp(-(t**2) / 2)) ** 2 + imaginary**2) * np.exp(-(t**2) / 2)
      statistics.append(len(view) * 2 * scipy.integrate.trapezoid(integrand, t))
  return np.mean(statistics)


def test_sigreg(monkeypatch):
  draws = np.asarray(
    jax.random.normal(KEY, (3, 5), jnp.float32), np.float64
  )  # to the last bit: drawn inside, they may be rounded otherwise
  monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.asarray(draws.reshape(shape), dtype))
  check_loss(
    lambda a, b, axis_name: sigreg_loss([a, b], slices=5, t_max=2.0, rng=KEY, axis_name=axis_name),
    lambda a, b: sigreg([a, b], draws, 2.0),
    normals((8, 3), (8, 3)),
  )


def test_sigreg_of_normal_embeddings_does_not_grow_with_the_batch():
  loss = jax.jit(jax.vmap(lambda z, key: sigreg_loss(z, slices=16, rng=key)[0]))
  keys = jax.random.split(KEY, 400)
  for batch in (16, 64):
    z = jax.random.normal(jax.random.key(batch), (400, batch, 4))
    # int (1 - exp(-t^2)) exp(-t^2 / 2) from -3 to 3
    assert np.mean(loss(z, keys)) == pytest.approx(1.0527, abs=0.1)
    assert np.min(loss(0 * z[:2], keys[:2])) > batch / 4


def test_slices_are_drawn_anew_and_are_unit_vectors():
  z = jnp.asarray(normals((8, 3))[0], jnp.float32)
  first, second = (sigreg_loss(z, slices=4, rng=jax.random.key(i))[0] for i in (0, 1))
  assert abs(first - second) > 1e-3
  # In one dimension a unit vector is a sign, which the test does not see.
  want = sigreg([np.asarray(z[:, :1], np.float64)], np.ones((1, 1)), 3.0)
  np.testing.assert_allclose(sigreg_loss(z[:, :1], slices=7, rng=jax.random.key(9))[0], want, rtol=1e-5)


def test_view_center():
  def reference(a, b, c):
    center = (a + b) / 2
    return sum(((view - center) ** 2).mean() for view in (a, b, c)) / 3

  check_loss(uncoupled(lambda a, b, c: view_center_loss([a, b, c], [a, b])), reference, normals((8, 3), (8, 3), (8, 3)))


@pytest.mark.parametrize("array", [np.zeros((4, 3)), np.ones((4, 3)), np.ones((1, 3)), 1e4 * np.ones((2, 3))])
def test_degenerate_batches(array):
  array = jnp.asarray(array, jnp.float32)
  finite(lambda *x, axis_name: w_mse_loss(x, subbatch=len(array), rng=KEY), [array, array])
  finite(lambda *x, axis_name: sigreg_loss(x, slices=4, rng=KEY), [array, array])
  finite(lambda *x, axis_name: view_center_loss(x, x), [array, array])
