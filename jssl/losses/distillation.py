"""Self-distillation: the student's distribution over prototypes follows the teacher's."""

from collections.abc import Sequence
import functools
import operator

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.checks import as_views, check_arrays, check_values, Loss, Number, Views
from jssl.losses.arrays import average


def dino_loss(
  student_logits: Sequence[jax.Array], teacher_probs: Sequence[jax.Array], *, student_temp: Number = 0.1
) -> Loss:
  """DINO: cross-entropy of every student view against every teacher view but itself.

      L = mean over pairs (u, v), u != v, and over the batch, of  - sum_k P_t^u[k] log softmax(s^v / tau_s)[k]

  The teacher's views are the student's first ones, in the same order: student view i and teacher view i are the same
  crop for i < len(teacher_probs), and that pair is left out. As the cross-entropy is linear in the teacher, the targets
  of a student view are added up first: one pass over `[batch, prototypes]` a view, not one a pair.

  Args:
    student_logits: views of `[batch, prototypes]`, global crops first.
    teacher_probs: views of `[batch, prototypes]`, probabilities (centred and sharpened), one for each global crop.
    student_temp: tau_s > 0.

  Returns:
    The loss, and `teacher_entropy` (mean entropy of a teacher distribution over ln K: 1 is uniform, 0 is one-hot) and
    `kl` (the loss less the teacher's entropy: what the student has not yet learnt).

  Raises:
    ValueError: if no pair is left.

  References:
    Caron et al. 2021, arXiv 2104.14294, equations 1 to 4 and algorithm 1; facebookresearch/dino, main_dino.py
    (`DINOLoss`).

  Example:

    >>> uniform = jnp.full((2, 8), 1 / 8)
    >>> loss, metrics = dino_loss([jnp.zeros((2, 8))] * 4, [uniform] * 2)
    >>> print(f"{loss:.4f} = ln 8; {metrics['teacher_entropy']:.1f} {abs(metrics['kl']):.1f}")
    2.0794 = ln 8; 1.0 0.0
  """
  check_arrays(
    "dino_loss",
    student_logits=(student_logits, "views of float [batch, prototypes]"),
    teacher_probs=(teacher_probs, "views of float [batch, prototypes]"),
  )
  check_values("dino_loss", student_temp=(student_temp, "(0, inf)"))
  teachers = [precise(t) for t in as_views(teacher_probs)]
  total, entropy, pairs = jnp.float32(0), jnp.float32(0), 0
  for v, logits in enumerate(as_views(student_logits)):
    others = [u for u in range(len(teachers)) if u != v]
    if others:
      targets = functools.reduce(operator.add, [teachers[u] for u in others])
      total += jnp.mean(_cross_entropy(targets, logits, student_temp))
      entropy += sum(jnp.mean(_entropy(teachers[u])) for u in others)
      pairs += len(others)
  if not pairs:
    raise ValueError("dino_loss: no pair of different views; one teacher view needs at least two student views")
  loss, entropy = total / pairs, entropy / pairs
  return loss, _metrics(loss, entropy, teachers[0].shape[-1])


