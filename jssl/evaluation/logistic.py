"""Logistic regression on frozen features, with all labels and an L2 penalty that is chosen on a part of train."""

from collections.abc import Sequence
from typing import Any
import warnings

import numpy as np
import threadpoolctl

from jssl.evaluation.selection import check_labelled, hold_out, standardized

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)


def logistic_regression_accuracy(
  train: np.ndarray,
  train_labels: np.ndarray,
  test: np.ndarray,
  test_labels: np.ndarray,
  *,
  num_classes: int,
  penalties: Sequence[float] = PENALTIES,
  held_out: float = 0.2,
  iterations: int = 300,
  seed: int = 0,
) -> dict:
  """Test accuracy of multinomial logistic regression, as CLIP and DINOv2 report it.

      min_W,b  sum_i -log softmax(W x_i + b)_{y_i} + penalty / 2 |W|^2

  L-BFGS of scikit-learn, from the largest penalty to the smallest, each from where the one before ended. The penalty that is
  best on the held-out part (ties: the largest) is taken for a fit on all of train, as in CLIP (Radford et al., arXiv
  2103.00020, A.3) and DINOv2 (dinov2/eval/log_regression.py). Features are standardised by the part that is fitted.

  Args:
    train: features `[n, dim]`.
    train_labels: `[n]` integers in [0, num_classes).
    test: features `[m, dim]`.
    test_labels: `[m]` integers in [0, num_classes).
    num_classes: number of classes.
    penalties: the grid, each > 0.
    held_out: fraction of train on which the penalty is chosen.
    iterations: of L-BFGS, at most.
    seed: of the split.

  Returns:
    `metrics`: `accuracy` (test), `held_out_accuracy`, the chosen `penalty`; `by_penalty`: penalty -> held-out accuracy; and
    the `parameters`; `stopped_early` among them lists penalties whose fit took all iterations.

  Raises:
    ValueError: if a label leaves its range, a penalty is not above 0, features are not finite or all the same, or nothing
      can be chosen on the held-out part.
  """
  from sklearn.exceptions import ConvergenceWarning  # pylint: disable=g-import-not-at-top  # a second of every start
  from sklearn.linear_model import LogisticRegression  # pylint: disable=g-import-not-at-top

  labelled = check_labelled("logistic_regression", train, train_labels, test, test_labels, num_classes)
  train, train_labels, test, test_labels = labelled
  penalties = tuple(sorted(map(float, penalties), reverse=True))
  if not penalties or not penalties[-1] > 0:
    raise ValueError(f"logistic_regression: penalties={penalties}: give numbers above 0")
  choose, fit = hold_out(train_labels, held_out, seed)
  parts = standardized(train[fit], train[fit], train[choose])
  by_penalty, early = {}, []
  classifier = LogisticRegression(max_iter=iterations, warm_start=True)

  def fitted(penalty, features, labels):
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", ConvergenceWarning)
      fit_on_one_thread(classifier.set_params(C=1 / penalty), features, labels)
    if classifier.n_iter_.max() >= iterations and penalty not in early:
      early.append(penalty)
    return classifier

  for penalty in penalties:
    by_penalty[penalty] = float(fitted(penalty, parts[0], train_labels[fit]).score(parts[1], train_labels[choose]))
  best = max(by_penalty, key=by_penalty.__getitem__)
  classifier = LogisticRegression(max_iter=iterations)
  whole, test = standardized(train, train, test)
  accuracy = float(fitted(best, whole, train_labels).score(test, test_labels))
  return dict(
    metrics=dict(accuracy=accuracy, held_out_accuracy=by_penalty[best], penalty=best),
    by_penalty=by_penalty,
    parameters=dict(penalties=penalties, iterations=iterations, standardize=True)
    | dict(chosen_on=len(choose), fitted_on=len(train), tested_on=len(test), seed=seed)
    | (dict(stopped_early=tuple(early)) if early else {}),
  )


def fit_on_one_thread(classifier: Any, features: np.ndarray, labels: np.ndarray) -> None:
  """Fits a logistic regression of scikit-learn, in place, to features `[n, dim]` and labels `[n]`.

  Its products are so thin that threads wait for each other: 20,000 features of 96 numbers take one 3 s, two 8 s on two idle
  cores and 74 s on busy ones; 60,000 of 384 take 14 and 17 s.
  """
  with threadpoolctl.threadpool_limits(1):
    classifier.fit(features, labels)
