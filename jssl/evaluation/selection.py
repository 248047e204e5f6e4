"""What classifiers on frozen features share: features that can be told apart, a part of train to choose on, and batches."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def check_features(name: str, *parts: np.ndarray, axes: int = 2) -> tuple[np.ndarray, ...]:
  """Features as float32 arrays.

  Args:
    name: of what reads them.
    *parts: `[n, ..., dim]`, such as those of train and of test.
    axes: how many each must have.

  Raises:
    ValueError: for another shape, other widths, no example, what is not finite, or a part whose features are all the same.
  """
  found = tuple(np.asarray(part, np.float32) for part in parts)
  for part in found:
    if part.ndim != axes or not part.size or part.shape[1:] != found[0].shape[1:]:
      shapes = " and ".join(str(list(x.shape)) for x in found)
      raise ValueError(f"{name}: features must be [n, {'... ' if axes > 2 else ''}dim], n >= 1, of one width; got {shapes}")
    if not np.isfinite(part).all():
      raise ValueError(f"{name}: features hold NaN or infinity")
    if len(part) > 1 and not np.abs(part - part[0]).max() > 1e-7 * np.abs(part).max():
      raise ValueError(f"{name}: the features of all {len(part)} examples are the same: the network has collapsed")
  return found


def check_labels(labels: np.ndarray, num_classes: int, name: str) -> np.ndarray:
  """The labels as an array; ValueError, by name, if one lies outside [0, num_classes)."""
  labels = np.asarray(labels)
  if labels.min() < 0 or labels.max() >= num_classes:
    raise ValueError(f"{name} range over [{labels.min()}, {labels.max()}], not within [0, {num_classes}).")
  return labels


def check_labelled(
  name: str,
  train: np.ndarray,
  train_labels: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  num_classes: int,
  *,
  axes: int = 2,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Features and labels of a training and of a test set, by `check_features` and `check_labels`, in the same order."""
  train, test = check_features(name, train, test, axes=axes)
  train_labels = check_labels(train_labels, num_classes, "train_labels")
  return train, train_labels, test, check_labels(test_labels, num_classes, "test_labels")


def group_accuracies(name: str, correct: np.ndarray, groups: np.ndarray | None) -> dict[str, float]:
  """The share of right answers in each group of examples, as `<name>_group<number>`; {} without groups.

  Args:
    name: of the accuracy over all.
    correct: bool `[m]`, or `[draws, m]`, over which it is averaged.
    groups: integers `[m]`, such as the examples' domains.

  Raises:
    ValueError: unless every example has one group.
  """
  if groups is None:
    return {}
  groups = np.asarray(groups)
  if groups.shape != correct.shape[-1:] or groups.dtype.kind not in "iu":
    raise ValueError(
      f"groups must be integers [{correct.shape[-1]}], one an example; got {groups.dtype} {list(groups.shape)}"
    )
  return {f"{name}_group{group}": float(correct[..., groups == group].mean()) for group in np.unique(groups)}


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Indices of the part of a training set on which a number is chosen, and of the part that is fitted.

  Args:
    labels: `[n]` integers.
    fraction: of the examples that the first part has.
    seed: of the split.

  Raises:
    ValueError: if a part is empty, what is fitted has one class, or the other part none of its classes.
  """
  count = round(fraction * len(labels))
  if not 0 < count < len(labels):
    raise ValueError(f"held_out={fraction} of {len(labels)} examples is {count}; both parts of the split need some.")
  choose, fit = np.split(np.random.default_rng(seed).permutation(len(labels)), [count])
  known = np.unique(labels[fit])
  if len(known) < 2:
    raise ValueError(f"the {len(fit)} training examples that are fitted are of one class: there is nothing to tell apart")
  if not np.isin(labels[choose], known).any():
    raise ValueError(
      f"none of the {count} held-out training examples is of a class that the others have, as with one example a class: "
      "nothing can be chosen on them"
    )
  return choose, fit


def standardized(fitted: np.ndarray, *parts: np.ndarray) -> list[np.ndarray]:
  """The parts with each of the last axis' dimensions at the mean 0 and the standard deviation 1 that it has in `fitted`."""
  axes = tuple(range(fitted.ndim - 1))
  mean, std = fitted.mean(axes), np.maximum(fitted.std(axes), 1e-6)
  return [(part - mean) / std for part in parts]


def over_epochs(step: Callable[[Any, jax.Array], Any], start: Any, key: jax.Array, *, n: int, epochs: int, batch_size: int):
  """What `step(carry, index [batch_size]) -> carry` makes of `start`, over batches in a new order in each epoch.

  Args:
    step: of one batch, traced.
    start: the first carry.
    key: of the orders.
    n: examples; an incomplete last batch of an epoch is dropped.
    epochs: passes over them.
    batch_size: at most n.
  """
  steps = n // batch_size

  def epoch(carry, key):
    order = jax.random.permutation(key, n)[: steps * batch_size]
    return jax.lax.scan(lambda carry, index: (step(carry, index), None), carry, order.reshape(steps, batch_size))

  return jax.lax.scan(epoch, start, jax.random.split(key, epochs))[0]