def patch_distillation_loss(
  student_logits: Views, teacher_probs: Views, mask: Views | None = None, *, student_temp: Number = 0.1
) -> Loss:
  """Cross-entropy of each patch's student distribution against the teacher's for the same patch of the same view.

      l_bi = - sum_k P_t[b, i, k] log softmax(s[b, i] / tau_s)[k]
      L = mean over views and images of  sum_i m_bi l_bi / max(sum_i m_bi, 1)

  Without a mask all positions count (MC-SSL, MMC); with it the hidden ones, each image's mean by itself, and an image
  with nothing hidden counts as 0 (iBOT, DINOv2). With half of the images unmasked a uniform student therefore stays at
  ln K / 2.

  By itself this loss teaches little: a teacher that has learnt no semantics says nothing worth predicting. iBOT's ViT-S
  after 300 epochs without small crops has 69.1 % kNN on ImageNet with the loss of the class tokens and 9.5 % without.
  The loss need not fall all the time either: in DINOv2 it rises for a while as the teacher's distributions change
  (facebookresearch/dinov2, issue 275).

  Args:
    student_logits: `[batch, patches, prototypes]`, or views of that shape.
    teacher_probs: `[batch, patches, prototypes]`, or `[batch, prototypes]` where every patch shall predict one
      distribution of its image (the class token's); as many views.
    mask: bool `[batch, patches]`, True where a position counts; as many views; or None.
    student_temp: tau_s > 0.

  Returns:
    The loss, and `teacher_entropy` (over ln K) and `kl` as in `dino_loss`, over the same positions.

  Raises:
    ValueError: if the numbers of views differ.

  References:
    Zhou et al. 2022 (iBOT), arXiv 2111.07832, equation 2; bytedance/ibot, main_ibot.py. Atito et al. 2021 (MC-SSL),
    arXiv 2111.15340; Sara-Ahmed/MCSSL.

  Example:

    >>> one_hot = jax.nn.one_hot(jnp.array([[0, 1, 2]]), 4)
    >>> loss, _ = patch_distillation_loss(jnp.zeros((1, 3, 4)), one_hot)
    >>> print(f"{loss:.4f} = ln 4")
    1.3863 = ln 4
  """
  check_values("patch_distillation_loss", student_temp=(student_temp, "(0, inf)"))
  students, teachers = as_views(student_logits), as_views(teacher_probs)
  masks = [None] * len(students) if mask is None else as_views(mask)
  if not len(students) == len(teachers) == len(masks):
    raise ValueError(
      f"patch_distillation_loss: {len(students)} student views, {len(teachers)} teacher views and {len(masks)} masks"
    )

  def over_positions(values, mask):
    if mask is None:
      return jnp.mean(values)
    mask = mask.astype(values.dtype)
    return jnp.mean(jnp.sum(mask * values, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1))

  terms, entropies = [], []
  for logits, probs, hidden in zip(students, teachers, masks, strict=True):
    one_for_all = getattr(probs, "ndim", 3) == 2
    check_arrays(
      "patch_distillation_loss",
      student_logits=(logits, "float [batch, patches, prototypes]"),
      teacher_probs=(probs, f"float [batch, {'' if one_for_all else 'patches, '}prototypes]"),
      mask=(hidden, "mask [batch, patches]"),
    )
    probs = precise(probs)[:, None] if one_for_all else precise(probs)
    terms.append(over_positions(_cross_entropy(probs, logits, student_temp), hidden))
    entropies.append(over_positions(jnp.broadcast_to(_entropy(probs), logits.shape[:-1]), hidden))
  loss, entropy = average(terms), average(entropies)
  return loss, _metrics(loss, entropy, students[0].shape[-1])


def prototype_loss(student_logits: Views, teacher_probs: jax.Array, *, student_temp: Number = 0.1) -> Loss:
  """Cross-entropy of every view against one target that they share (MSN).

      L = mean over views v and the batch of  - sum_k P_t[k] log softmax(s^v / tau_s)[k]

  Nothing here keeps the prototypes in use: if everything is assigned to one of them this loss is 0, and it stays at
  ln K where all are alike. `mean_entropy_loss` holds against the first, targets sharper than the student against the
  second.

  Args:
    student_logits: `[batch, prototypes]`, or views of it (MSN's anchors); with prototypes and embeddings of norm 1 they
      are cosines.
    teacher_probs: `[batch, prototypes]`, of a view of its own.
    student_temp: tau_s > 0.

  Returns:
    The loss, and `teacher_entropy` (over ln K) and `kl` as in `dino_loss`.

  References:
    Assran et al. 2022 (MSN), arXiv 2204.07141, section 3; facebookresearch/msn, src/losses.py (`init_msn_loss`).

  Example:

    >>> loss, _ = prototype_loss([jnp.zeros((2, 8))] * 3, jax.nn.one_hot(jnp.array([0, 5]), 8))
    >>> print(f"{loss:.4f} = ln 8")
    2.0794 = ln 8
  """
  check_arrays(
    "prototype_loss",
    student_logits=(student_logits, "views of float [batch, prototypes]"),
    teacher_probs=(teacher_probs, "float [batch, prototypes]"),
  )
  check_values("prototype_loss", student_temp=(student_temp, "(0, inf)"))
  probs = precise(teacher_probs)
  loss = average([jnp.mean(_cross_entropy(probs, logits, student_temp)) for logits in as_views(student_logits)])
  return loss, _metrics(loss, jnp.mean(_entropy(probs)), probs.shape[-1])


def _cross_entropy(probs: jax.Array, logits: jax.Array, temp: Number) -> jax.Array:
  """`[..., K]` to `[...]`; log-softmax, product and sum are one fused reduction."""
  return -jnp.sum(probs * jax.nn.log_softmax(precise(logits) / temp, axis=-1), axis=-1)


def _entropy(probs: jax.Array) -> jax.Array:
  return jnp.sum(jax.scipy.special.entr(jax.lax.stop_gradient(probs)), axis=-1)


def _metrics(loss: jax.Array, entropy: jax.Array, prototypes: int) -> dict[str, jax.Array]:
  return {"teacher_entropy": entropy / jnp.log(max(prototypes, 2)), "kl": loss - entropy}
