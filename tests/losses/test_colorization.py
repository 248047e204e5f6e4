"""Colour classes: the weights of rare ones, and their running distribution."""

import jax
import jax.numpy as jnp
from loss_checks import AXIS, check_loss, finite, log_softmax, normals
import numpy as np
import pytest

from jssl.losses import color_bins_loss

BINS = 5
PRIOR = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625])
rng = np.random.default_rng(0)
INDEX = rng.permuted(np.tile(np.arange(BINS), (8, 2, 3, 1)), axis=-1)[..., :2]
WEIGHT = rng.dirichlet([2.0, 1.0], (8, 2, 3))


def reference(logits, index, weight, uniform):
  rarity = 1 / ((1 - uniform) * PRIOR + uniform / BINS)
  rarity = rarity / (PRIOR * rarity).sum()
  log_probs = log_softmax(logits.reshape(8, 2, 3, BINS))
  total = 0
  for at in np.ndindex(8, 2, 3):
    soft = np.zeros(BINS)
    soft[index[at]] = weight[at]
    total = total - rarity[index[at][0]] * (soft * log_probs[at]).sum()
  return total / 48


def apply(*arrays, axis_name=None, **numbers):
  return color_bins_loss.apply(jnp.asarray(PRIOR, jnp.float32), *arrays, axis_name=axis_name, **numbers)


@pytest.mark.parametrize("uniform", [0.5, 0.1])
def test_color_bins(uniform):
  check_loss(
    lambda *x, axis_name: apply(*x, axis_name=axis_name, uniform=uniform)[0],
    lambda *x: reference(*x, uniform),
    [*normals((8, 2, 3 * BINS)), INDEX, WEIGHT],
    moving=(0,),
  )


def test_the_prior_is_the_average_of_the_soft_codes_and_the_same_on_all_shards():
  arrays = [jnp.zeros((8, 2, 3 * BINS)), jnp.asarray(INDEX), jnp.asarray(WEIGHT, jnp.float32)]
  initial = color_bins_loss.init(*arrays)
  np.testing.assert_allclose(initial, 1 / BINS)
  histogram = np.zeros(BINS)
  np.add.at(histogram, INDEX, WEIGHT)
  (_, metrics), prior = apply(*arrays, momentum=0.75)
  np.testing.assert_allclose(prior, 0.75 * PRIOR + 0.25 * histogram / 48, atol=1e-6)
  assert np.sum(prior) == pytest.approx(1) and metrics["accuracy"] == pytest.approx(np.mean(INDEX[..., 0] == 0))
  split = [x.reshape(4, 2, *x.shape[1:]) for x in arrays]
  shards = jax.vmap(lambda *x: apply(*x, axis_name=AXIS, momentum=0.75)[1], axis_name=AXIS)(*split)
  np.testing.assert_allclose(shards, np.broadcast_to(prior, (4, BINS)), atol=1e-6)


def test_degenerate_batches():
  one = [jnp.zeros((1, 1, BINS)), jnp.zeros((1, 1, 1, 1), int), jnp.ones((1, 1, 1, 1))]
  for logits in (one[0], 1e4 * jnp.eye(BINS)[None, :1]):
    finite(lambda x, axis_name: apply(x, *one[1:])[0], [logits])
  gone = jnp.zeros(BINS).at[0].set(1.0)  # colours that no batch has had for long
  finite(lambda x, axis_name: color_bins_loss.apply(gone, x, *one[1:])[0], [one[0]])
