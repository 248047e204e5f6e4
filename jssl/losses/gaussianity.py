"""Embeddings follow a standard normal distribution, seen along random directions."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, precise
from jssl.batch_axis import global_mean, global_sum
from jssl.checks import as_views, check_arrays, check_values, Loss, Number, Views
from jssl.losses.arrays import average


def sigreg_loss(
  views: Views, *, slices: int = 1024, knots: int = 17, t_max: Number = 3.0, rng: jax.Array, axis_name: str | None = None
) -> Loss:
  """SIGReg of LeJEPA: the test of Epps and Pulley for a standard normal distribution, on random slices.

      phi(t) = 1/B sum_i exp(i t s . z_i)                                 s: a unit vector
      T(s) = B * int_{-t_max}^{t_max} |phi(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt
      L = mean over views and slices of T(s)

  A distribution whose slices are all standard normal is the isotropic normal one, so neither a point nor a subspace can
  hold the embeddings. The integral is a trapezoidal sum; by symmetry only t >= 0 is computed. For normal embeddings T
  is 1.05 on average, whatever the batch; for others it grows with B.

  Args:
    views: `[batch, dim]` embeddings, or several views, each tested by itself.
    slices: number of directions, drawn anew in each call, the same for all views.
    knots: number of t from 0 to t_max, both included.
    t_max: end of the integral. The authors' code takes 3, the paper's listing 5 on both sides.
    rng: a key, the same on all devices.
    axis_name: mapped axis over which the batch is split; phi is averaged over it.

  Returns:
    The loss, and `second_moment`: the mean square of the embeddings' entries, 1 for what is aimed at.

  References:
    Balestriero, LeCun 2025, arXiv 2511.08544; rbalestr-lab/lejepa, lejepa/univariate/epps_pulley.py,
    lejepa/multivariate/slicing.py and MINIMAL.md. Epps, Pulley 1983, "A test for normality based on the empirical
    characteristic function".

  Example:

    >>> key, z = jax.random.key(0), jax.random.normal(jax.random.key(1), (512, 4))
    >>> normal, _ = sigreg_loss(z, slices=64, rng=key)
    >>> collapsed, _ = sigreg_loss(jnp.ones((512, 4)), slices=64, rng=key)
    >>> bool(normal < 2 < 100 < collapsed)
    True
  """
  check_arrays("sigreg_loss", views=(views, "views of float [batch, dim]"))
  check_values("sigreg_loss", slices=(slices, "int [1, inf)"), knots=(knots, "int [2, inf)"), t_max=(t_max, "(0, inf)"))
  views = [precise(view) for view in as_views(views)]
  t = jnp.linspace(0, t_max, knots, dtype=views[0].dtype)
  normal = jnp.exp(-t * t / 2)
  weights = normal * (2 * t_max / (knots - 1)) * jnp.ones(knots, t.dtype).at[jnp.array([0, -1])].set(0.5)
  directions = jax.random.normal(rng, (views[0].shape[-1], slices), jnp.float32).astype(t.dtype)
  directions = l2_normalize(directions, axis=0, eps=0.0)

  def statistic(view: jax.Array) -> jax.Array:
    angles = jnp.matmul(view, directions, precision="highest")[..., None] * t
    cos, sin = (global_mean(jnp.mean(f(angles), axis=0), axis_name) for f in (jnp.cos, jnp.sin))
    return jnp.mean(((cos - normal) ** 2 + sin**2) @ weights) * global_sum(len(view), axis_name)

  moments = [global_mean(jnp.mean(view * view), axis_name) for view in views]
  return average([statistic(view) for view in views]), {"second_moment": average(moments)}
