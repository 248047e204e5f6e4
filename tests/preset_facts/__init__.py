"""What a reader of the authors' code would check of the imagenet presets, one table a family.

Facts were read in the files that each names; none is taken from the presets themselves.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Facts:
  """Of one preset. Parameters are spoken of by path, and expressions are searched in it, as in `config.optim`.

  Attributes:
    source: where the facts stand.
    decayed: expression of the parameters that are decayed; no other is.
    start: expression to the root of the mean square with which such parameters start: the standard deviation of random
      ones, the size of constant ones; or a function of the shape of the layer's kernel. The first that fits counts, and
      each parameter needs one.
    crops: view to size, smallest and largest area, and filter.
    schedules: place in the config to its values at step 0 and at the end; `optim.lr` is the scaled one.
    optim: other entries of `config.optim`.
    numbers: view to other numbers of it: colours, blur, normalisation.
    networks: place in `config.networks` to a value.
  """

  source: str
  decayed: str
  start: Mapping[str, float | Callable[[tuple[int, ...]], float]]
  crops: Mapping[str, tuple[int, tuple[float, float], str]]
  schedules: Mapping[str, tuple[float, float]]
  optim: Mapping[str, Any]
  numbers: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
  networks: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# Norms, and the biases of most codes.
NORMS = {"/scale$": 1.0, "/bias$": 0.0}
