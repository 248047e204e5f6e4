"""Likeness of patches among themselves, held against that of a teacher."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.checks import as_views, check_arrays, Loss, Views
from jssl.losses.arrays import average


def gram_loss(student: Views, teacher: Views) -> Loss:
  """Gram anchoring: patches of an image are to be as alike as a teacher finds them, wherever they lie.

      L = mean over views, images and pairs of patches (i, j) of  (cos(x_i, x_j) - cos(t_i, t_j))^2

  Features may move as long as their similarities stay: in long training with losses on whole images patch features lose
  their sense of place, and a teacher from before then gives it back. The two may differ in width.

  Args:
    student: `[batch, patches, dim]`, after the final LayerNorm; or views of that shape.
    teacher: `[batch, patches, teacher_dim]`, of the same patches, of an earlier state of the network (or another one), to
      which no gradient goes; as many views.

  Returns:
    The loss, and no metrics.

  Raises:
    ValueError: if the numbers of views differ, or there are none.

  References:
    Simeoni et al. 2025, "DINOv3", arXiv 2508.10104, section 4 (Gram anchoring), whose norm of the difference is a sum
    over pairs; facebookresearch/dinov3, dinov3/loss/gram_loss.py with the numbers of
    dinov3_vit7b16_gram_anchor.yaml (a mean, no similarity cut off, weight up to 2).

  Example:

    >>> student, teacher = jnp.array([[[1.0, 0.0], [3.0, 0.0]]]), jnp.array([[[1.0, 0.0], [0.0, 2.0]]])
    >>> loss, _ = gram_loss(student, teacher)
    >>> print(f"{loss:.1f}")   # two of four pairs are 1 and should be 0
    0.5
  """
  students, teachers = as_views(student), as_views(teacher)
  if len(students) != len(teachers) or not students:
    raise ValueError(f"gram_loss: {len(students)} student views and {len(teachers)} teacher views")
  terms = []
  for x, t in zip(students, teachers, strict=True):
    check_arrays("gram_loss", student=(x, "float [batch, patches, dim]"), teacher=(t, "float [batch, patches, teacher_dim]"))
    terms.append(jnp.mean((_gram(x) - jax.lax.stop_gradient(_gram(t))) ** 2))
  return average(terms), {}


def _gram(tokens: jax.Array) -> jax.Array:
  """Cosines of the patches of each image: `[batch, patches, dim]` to `[batch, patches, patches]`."""
  tokens = l2_normalize(tokens)
  return jnp.einsum("bid,bjd->bij", tokens, tokens, precision="highest")
