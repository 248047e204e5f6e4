"""Regularisers that keep what other losses would let collapse: embeddings apart, and prototypes in use."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, precise
from jssl.batch_axis import gather, global_mean, positions
from jssl.checks import as_views, check_arrays, check_values, Loss, Number, Views


def koleo_loss(embeddings: jax.Array, *, eps: Number = 1e-8, axis_name: str | None = None) -> Loss:
  """KoLeo: each embedding moves away from its nearest neighbour, which spreads them over the sphere.

      L = - 1/B sum_i log( min_{j != i} ||u_i - u_j|| + eps ),    u = z / ||z||

  Up to constants it is the Kozachenko-Leonenko estimate of the negative differential entropy. Which embedding is the
  nearest is not differentiated; both ends of the distance are. Duplicates cost -log(2 eps) and feel no force, as their
  direction is undefined; so does a batch of one. Two views of an image must not push each other: give each view a term
  of its own (`terms=(("s_a/cls",), ("s_b/cls",))`), whose sum is what DINOv2 weights by 0.1.

  The authors search among one device's images; here the whole batch is searched, so that the result does not depend on
  the number of devices. More neighbours are nearer ones: at equal spread the value grows with the batch.

  Args:
    embeddings: `[batch, dim]`; in DINOv2 the backbone's class token of the student, before any head.
    eps: > 0, added to the distances.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `distance`: the mean distance to the nearest neighbour, in [0, 2].

  References:
    Sablayrolles et al. 2019, arXiv 1806.03198. Oquab et al. 2023 (DINOv2), arXiv 2304.07193, section 4;
    facebookresearch/dinov2, dinov2/loss/koleo_loss.py.

  Example:

    >>> loss, metrics = koleo_loss(jnp.array([[3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> print(f"{loss:.4f} {metrics['distance']:.4f}")   # -log sqrt(2)
    -0.3466 1.4142
  """
  check_arrays("koleo_loss", embeddings=(embeddings, "float [batch, dim]"))
  check_values("koleo_loss", eps=(eps, "(0, inf)"))
  local = l2_normalize(embeddings)
  gathered = gather(local, axis_name)
  self_mask = jax.nn.one_hot(positions(len(local), axis_name), len(gathered), dtype=bool)
  cosines = jnp.matmul(local, gathered.T, precision="highest")
  nearest = gathered[jnp.argmax(jnp.where(self_mask, -jnp.inf, cosines), axis=1)]
  # The root's derivative is infinite at 0; eps^2 makes it 0 there and moves no other distance visibly.
  distance = jnp.sqrt(jnp.sum((local - nearest) ** 2, axis=-1) + eps**2)
  return -jnp.mean(jnp.log(distance + eps)), {"distance": jnp.mean(distance)}


def mean_entropy_loss(logits: Views, *, temp: Number = 0.1, per_view: bool = False, axis_name: str | None = None) -> Loss:
  """Mean-entropy maximisation (me-max): on average over the batch all prototypes shall be used alike.

      L = ln K - H(p),   p = mean over the global batch and the views of softmax(s / temp),   H(p) = - sum_k p_k ln p_k

  0 where all prototypes are used alike, ln K where one takes everything: a collapse that costs nothing in the
  cross-entropy of `prototype_loss`.

  Args:
    logits: `[batch, prototypes]` of the student, or views of it: MSN averages over all anchors. Of `[batch, patches,
      prototypes]` all patches are averaged too.
    temp: > 0, the student's.
    per_view: take an average distribution of each view by itself and the mean of the losses. Where a view has one style
      for the whole batch, no prototype can then stand for a style (Batch Styles Standardization, arXiv 2303.06088).
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `used`: exp(H) / K, in [1 / K, 1], the share of prototypes that an equal use of as many would explain.

  References:
    Assran et al. 2022 (MSN), arXiv 2204.07141, section 3; facebookresearch/msn, src/losses.py (`init_msn_loss`).

  Example:

    >>> one_each = 100 * jnp.eye(4)
    >>> loss, metrics = mean_entropy_loss(one_each)
    >>> print(f"{loss:.2f} {metrics['used']:.2f}")
    0.00 1.00
    >>> all_in_one, _ = mean_entropy_loss(100 * jnp.array([[1.0, 0.0, 0.0, 0.0]] * 4))
    >>> print(f"{all_in_one:.4f} = ln 4")
    1.3863 = ln 4
  """
  check_arrays("mean_entropy_loss", logits=(logits, "views of float [batch, ..., prototypes]"))
  check_values("mean_entropy_loss", temp=(temp, "(0, inf)"))
  views = jnp.stack(
    [jnp.mean(jax.nn.softmax(precise(s) / temp, axis=-1), axis=tuple(range(s.ndim - 1))) for s in as_views(logits)]
  )
  means = global_mean(views if per_view else jnp.mean(views, axis=0, keepdims=True), axis_name)
  # A prototype that underflows to 0 adds 0 and gets no gradient, where 0 ln 0 would give NaN.
  entropy = -jnp.sum(means * jnp.log(jnp.maximum(means, jnp.finfo(means.dtype).tiny)), axis=-1)
  prototypes = means.shape[-1]
  return jnp.log(prototypes) - jnp.mean(entropy), {"used": jnp.mean(jnp.exp(entropy)) / prototypes}
