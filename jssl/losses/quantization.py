"""Losses of a quantiser: tokens and the entries of its codebook come together."""

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.checks import check_arrays, check_values, Loss, Number


def quantization_loss(latents: jax.Array, entries: jax.Array, *, commitment: Number = 0.25) -> Loss:
  """Codebook and commitment loss of VQ-VAE: each entry moves to its latents, and these commit themselves to it.

      L = mean over tokens of  || sg[z] - e ||^2 + beta || z - sg[e] ||^2

  An entry that is nearest to no latent gets no gradient from here.

  Args:
    latents: z, `[..., dim]`.
    entries: e, of the same shape: the nearest entry of each, with a gradient to the codebook.
    commitment: beta.

  Returns:
    The loss, and `distance`: the mean of || z - e ||^2, in [0, 4] for unit vectors.

  References:
    van den Oord, Vinyals, Kavukcuoglu 2017, arXiv 1711.00937, equation 3, without its reconstruction term.

  Example:

    >>> loss, metrics = quantization_loss(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]]))
    >>> print(f"{loss:.1f} {metrics['distance']:.1f}")
    2.5 2.0
  """
  check_arrays("quantization_loss", latents=(latents, "float [*shape, dim]"), entries=(entries, "float [*shape, dim]"))
  check_values("quantization_loss", commitment=(commitment, "[0, inf)"))
  latents, entries = precise(latents), precise(entries)
  error = lambda a, b: jnp.mean(jnp.sum((a - b) ** 2, axis=-1))
  codebook = error(jax.lax.stop_gradient(latents), entries)
  loss = codebook + commitment * error(latents, jax.lax.stop_gradient(entries))
  return loss, {"distance": codebook}
