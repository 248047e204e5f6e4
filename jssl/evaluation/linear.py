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

from jssl.evaluation.selection import check_labelled, group_accuracies, hold_out, over_epochs, standardized

LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@functools.partial(jax.jit, static_argnames=("num_classes", "epochs", "batch_size", "momentum"))
def fit_rates(learning_rates, key, features, labels, *, num_classes, epochs, batch_size, momentum):
  """One classifier for each learning rate, after SGD over the same batches.

  All rates' kernels stand side by side in one matrix, so that a step is one product with its batch and one back.

  Args:
    learning_rates: `[rates]`, peak rates; they fall to 0 along half a cosine.
    key: of the order of the examples.
    features: `[n, dim]`.
    labels: `[n]` integers in [0, num_classes).
    num_classes: number of classes.
    epochs: passes over the features; an incomplete last batch of each is dropped.
    batch_size: examples a step, at most n.
    momentum: of SGD.

  Returns:
    `kernel [dim, rates, num_classes]` and `bias [rates, num_classes]`, which begin at 0.
  """
  n, dim = features.shape
  rates, steps = len(learning_rates), n // batch_size
  schedule = optax.cosine_decay_schedule(1.0, epochs * steps)
  columns = jnp.repeat(learning_rates, num_classes)

  def step(carry, index):
    params, trace, count = carry
    x = features[index]
    logits = (x @ params["kernel"] + params["bias"]).reshape(batch_size, rates, num_classes)
    error = jax.nn.softmax(logits) - jax.nn.one_hot(labels[index], num_classes)[:, None]  # d loss / d logits
    error = error.reshape(batch_size, -1) / batch_size
    gradient = dict(kernel=x.T @ error, bias=error.sum(0))
    trace = jax.tree.map(lambda m, g: momentum * m + g, trace, gradient)
    params = jax.tree.map(lambda p, m: p - schedule(count) * columns * m, params, trace)
    return params, trace, count + 1

  params = dict(kernel=jnp.zeros((dim, rates * num_classes)), bias=jnp.zeros(rates * num_classes))
  start = (params, params, jnp.zeros((), jnp.int32))
  params, _, _ = over_epochs(step, start, key, n=n, epochs=epochs, batch_size=batch_size)
  return jax.tree.map(lambda p: p.reshape(*p.shape[:-1], rates, num_classes), params)


@jax.jit
def rates_correct(params, features, labels):
  """Whether each classifier that `fit_rates` gives is right, bool `[n, rates]`."""
  logits = jnp.einsum("nd,drc->nrc", features, params["kernel"]) + params["bias"]
  return logits.argmax(-1) == labels[:, None]


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
  groups: np.ndarray | None = None,
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
    groups: integers `[m]` of the test examples, whose accuracies are told apart; None for none.

  Returns:
    `metrics`: `accuracy` (test), `held_out_accuracy`, the chosen `lr`, and `accuracy_group<g>` of a group; `by_lr`: rate ->
    both; and the `parameters`.

  Raises:
    ValueError: if a label leaves its range, features are not finite or all the same, or nothing can be chosen on the
      held-out part, see `hold_out`.
  """
  labelled = check_labelled("linear", train, train_labels, test, test_labels, num_classes)
  train, train_labels, test, test_labels = labelled
  choose, fit = hold_out(train_labels, held_out, seed)
  if standardize:
    train, test = standardized(train[fit], train, test)
  rates = tuple(sorted(map(float, learning_rates)))
  numbers = dict(epochs=epochs, batch_size=min(batch_size, len(fit)), momentum=momentum)
  key = jax.random.key(seed, impl="threefry2x32")
  params = fit_rates(jnp.array(rates), key, train[fit], train_labels[fit], num_classes=num_classes, **numbers)
  chosen_by = np.asarray(rates_correct(params, train[choose], train_labels[choose])).mean(0)
  correct = np.asarray(rates_correct(params, test, test_labels))
  accuracy = correct.mean(0)
  best = int(chosen_by.argmax())
  metrics = dict(accuracy=float(accuracy[best]), held_out_accuracy=float(chosen_by[best]), lr=rates[best])
  return dict(
    metrics=metrics | group_accuracies("accuracy", correct[:, best], groups),
    by_lr={rate: dict(held_out=float(a), test=float(b)) for rate, a, b in zip(rates, chosen_by, accuracy, strict=True)},
    parameters=dict(
      learning_rates=rates,
      **numbers,
      weight_decay=0.0,
      schedule="cosine",
      standardize=standardize,
      fitted_on=len(fit),
      chosen_on=len(choose),
      tested_on=len(test),
      seed=seed,
    ),
  )
