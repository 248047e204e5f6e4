"""Losses of predictions of pixels or features, at the hidden places."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.batch_axis import global_sum
from jssl.checks import as_views, check_arrays, check_values, Loss, Number, Views


def masked_l1_loss(prediction: Views, target: Views, mask: Views | None = None, *, axis_name: str | None = None) -> Loss:
  """Mean absolute error over all hidden entries of the global batch.

      L = sum m |x^ - x| / max(sum m, 1)

  Sums run over views, images, places and channels together, so an image with more hidden weighs more. With
  prediction and target `[batch, patches, P * P * channels]`, the mask is that of the patches or that of the pixels, as
  `jssl.targets.patchify_mask` writes it.

  SimMIM's normaliser differs by a constant: (sum m + 1e-5) * channels with m the pixel mask. For views of different
  sizes GMML adds one such loss for each size: write two entries.

  Args:
    prediction: `[batch, ...]`, or views of it.
    target: the same shapes.
    mask: bool, True where an entry counts. Its shape is the beginning of the prediction's (`[batch, patches]`), or its
      last axis divides the prediction's, whose entries are then grouped (`[batch, patches, P * P]`); as many views.
      None counts everything.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `hidden`: the share of entries that count.

  Raises:
    ValueError: if the numbers of views or the shapes do not fit.

  References:
    Atito et al. 2022 (GMML), arXiv 2205.14986; Sara-Ahmed/GMML. Xie et al. 2022 (SimMIM), arXiv 2111.09886;
    microsoft/SimMIM, models/simmim.py.

  Example:

    >>> prediction, target = jnp.zeros((1, 2, 3)), jnp.array([[[1.0, 2.0, 3.0], [9.0, 9.0, 9.0]]])
    >>> loss, metrics = masked_l1_loss(prediction, target, jnp.array([[True, False]]))
    >>> print(f"{loss:.1f} {metrics['hidden']:.1f}")
    2.0 0.5
  """
  return _pooled("masked_l1_loss", jnp.abs, prediction, target, mask, axis_name)


def masked_mse_loss(prediction: Views, target: Views, mask: Views | None = None, *, axis_name: str | None = None) -> Loss:
  """Mean squared error over all hidden entries of the global batch: `sum m (x^ - x)^2 / max(sum m, 1)`.

  Arguments, returns and errors as `masked_l1_loss`.

  References:
    Atito et al. 2021 (MC-SSL), arXiv 2111.15340; Sara-Ahmed/MCSSL. Wei et al. 2022 (MaskFeat), arXiv 2112.09133.

  Example:

    >>> loss, _ = masked_mse_loss(jnp.zeros((1, 2, 1)), jnp.array([[[3.0], [1.0]]]))
    >>> print(f"{loss:.1f}")
    5.0
  """
  return _pooled("masked_mse_loss", jnp.square, prediction, target, mask, axis_name)


def smooth_l1_loss(
  prediction: Views, target: Views, mask: Views | None = None, *, beta: Number = 1.0, axis_name: str | None = None
) -> Loss:
  """Smooth L1 over all hidden entries of the global batch: `e^2 / 2 beta` where |e| < beta, else `|e| - beta / 2`.

  Arguments, returns and errors as `masked_l1_loss`.

  Args:
    beta: > 0, where the parabola ends: 2 in data2vec, 1 in I-JEPA.

  References:
    Girshick 2015, arXiv 1504.08083, equation 3. Baevski et al. 2022 (data2vec), arXiv 2202.03555, equation 3. Assran et
    al. 2023 (I-JEPA), arXiv 2301.08243; facebookresearch/ijepa, src/train.py.

  Example:

    >>> loss, _ = smooth_l1_loss(jnp.array([[1.0, 4.0]]), jnp.zeros((1, 2)), beta=2.0)
    >>> print(f"{loss:.3f}")   # (0.25 + 3) / 2
    1.625
  """
  check_values("smooth_l1_loss", beta=(beta, "(0, inf)"))

  def error(e: jax.Array) -> jax.Array:
    size = jnp.abs(e)
    return jnp.where(size < beta, 0.5 * e * e / beta, size - 0.5 * beta)

  return _pooled("smooth_l1_loss", error, prediction, target, mask, axis_name)


def mae_loss(prediction: jax.Array, target: jax.Array, mask: jax.Array) -> Loss:
  """MAE: mean squared error of each patch, mean over an image's hidden patches, mean over images.

      L = mean_b  sum_i m_bi mean_d (x^_bid - x_bid)^2 / max(sum_i m_bi, 1)

  The authors pool the patches of the batch, which is the same where every image hides as many, as in MAE.

  Args:
    prediction: `[batch, patches, dim]`.
    target: the same; `jssl.targets.patch_pixels`.
    mask: bool `[batch, patches]`, True where a patch is hidden.

  Returns:
    The loss, and `hidden`: the share of hidden patches.

  References:
    He et al. 2022, arXiv 2111.06377; facebookresearch/mae, models_mae.py (`forward_loss`).

  Example:

    >>> prediction, target = jnp.zeros((1, 2, 2)), jnp.array([[[1.0, 3.0], [9.0, 9.0]]])
    >>> loss, _ = mae_loss(prediction, target, jnp.array([[True, False]]))
    >>> print(f"{loss:.1f}")
    5.0
  """
  check_arrays(
    "mae_loss",
    prediction=(prediction, "float [batch, patches, dim]"),
    target=(target, "float [batch, patches, dim]"),
    mask=(mask, "mask [batch, patches]"),
  )
  errors = jnp.mean((precise(prediction) - precise(target)) ** 2, axis=-1)
  mask = mask.astype(errors.dtype)
  images = jnp.sum(mask * errors, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1)
  return jnp.mean(images), {"hidden": jnp.mean(mask)}


def masked_cross_entropy_loss(
  logits: jax.Array, codes: jax.Array, mask: jax.Array | None = None, *, axis_name: str | None = None
) -> Loss:
  """Mean cross-entropy of the code of each hidden patch of the global batch (BEiT).

      L = - sum_i m_i log softmax(s_i)[y_i] / max(sum_i m_i, 1)

  Args:
    logits: `[batch, patches, codes]`.
    codes: integers `[batch, patches]` in [0, codes).
    mask: bool `[batch, patches]`, True where a patch is hidden; None counts all.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss; `accuracy` (top 1) and `hidden`, the share of patches that count; and `code_entropy`, that of the codes of
    the batch, hidden or not, over ln K: 0 if the tokenizer has one word for everything, when there is nothing to learn.

  References:
    Bao et al. 2022 (BEiT), arXiv 2106.08254, equation 2; microsoft/unilm, beit/engine_for_pretraining.py.

  Example:

    >>> loss, metrics = masked_cross_entropy_loss(jnp.zeros((1, 2, 4)), jnp.array([[3, 0]]), jnp.array([[True, False]]))
    >>> print(f"{loss:.4f} = ln 4, {metrics['code_entropy']:.1f} = ln 2 / ln 4")
    1.3863 = ln 4, 0.5 = ln 2 / ln 4
  """
  check_arrays(
    "masked_cross_entropy_loss",
    logits=(logits, "float [batch, patches, codes]"),
    codes=(codes, "int [batch, patches]"),
    mask=(mask, "mask [batch, patches]"),
  )
  log_probs = jax.nn.log_softmax(precise(logits), axis=-1)
  errors = -jnp.take_along_axis(log_probs, codes[..., None], axis=-1)[..., 0]
  hits = (jnp.argmax(logits, axis=-1) == codes).astype(errors.dtype)
  mask = jnp.ones_like(errors) if mask is None else mask.astype(errors.dtype)
  counts = global_sum(jnp.zeros(logits.shape[-1], errors.dtype).at[codes.reshape(-1)].add(1.0), axis_name)
  total, right, hidden = global_sum((jnp.sum(mask * errors), jnp.sum(mask * hits), jnp.sum(mask)), axis_name)
  count, patches = jnp.maximum(hidden, 1), jnp.sum(counts)
  entropy = jnp.sum(jax.scipy.special.entr(counts / patches)) / jnp.log(max(len(counts), 2))
  return total / count, {"accuracy": right / count, "hidden": hidden / patches, "code_entropy": entropy}


def _pooled(
  function: str, error: Callable, prediction: Views, target: Views, mask: Views | None, axis_name: str | None
) -> Loss:
  predictions, targets = as_views(prediction), as_views(target)
  masks = [None] * len(predictions) if mask is None else as_views(mask)
  if not len(predictions) == len(targets) == len(masks):
    raise ValueError(f"{function}: {len(predictions)} predictions, {len(targets)} targets and {len(masks)} masks")
  total, count, entries = jnp.float32(0), jnp.float32(0), 0
  for x, y, hidden in zip(predictions, targets, masks, strict=True):
    check_arrays(function, prediction=(x, "float [*shape]"), target=(y, "float [*shape]"), mask=(hidden, "mask [...]"))
    errors = error(precise(x) - precise(y))
    hidden = jnp.ones(x.shape[:1], bool) if hidden is None else hidden
    grouped, hidden = _fit(function, errors, hidden.astype(errors.dtype))
    total += jnp.sum(grouped * hidden)
    count += jnp.sum(hidden) * (errors.size // hidden.size)
    entries += errors.size
  count, total_entries = global_sum((count, jnp.asarray(entries, count.dtype)), axis_name)
  return global_sum(total, axis_name) / jnp.maximum(count, 1), {"hidden": count / total_entries}


def _fit(function: str, errors: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Reshapes errors and mask so that they broadcast: each entry of the mask meets equally many errors."""
  if mask.ndim and mask.shape == errors.shape[: mask.ndim]:
    return errors, mask.reshape(mask.shape + (1,) * (errors.ndim - mask.ndim))
  if mask.ndim == errors.ndim and mask.shape[:-1] == errors.shape[:-1] and errors.shape[-1] % mask.shape[-1] == 0:
    return errors.reshape(*mask.shape, -1), mask[..., None]
  raise ValueError(
    f"{function}: mask {list(mask.shape)} does not fit the prediction {list(errors.shape)}; it must have the first axes "
    "of its shape, or a last axis that divides its last one"
  )
