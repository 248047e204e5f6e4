"""Codes at hidden patches, and the losses of a quantiser."""

import jax
import jax.numpy as jnp
from loss_checks import check_loss, finite, log_softmax, normals, uncoupled
import numpy as np

from jssl.losses import masked_cross_entropy_loss, mean_entropy_loss, quantization_loss

CODES = np.array([[0, 4, 2], [1, 1, 1], [3, 0, 4], [2, 2, 0]])
MASK = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], bool)


def test_cross_entropy_is_pooled_over_the_hidden_patches_of_the_batch():
  def reference(logits, codes, mask):
    right = np.take_along_axis(log_softmax(logits), codes[..., None], -1)[..., 0]
    return -right[mask].mean()

  check_loss(masked_cross_entropy_loss, reference, [*normals((4, 3, 5)), CODES, MASK], moving=(0,))


def test_metrics_of_codes():
  logits = jnp.log(jax.nn.one_hot(jnp.asarray(CODES), 5) + 0.1).at[0, 0].set(jnp.arange(5.0))
  metrics = masked_cross_entropy_loss(logits, CODES, MASK)[1]
  shares = np.bincount(CODES.ravel()) / 12
  np.testing.assert_allclose(metrics["accuracy"], 5 / 6, rtol=1e-6)  # the first patch is wrong
  np.testing.assert_allclose(metrics["hidden"], 0.5)
  np.testing.assert_allclose(metrics["code_entropy"], -(shares * np.log(shares)).sum() / np.log(5), rtol=1e-5)
  whole = masked_cross_entropy_loss(logits, CODES)
  np.testing.assert_allclose(whole[0], masked_cross_entropy_loss(logits, CODES, np.ones_like(MASK))[0])


def test_a_quantiser_moves_both_ends():
  def reference(z, e):
    return ((z - e) ** 2).sum(-1).mean()  # the value; its gradient is split by the two stops

  z, e = normals((4, 3, 5), (4, 3, 5))
  value, metrics = quantization_loss(jnp.asarray(z), jnp.asarray(e), commitment=0.5)
  np.testing.assert_allclose(value, 1.5 * reference(z, e), rtol=1e-5)
  np.testing.assert_allclose(metrics["distance"], reference(z, e), rtol=1e-5)
  fixed = lambda z, e: quantization_loss(z, e, commitment=0.5)[0]
  to_latents, to_entries = jax.grad(fixed, argnums=(0, 1))(jnp.asarray(z), jnp.asarray(e))
  np.testing.assert_allclose(to_latents, 0.5 * 2 * (z - e) / 12, atol=1e-6)
  np.testing.assert_allclose(to_entries, 2 * (e - z) / 12, atol=1e-6)


def test_a_quantiser_against_each_of_its_terms():
  """With one end held, the gradient is that of a plain squared distance."""
  for index, factor in ((0, 0.25), (1, 1.0)):
    fixed = normals((4, 3, 5), seed=5)[0]

    def loss(x, axis_name, index=index, factor=factor, fixed=fixed):
      args = (x, jnp.asarray(fixed, x.dtype)) if index == 0 else (jnp.asarray(fixed, x.dtype), x)
      if axis_name is None:
        return quantization_loss(*args)
      start = jax.lax.axis_index(axis_name) * len(x)
      part = jax.lax.dynamic_slice_in_dim(args[1 - index], start, len(x))
      return quantization_loss(*((x, part) if index == 0 else (part, x)))

    def reference(x, factor=factor, fixed=fixed):
      distance = ((x - fixed) ** 2).sum(-1).mean()
      return distance.real * (1.25 - factor) + factor * distance

    check_loss(loss, reference, normals((4, 3, 5)))


def test_entropy_of_patches_is_that_of_all_of_them():
  x = jnp.asarray(normals((4, 3, 5))[0], jnp.float32)
  np.testing.assert_allclose(mean_entropy_loss(x)[0], mean_entropy_loss(x.reshape(12, 5))[0], rtol=1e-6)


def test_degenerate_inputs():
  logits, codes, nothing = jnp.zeros((1, 3, 4)), jnp.zeros((1, 3), int), jnp.zeros((1, 3), bool)
  finite(lambda x, axis_name: masked_cross_entropy_loss(x, codes, nothing), [logits])
  value, metrics = masked_cross_entropy_loss(logits, codes, nothing)
  assert value == 0 and metrics["code_entropy"] == 0 and metrics["hidden"] == 0
  finite(lambda x, axis_name: masked_cross_entropy_loss(x, codes), [1e4 * logits.at[0, 0, 1].set(1.0)])
  finite(uncoupled(quantization_loss), [logits, logits])
