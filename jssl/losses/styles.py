"""Contrast within one style: for views whose images all look alike."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.batch_axis import gather, positions
from jssl.checks import as_views, check_arrays, check_values, Loss, Number
from jssl.losses.arrays import average, cross_entropy


def same_view_nt_xent_loss(
  views: Sequence[jax.Array], *, temperature: Number, negatives: str = "same_view", axis_name: str | None = None
) -> Loss:
  """NT-Xent whose negatives are of the anchor's own view: in a batch of one style, no negative gives itself away by it.

      l_i^v = -1 / (V - 1) sum_{v' != v} log( exp(z_i^v . z_i^v' / tau) /
                                              (exp(z_i^v . z_i^v' / tau) + sum_{j != i} exp(z_i^v . z_j^v / tau)) )

  and L is its mean over i and v. Rows are L2-normalised; negatives are gathered over devices with their gradients. One
  softmax for each positive is our reading of the paper.

  Args:
    views: at least two arrays `[batch, dim]`: embeddings of as many views of the same images. View v comes from a batch
      of one style, see `jssl.views.standardize_styles`.
    temperature: tau > 0.
    negatives: "same_view", or "all" for those of every view, the control; with two views that is `nt_xent_loss`.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `accuracy`: how often a positive is nearer than all its negatives.

  Raises:
    ValueError: for a single view, or another kind of negatives.

  References:
    Scalbert, Vakalopoulou, Couzinie-Devy 2024, "Towards domain-invariant Self-Supervised Learning with Batch Styles
    Standardization", arXiv 2303.06088; Chen, Kornblith, Norouzi, Hinton 2020, arXiv 2002.05709.

  Example:

    >>> eye = jnp.eye(3)
    >>> loss, metrics = same_view_nt_xent_loss([eye, eye], temperature=1.0)
    >>> print(f"{loss:.4f} {metrics['accuracy']:.1f}")   # log(e + 2) - 1
    0.5514 1.0
  """
  check_arrays("same_view_nt_xent_loss", views=(views, "views of float [batch, dim]"))
  check_values("same_view_nt_xent_loss", temperature=(temperature, "(0, inf)"))
  everywhere, views = negatives == "all", as_views(views)
  if not everywhere and negatives != "same_view":
    raise ValueError(f"same_view_nt_xent_loss: negatives must be 'same_view' or 'all', not {negatives!r}")
  if len(views) < 2:
    raise ValueError("same_view_nt_xent_loss: views must be at least two views of each image")
  z = [l2_normalize(view) for view in views]
  gathered = [gather(view, axis_name) for view in z]
  self_mask = jax.nn.one_hot(positions(len(z[0]), axis_name), len(gathered[0]), dtype=bool)
  terms = []
  for v, anchors in enumerate(z):
    others = gathered if everywhere else [gathered[v]]
    negative_scores = [jnp.where(self_mask, -jnp.inf, jnp.matmul(anchors, rows.T, precision="highest")) for rows in others]
    for partners in z[:v] + z[v + 1 :]:
      positive = jnp.sum(anchors * partners, axis=-1, keepdims=True)
      logits = jnp.concatenate([positive, *negative_scores], axis=-1) / temperature
      terms.append(cross_entropy(logits, jnp.zeros(len(positive), jnp.int32)))
  loss, accuracy = (average(values) for values in zip(*terms, strict=True))
  return loss, {"accuracy": accuracy}
