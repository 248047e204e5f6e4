"""Losses that make two views agree and keep the dimensions of the embedding apart, without negatives or a teacher."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, precise
from jssl.batch_axis import gather, global_mean, global_size, global_sum
from jssl.checks import check_arrays, check_values, Loss, Number


def barlow_twins_loss(
  a: jax.Array,
  b: jax.Array,
  *,
  lambd: Number,
  scale: Number = 1.0,
  normalize: bool = False,
  unbiased: bool = False,
  eps: Number = 1e-5,
  axis_name: str | None = None,
) -> Loss:
  """Pushes the cross-correlation of two views' embeddings to the identity.

      C_ij = 1/B sum_b a^_bi b^_bj,    L = scale * ( sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2 )

  where `a^`, `b^` are standardised in each dimension over the global batch, by the root of the variance plus eps. The
  variance divides by B, as the BatchNorm of the authors' code does in training. There is no factor 1 / dim, so losses
  compare only at equal batch and dimension.

  Args:
    a, b: `[batch, dim]`, embeddings of two views of the same images, not normalised.
    lambd: weight of the off-diagonal entries; 0.0051 in the authors' code at dim 8192, about 1/dim to 8/dim elsewhere.
    scale: factor of the loss: 1 for the authors, 0.1 in solo-learn's CIFAR settings.
    normalize: L2-normalise each embedding before all else, as the code of Mixed Barlow Twins does on small data. The
      variances are then about 1 / dim; mind `eps`.
    unbiased: divide the variances by B - 1, as both scripts of Mixed Barlow Twins do; the best diagonal is then
      (B - 1) / B.
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
  check_arrays("barlow_twins_loss", a=(a, "float [batch, dim]"), b=(b, "float [batch, dim]"))
  check_values("barlow_twins_loss", lambd=(lambd, "[0, inf)"), eps=(eps, "[0, inf)"))
  a, b = (_standardize(z, normalize, unbiased, eps, axis_name) for z in (a, b))
  correlation = _correlation(a, b, axis_name)
  diagonal = jnp.diagonal(correlation)
  others = jnp.sum(_off_diagonal(correlation) ** 2)
  loss = scale * (jnp.sum((1 - diagonal) ** 2) + lambd * others)
  dim = len(diagonal)
  return loss, {"diagonal": jnp.mean(diagonal), "off_diagonal": jnp.sqrt(others / max(dim * (dim - 1), 1))}


