"""Protocols of one vector an example, with labels."""

import functools

import numpy as np

from jssl import logging
from jssl.errors import ConfigError
from jssl.evaluation.clusters import cluster_agreement
from jssl.evaluation.few_labels import few_label_accuracy
from jssl.evaluation.knn import knn_accuracy
from jssl.evaluation.linear import LEARNING_RATES, linear_probe
from jssl.evaluation.protocols.protocol import Protocol
from jssl.evaluation.retrieval import retrieval_scores
from jssl.evaluation.splits import class_numbers


def _labelled(data, features):
  """Features and class numbers of the training and of the test set, and parameters that say what chance is."""
  parts = [features("image_features", split) for split in ("train", "test")]
  train, test, classes = class_numbers(*(data.array(split, "label") for split in ("train", "test")))
  unseen = int(np.sum(~np.isin(test, train)))
  chance = float(np.bincount(test).max() / len(test))
  parameters = dict(classes=classes, chance=round(chance, 4)) | (dict(of_classes_not_in_train=unseen) if unseen else {})
  return (parts[0], train, parts[1], test), classes, parameters


def _knn(model, data, features, *, k, **numbers):
  labelled, classes, parameters = _labelled(data, features)
  asked, bank = (k,) if isinstance(k, int) else tuple(k), len(labelled[0])
  # Votes of all there are, where there are fewer.
  ks = tuple(dict.fromkeys(min(number, bank) for number in asked))
  if ks != asked:
    logging.log.warning("knn: k=%s of %d training images: k=%s is taken", asked, bank, ks)
    parameters["k_asked"] = asked
  result = knn_accuracy(*labelled, k=ks, num_classes=classes, **numbers)
  return result | dict(parameters=result["parameters"] | parameters)


def _of_classes(score, model, data, features, **numbers):
  """A score of both splits' features and labels, beside what chance is."""
  labelled, classes, parameters = _labelled(data, features)
  result = score(*labelled, num_classes=classes, **numbers)
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
    dict(k=(10, 20), temperature=0.07, weighted=True, chunk=256),
    ("image_features",),
    ("train", "test"),
    "test images whose k nearest training images vote for their class; higher is better, chance is below",
  ),
  linear=Protocol(
    functools.partial(_of_classes, linear_probe),
    dict(learning_rates=LEARNING_RATES, epochs=100, batch_size=256, momentum=0.9, held_out=0.2, standardize=True, seed=0),
    ("image_features",),
    ("train", "test"),
    "test images that a linear classifier on frozen features gets right; higher is better, chance is below",
  ),
  accuracy=Protocol(
    _accuracy,
    dict(top=(1, 5)),
    ("logits",),
    ("test",),
    "test examples that the run's own classifier gets right; higher is better, chance is below",
  ),
  few_labels=Protocol(
    functools.partial(_of_classes, few_label_accuracy),
    dict(per_class=(10,), fractions=(), draws=5, penalty=1.0, seed=0),
    ("image_features",),
    ("train", "test"),
    "test images that a linear classifier fitted on so many labels a class gets right; higher is better, chance is below",
  ),
  clusters=Protocol(
    functools.partial(_of_classes, _clusters),
    dict(clusters=None, normalize=True, starts=10, seed=0),
    ("image_features",),
    ("train", "test"),
    "how far clusters that saw no label agree with the classes; higher is better; chance is 0 for ARI alone",
  ),
  retrieval=Protocol(
    _retrieval,
    dict(k=(1, 5), chunk=128),
    ("image_features",),
    ("test",),
    "each test image asks for the others of its class (mean average precision, recall at k); higher is better",
  ),
)
