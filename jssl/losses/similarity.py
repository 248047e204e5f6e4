"""Agreement of embeddings, without negatives."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, precise
from jssl.checks import as_views, check_arrays, Loss, Number
from jssl.losses.arrays import average


def negative_cosine_loss(prediction: jax.Array, target: jax.Array, *, scale: Number = 1.0) -> Loss:
  """`-scale` times the mean cosine of a prediction and its target.

  SimSiam is the mean of this loss over its two directions, -(cos(p_1, z_2) + cos(p_2, z_1)) / 2: two entries of weight
  0.5. BYOL's ||p^ - z^||^2 is `scale = 2`, less the constant 2. The stop-gradient that keeps both from collapsing is
  the matter of a target or a teacher.

  Args:
    prediction: `[..., dim]`.
    target: the same shape.
    scale: factor of the loss.

  Returns:
    The loss, and `cosine`: the mean cosine.

  References:
    Chen and He 2021 (SimSiam), arXiv 2011.10566, equation 1; facebookresearch/simsiam. Grill et al. 2020 (BYOL), arXiv
    2006.07733, equation 2.

  Example:

    >>> loss, _ = negative_cosine_loss(jnp.array([[2.0, 0.0]]), jnp.array([[3.0, 4.0]]))
    >>> print(f"{loss:.1f}")
    -0.6
  """
  check_arrays(
    "negative_cosine_loss", prediction=(prediction, "float [*shape, dim]"), target=(target, "float [*shape, dim]")
  )
  cosine = jnp.mean(jnp.sum(l2_normalize(prediction) * l2_normalize(target), axis=-1))
  return -scale * cosine, {"cosine": cosine}


def view_center_loss(views: Sequence[jax.Array], anchors: Sequence[jax.Array]) -> Loss:
  """Mean square distance of an image's views from the mean of some of them: the prediction loss of LeJEPA.

      L = mean over views v, images and dimensions of  (z_v - 1/G sum_g z_g)^2

  Gradients reach the mean as well; what keeps the embeddings apart is another loss.

  Args:
    views: V arrays `[batch, dim]`, embeddings of the same images.
    anchors: the G of them whose mean counts: all, or those of the large crops.

  Returns:
    The loss, and no metrics.

  References:
    Balestriero, LeCun 2025, arXiv 2511.08544; rbalestr-lab/lejepa, MINIMAL.md, where the views are all large. With
    small ones: lightly-ai/lightly, lightly/loss/lejepa_loss.py.

  Example:

    >>> a, b = jnp.array([[0.0, 0.0]]), jnp.array([[2.0, 4.0]])
    >>> loss, _ = view_center_loss([a, b], [a, b])
    >>> print(f"{loss:.1f}")   # (1 + 4) / 2 from (1, 2)
    2.5
  """
  check_arrays(
    "view_center_loss", views=(views, "views of float [batch, dim]"), anchors=(anchors, "views of float [batch, dim]")
  )
  center = average([precise(anchor) for anchor in as_views(anchors)])
  return average([jnp.mean((precise(view) - center) ** 2) for view in as_views(views)]), {}
