"""A model's features of the splits of an evaluation's data, each kind computed once for all protocols."""

from typing import Any

import numpy as np

from jssl.errors import ConfigError
from jssl.evaluation.drawn import Edit
from jssl.evaluation.model import FeatureModel
from jssl.evaluation.splits import EvaluationData
from jssl.evaluation.stream import collect

# What is read with the images, of the splits that have it.
_SCENE = ("segments", "segment_label", "extent", "frame")
_WITH = dict(
  image_features=("label",),
  block_features=("label",),
  embeddings=("label",),
  logits=("label",),
  patch_features=("label", *_SCENE),
  attention=_SCENE,
)


class SplitFeatures:
  """What protocols are handed as `features`.

  Args:
    model: a row of the table.
    data: the splits.
  """

  def __init__(self, model: FeatureModel, data: EvaluationData):
    self._model, self._data = model, data
    self._found: dict[tuple, Any] = {}

  def __call__(self, kind: str, split: str) -> np.ndarray:
    """One kind of features, an attribute of `FeatureModel`, of all examples of a split, in their order: `[n, ...]`.

    Raises:
      ConfigError: if there is no such split, or the features are not finite.
    """
    if (kind, split) not in self._found:
      function, more = getattr(self._model, kind), _WITH.get(kind, ())
      found, rest = self._collect(function, kind, split, more=more, reads=self._model.reads)
      self._data.remember(split, rest)
      self._found[kind, split] = found
    return self._found[kind, split]

  def some(self, kind: str, split: str, images: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The same of some examples, drawn by the seed, in the order of the draw.

    Of all that are there already, where they are; else no others are computed.

    Returns:
      `[images, ...]`, or of all examples, if there are fewer; and what was read with them, such as `label`, by name.
    """
    indices = np.random.default_rng(seed).permutation(len(self._data.source(split)))[:images]
    if (kind, split) in self._found or len(indices) == len(self._data.source(split)):
      whole = self(kind, split)
      arrays = {name: self._data.optional(split, name) for name in _WITH.get(kind, ())}
      return whole[indices], {name: array[indices] for name, array in arrays.items() if array is not None}
    if (kind, split, images, seed) not in self._found:
      function, more, reads = getattr(self._model, kind), _WITH.get(kind, ()), self._model.reads
      self._found[kind, split, images, seed] = self._collect(function, kind, split, more=more, reads=reads, indices=indices)
    return self._found[kind, split, images, seed]

  def chosen(self, split: str, images: int, seed: int) -> np.ndarray:
    """The numbers of the images that `drawn` and `edited` take of a split, sorted."""
    return np.sort(np.random.default_rng(seed).permutation(len(self._data.source(split)))[:images])

  def drawn(self, kind: str, split: str, *, images: int, views: int, seed: int) -> np.ndarray:
    """The same of several views of some images, by the run's own augmentation, see `jssl.evaluation.drawn`.

    Args:
      kind: "image_features" or "embeddings".
      split: of the images.
      images: how many, drawn from the split; all of them, if it has no more.
      views: of each.
      seed: of what is drawn.

    Returns:
      `[images, views, dim]`.

    Raises:
      ConfigError: if the model has no such views, or the features are not finite.
    """
    return self._of_views("drawn", kind, split, images, views, seed)

  def edited(self, kind: str, split: str, *, images: int, edits: tuple[Edit, ...], seed: int) -> np.ndarray:
    """The same of edits of some images, `[images, edits, dim]`."""
    return self._of_views("edited", kind, split, images, edits, seed)

  def _of_views(self, by: str, kind: str, split: str, images: int, which: Any, seed: int) -> np.ndarray:
    key = (by, kind, split, images, which, seed)
    if key not in self._found:
      function = getattr(self._model, by)(kind, which, seed=seed)
      reads = getattr(function, "reads", ("image", "extent", "index"))
      if "extent" not in self._data.source(split).element_spec:  # as of images without padding
        reads = tuple(name for name in reads if name != "extent")
      chosen = self.chosen(split, images, seed)
      self._found[key], _ = self._collect(function, f"{kind} of {by} views", split, reads=reads, indices=chosen)
    return self._found[key]

  def _collect(self, function, title, split, **options):
    if not self._data.has(split):
      raise ConfigError(f"the data has no {split}")
    title = f"{title.replace('_', ' ')} of '{self._model.name}'"
    return collect(function, self._data.source(split), self._model.view, title=title, **options)
