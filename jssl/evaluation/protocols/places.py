"""Protocols of one vector a patch, or of the attention to it, on scenes and sequences whose objects are known."""

import functools

import numpy as np

from jssl.errors import ConfigError
from jssl.evaluation.attention_segmentation import attention_iou
from jssl.evaluation.linear_segmentation import linear_segmentation
from jssl.evaluation.mask_propagation import propagation_scores
from jssl.evaluation.neighbour_segmentation import neighbour_segmentation
from jssl.evaluation.object_similarity import object_overlap
from jssl.evaluation.prompt_segmentation import prompt_iou, THRESHOLDS
from jssl.evaluation.protocols.protocol import Protocol
from jssl.evaluation.segmentation import class_map, constant_scores


def _scenes(model, data, features, split, kind="patch_features"):
  """Patch features of a split of scenes, or another kind, and its segments where the model's patches lie."""
  found, segments = features(kind, split), data.array(split, "segments")
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


def _of_pixels(score, model, data, features, **numbers):
  """A score of patches and of the classes of pixels of both splits of scenes, beside what one class for all reaches."""
  splits = ("calibration", "scenes")
  patches, segments = zip(*(_scenes(model, data, features, split) for split in splits), strict=True)
  labels = [data.array(split, "segment_label") for split in splits]
  known = [np.unique(own[own >= 0]) for own in labels]
  classes = np.unique(np.concatenate(known))
  if not len(classes):
    raise ConfigError("segment_label is below 0 everywhere: no object has a class")
  train, test = (class_map(own, label, classes) for own, label in zip(segments, labels, strict=True))
  number = len(classes) + 1
  result = score(patches[0], train, patches[1], test, grid=model.grid, num_classes=number, **numbers)
  unseen = len(np.setdiff1d(known[1], known[0]))
  constant = {f"constant_{name}": round(value, 4) for name, value in constant_scores(test, number).items()}
  more = dict(grid=tuple(model.grid), classes=number, **constant)
  more |= dict(classes_not_in_calibration=unseen) if unseen else {}
  return result | dict(parameters=result["parameters"] | more)


def _neighbour_segmentation(model, data, features, **numbers):
  score = functools.partial(neighbour_segmentation, similarity=model.similarity)
  return _of_pixels(score, model, data, features, **numbers)


def _mask_propagation(model, data, features, **numbers):
  found, segments = _scenes(model, data, features, "sequences")
  frame = data.array("sequences", "frame")
  return propagation_scores(found, segments, frame, grid=model.grid, similarity=model.similarity, **numbers)


def _attention_segmentation(model, data, features, **numbers):
  splits = ("scenes", "calibration")
  maps = (part for split in splits for part in _scenes(model, data, features, split, "attention"))
  return attention_iou(*maps, grid=model.grid, **numbers)


PROTOCOLS = dict(
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
  linear_segmentation=Protocol(
    functools.partial(_of_pixels, linear_segmentation),
    dict(learning_rates=(0.001, 0.003, 0.01, 0.03), steps=300, batch_size=16, held_out=0.2, seed=0, chunk=16),
    ("patch_features", "grid"),
    ("calibration", "scenes"),
    "classes of pixels by a linear layer on frozen patches (mIoU); more than controls and a constant answer is better",
  ),
  neighbour_segmentation=Protocol(
    _neighbour_segmentation,
    dict(memory=10_000, k=30, temperature=0.02, seed=0, chunk=256),
    ("patch_features", "grid"),
    ("calibration", "scenes"),
    "classes of pixels by the nearest labelled patches (mIoU); more than controls and a constant answer is better",
  ),
  mask_propagation=Protocol(
    _mask_propagation,
    dict(k=5, temperature=0.1, previous=7, neighbourhood=12, tolerance=0.008),
    ("patch_features", "grid"),
    ("sequences",),
    "masks of a clip's first frame carried on (J: regions, F: contours); more than position, where nothing moves, is better",
  ),
  attention_segmentation=Protocol(
    _attention_segmentation,
    dict(mass=0.6),
    ("attention", "grid"),
    ("calibration", "scenes"),
    "where the class token looks, as a mask of all objects (IoU); more than controls and everything is better",
  ),
)
