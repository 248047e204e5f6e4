"""Embeddings are whitened before views are compared, so that they cannot collapse."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, precise
from jssl.batch_axis import gather
from jssl.checks import as_views, check_arrays, check_values, Loss, Number
from jssl.losses.arrays import average


def w_mse_loss(
  views: Sequence[jax.Array],
  *,
  subbatch: int,
  iterations: int = 1,
  normalize: bool = True,
  eps: Number = 1e-4,
  rng: jax.Array,
  axis_name: str | None = None,
) -> Loss:
  """W-MSE: the whitened embeddings of the views of an image agree.

      L = mean over iterations, pairs of views (u, v) and images of  dist(W_u(u_i), W_v(v_i))

  The global batch is shuffled and cut into sub-batches; within each, every view is whitened by itself: `whiten` makes
  its mean 0 and its covariance the identity, which leaves no room for collapse. dist is 2 - 2 cos, or the mean square
  over dimensions. New shuffles in several iterations make the estimate of small sub-batches less noisy.

  Args:
    views: two or more of `[batch, dim]`, embeddings of the same images.
    subbatch: images in a sub-batch; divides the global batch. It must exceed dim for the whitening to say anything:
      dim + 1 points can be whitened wherever they lie. The authors take twice dim.
    iterations: number of shuffles, 4 for the authors' larger images with two views.
    normalize: compare directions; else the mean square error over all entries.
    eps: share of the identity in the covariance, see `whiten`; the authors' default is 0, which fails where an
      embedding has lost a dimension.
    rng: a key, the same on all devices.
    axis_name: mapped axis over which the batch is split; all embeddings are gathered.

  Returns:
    The loss, and no metrics.

  Raises:
    ValueError: for a single view, or a sub-batch that does not divide the batch.

  References:
    Ermolov, Siarohin, Sangineto, Sebe 2021, arXiv 2007.06346; htdt/self-supervised, methods/w_mse.py and whitening.py.

  Example:

    >>> z = jax.random.normal(jax.random.key(0), (8, 2))
    >>> loss, _ = w_mse_loss([z, 3 * z + 1], subbatch=8, rng=jax.random.key(1))
    >>> print(f"{abs(loss):.3f}")   # the same after whitening
    0.000
  """
  check_arrays("w_mse_loss", views=(views, "views of float [batch, dim]"))
  check_values(
    "w_mse_loss", subbatch=(subbatch, "int [1, inf)"), iterations=(iterations, "int [1, inf)"), eps=(eps, "[0, 1)")
  )
  views = [gather(precise(view), axis_name) for view in as_views(views)]
  batch = len(views[0])
  if len(views) < 2 or batch % subbatch:
    raise ValueError(f"w_mse_loss: {len(views)} views; subbatch={subbatch} of a batch of {batch}")
  pairs = [(u, v) for v in range(len(views)) for u in range(v)]
  terms = []
  for iteration in range(iterations):
    order = jax.random.permutation(jax.random.fold_in(rng, iteration), batch).reshape(-1, subbatch)
    white = [jax.vmap(lambda x: whiten(x, eps=eps))(view[order]) for view in views]
    if normalize:
      white = [l2_normalize(view) for view in white]
      terms += [2 - 2 * jnp.mean(jnp.sum(white[u] * white[v], axis=-1)) for u, v in pairs]
    else:
      terms += [jnp.mean((white[u] - white[v]) ** 2) for u, v in pairs]
  return average(terms), {}


def whiten(x: jax.Array, *, eps: Number = 0.0) -> jax.Array:
  """`L^-1 (x - mean)` with the Cholesky factor of `L L^T = (1 - eps) Cov(x) + eps I`: covariance I, where eps is 0.

  Args:
    x: `[batch, dim]`; of more rows than dim unless eps > 0. The covariance is divided by batch - 1.
    eps: in [0, 1).

  Returns:
    `[batch, dim]`.

  Example:

    >>> white = whiten(jnp.array([[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]]))
    >>> [round(float(v), 3) for v in jnp.sum(white**2, axis=0) / 3]
    [1.0, 1.0]
  """
  centered = x - jnp.mean(x, axis=0)
  covariance = jnp.matmul(centered.T, centered, precision="highest") / max(len(x) - 1, 1)
  factor = jnp.linalg.cholesky((1 - eps) * covariance + eps * jnp.eye(x.shape[-1], dtype=x.dtype))
  return jax.scipy.linalg.solve_triangular(factor, centered.T, lower=True).T
