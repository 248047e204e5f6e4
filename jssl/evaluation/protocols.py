"""Named protocols: which features of a model meet which data, with every default number in one place.

A number without its protocol cannot be compared: every result carries the parameters that it was taken with, and
`format_table` prints them below it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import functools
from typing import Any, NamedTuple

import numpy as np

from jssl.errors import ConfigError, nearest
from jssl.evaluation.features import channel_statistics, raw_pixel_patches, raw_pixels
from jssl.evaluation.knn import knn_accuracy
from jssl.evaluation.linear import LEARNING_RATES, linear_probe
from jssl.evaluation.object_similarity import object_overlap
from jssl.evaluation.prompt_segmentation import prompt_iou, THRESHOLDS
from jssl.evaluation.rankme import rankme_score
from jssl.evaluation.similarity import constant_similarity, cosine_similarity, patch_positions, position_similarity


@dataclass(frozen=True)
class FeatureModel:
  """What a protocol may ask of a frozen model; None for what the model does not have.

  Attributes:
    name: a row of the table.
    image_features: `images uint8 [n, H, W, C] -> [n, D]`, one vector an image.
    patch_features: `images uint8 [n, H, W, C] -> [n, N, D]`, one vector a patch, without CLS.
    grid: patches (h, w) of the scenes, h * w = N.
    similarity: between patches; see `jssl.evaluation.similarity`.
    embeddings: `images uint8 [n, H, W, C] -> [n, K]`, the projector's output, which `rankme` prefers to image_features.
  """

  name: str
  image_features: Callable | None = None
  patch_features: Callable | None = None
  grid: tuple[int, int] | None = None
  similarity: Callable = cosine_similarity
  embeddings: Callable | None = None


@dataclass(frozen=True)
class EvaluationData:
  """Data for the protocols; None for what is not there.

  Every split is a source of named arrays (anything with an attribute `arrays`, a mapping) or the mapping itself.
  Labelled splits have `image` uint8 `[n, H, W, C]` and `label [n]`; scenes have `image` and the instance numbers of the
  pixels, `segments` uint8 `[n, H, W]` with 0 for background, and may have `classes [n, instances]`, the class of
  instance k + 1 in column k, -1 for none.

  Attributes:
    train: labelled; the bank of kNN, the training set of the probe, the images of RankMe.
    test: labelled.
    calibration: scenes on which a threshold is chosen.
    scenes: scenes of the test.
    num_classes: of the labels.
  """

  train: Any = None
  test: Any = None
  calibration: Any = None
  scenes: Any = None
  num_classes: int | None = None

  def array(self, split: str, name: str) -> np.ndarray:
    """The named array of a split; ConfigError, by name, if it is not there."""
    source = getattr(self, split)
    arrays = getattr(source, "arrays", source) or {}
    if name not in arrays:
      raise ConfigError(f"The evaluation data has no {split}/{name}; {split} has {sorted(arrays)}.")
    return arrays[name]


class Protocol(NamedTuple):
  """One protocol.

  Attributes:
    run: `run(model, data, features, **numbers) -> dict(metrics=..., parameters=...)`; `features(kind, split)` are those
      of the model, computed once for all protocols.
    defaults: the numbers, all of which can be overridden; others cannot.
    needs: attributes that the model must have.
    splits: attributes that the data must have.
  """

  run: Callable
  defaults: dict
  needs: tuple[str, ...]
  splits: tuple[str, ...]


def _knn(model, data, features, **numbers):
  return knn_accuracy(
    features("image_features", "train"),
    data.array("train", "label"),
    features("image_features", "test"),
    data.array("test", "label"),
    num_classes=data.num_classes,
    **numbers,
  )


def _linear(model, data, features, **numbers):
  return linear_probe(
    features("image_features", "train"),
    data.array("train", "label"),
    features("image_features", "test"),
    data.array("test", "label"),
    num_classes=data.num_classes,
    **numbers,
  )


def _prompt_segmentation(model, data, features, **numbers):
  return prompt_iou(
    features("patch_features", "scenes"),
    data.array("scenes", "segments"),
    features("patch_features", "calibration"),
    data.array("calibration", "segments"),
    grid=model.grid,
    similarity=model.similarity,
    classes=_classes(data),
    **numbers,
  )


def _object_similarity(model, data, features, **numbers):
  return object_overlap(
    features("patch_features", "scenes"),
    data.array("scenes", "segments"),
    grid=model.grid,
    similarity=model.similarity,
    classes=_classes(data),
    **numbers,
  )


def _rankme(model, data, features, *, images, seed, **numbers):
  kind = "embeddings" if model.embeddings is not None else "image_features"
  found = features(kind, "train")
  result = rankme_score(found[np.random.default_rng(seed).permutation(len(found))[:images]], **numbers)
  return result | dict(parameters=result["parameters"] | dict(of=kind, seed=seed))


def _classes(data):
  arrays = getattr(data.scenes, "arrays", data.scenes)
  return arrays.get("classes")


PROTOCOLS = dict(
  knn=Protocol(_knn, dict(k=(10, 20), temperature=0.07, chunk=256), ("image_features",), ("train", "test", "num_classes")),
  linear=Protocol(
    _linear,
    dict(learning_rates=LEARNING_RATES, epochs=100, batch_size=256, momentum=0.9, held_out=0.2, standardize=True, seed=0),
    ("image_features",),
    ("train", "test", "num_classes"),
  ),
  prompt_segmentation=Protocol(
    _prompt_segmentation,
    dict(thresholds=THRESHOLDS, shared_threshold=0.5, random_prompts=5, seed=0, chunk=32),
    ("patch_features", "grid"),
    ("calibration", "scenes"),
  ),
  object_similarity=Protocol(
    _object_similarity, dict(bins=100, max_pairs=2000, seed=0, chunk=16), ("patch_features", "grid"), ("scenes",)
  ),
  rankme=Protocol(_rankme, dict(images=25600, eps=1e-7, center=False, seed=0), ("image_features",), ("train",)),
)


def _known(name: str, names: Iterable[str], what: str) -> None:
  """Raises ConfigError for an unknown name, with the nearest known ones."""
  if name not in names:
    raise ConfigError(f"Unknown {what} {name!r}: {nearest(name, names)}")


def supported_protocols(model: FeatureModel, data: EvaluationData) -> list[str]:
  """Names of the protocols for which the model has the features and the data has the splits."""
  return [name for name, protocol in PROTOCOLS.items() if not _missing(protocol, model, data)]


def _missing(protocol: Protocol, model: FeatureModel, data: EvaluationData) -> list[str]:
  absent = [f"the model {model.name!r} has no {need}" for need in protocol.needs if getattr(model, need) is None]
  return absent + [f"the data has no {split}" for split in protocol.splits if getattr(data, split) is None]


def run_protocols(names: Iterable[str], model: FeatureModel, data: EvaluationData, **overrides: dict) -> dict:
  """Runs protocols on one model.

  Args:
    names: of PROTOCOLS; `supported_protocols` lists those that can be run.
    model: the features; each kind is computed once for each split, whatever the number of protocols.
    data: the splits.
    **overrides: protocol name -> dict of the numbers that replace its defaults.

  Returns:
    protocol name -> `metrics` (name -> number) and `parameters`, and whatever else the protocol returns.

  Raises:
    ConfigError: for an unknown protocol or number, with the nearest names; for an override of a protocol that is not
      run; or if the model or the data lack something, by name.
    ValueError: if a feature is not finite.
  """
  names = list(names)
  for name in names:
    _known(name, PROTOCOLS, "protocol")
    if missing := _missing(PROTOCOLS[name], model, data):
      raise ConfigError(f"Protocol {name!r} cannot be run: {', and '.join(missing)}.")
  for name, numbers in overrides.items():
    _known(name, names, "protocol to override")
    for key in numbers:
      _known(key, PROTOCOLS[name].defaults, f"number of protocol {name!r}")

  @functools.cache
  def features(kind, split):
    found = np.asarray(getattr(model, kind)(data.array(split, "image")))
    if not np.isfinite(found).all():
      raise ValueError(f"The {kind} of {model.name!r} on {split} are not all finite.")
    return found

  return {
    name: PROTOCOLS[name].run(model, data, features, **PROTOCOLS[name].defaults | overrides.get(name, {})) for name in names
  }


def raw_pixel_model(images: np.ndarray, patch: int, scene_size: tuple[int, int]) -> FeatureModel:
  """Baseline: pixels, standardised by the channel statistics of `images [n, H, W, C]` uint8, the training set's."""
  mean, std = channel_statistics(images)
  return FeatureModel(
    name="raw pixels",
    image_features=functools.partial(raw_pixels, mean=mean, std=std),
    patch_features=functools.partial(raw_pixel_patches, patch=patch, mean=mean, std=std),
    grid=(scene_size[0] // patch, scene_size[1] // patch),
  )


def position_model(grid: tuple[int, int]) -> FeatureModel:
  """Baseline: patches are similar if they are near, whatever the image."""
  positions = patch_positions(grid)
  return FeatureModel(
    name="position only",
    patch_features=lambda images: np.broadcast_to(positions, (len(images), *positions.shape)),
    grid=grid,
    similarity=position_similarity,
  )


def foreground_model(grid: tuple[int, int]) -> FeatureModel:
  """Baseline: every patch is similar to every other, so everything is foreground."""
  return FeatureModel(
    name="everything foreground",
    patch_features=lambda images: np.zeros((len(images), grid[0] * grid[1], 1), np.float32),
    grid=grid,
    similarity=constant_similarity,
  )
