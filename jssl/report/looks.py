"""What models say of some examples, and these as pictures: what all sections on features begin with."""

from collections.abc import Sequence

import numpy as np

from jssl.data.source import Source
from jssl.errors import ConfigError
from jssl.evaluation.baselines import raw_pixel_model
from jssl.evaluation.model import FeatureModel
from jssl.evaluation.splits import EvaluationData
from jssl.evaluation.stream import collect
from jssl.evaluation.view import read_batch, View
from jssl.report.figures import picture


def spread_out(count: int, wanted: int) -> np.ndarray:
  """Numbers of at most `wanted` of `count` examples, at equal distances."""
  return np.unique(np.linspace(0, max(count - 1, 0), min(count, wanted)).round().astype(np.int64))


def with_raw_pixels(models: Sequence[FeatureModel], source: Source) -> list[FeatureModel]:
  """The models and, beside them, the pixels that the first of them sees, if it sees images through a view."""
  first = models[0]
  if first.view is None or any(model.name == "raw pixels" for model in models):
    return list(models)
  return [*models, raw_pixel_model(EvaluationData(train=source), first.view, first.grid)]


def features(model: FeatureModel, kind: str, source: Source, indices: np.ndarray) -> np.ndarray:
  """What a function of a model, `image_features` or another, gives for some examples: float32 `[n, ...]`."""
  title = f"{kind.replace('_', ' ')} of '{model.name}'"
  found, _ = collect(getattr(model, kind), source, model.view, indices=indices, title=title, reads=model.reads)
  return np.asarray(found, np.float32)


def pictures(source: Source, indices: np.ndarray, view: View | None) -> list[np.ndarray]:
  """Examples as uint8 images `[H, W, 3]`: as a view shows them in their own colours, or as they are.

  Raises:
    ConfigError: if there is nothing in them to be shown.
  """
  if view is not None:
    shown = np.asarray(view._replace(mean=0.0, std=1.0, grayscale=False)(read_batch(source, indices, view)))
    return [picture(x) for x in shown]
  names = [name for name, spec in source.element_spec.items() if 2 <= len(spec.shape) <= 4]
  if not names:
    raise ConfigError(f"{source.name} has nothing that can be shown; it has {', '.join(source.element_spec) or 'nothing'}")
  name = "image" if "image" in names else names[0]
  values = source.get(indices, (name,))[name]
  low, high = (0, 255) if values.dtype == np.uint8 else (float(values.min()), float(values.max()))
  return [picture(x, low=low, high=high) for x in values]


def labels(source: Source, indices: np.ndarray) -> np.ndarray | None:
  """One class an example, or None."""
  spec = source.element_spec.get("label")
  if spec is None or spec.shape or np.dtype(spec.dtype).kind not in "iu":
    return None
  return source.get(indices, ("label",))["label"]


def unit(vectors: np.ndarray) -> np.ndarray:
  """Vectors `[..., D]` of length 1."""
  return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
