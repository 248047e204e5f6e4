"""Named protocols: which features of a model meet which data, with every default number in one place.

A number without its protocol cannot be compared: every result carries the parameters that it was taken with and a word
on what it means, and `format_table` prints both. A protocol of the user's own is `module:fn`, see `find_protocol`.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools
import inspect
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl import logging, nodes
from jssl.errors import ConfigError, nearest
from jssl.evaluation.clusters import cluster_agreement
from jssl.evaluation.few_labels import few_label_accuracy
from jssl.evaluation.knn import knn_accuracy
from jssl.evaluation.linear import LEARNING_RATES, linear_probe
from jssl.evaluation.object_similarity import object_overlap
from jssl.evaluation.prompt_segmentation import prompt_iou, THRESHOLDS
from jssl.evaluation.rankme import rankme_score
from jssl.evaluation.retrieval import retrieval_scores
from jssl.evaluation.similarity import cosine_similarity
from jssl.evaluation.spectrum import spectrum_scores
from jssl.evaluation.splits import class_numbers, EvaluationData
from jssl.evaluation.stream import collect
from jssl.evaluation.view import View

# What is read with the images, of the splits that have it.
_WITH = dict(
  image_features=("label",), embeddings=("label",), logits=("label",), patch_features=("segments", "segment_label", "extent")
)


@dataclasses.dataclass(frozen=True)
class FeatureModel:
  """What a protocol may ask of a frozen model; None for what the model does not have.

  Its functions take a batch of any length, `{"image": uint8 [n, H, W, C], "extent": [n, 2]}`; row i of what they give
  depends on image i alone.

  Attributes:
    name: a row of the table.
    image_features: `batch -> [n, D]`, one vector an image.
    patch_features: `batch -> [n, N, D]`, one vector a patch, without CLS.
    grid: patches (h, w), h * w = N.
    similarity: between patches; see `jssl.evaluation.similarity`.
    embeddings: `batch -> [n, K]`, the projector's output, which `rankme` and `spectrum` prefer to image_features.
    logits: `batch -> [n, classes]`, what a classifier says.
    view: the part of the images that the patches lie on; None for whole images.
    reads: names of the arrays that its functions read, `index` among them; None for images.
    parameters: of the model, which are added to those of its results.
  """

  name: str
  image_features: Callable | None = None
  patch_features: Callable | None = None
  grid: tuple[int, int] | None = None
  similarity: Callable = cosine_similarity
  embeddings: Callable | None = None
  logits: Callable | None = None
  view: View | None = None
  reads: tuple[str, ...] | None = None
  parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Protocol(NamedTuple):
  """One protocol.

  Attributes:
    run: `run(model, data, features, **numbers) -> dict(metrics=..., parameters=...)`; `features(kind, split)` are those
      of the model, computed once for all protocols, and `data.array(split, name)` what the examples have beside images.
    defaults: the numbers, all of which can be overridden; others cannot.
    needs: attributes that the model must have.
    splits: splits that the data must have.
    meaning: what the numbers are, which way is better, and what they are to be held against, in one line.
  """

  run: Callable
  defaults: dict
  needs: tuple[str, ...]
  splits: tuple[str, ...]
  meaning: str = ""


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


def _scenes(model, data, features, split):
  """Patch features of a split of scenes, and its segments where the model's patches lie."""
  found, segments = features("patch_features", split), data.array(split, "segments")
  if segments.ndim != 3 or segments.dtype.kind not in "iu":
    raise ConfigError(f"the segments of {split} must be integers [n, H, W]; got {segments.dtype} {list(segments.shape)}")
  return found, model.view.segments(segments, data.optional(split, "extent")) if model.view else segments


def _prompt_segmentation(model, data, features, **numbers):
  return prompt_iou(
    *_scenes(model, data, features, "scenes"),
    *_scenes(model, data, features, "calibration"),
    grid=model.grid,
    similarity=model.similarity,
    segment_label=data.optional("scenes", "segment_label"),
    **numbers,
  )


def _object_similarity(model, data, features, **numbers):
  return object_overlap(
    *_scenes(model, data, features, "scenes"),
    grid=model.grid,
    similarity=model.similarity,
    segment_label=data.optional("scenes", "segment_label"),
    **numbers,
  )


def _unlabelled(score, model, data, features, *, images, seed, **numbers):
  """A score of some training images' embeddings, or of their features where there are none."""
  kind = "embeddings" if model.embeddings is not None else "image_features"
  found = features(kind, "train")
  result = score(found[np.random.default_rng(seed).permutation(len(found))[:images]], **numbers)
  return result | dict(parameters=result["parameters"] | dict(of=kind, seed=seed))


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
  prompt_segmentation=Protocol(
    _prompt_segmentation,
    dict(thresholds=THRESHOLDS, shared_threshold=0.5, random_prompts=5, seed=0, chunk=32),
    ("patch_features", "grid"),
    ("calibration", "scenes"),
    "one patch of an object is clicked, patches like it are its mask (IoU with the true one); more than controls is better",
  ),
  object_similarity=Protocol(
    _object_similarity,
    dict(bins=100, max_pairs=2000, seed=0, chunk=16),
    ("patch_features", "grid"),
    ("scenes",),
    "how alike patches of one object and of two are; lower overlap, higher AUROC is better; compact objects favour position",
  ),
  rankme=Protocol(
    functools.partial(_unlabelled, rankme_score),
    dict(images=25600, eps=1e-7, center=False, seed=0),
    ("image_features",),
    ("train",),
    "dimensions that the features use, from 1 (collapsed) to their number; compare runs of one method only",
  ),
  spectrum=Protocol(
    functools.partial(_unlabelled, spectrum_scores),
    dict(images=25600, ranks=(11, 100), pairs_of=4096, t=2.0, seed=0),
    ("image_features",),
    ("train",),
    "alpha near 1, a lower uniformity, a spread near 1 and more dimensions are what good features tend to have",
  ),
)