def mixed_barlow_twins_loss(
  a: jax.Array,
  b: jax.Array,
  mix: jax.Array,
  lam: jax.Array,
  perm: jax.Array,
  *,
  form: str = "small",
  normalize: bool = False,
  stop_gradient: bool = False,
  eps: Number = 1e-12,
  axis_name: str | None = None,
) -> Loss:
  """What Mixed Barlow Twins adds: a mixed image correlates with the views as a mixture of their embeddings would.

      M^_a = lam a^ + (1 - lam) b^[perm],    M^_b = lam b^ + (1 - lam) b^[perm]
      L = || (mix^T a - M^_a^T a) / B ||^2 + || (mix^T b - M^_b^T b) / B ||^2

  over all entries, diagonals included, with `a`, `b`, `mix` standardised as in `barlow_twins_loss` with `unbiased`: both
  of the authors' scripts divide variances by B - 1, in what they add and in Barlow Twins itself. The mixed image of
  example i is lam a_i + (1 - lam) b_perm(i), so M^_a is what mixing in feature space gives, and the form "small" takes
  it in both terms, as the authors' code for small data and their README do. The form "imagenet" is that of their
  ImageNet script, with M^_b in the second.

  The total adds it to `barlow_twins_loss` with weight lambda_reg x lambda on small data and lambda_reg x lambda / 2,
  reached over the first ten epochs, on ImageNet.

  Args:
    a, b: `[batch, dim]`, embeddings of two views of the same images.
    mix: `[batch, dim]`, embeddings of the mixed images.
    lam: `[batch]`, shares of the first view in [0, 1]; `perm`: int `[batch]`, places of the partners in the global
      batch: what `jssl.views.mix_pairs` writes.
    form: "small" or "imagenet".
    normalize: L2-normalise each embedding first, as on small data.
    stop_gradient: through the mixtures' correlations, M^^T a and M^^T b; the authors let gradients pass.
    eps: added to the variances; the authors' codes add nothing.
    axis_name: mapped axis over which the batch is split. Statistics are those of the global batch, where the authors'
      ImageNet script standardises and draws partners on each device by itself.

  Returns:
    The loss, and `error`: the root mean square of the differences.

  Raises:
    ValueError: for another form.

  References:
    Bandara, De Melo, Patel 2023, arXiv 2312.02151; wgcban/mix-bt, main.py (small data) and main_imagenet.py.

  Example:

    >>> a = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> lam, perm = jnp.ones(4), jnp.array([1, 0, 3, 2])        # nothing is mixed in
    >>> loss, _ = mixed_barlow_twins_loss(a, a, a, lam, perm)
    >>> worse, _ = mixed_barlow_twins_loss(a, a, -a, lam, perm)
    >>> print(f"{loss:.1f} {worse:.1f}")                        # each of four entries is 2 x 3/4 off
    0.0 9.0
  """
  if form not in ("small", "imagenet"):
    raise ValueError(f"mixed_barlow_twins_loss: form must be 'small' or 'imagenet', not {form!r}")
  check_arrays(
    "mixed_barlow_twins_loss",
    a=(a, "float [batch, dim]"),
    b=(b, "float [batch, dim]"),
    mix=(mix, "float [batch, dim]"),
    lam=(lam, "float [batch]"),
    perm=(perm, "int [batch]"),
  )
  check_values("mixed_barlow_twins_loss", eps=(eps, "[0, inf)"))
  a, b, mix = (_standardize(z, normalize, True, eps, axis_name) for z in (a, b, mix))
  share, partner = lam[:, None].astype(a.dtype), gather(b, axis_name)[perm]
  terms = []
  for z, first in ((a, a), (b, a if form == "small" else b)):
    target = _correlation(share * first + (1 - share) * partner, z, axis_name)
    target = jax.lax.stop_gradient(target) if stop_gradient else target
    terms.append(jnp.sum((_correlation(mix, z, axis_name) - target) ** 2))
  total = terms[0] + terms[1]
  return total, {"error": jnp.sqrt(total / (2 * a.shape[-1] ** 2))}


def vicreg_loss(
  a: jax.Array,
  b: jax.Array,
  *,
  invariance_weight: Number = 25.0,
  variance_weight: Number = 25.0,
  covariance_weight: Number = 1.0,
  eps: Number = 1e-4,
  axis_name: str | None = None,
) -> Loss:
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
  check_arrays("vicreg_loss", a=(a, "float [batch, dim]"), b=(b, "float [batch, dim]"))
  check_values(
    "vicreg_loss",
    invariance_weight=(invariance_weight, "[0, inf)"),
    variance_weight=(variance_weight, "[0, inf)"),
    covariance_weight=(covariance_weight, "[0, inf)"),
    eps=(eps, "[0, inf)"),
  )
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


def _standardize(z: jax.Array, normalize: bool, unbiased: bool, eps: Number, axis_name: str | None) -> jax.Array:
  z = l2_normalize(z) if normalize else precise(z)
  z = z - global_mean(jnp.mean(z, axis=0), axis_name)
  count = global_size(len(z), axis_name)
  variance = global_mean(jnp.mean(z * z, axis=0), axis_name) * (count / max(count - 1, 1) if unbiased else 1)
  return z * jax.lax.rsqrt(variance + eps)


def _correlation(a: jax.Array, b: jax.Array, axis_name: str | None) -> jax.Array:
  """`a^T b / batch` over the global batch, `[dim, dim]`."""
  return global_mean(jnp.matmul(a.T, b, precision="highest") / len(a), axis_name)


def _off_diagonal(matrix: jax.Array) -> jax.Array:
  return jnp.where(jnp.eye(len(matrix), dtype=bool), 0, matrix)
