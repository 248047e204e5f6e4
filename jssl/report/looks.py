"""What models say of some examples, and these as pictures: what all sections on features begin with."""

from collections.abc import Sequence

import numpy as np

from jssl.data.algebra.derive import rows
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


def some(source: Source, wanted: int) -> Source:
  """At most so many examples of a source, at equal distances; the source itself if it has no more."""
  return source if len(source) <= wanted else rows(source, source.name, spread_out(len(source), wanted))


def drawn(source: Source, wanted: int) -> Source:
  """At most so many examples of a source, drawn at random with seed 0; the source itself if it has no more."""
  chosen = np.random.default_rng(0).permutation(len(source))[:wanted]
  return source if len(source) <= wanted else rows(source, source.name, np.sort(chosen))


def with_raw_pixels(models: Sequence[FeatureModel], source: Source) -> list[FeatureModel]:
  """The models and, beside them, the pixels that the first of them sees, if it sees images through a view."""
  first = models[0]
  if first.view is None or any(model.name == "raw pixels" for model in models):
    return list(models)
  return [*models, raw_pixel_model(EvaluationData(train=source), first.view, first.grid)]


def features(model: FeatureModel, kind: str, source: Source) -> np.ndarray:
  """What a function of a model, `image_features` or another, gives for the examples: float32 `[n, ...]`."""
  title = f"{kind.replace('_', ' ')} of '{model.name}'"
  found, _ = collect(getattr(model, kind), source, model.view, title=title, reads=model.reads)
  return np.asarray(found, np.float32)


def pictures(source: Source, view: View | None, indices: np.ndarray | None = None) -> list[np.ndarray]:
  """Examples, all or those of `indices`, as uint8 images `[H, W, 3]`: as a view shows them, in their own colours, or as is.

  Raises:
    ConfigError: if there is nothing in them to be shown.
  """
  indices = np.arange(len(source)) if indices is None else indices
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


def labels(source: Source) -> np.ndarray | None:
  """One class an example, or None."""
  spec = source.element_spec.get("label")
  if spec is None or spec.shape or np.dtype(spec.dtype).kind not in "iu":
    return None
  return source.get(np.arange(len(source)), ("label",))["label"]