def find_protocol(name: str) -> Protocol:
  """A protocol by its name, or the user's own as `module:fn`.

  `fn` is a `Protocol`, or a function like its `run`: `fn(model, data, features, *, number=default, ...)`, which names what
  it lacks itself by a `ConfigError`. The first line of its docstring is what its numbers mean.

  Raises:
    ConfigError: if there is none, with the nearest names.
  """
  if ":" not in name:
    if name not in PROTOCOLS:
      raise ConfigError(f"there is no protocol '{name}'; {nearest(name, PROTOCOLS)}, or module:fn")
    return PROTOCOLS[name]
  fn = nodes.resolve("protocols", name, "evaluation")
  if isinstance(fn, Protocol):
    return fn
  if not callable(fn):
    raise ConfigError(f"protocols: '{name}' is neither a function nor a jssl.evaluation.protocols.Protocol")
  parameters = inspect.signature(fn).parameters.values()
  defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
  return Protocol(fn, defaults, (), (), (inspect.getdoc(fn) or "").partition("\n")[0])


def supported_protocols(model: FeatureModel, data: EvaluationData) -> list[str]:
  """Names of the protocols for which the model has the features and the data has the splits."""
  return [name for name, protocol in PROTOCOLS.items() if not missing(protocol, model, data)]


def missing(protocol: Protocol, model: FeatureModel, data: EvaluationData) -> list[str]:
  """What a protocol needs and the model or the data do not have, in words."""
  absent = [f"'{model.name}' has no {need}" for need in protocol.needs if getattr(model, need) is None]
  return absent + [f"the data has no {split}" for split in protocol.splits if not data.has(split)]


def check_numbers(name: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
  """A protocol's numbers with those that replace its defaults, each of its default's kind.

  Raises:
    ConfigError: for one that the protocol does not have, or of another kind, with what to write instead.
  """
  defaults = find_protocol(name).defaults
  for key in numbers:
    if key not in defaults:
      raise ConfigError(f"protocol '{name}' has no number '{key}'; {nearest(key, defaults)}")
  found = defaults | {key: _alike(f"{name}:{key}", value, defaults[key]) for key, value in numbers.items()}
  for key, value in found.items():
    if value is inspect.Parameter.empty:
      raise ConfigError(f"protocol '{name}' needs a number '{key}': write {name}:{key}=...")
  return found


def _alike(where: str, value: Any, default: Any) -> Any:
  """The value as one of its default's kind; a number alone is a tuple of one."""
  if default is None or default is inspect.Parameter.empty:
    return value
  if isinstance(default, tuple):
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not values:
      raise ConfigError(f"{where}={value!r}: give at least one")
    return tuple(_alike(where, part, default[0]) for part in values) if default else values
  kinds = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    str: (str, "a word"),
  }
  kind, words = kinds.get(type(default), (object, ""))
  if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
    raise ConfigError(f"{where}={value!r}: it must be {words}")
  least = 0 if where.endswith(":seed") else 1
  if type(default) is int and value < least:
    raise ConfigError(f"{where}={value}: it must be at least {least}")
  return value


def run_protocols(names: Iterable[str], model: FeatureModel, data: EvaluationData, **overrides: dict) -> dict:
  """Runs protocols on one model. One that cannot be run says why in its result, and the others go on.

  Args:
    names: of PROTOCOLS, or `module:fn`; `supported_protocols` lists those that can be run.
    model: the features; each kind is computed once for each split, whatever the number of protocols.
    data: the splits.
    **overrides: protocol name -> dict of the numbers that replace its defaults.

  Returns:
    protocol name -> `metrics` (name -> number), `parameters`, `meaning`, and whatever else the protocol returns; `error`
    with the reason, and no metrics, for one that could not be run.

  Raises:
    ConfigError: for an unknown protocol or number, with the nearest names, or for numbers of a protocol that is not run.
  """
  names = list(names)
  for name in overrides:
    if name not in names:
      raise ConfigError(f"numbers of protocol '{name}', which is not run; {nearest(name, names)}")
  numbers = {name: check_numbers(name, overrides.get(name, {})) for name in names}

  @functools.cache
  def features(kind, split):
    if not data.has(split):
      raise ConfigError(f"the data has no {split}")
    title = f"{kind.replace('_', ' ')} of '{model.name}'"
    function = getattr(model, kind)
    more = _WITH.get(kind, ())
    found, rest = collect(function, data.source(split), model.view, more=more, title=title, reads=model.reads)
    data.remember(split, rest)
    return found

  return {name: _run(name, model, data, features, numbers[name]) for name in names}


def _run(name, model, data, features, numbers) -> dict:
  """One protocol's result, or the reason why there is none."""
  protocol = find_protocol(name)
  result: dict[str, Any] = dict(metrics={}, parameters={})
  try:
    if absent := missing(protocol, model, data):
      raise ConfigError(" and ".join(absent))
    result |= protocol.run(model, data, features, **numbers)
    result["parameters"] = {**result.get("parameters", {}), **model.parameters}
  except (ValueError, MemoryError, OSError, jax.errors.JaxRuntimeError) as error:
    result["error"] = " ".join(str(error).split())[:500] or type(error).__name__
    logging.log.warning("%s on '%s': %s", name, model.name, result["error"])
  return result | dict(meaning=protocol.meaning)
