"""Protocols of examples with labels, by one vector each, or by one for each block or patch."""

import functools

import numpy as np

from jssl import logging
from jssl.errors import ConfigError
from jssl.evaluation import attentive
from jssl.evaluation.attentive import attentive_probe
from jssl.evaluation.clusters import cluster_agreement
from jssl.evaluation.few_labels import few_label_accuracy
from jssl.evaluation.knn import knn_accuracy
from jssl.evaluation.linear import LEARNING_RATES, linear_probe
from jssl.evaluation.linear_recipes import dinov2_linear_probe, DINOV2_RATES, mae_linear_probe
from jssl.evaluation.logistic import logistic_regression_accuracy, PENALTIES
from jssl.evaluation.protocols.protocol import Protocol
from jssl.evaluation.retrieval import retrieval_scores
from jssl.evaluation.splits import class_numbers


def _labelled(data, features, kind="image_features", images=None):
  """Features and class numbers of the training and of the test set, and parameters that say what chance is.

  Args:
    data: the splits.
    features: of the model.
    kind: of features.
    images: so many of each split at most, drawn by the seed 0; None for all.

  Raises:
    ConfigError: where there is nothing to tell apart, or test has classes that train does not have.
  """
  parts = {}
  for split in ("train", "test"):
    if images is None:
      parts[split] = features(kind, split), data.array(split, "label")
    else:
      found, arrays = features.some(kind, split, images, 0)
      parts[split] = found, arrays["label"] if "label" in arrays else data.array(split, "label")
  train, test, classes = class_numbers(parts["train"][1], parts["test"][1])
  known = np.unique(train)
  if len(known) < 2:
    raise ConfigError("all examples of train are of one class: there is nothing to tell apart")
  if unseen := int(np.sum(~np.isin(test, known))):
    raise ConfigError(
      f"{unseen} of {len(test)} test examples are of classes that train does not have, which nothing can get right; leave "
      "them out"
    )
  chance = float(np.bincount(test).max() / len(test))
  return (parts["train"][0], train, parts["test"][0], test), classes, dict(classes=classes, chance=round(chance, 4))


def _groups(data, by):
  """What tells the test examples apart besides their labels, as a keyword of a score, and as a parameter; {} without."""
  if by is None:
    return {}, {}
  groups = data.array("test", by)
  if groups.ndim != 1 or groups.dtype.kind not in "iu":
    raise ConfigError(f"by='{by}' of test must be integers [n]; got {groups.dtype} {list(groups.shape)}")
  return dict(groups=groups), dict(by=by)


def _knn(model, data, features, *, k, by, **numbers):
  labelled, classes, parameters = _labelled(data, features)
  groups, told = _groups(data, by)
  asked, bank = (k,) if isinstance(k, int) else tuple(k), len(labelled[0])
  # Votes of all there are, where there are fewer.
  ks = tuple(dict.fromkeys(min(number, bank) for number in asked))
  if ks != asked:
    logging.log.warning("knn: k=%s of %d training images: k=%s is taken", asked, bank, ks)
    parameters["k_asked"] = asked
  result = knn_accuracy(*labelled, k=ks, num_classes=classes, **groups, **numbers)
  return result | dict(parameters=result["parameters"] | parameters | told)


def _of_classes(score, model, data, features, *, kind="image_features", images=None, by=None, **numbers):
  """A score of both splits' features and labels, beside what chance is."""
  labelled, classes, parameters = _labelled(data, features, kind, images)
  groups, told = _groups(data, by)
  parameters |= (dict(images=images) if images else {}) | told
  result = score(*labelled, num_classes=classes, **groups, **numbers)
  return result | dict(parameters=result["parameters"] | parameters)


def _clusters(train, train_labels, test, test_labels, **numbers):
  del train_labels  # for they see none
  return cluster_agreement(train, test, test_labels, **numbers)


def _retrieval(model, data, features, **numbers):
  found = features("image_features", "test")  # before the labels: an image that cannot be read is another one
  labels = data.array("test", "label")
  labels, _, _ = class_numbers(labels, labels)
  return retrieval_scores(found, labels, **numbers)


