"""What a protocol is."""

from collections.abc import Callable
from typing import NamedTuple


class Protocol(NamedTuple):
  """One protocol.

  Attributes:
    run: `run(model, data, features, **numbers) -> dict(metrics=..., parameters=...)`; `features(kind, split)` are those
      of the model, computed once for all protocols (a `jssl.evaluation.split_features.SplitFeatures`, which also has
      those of some examples and of drawn views), and `data.array(split, name)` what the examples have beside images.
    defaults: the numbers, all of which can be overridden; others cannot.
    needs: attributes that the model must have.
    splits: splits that the data must have.
    meaning: what the numbers are, which way is better, and what they are to be held against, in one line.
    labels: splits whose examples must have a `label`.
  """

  run: Callable
  defaults: dict
  needs: tuple[str, ...]
  splits: tuple[str, ...]
  meaning: str = ""
  labels: tuple[str, ...] = ()
