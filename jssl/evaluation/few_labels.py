"""A classifier on frozen features that sees a few labels of each class.

Multinomial logistic regression with an L2 penalty, fitted to its end (L-BFGS of scikit-learn), on features standardised
with the mean and standard deviation of the whole training set, whose labels that takes none of. Which examples have
labels is drawn several times, and the accuracies are averaged.
"""

from collections.abc import Sequence

import numpy as np

from jssl.evaluation.knn import check_labels


def few_label_accuracy(
  train: np.ndarray,
  train_labels: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  per_class: int | Sequence[int] = 10,
  draws: int = 5,
  penalty: float = 1.0,
  seed: int = 0,
) -> dict:
  """Test accuracy of a classifier that is fitted on a few examples of each class.

      min_W,b  sum_i -log softmax(W x_i + b)_{y_i} + penalty / 2 |W|^2

  Args:
    train: features `[n, dim]`.
    train_labels: `[n]` integers in [0, num_classes).
    test: features `[m, dim]`.
    test_labels: `[m]` integers in [0, num_classes).
    num_classes: number of classes.
    per_class: labels of each class, or several numbers, all of which are reported.
    draws: of the examples that have a label.
    penalty: of the weights, > 0.
    seed: of the draws, which are the same for all features.

  Returns:
    `metrics`: `n<per_class>`, mean accuracy, and `n<per_class>_std`, its standard deviation over the draws; and the
    `parameters`.

  Raises:
    ValueError: if a class has fewer examples than are asked for, or a number is out of range.
  """
  from sklearn.linear_model import LogisticRegression  # pylint: disable=g-import-not-at-top  # a second of every start

  counts = (per_class,) if isinstance(per_class, int) else tuple(per_class)
  train_labels = check_labels(train_labels, num_classes, "train_labels")
  test_labels = check_labels(test_labels, num_classes, "test_labels")
  smallest = int(np.bincount(train_labels, minlength=num_classes).min())
  if not counts or not 1 <= min(counts) <= max(counts) <= smallest or draws < 1 or not penalty > 0:
    raise ValueError(
      f"per_class={counts}, draws={draws}, penalty={penalty}: the smallest class has {smallest} training examples; "
      "give 1 to as many of a class, one draw or more, and a penalty above 0."
    )
  train, test = np.asarray(train, np.float32), np.asarray(test, np.float32)
  mean, std = train.mean(0), np.maximum(train.std(0), 1e-6)
  train, test = (train - mean) / std, (test - mean) / std
  metrics = {}
  for count in counts:
    found = []
    for draw in range(draws):
      chosen = draw_labelled(train_labels, count, num_classes, (seed, draw))
      classifier = LogisticRegression(C=1 / penalty, max_iter=1000).fit(train[chosen], train_labels[chosen])
      found.append(np.mean(classifier.predict(test) == test_labels))
    metrics |= {f"n{count}": float(np.mean(found)), f"n{count}_std": float(np.std(found))}
  return dict(metrics=metrics, parameters=dict(per_class=counts, draws=draws, penalty=penalty, seed=seed))


def draw_labelled(labels: np.ndarray, count: int, num_classes: int, entropy: tuple[int, ...]) -> np.ndarray:
  """Indices of `count` examples of each class, `[num_classes * count]`; more of them begin with the fewer of a class."""
  rng = np.random.default_rng(entropy)
  orders = [rng.permutation(np.flatnonzero(labels == number)) for number in range(num_classes)]
  return np.concatenate([order[:count] for order in orders])