def _accuracy(model, data, features, *, top):
  logits, labels = features("logits", "test"), data.array("test", "label")
  if labels.ndim != 1 or labels.min() < 0 or labels.max() >= logits.shape[1]:
    raise ConfigError(f"the labels of test must be integers [n] in [0, {logits.shape[1]}), the classifier's classes")
  top = tuple(k for k in top if k < logits.shape[1])
  ranks = np.sum(logits > np.take_along_axis(logits, labels[:, None], 1), axis=1)
  each = [float(np.mean(ranks[labels == number] == 0)) for number in np.unique(labels)]
  chance = float(np.bincount(labels).max() / len(labels))
  return dict(
    metrics={f"accuracy (top {k})": float(np.mean(ranks < k)) for k in top} | {"mean of classes": float(np.mean(each))},
    parameters=dict(classes=logits.shape[1], images=len(labels), chance=round(chance, 4)),
  )


PROTOCOLS = dict(
  knn=Protocol(
    _knn,
    dict(k=(10, 20), temperature=0.07, weighted=True, chunk=256, by=None),
    ("image_features",),
    ("train", "test"),
    "test images whose k nearest training images vote for their class; higher is better, chance is below",
    labels=("train", "test"),
  ),
  linear=Protocol(
    functools.partial(_of_classes, linear_probe),
    dict(
      learning_rates=LEARNING_RATES,
      epochs=100,
      batch_size=256,
      momentum=0.9,
      held_out=0.2,
      standardize=True,
      seed=0,
      by=None,
    ),
    ("image_features",),
    ("train", "test"),
    "test images that a linear classifier on frozen features gets right; higher is better, chance is below",
    labels=("train", "test"),
  ),
  linear_mae=Protocol(
    functools.partial(_of_classes, mae_linear_probe),
    dict(base_rate=0.1, epochs=90, warmup_epochs=10, batch_size=512, momentum=0.9, eta=1e-3, seed=0),
    ("image_features",),
    ("train", "test"),
    "MAE's linear probe (BatchNorm, LARS), without its views of the training images; higher is better, chance is below",
    labels=("train", "test"),
  ),
  linear_dinov2=Protocol(
    functools.partial(_of_classes, dinov2_linear_probe, kind="block_features"),
    dict(
      learning_rates=DINOV2_RATES,
      blocks=(1, 4),
      pools=(False, True),
      epochs=10,
      batch_size=128,
      momentum=0.9,
      held_out=0.2,
      seed=0,
    ),
    ("block_features",),
    ("train", "test"),
    "DINOv2's linear probe: rate, last blocks and pooling chosen on a part of train; higher is better, chance is below",
    labels=("train", "test"),
  ),
  logistic_regression=Protocol(
    functools.partial(_of_classes, logistic_regression_accuracy),
    dict(penalties=PENALTIES, held_out=0.2, iterations=300, seed=0),
    ("image_features",),
    ("train", "test"),
    "test images that logistic regression, its penalty chosen on a part of train, gets right; higher is better, chance is "
    "below",
    labels=("train", "test"),
  ),
  attentive_probe=Protocol(
    functools.partial(_of_classes, attentive_probe, kind="patch_features"),
    dict(
      images=20000,
      learning_rates=attentive.LEARNING_RATES,
      weight_decay=0.1,
      heads=4,
      epochs=20,
      warmup=0.1,
      batch_size=256,
      held_out=0.2,
      seed=0,
    ),
    ("image_features", "patch_features"),  # which what knows of positions alone does not have
    ("train", "test"),
    "test images that a learnt query over patch tokens and a linear layer get right; higher is better, chance is below",
    labels=("train", "test"),
  ),
  accuracy=Protocol(
    _accuracy,
    dict(top=(1, 5)),
    ("logits",),
    ("test",),
    "test examples that the run's own classifier gets right; higher is better, chance is below",
    labels=("test",),
  ),
  few_labels=Protocol(
    functools.partial(_of_classes, few_label_accuracy),
    dict(per_class=(10,), fractions=(), draws=5, penalty=1.0, seed=0, by=None),
    ("image_features",),
    ("train", "test"),
    "test images that a linear classifier fitted on so many labels a class gets right; higher is better, chance is below",
    labels=("train", "test"),
  ),
  clusters=Protocol(
    functools.partial(_of_classes, _clusters),
    dict(clusters=None, normalize=True, starts=10, seed=0),
    ("image_features",),
    ("train", "test"),
    "how far clusters that saw no label agree with the classes; higher is better; chance is 0 for ARI alone",
    labels=("train", "test"),
  ),
  retrieval=Protocol(
    _retrieval,
    dict(k=(1, 5), chunk=128),
    ("image_features",),
    ("test",),
    "each test image asks for the others of its class (mean average precision, recall at k); higher is better",
    labels=("test",),
  ),
)
