"""A classifier on frozen features that sees a few labels of each class.

Multinomial logistic regression with an L2 penalty, fitted to its end (L-BFGS of scikit-learn), on features standardised
with the mean and standard deviation of the whole training set, whose labels that takes none of. Which examples have
labels is drawn several times, and the accuracies are averaged.
"""

from collections.abc import Sequence

import numpy as np

from jssl.evaluation.logistic import fit_on_one_thread
from jssl.evaluation.selection import check_features, check_labels, group_accuracies, standardized


def few_label_accuracy(
  train: np.ndarray,
  train_labels: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  per_class: int | Sequence[int] = 10,
  fractions: float | Sequence[float] = (),
  draws: int = 5,
  penalty: float = 1.0,
  seed: int = 0,
  groups: np.ndarray | None = None,
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
    fractions: the same in shares of each class, in (0, 1]; of a small class at least one example.
    draws: of the examples that have a label.
    penalty: of the weights, > 0.
    seed: of the draws, which are the same for all features.
    groups: integers `[m]` of the test examples, whose accuracies are told apart; None for none.

  Returns:
    `metrics`: `n<per_class>` and `share<fraction>`, mean accuracies, with `_std` behind their standard deviations over the
    draws, and with `_group<g>` the mean accuracy of a group; and the `parameters`.

  Raises:
    ValueError: if a class has fewer examples than are asked for, a number is out of range, or features are not finite or
      all the same.
  """
  from sklearn.linear_model import LogisticRegression  # pylint: disable=g-import-not-at-top  # a second of every start

  counts = (per_class,) if isinstance(per_class, int) else tuple(per_class)
  shares = (fractions,) if isinstance(fractions, (int, float)) else tuple(fractions)
  train_labels = check_labels(train_labels, num_classes, "train_labels")
  test_labels = check_labels(test_labels, num_classes, "test_labels")
  sizes = np.bincount(train_labels, minlength=num_classes)
  smallest = int(sizes.min())
  if not all(isinstance(number, (int, float)) for number in (*counts, *shares)):
    raise ValueError(f"per_class={counts}, fractions={shares}: give numbers")
  fits = all(1 <= count <= smallest for count in counts) and all(0 < share <= 1 for share in shares)
  if not (counts or shares) or not fits or smallest < 1 or draws < 1 or not penalty > 0:
    raise ValueError(
      f"per_class={counts}, fractions={shares}, draws={draws}, penalty={penalty}: the smallest class has {smallest} "
      "training examples; give 1 to as many of a class, shares in (0, 1], one draw or more, and a penalty above 0."
    )
  train, test = check_features("few_labels", train, test)
  train, test = standardized(train, train, test)
  wanted = {f"n{count}": np.full(num_classes, count) for count in counts}
  wanted |= {f"share{share:g}": np.maximum(np.rint(share * sizes), 1).astype(int) for share in shares}
  metrics = {}
  for name, numbers in wanted.items():
    found = []
    for draw in range(draws):
      chosen = draw_labelled(train_labels, numbers, (seed, draw))
      classifier = LogisticRegression(C=1 / penalty, max_iter=1000)
      fit_on_one_thread(classifier, train[chosen], train_labels[chosen])
      found.append(classifier.predict(test) == test_labels)
    accuracies = np.mean(found, 1)
    metrics |= {name: float(np.mean(accuracies)), f"{name}_std": float(np.std(accuracies))}
    metrics |= group_accuracies(name, np.stack(found), groups)
  parameters = dict(per_class=counts, fractions=shares, draws=draws, penalty=penalty, seed=seed)
  return dict(metrics=metrics, parameters=parameters)


def draw_labelled(labels: np.ndarray, counts: Sequence[int] | np.ndarray, entropy: tuple[int, ...]) -> np.ndarray:
  """Indices of `counts[c]` examples of each class c, `[sum of counts]`; more of them begin with the fewer of a class."""
  rng = np.random.default_rng(entropy)
  orders = [rng.permutation(np.flatnonzero(labels == number)) for number in range(len(counts))]
  return np.concatenate([order[:count] for order, count in zip(orders, counts, strict=True)])
