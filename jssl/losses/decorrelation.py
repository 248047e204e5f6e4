"""Losses that make two views agree and keep the dimensions of the embedding apart, without negatives or a teacher."""

import jax
import jax.numpy as jnp

from jssl.losses.arrays import global_mean, global_sum, precise


def barlow_twins_loss(a: jax.Array, b: jax.Array, *, lambd: float, scale: float = 1.0, eps: float = 1e-5,
                      axis_name: str | None = None) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Pushes the cross-correlation of two views' embeddings to the identity.

      C_ij = 1/B sum_b a^_bi b^_bj,    L = scale * ( sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2 )

  where `a^`, `b^` are standardised in each dimension over the global batch (biased variance plus eps). There is no
  factor 1 / dim, so losses compare only at equal batch and dimension.

  Args:
    a, b: `[batch, dim]`, embeddings of two views of the same images, not normalised.
    lambd: weight of the off-diagonal entries; 0.0051 in the authors' code at dim 8192, about 1/dim to 8/dim elsewhere.
    scale: factor of the loss: 1 for the authors, 0.1 in solo-learn's CIFAR settings.
    eps: added to the variances.
    axis_name: mapped axis over which the batch is split; one [dim, dim] matrix is summed over it.

  Returns:
    The loss, and `diagonal` (mean C_ii, 1 at best) and `off_diagonal` (root mean square of the others, 0 at best).

  References:
    Zbontar et al. 2021, arXiv 2103.03230, equations 1 and 2; facebookresearch/barlowtwins, main.py.

  Example:

    >>> z = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> loss, metrics = barlow_twins_loss(z, z, lambd=0.005)
    >>> print(f"{loss:.4f} {metrics['diagonal']:.2f}")
    0.0000 1.00
  """
  a, b = _standardize(precise(a), eps, axis_name), _standardize(precise(b), eps, axis_name)
  correlation = global_mean(jnp.matmul(a.T, b, precision="highest") / len(a), axis_name)
  diagonal = jnp.diagonal(correlation)
  others = jnp.sum(_off_diagonal(correlation) ** 2)
  loss = scale * (jnp.sum((1 - diagonal) ** 2) + lambd * others)
  dim = len(diagonal)
  return loss, {"diagonal": jnp.mean(diagonal), "off_diagonal": jnp.sqrt(others / max(dim * (dim - 1), 1))}


def vicreg_loss(a: jax.Array, b: jax.Array, *, invariance_weight: float = 25.0, variance_weight: float = 25.0,
                covariance_weight: float = 1.0, eps: float = 1e-4,
                axis_name: str | None = None) -> tuple[jax.Array, dict[str, jax.Array]]:
  """VICReg: views agree, every dimension varies, and dimensions are uncorrelated within each view.

      s = mean (a - b)^2
      v = 1/2 sum_{z in a, b} mean_d relu(1 - sqrt(Var(z_d) + eps))
      c = sum_{z in a, b} 1/dim sum_{i != j} Cov(z)_ij^2
      L = invariance_weight s + variance_weight v + covariance_weight c

  Variances and covariances are those of the global batch, divided by B - 1. The halves in v are the authors' code's;
  solo-learn leaves them out, so that its 25 is 50 here.

  Args:
    a, b: `[batch, dim]`, embeddings of two views of the same images, not normalised.
    invariance_weight, variance_weight, covariance_weight: of s, v and c.
    eps: under the root.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `invariance`, `variance`, `covariance`: s, v and c.

  References:
    Bardes, Ponce, LeCun 2022, arXiv 2105.04906, equations 1 to 6; facebookresearch/vicreg, main_vicreg.py.

  Example:

    >>> z = 2 * jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> loss, metrics = vicreg_loss(z, z + 1.0)
    >>> print(f"{loss:.1f} {metrics['variance']:.1f} {metrics['covariance']:.1f}")
    25.0 0.0 0.0
  """
  a, b = precise(a), precise(b)
  invariance = global_mean(jnp.mean((a - b) ** 2), axis_name)
  variance, covariance = 0.0, 0.0
  for z in (a, b):
    centered = z - global_mean(jnp.mean(z, axis=0), axis_name)
    batch = global_sum(len(z), axis_name)
    matrix = global_sum(jnp.matmul(centered.T, centered, precision="highest"), axis_name) / jnp.maximum(batch - 1, 1)
    spread = jnp.sqrt(jnp.diagonal(matrix) + eps)
    variance += jnp.mean(jax.nn.relu(1 - spread)) / 2
    covariance += jnp.sum(_off_diagonal(matrix) ** 2) / z.shape[-1]
  loss = invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance
  return loss, {"invariance": invariance, "variance": variance, "covariance": covariance}


def _standardize(z, eps, axis_name):
  z = z - global_mean(jnp.mean(z, axis=0), axis_name)
  return z * jax.lax.rsqrt(global_mean(jnp.mean(z * z, axis=0), axis_name) + eps)


def _off_diagonal(matrix):
  return jnp.where(jnp.eye(len(matrix), dtype=bool), 0, matrix)
