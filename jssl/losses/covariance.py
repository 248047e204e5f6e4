"""Embeddings avoid the directions in which a running covariance is large."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.batch_axis import global_mean
from jssl.checks import check_arrays, check_values, Loss, Number
from jssl.stateful import Stateful


def _init(a: jax.Array, b: jax.Array) -> jax.Array:
  del b
  return jnp.zeros((a.shape[-1],) * 2, jnp.float32)


def _apply(
  covariance: jax.Array,
  a: jax.Array,
  b: jax.Array,
  *,
  rho: Number = 8.0,
  momentum: Number = 0.9,
  stop_gradient: bool = False,
  axis_name: str | None = None,
) -> tuple[Loss, jax.Array]:
  """TiCo: two views agree, and none lies where the embeddings of past batches have piled up.

      C <- beta C + (1 - beta) 1/B sum_i a_i a_i^T
      L = 1 - 1/B sum_i a_i . b_i + rho / B sum_i a_i^T C a_i

  with L2-normalised rows; C is not centred, begins at zero, and this step's batch is in it. As a_i^T C a_i is a
  weighted sum of (a_i . a_j)^2 over all embeddings so far, the second term is contrastive, with a memory of any length.

  Args:
    covariance: `[dim, dim]`, the state C.
    a: `[batch, dim]`, the student's embeddings of one view.
    b: the same of another view; a momentum teacher's, which come without gradient.
    rho: weight of the second term.
    momentum: beta.
    stop_gradient: whether this batch's part of C is a constant too, as in lightly; in the other public code gradients
      pass through it. The authors have published none, and past batches are constant in both.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, `invariance` and `contrast`: its first term and rho times the second; and the new C.

  References:
    Zhu, Moraes, Karakulak, Sobol, Canziani, LeCun 2022, arXiv 2206.10698; the loss and its defaults were checked
    against two unofficial codes: lightly-ai/lightly, lightly/loss/tico_loss.py, and sayannag/TiCo-pytorch,
    TiCo/main.py.

  Example:

    >>> a = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> state = tico_loss.init(a, a)
    >>> (loss, _), state = tico_loss.apply(state, a, a, rho=8.0, momentum=0.9)
    >>> print(f"{loss:.2f}", [round(float(x), 3) for x in jnp.diagonal(state)])   # 8 x 0.1 / 2
    0.40 [0.05, 0.05]
  """
  check_arrays(
    "tico_loss", a=(a, "float [batch, dim]"), b=(b, "float [batch, dim]"), covariance=(covariance, "float [dim, dim]")
  )
  check_values("tico_loss", rho=(rho, "[0, inf)"), momentum=(momentum, "[0, 1]"))
  a, b = l2_normalize(a), l2_normalize(b)
  matmul = lambda x, y: jnp.matmul(x, y, precision="highest")
  batch = global_mean(matmul(a.T, a) / len(a), axis_name)
  batch = jax.lax.stop_gradient(batch) if stop_gradient else batch
  moved = momentum * covariance.astype(a.dtype) + (1 - momentum) * batch
  invariance = 1 - global_mean(jnp.mean(jnp.sum(a * b, axis=-1)), axis_name)
  contrast = rho * global_mean(jnp.mean(jnp.sum(matmul(a, moved) * a, axis=-1)), axis_name)
  state = jax.lax.stop_gradient(moved).astype(covariance.dtype)
  return (invariance + contrast, {"invariance": invariance, "contrast": contrast}), state


tico_loss = Stateful(_init, _apply)
