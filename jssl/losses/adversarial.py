"""Losses of two networks of which one makes and the other judges."""

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.checks import check_arrays, Loss


def adversarial_loss(logits: jax.Array, *, real: bool) -> Loss:
  """Cross-entropy of a discriminator's logits with one label for all of them, of a GAN.

      L = - mean_i log sigma(s_i)  for real ones,    - mean_i log(1 - sigma(s_i))  for made ones

  The discriminator has the sum of the two, each on its own images; the generator has the first, on what it made (the form
  of Goodfellow et al. that does not saturate).

  Args:
    logits: s, `[batch]`.
    real: the label.

  Returns:
    The loss, and `accuracy`: how often the logit is on the side of the label; 0 is on neither.

  References:
    Goodfellow et al. 2014, arXiv 1406.2661, section 3; pathak22/context-encoder, train.lua (BCECriterion).

  Example:

    >>> loss, metrics = adversarial_loss(jnp.zeros(3), real=True)
    >>> print(f"{loss:.4f} = ln 2, {metrics['accuracy']:.0f}")
    0.6931 = ln 2, 0
  """
  check_arrays("adversarial_loss", logits=(logits, "float [batch]"))
  towards = precise(logits) if real else -precise(logits)
  return -jnp.mean(jax.nn.log_sigmoid(towards)), {"accuracy": jnp.mean((towards > 0).astype(towards.dtype))}
