"""Attentive probe: a learned query looks at the patch tokens, and a linear layer at what it brings back.

As AIM (El-Nouby et al., arXiv 2401.08541), V-JEPA (Bardes et al., arXiv 2404.08471) and CAE (Chen et al., arXiv 2202.03026)
evaluate networks that were trained to predict patches, whose mean says less than they know. This is AIM's: one
cross-attention, without the MLP that V-JEPA has behind it. Patch tokens are standardised by the training set, where AIM has
BatchNorm without affine parameters.
"""

from collections.abc import Sequence
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.evaluation.chunks import map_chunks
from jssl.evaluation.selection import check_labelled, hold_out, over_epochs

LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)


def _initial(key, dim, heads, num_classes):
  """Parameters as a ViT's: N(0, 0.02), biases 0; the classifier starts at 0."""
  keys, width = jax.random.split(key, 3), dim // heads
  normal = lambda key, *shape: 0.02 * jax.random.normal(key, shape)
  return dict(
    query=normal(keys[0], heads, width),
    key=normal(keys[1], dim, heads, width),
    value=normal(keys[2], dim, heads, width),
    kernel=jnp.zeros((dim, num_classes)),
    bias=jnp.zeros(num_classes),
  )


def attentive_logits(params: dict, tokens: jax.Array) -> jax.Array:
  """Logits `[n, classes]` of `tokens [n, patches, dim]`.

  One query a head: its products with the keys are those of the tokens with `key @ query`, and the values' mean is that of
  the tokens through `value`, so that no key or value of a token is computed.
  """
  asked = jnp.einsum("dhk,hk->dh", params["key"], params["query"]) / math.sqrt(params["query"].shape[-1])
  weights = jax.nn.softmax(tokens @ asked, axis=1)
  seen = jnp.einsum("nph,npd->nhd", weights, tokens)
  pooled = jnp.einsum("nhd,dhk->nhk", seen, params["value"]).reshape(len(tokens), -1)
  return pooled @ params["kernel"] + params["bias"]


@functools.partial(jax.jit, static_argnames=("num_classes", "heads", "epochs", "warmup", "batch_size", "weight_decay"))
def _fit(rates, key, tokens, labels, mean, std, *, num_classes, heads, epochs, warmup, batch_size, weight_decay):
  """The parameters of a probe for each rate, stacked."""
  total = epochs * (len(tokens) // batch_size)
  schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, round(warmup * total), total)
  optimizer = optax.chain(
    optax.scale_by_adam(),
    optax.add_decayed_weights(weight_decay, lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)),
    optax.scale_by_learning_rate(schedule),
  )
  init_key, key = jax.random.split(key)

  def loss(params, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(attentive_logits(params, x), y).mean()

  def step(carry, index):
    x, y = (tokens[index] - mean) / std, labels[index]

    def move(rate, params, state):
      updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
      return jax.tree.map(lambda p, u: p + rate * u, params, updates), state

    return jax.vmap(move)(rates, *carry)

  params = _initial(init_key, tokens.shape[-1], heads, num_classes)
  params = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(rates), *x.shape)), params)
  start = (params, jax.vmap(optimizer.init)(params))
  return over_epochs(step, start, key, n=len(tokens), epochs=epochs, batch_size=batch_size)[0]


@jax.jit
def _predictions(tokens, *, params, mean, std):
  """Predicted classes `[n, rates]`."""
  return jax.vmap(lambda p: attentive_logits(p, (tokens - mean) / std).argmax(-1), out_axes=1)(params)


def attentive_probe(
  train: np.ndarray,
  train_labels: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  learning_rates: Sequence[float] = LEARNING_RATES,
  weight_decay: float = 0.1,
  heads: int = 4,
  epochs: int = 20,
  warmup: float = 0.1,
  batch_size: int = 256,
  held_out: float = 0.2,
  seed: int = 0,
) -> dict:
  """Test accuracy of the attentive probe whose learning rate is best on a held-out part of train.

  AdamW, a linear warm-up and half a cosine to 0. Ties go to the smallest rate; it is not fitted again.

  Args:
    train: patch tokens `[n, patches, dim]`.
    train_labels: `[n]` integers in [0, num_classes).
    test: `[m, patches, dim]`.
    test_labels: `[m]` integers in [0, num_classes).
    num_classes: number of classes.
    learning_rates: the grid, as they are.
    weight_decay: of AdamW; biases have none.
    heads: of the attention; they divide dim.
    epochs: passes over the part that is fitted.
    warmup: share of the steps.
    batch_size: examples a step (at most that part).
    held_out: fraction of train on which the rate is chosen.
    seed: of the split, of the order of the examples and of the initial parameters.

  Returns:
    `metrics`: `accuracy` (test), `held_out_accuracy`, the chosen `lr`; `by_lr`: rate -> both; and the `parameters`.

  Raises:
    ValueError: if a label leaves its range, heads do not divide dim, features are not finite or all the same, or nothing
      can be chosen on the held-out part.
  """
  labelled = check_labelled("attentive_probe", train, train_labels, test, test_labels, num_classes, axes=3)
  train, train_labels, test, test_labels = labelled
  if train.shape[-1] % heads:
    raise ValueError(f"attentive_probe: heads={heads} must divide the {train.shape[-1]} dimensions of a patch token")
  choose, fit = hold_out(train_labels, held_out, seed)
  fitted = train[fit]
  moments = dict(mean=fitted.mean((0, 1)), std=np.maximum(fitted.std((0, 1)), 1e-6))
  rates = tuple(sorted(map(float, learning_rates)))
  numbers = dict(heads=heads, epochs=epochs, warmup=warmup, batch_size=min(batch_size, len(fit)), weight_decay=weight_decay)
  key = jax.random.key(seed, impl="threefry2x32")
  params = _fit(jnp.array(rates), key, fitted, train_labels[fit], **moments, num_classes=num_classes, **numbers)
  predict = functools.partial(_predictions, params=params, **moments)
  accuracies = lambda x, y: (map_chunks(predict, x, chunk=min(256, len(x))) == y[:, None]).mean(0)
  chosen_by, accuracy = accuracies(train[choose], train_labels[choose]), accuracies(test, test_labels)
  best = int(chosen_by.argmax())
  return dict(
    metrics=dict(accuracy=float(accuracy[best]), held_out_accuracy=float(chosen_by[best]), lr=rates[best]),
    by_lr={rate: dict(held_out=float(a), test=float(b)) for rate, a, b in zip(rates, chosen_by, accuracy, strict=True)},
    parameters=dict(learning_rates=rates, **numbers, optimizer="adamw", schedule="cosine", standardize=True)
    | dict(fitted_on=len(fit), chosen_on=len(choose), tested_on=len(test), seed=seed),
  )
