"""Linear probe on frozen features, over a grid of learning rates.

Protocol: multinomial logistic regression on features computed once, without augmentation; optionally each dimension is
standardised with the mean and standard deviation of the part trained on (in the place of the parameter-free BatchNorm
of facebookresearch/mae, main_linprobe.py). SGD with momentum 0.9, no weight decay, cosine decay of the learning rate to
0, as in facebookresearch/dino, eval_linear.py; weights and biases start at 0 (there: N(0, 0.01)), so that the seed only
moves the split and the order of examples. A probe is trained for every learning rate of the grid, in parallel; the one
with the highest accuracy on a held-out part of the TRAINING set is reported on the test set (ties: the smallest rate).
It is not retrained on the held-out part. The test set chooses nothing.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.evaluation.knn import check_labels

LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def _fit(learning_rate, key, features, labels, *, num_classes, epochs, batch_size, momentum):
  """Weights and bias of one probe after SGD over `features [n, dim]`, `labels [n]`."""
  n, dim = features.shape
  steps = n // batch_size
  optimizer = optax.sgd(optax.cosine_decay_schedule(learning_rate, epochs * steps), momentum=momentum)
  params = dict(kernel=jnp.zeros((dim, num_classes)), bias=jnp.zeros(num_classes))

  def loss(params, index):
    logits = features[index] @ params["kernel"] + params["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels[index]).mean()

  def step(carry, index):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss)(params, index), state, params)
    return (optax.apply_updates(params, updates), state), None

  def epoch(carry, key):
    order = jax.random.permutation(key, n)[: steps * batch_size]
    return jax.lax.scan(step, carry, order.reshape(steps, batch_size))

  (params, _), _ = jax.lax.scan(epoch, (params, optimizer.init(params)), jax.random.split(key, epochs))
  return params


@functools.partial(jax.jit, static_argnames=("num_classes", "epochs", "batch_size", "momentum"))
def _fit_grid(learning_rates, key, features, labels, **numbers):
  return jax.vmap(lambda rate: _fit(rate, key, features, labels, **numbers))(learning_rates)


@jax.jit
def _accuracies(params, features, labels):
  """Accuracy `[rates]` of each probe."""
  logits = jnp.einsum("nd,rdc->rnc", features, params["kernel"]) + params["bias"][:, None]
  return (logits.argmax(-1) == labels).mean(-1)


def linear_probe(
  train: np.ndarray,
  train_labels: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  learning_rates: Sequence[float] = LEARNING_RATES,
  epochs: int = 100,
  batch_size: int = 256,
  momentum: float = 0.9,
  held_out: float = 0.2,
  standardize: bool = True,
  seed: int = 0,
) -> dict:
  """Test accuracy of the linear probe whose learning rate is best on a held-out part of the training set.

  Args:
    train: features `[n, dim]`.
    train_labels: `[n]` integers in [0, num_classes).
    test: features `[m, dim]`.
    test_labels: `[m]` integers in [0, num_classes).
    num_classes: number of classes.
    learning_rates: the grid; peak rates, not scaled by the batch size.
    epochs: passes over the part trained on; an incomplete last batch of an epoch is dropped.
    batch_size: examples a step (at most the number trained on).
    momentum: of SGD.
    held_out: fraction of the training set on which the learning rate is chosen.
    standardize: whether each dimension is standardised, with the statistics of the part trained on.
    seed: of the split and of the order of the examples.

  Returns:
    `metrics`: `accuracy` (test), `held_out_accuracy`, the chosen `lr`; `by_lr`: rate -> both; and the `parameters`.

  Raises:
    ValueError: if a label leaves its range, or either part of the split is empty.
  """
  train, test = np.asarray(train, np.float32), np.asarray(test, np.float32)
  train_labels = check_labels(train_labels, num_classes, "train_labels")
  test_labels = check_labels(test_labels, num_classes, "test_labels")
  count = round(held_out * len(train))
  if not 0 < count < len(train):
    raise ValueError(f"held_out={held_out} of {len(train)} examples is {count}; both parts of the split need some.")
  choose, fit = np.split(np.random.default_rng(seed).permutation(len(train)), [count])
  if standardize:
    mean, std = train[fit].mean(0), train[fit].std(0)
    train, test = ((x - mean) / np.maximum(std, 1e-6) for x in (train, test))
  rates = tuple(sorted(map(float, learning_rates)))
  numbers = dict(epochs=epochs, batch_size=min(batch_size, len(fit)), momentum=momentum)
  key = jax.random.key(seed, impl="threefry2x32")
  params = _fit_grid(jnp.array(rates), key, train[fit], train_labels[fit], num_classes=num_classes, **numbers)
  chosen_by = np.asarray(_accuracies(params, train[choose], train_labels[choose]))
  accuracy = np.asarray(_accuracies(params, test, test_labels))
  best = int(chosen_by.argmax())
  return dict(
    metrics=dict(accuracy=float(accuracy[best]), held_out_accuracy=float(chosen_by[best]), lr=rates[best]),
    by_lr={rate: dict(held_out=float(a), test=float(b)) for rate, a, b in zip(rates, chosen_by, accuracy, strict=True)},
    parameters=dict(
      learning_rates=rates,
      **numbers,
      weight_decay=0.0,
      schedule="cosine",
      standardize=standardize,
      fitted_on=len(fit),
      chosen_on=count,
      tested_on=len(test),
      seed=seed,
    ),
  )
