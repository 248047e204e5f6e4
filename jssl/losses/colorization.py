"""Colours as classes, the rare ones weighted up."""

import jax
import jax.numpy as jnp

from jssl.arrays import precise
from jssl.batch_axis import global_mean
from jssl.checks import check_arrays, check_values, Loss, Number
from jssl.stateful import Stateful


def _init(logits: jax.Array, index: jax.Array, weight: jax.Array) -> jax.Array:
  del weight
  bins = logits.shape[-1] // index.shape[-2]
  return jnp.full((bins,), 1 / bins, jnp.float32)


def _apply(
  prior: jax.Array,
  logits: jax.Array,
  index: jax.Array,
  weight: jax.Array,
  *,
  uniform: Number = 0.5,
  momentum: Number = 0.99,
  axis_name: str | None = None,
) -> tuple[Loss, jax.Array]:
  """Cross-entropy of soft colour classes, weighted by how rare the colour is.

      w_q = c / ((1 - uniform) p_q + uniform / Q),   c such that sum_q p_q w_q = 1
      L = - mean over places of  w_{q*} sum_q y_q log softmax(s)_q,   q* the nearest colour of the place

  Most of natural images is grey; without the weights a network that paints nothing else fares well. Where the authors
  read the distribution p of colours from a file for ImageNet, here it is the moving average of the batches', which
  begins uniform (all weights 1). They also leave out images without colour, and their gradient alone has the weights.

  Args:
    prior: `[bins]`, the state p, before this batch.
    logits: `[batch, patches, places * bins]`: of each patch's places, row by row, as `jssl.models.color_head` writes.
    index: int `[batch, patches, places, neighbors]`, the classes with y > 0, the nearest first.
    weight: the same shape, their y, which sum to 1: what `jssl.targets.color_bins` writes.
    uniform: share of the uniform distribution in the weights' denominator; 1 weighs all colours alike.
    momentum: of the moving average.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `accuracy`: how often the likeliest class is the nearest; and the new p.

  Raises:
    ValueError: if the logits are not as many as places and bins.

  References:
    Zhang, Isola, Efros 2016, arXiv 1603.08511, equations 2 to 4; richzhang/colorization,
    resources/caffe_traininglayers.py (`PriorFactor`, `ClassRebalanceMultLayer`).

  Example:

    >>> logits, index, weight = jnp.zeros((1, 1, 4)), jnp.zeros((1, 1, 1, 1), int), jnp.ones((1, 1, 1, 1))
    >>> prior = color_bins_loss.init(logits, index, weight)
    >>> (loss, _), prior = color_bins_loss.apply(prior, logits, index, weight, momentum=0.5)
    >>> print(f"{loss:.4f} = ln 4", prior.tolist())
    1.3863 = ln 4 [0.625, 0.125, 0.125, 0.125]
  """
  check_arrays(
    "color_bins_loss",
    prior=(prior, "float [bins]"),
    logits=(logits, "float [batch, patches, logits]"),
    index=(index, "int [batch, patches, places, neighbors]"),
    weight=(weight, "float [batch, patches, places, neighbors]"),
  )
  check_values("color_bins_loss", uniform=(uniform, "[0, 1]"), momentum=(momentum, "[0, 1]"))
  bins, places = len(prior), index.shape[2]
  if logits.shape[-1] != places * bins:
    raise ValueError(
      f"color_bins_loss: logits {list(logits.shape)} must have {places} places x {bins} bins in the last axis"
    )
  logits = precise(logits).reshape(*index.shape[:-1], bins)
  share = prior.astype(logits.dtype)
  rarity = 1 / ((1 - uniform) * share + uniform / bins)
  rarity = rarity / jnp.sum(share * rarity)
  log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), index, axis=-1)
  nearest = index[..., 0]
  loss = -jnp.mean(rarity[nearest] * jnp.sum(weight * log_probs, axis=-1))
  hits = jnp.argmax(logits, axis=-1) == nearest
  batch = jnp.zeros_like(prior).at[index.reshape(-1)].add(weight.reshape(-1).astype(prior.dtype))
  moved = momentum * prior + (1 - momentum) * global_mean(batch / nearest.size, axis_name)
  return (loss, {"accuracy": jnp.mean(hits.astype(logits.dtype))}), jax.lax.stop_gradient(moved)


color_bins_loss = Stateful(_init, _apply)
