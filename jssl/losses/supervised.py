"""Losses with labels: linear probes, fine-tuning, and pretext tasks such as the rotation of an image."""

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.checks import check_arrays, check_values, Loss, Number


def soft_cross_entropy_loss(logits: jax.Array, probabilities: jax.Array) -> Loss:
  """Mean cross-entropy of targets that are distributions, such as the labels of mixed images.

      L = - mean_i sum_k q_ik log softmax(s_i)_k

  Args:
    logits: `[..., classes]`.
    probabilities: q, `[..., classes]`, rows that sum to 1.

  Returns:
    The loss, and `accuracy`: how often the largest logit is at the largest probability.

  Example:

    >>> loss, metrics = soft_cross_entropy_loss(jnp.zeros((1, 4)), jnp.array([[0.5, 0.5, 0.0, 0.0]]))
    >>> print(f"{loss:.4f} = ln 4")
    1.3863 = ln 4
  """
  check_arrays(
    "soft_cross_entropy_loss",
    logits=(logits, "float [*shape, classes]"),
    probabilities=(probabilities, "float [*shape, classes]"),
  )
  loss = -jnp.mean(jnp.sum(precise(probabilities) * jax.nn.log_softmax(precise(logits), axis=-1), axis=-1))
  hits = jnp.argmax(logits, axis=-1) == jnp.argmax(probabilities, axis=-1)
  return loss, {"accuracy": jnp.mean(hits.astype(loss.dtype))}


def softmax_cross_entropy_loss(logits: jax.Array, labels: jax.Array, *, label_smoothing: Number = 0.0) -> Loss:
  """Mean cross-entropy of integer labels.

      L = - mean_i sum_k q_ik log softmax(s_i)_k,   q_i = (1 - eps) onehot(y_i) + eps / K

  Args:
    logits: `[..., classes]`.
    labels: integers `[...]` in [0, classes).
    label_smoothing: eps in [0, 1), over all classes including the right one.

  Returns:
    The loss, and `accuracy` (top 1).

  References:
    Szegedy et al. 2016, arXiv 1512.00567, section 7, for the smoothing.

  Example:

    >>> loss, metrics = softmax_cross_entropy_loss(jnp.zeros((2, 4)), jnp.array([0, 3]))
    >>> print(f"{loss:.4f} = ln 4")
    1.3863 = ln 4
  """
  check_arrays("softmax_cross_entropy_loss", logits=(logits, "float [*shape, classes]"), labels=(labels, "int [*shape]"))
  check_values("softmax_cross_entropy_loss", label_smoothing=(label_smoothing, "[0, 1)"))
  log_probs = jax.nn.log_softmax(precise(logits), axis=-1)
  right = jnp.take_along_axis(log_probs, labels[..., None], axis=-1)[..., 0]
  loss = -jnp.mean((1 - label_smoothing) * right + label_smoothing * jnp.mean(log_probs, axis=-1))
  hits = jnp.argmax(logits, axis=-1) == labels
  return loss, {"accuracy": jnp.mean(hits.astype(loss.dtype))}
