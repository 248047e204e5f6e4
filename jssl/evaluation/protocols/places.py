"""Protocols of one vector a patch, on scenes whose objects are known."""

from jssl.errors import ConfigError
from jssl.evaluation.object_similarity import object_overlap
from jssl.evaluation.prompt_segmentation import prompt_iou, THRESHOLDS
from jssl.evaluation.protocols.protocol import Protocol


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
)
