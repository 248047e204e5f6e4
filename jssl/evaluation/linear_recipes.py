"""Linear classification by the recipes of MAE and DINOv2, on features that are computed once, without views.

Both papers show their classifiers random crops and flips of the training images, which takes a pass of the network for
every epoch (`python -m jssl.transfer --recipe linear`); what is here are their classifiers, optimizers and choices.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.evaluation.linear import fit_rates, rates_correct
from jssl.evaluation.selection import check_labelled, hold_out, over_epochs
from jssl.models import probe_head


def mae_linear_probe(
  train: np.ndarray,
  train_labels: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  base_rate: float = 0.1,
  epochs: int = 90,
  warmup_epochs: int = 10,
  batch_size: int = 512,
  momentum: float = 0.9,
  eta: float = 1e-3,
  seed: int = 0,
) -> dict:
  """MAE's linear probing (He et al., arXiv 2111.06377, table 10; facebookresearch/mae, main_linprobe.py).

  BatchNorm without affine parameters before a linear layer that starts as N(0, 0.01); LARS without weight decay; a rate
  of base_rate * batch_size / 256 after a linear warm-up, then half a cosine to 0. Nothing is chosen, so that all of the
  training set is fitted. The code takes batches of 512 a GPU (16384 in all).

  Args:
    train: features `[n, dim]`.
    train_labels: `[n]` integers in [0, num_classes).
    test: features `[m, dim]`.
    test_labels: `[m]` integers in [0, num_classes).
    num_classes: number of classes.
    base_rate: learning rate for 256 examples.
    epochs: passes over train; an incomplete last batch of each is dropped.
    warmup_epochs: of them.
    batch_size: examples a step (at most n).
    momentum: of LARS.
    eta: its trust coefficient.
    seed: of the initial weights and of the order of the examples.

  Returns:
    `metrics`: `accuracy`; and the `parameters`.

  Raises:
    ValueError: if a label leaves its range, train has one class, the warm-up takes all epochs, or features are not finite or
      all the same.
  """
  labelled = check_labelled("linear_mae", train, train_labels, test, test_labels, num_classes)
  train, train_labels, test, test_labels = labelled
  if len(np.unique(train_labels)) < 2:
    raise ValueError("linear_mae: train has one class: there is nothing to tell apart")
  if warmup_epochs >= epochs:
    raise ValueError(f"linear_mae: warmup_epochs={warmup_epochs} must be below epochs={epochs}")
  batch_size = min(batch_size, len(train))
  numbers = dict(epochs=epochs, warmup_epochs=warmup_epochs, batch_size=batch_size, momentum=momentum, eta=eta)
  rate = base_rate * batch_size / 256
  key = jax.random.key(seed, impl="threefry2x32")
  variables = _fit_mae(key, train, train_labels, rate, num_classes=num_classes, **numbers)
  logits = np.asarray(probe_head(output=num_classes).apply(variables, test))
  return dict(
    metrics=dict(accuracy=float(np.mean(logits.argmax(-1) == test_labels))),
    parameters=dict(base_rate=base_rate, lr=rate, **numbers, weight_decay=0.0, fitted_on=len(train), seed=seed),
  )


@functools.partial(jax.jit, static_argnames=("num_classes", "epochs", "warmup_epochs", "batch_size", "momentum", "eta"))
def _fit_mae(key, features, labels, rate, *, num_classes, epochs, warmup_epochs, batch_size, momentum, eta):
  head, steps = probe_head(output=num_classes), len(features) // batch_size
  optimizer = optax.chain(
    optax.masked(optax.scale_by_trust_ratio(trust_coefficient=eta), lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)),
    optax.trace(momentum),
    optax.scale_by_learning_rate(optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup_epochs * steps, epochs * steps)),
  )
  init_key, key = jax.random.split(key)
  variables = head.init(init_key, features[:1])

  def step(carry, index):
    params, stats, state = carry

    def loss(params):
      logits, changed = head.apply(
        dict(params=params, batch_stats=stats), features[index], train=True, mutable=["batch_stats"]
      )
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels[index]).mean(), changed["batch_stats"]

    gradient, stats = jax.grad(loss, has_aux=True)(params)
    updates, state = optimizer.update(gradient, state, params)
    return jax.tree.map(lambda p, u: p + rate * u, params, updates), stats, state

  start = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
  params, stats, _ = over_epochs(step, start, key, n=len(features), epochs=epochs, batch_size=batch_size)
  return dict(params=params, batch_stats=stats)


# facebookresearch/dinov2, dinov2/eval/linear.py, for 256 examples a step.
DINOV2_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)


def dinov2_linear_probe(
  train: np.ndarray,
  train_labels: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  learning_rates: Sequence[float] = DINOV2_RATES,
  blocks: Sequence[int] = (1, 4),
  pools: Sequence[bool] = (False, True),
  epochs: int = 10,
  batch_size: int = 128,
  momentum: float = 0.9,
  held_out: float = 0.2,
  seed: int = 0,
) -> dict:
  """DINOv2's linear evaluation (Oquab et al., arXiv 2304.07193; facebookresearch/dinov2, dinov2/eval/linear.py).

  A classifier for each learning rate, number of last blocks whose class tokens are joined, and whether the mean of the
  last block's patch tokens is joined too; SGD with momentum, no weight decay, half a cosine to 0, features as they are.
  The code trains for ten times 1250 steps of 1024 images, starts from N(0, 0.01) and reports the best on the set that it is
  tested on; here weights start at 0, and the classifier is chosen on a held-out part of train.

  Args:
    train: `[n, B + 1, dim]`, see `jssl.evaluation.FeatureModel.block_features`.
    train_labels: `[n]` integers in [0, num_classes).
    test: `[m, B + 1, dim]`.
    test_labels: `[m]` integers in [0, num_classes).
    num_classes: number of classes.
    learning_rates: for 256 examples; a step's rate is that times batch_size / 256.
    blocks: numbers of last blocks, each 1 to B; a network of fewer gives what it has.
    pools: whether the mean of the patches is joined.
    epochs: passes over the part that is fitted.
    batch_size: examples a step (at most that part).
    momentum: of SGD.
    held_out: fraction of train on which the classifier is chosen; it is not fitted again.
    seed: of the split and of the order of the examples.

  Returns:
    `metrics`: `accuracy` (test), `held_out_accuracy`, the chosen `lr`, `blocks` and `pool` (0 or 1); `by_classifier`: a list
    with those of all; and the `parameters`.

  Raises:
    ValueError: if a label leaves its range, a number of blocks is below 1, features are not finite or all the same, or
      nothing can be chosen on the held-out part.
  """
  labelled = check_labelled("linear_dinov2", train, train_labels, test, test_labels, num_classes, axes=3)
  train, train_labels, test, test_labels = labelled
  choose, fit = hold_out(train_labels, held_out, seed)
  there = train.shape[1] - 1
  blocks = tuple(dict.fromkeys(min(count, there) for count in blocks))
  if min(blocks, default=0) < 1:
    raise ValueError(f"linear_dinov2: blocks={blocks}: give numbers of last blocks, from 1")
  rates = tuple(sorted(map(float, learning_rates)))
  numbers = dict(epochs=epochs, batch_size=min(batch_size, len(fit)), momentum=momentum)
  scaled, key = jnp.array(rates) * numbers["batch_size"] / 256, jax.random.key(seed, impl="threefry2x32")
  found = []
  for count in blocks:
    for pool in pools:
      part = slice(there - count, there + bool(pool))
      x, y = (features[:, part].reshape(len(features), -1) for features in (train, test))
      params = fit_rates(scaled, key, x[fit], train_labels[fit], num_classes=num_classes, **numbers)
      parts = (x[choose], train_labels[choose]), (y, test_labels)
      chosen_by, accuracy = (np.asarray(rates_correct(params, *part)).mean(0) for part in parts)
      for rate, held, tested in zip(rates, chosen_by, accuracy, strict=True):
        found.append(dict(accuracy=float(tested), held_out_accuracy=float(held), lr=rate, blocks=count, pool=int(pool)))
  return dict(
    metrics=max(found, key=lambda one: one["held_out_accuracy"]),
    by_classifier=found,
    parameters=dict(
      learning_rates=rates,
      blocks=blocks,
      pools=tuple(pools),
      **numbers,
      weight_decay=0.0,
      schedule="cosine",
      fitted_on=len(fit),
      chosen_on=len(choose),
      seed=seed,
    ),
  )
