"""The data of an evaluation: its splits as sources, loaded when a protocol first asks for them."""

from collections.abc import Callable, Mapping

import numpy as np

from jssl.data.source import in_memory, Source
from jssl.errors import ConfigError
from jssl.evaluation.frames import frames_of

SPLITS = ("train", "test", "calibration", "scenes", "sequences")
Split = Source | Mapping[str, np.ndarray] | Callable[[], Source]


class EvaluationData:
  """The splits that protocols read, each a `Source`, a mapping of arrays, or a function that loads one.

  Labelled splits have `image` uint8 `[n, H, W, C]` and `label [n]`; scenes have `image` and the instance numbers of the
  pixels, `segments` uint8 `[n, H, W]` with 0 for background, and may have `segment_label [n, instances]`, the class of
  instance k + 1 in column k, -1 for none. Sequences have `clip` uint8 `[n, T, H, W, C]` and `segments [n, T, H, W]`, which
  are read as frames: see `frames_of`.

  Args:
    train: labelled; the bank of kNN, the training set of the probe, the images of RankMe and of spectra.
    test: labelled.
    calibration: scenes on which a threshold is chosen, or a classifier of patches is fitted.
    scenes: scenes of the test.
    sequences: clips in which objects move.
  """

  def __init__(
    self,
    train: Split | None = None,
    test: Split | None = None,
    calibration: Split | None = None,
    scenes: Split | None = None,
    sequences: Split | None = None,
  ):
    given = dict(zip(SPLITS, (train, test, calibration, scenes, sequences), strict=True))
    self._given = {split: value for split, value in given.items() if value is not None}
    self._sources: dict[str, Source] = {}
    self._arrays: dict[tuple[str, str], np.ndarray] = {}

  def has(self, split: str) -> bool:
    return split in self._given

  @property
  def loaded(self) -> dict[str, Source]:
    """Split -> source, for those that were asked for."""
    return dict(self._sources)

  def source(self, split: str) -> Source:
    """The source of a split.

    Raises:
      ConfigError: if there is none, or it cannot be loaded.
    """
    if split not in self._given:
      raise ConfigError(f"the data has no {split}")
    if split not in self._sources:
      value = self._given[split]
      value = value() if callable(value) and not isinstance(value, (Source, Mapping)) else value
      source = value if isinstance(value, Source) else in_memory(split, value)
      self._sources[split] = frames_of(source) if split == "sequences" else source
    return self._sources[split]

  def array(self, split: str, name: str) -> np.ndarray:
    """A named array of all examples of a split, as it was read together with their images, if it was.

    Raises:
      ConfigError: if the split does not have it, by name.
    """
    source = self.source(split)
    if name not in source.element_spec:
      raise ConfigError(f"{source.name} has no '{name}' ({split}); it has {', '.join(sorted(source.element_spec))}")
    if (split, name) not in self._arrays:
      self._arrays[split, name] = source.get(np.arange(len(source)), (name,))[name]
    return self._arrays[split, name]

  def optional(self, split: str, name: str) -> np.ndarray | None:
    """The same, or None if the split does not have it."""
    return self.array(split, name) if name in self.source(split).element_spec else None

  def remember(self, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keeps what was read with the images: where one cannot be read, another example has taken its place."""
    self._arrays |= {(split, name): array for name, array in arrays.items()}


def class_numbers(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
  """Labels of two splits, which may be any integers >= 0, as numbers of their common classes, in the same order.

  Returns:
    Both as int32 in [0, classes), and the number of classes.

  Raises:
    ConfigError: if labels are not one integer >= 0 an example.
  """
  for split, labels in dict(train=train, test=test).items():
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
      raise ConfigError(f"the labels of {split} must be integers [n]; got {labels.dtype} {list(labels.shape)}")
    if labels.size and labels.min() < 0:
      raise ConfigError(f"{np.sum(labels < 0)} labels of {split} are negative, as of examples without one; leave those out")
  classes, numbers = np.unique(np.concatenate([train, test]), return_inverse=True)
  first, second = np.split(numbers.astype(np.int32), [len(train)])
  return first, second, len(classes)
