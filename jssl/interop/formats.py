"""What a format of public weights says of itself: which names belong to which network, and what network that is.

And what is said of a network that is written in one.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl.interop.files import Contents
from jssl.interop.names import Rule

Weights = Mapping[str, np.ndarray]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Described(NamedTuple):
  """A network of a file.

  Attributes:
    network: as a config's `networks` has it: `fn`, numbers, `heads`.
    weights: its arrays by the names that the rules know.
    rules: from these names to those of `jssl.models.Network`, see `jssl.interop.names`.
    inputs: shapes of what the network is called with.
    notes: what a reader should know, a sentence each.
  """

  network: dict[str, Any]
  weights: Weights
  rules: tuple[Rule, ...]
  inputs: tuple[jax.ShapeDtypeStruct, ...]
  notes: tuple[str, ...] = ()


class Part(NamedTuple):
  """A network that a file of this format may hold.

  Attributes:
    names: regular expression of the whole names of its arrays; group 1 is what `describe` gets to see of them.
    describe: `(weights, contents, num_heads)` to what the network is. `num_heads` is what a caller knows, or None.
  """

  names: str
  describe: Callable[[Weights, Contents, int | None], Described]


class Format(NamedTuple):
  """A family of files.

  Attributes:
    parts: name to network.
    recognised: whether contents are of this format beyond doubt.
    other: regular expression of the names of what is left behind (classifiers, the optimizer).
    colours: `(mean, std)` of the images that the networks want; a function of the contents, None where they do not say.
    extras: arrays that are no network's: name to a regular expression of the name in the file.
  """

  parts: Mapping[str, Part]
  recognised: Callable[[Contents], bool]
  other: str = r"(?:optimizer|scaler|opt|fp16_scaler)\..*|epoch"
  colours: Callable[[Contents], tuple[tuple[float, ...], tuple[float, ...]] | None] = lambda contents: IMAGENET
  extras: Mapping[str, str] = {}


class Preprocessing(NamedTuple):
  """What a network's images go through before it sees them; what they are called in `jssl.evaluation.view.View`.

  Attributes:
    size: (height, width) of the middle of an image that is cut out.
    mean, std: of the pixels, in [0, 1], a number a channel; None where they are not known.
    resize_to: pixels of the shorter side before that; None for the fewest that the cut fits into.
    interpolation: "bicubic" or "bilinear".
  """

  size: tuple[int, int]
  mean: tuple[float, ...] | None
  std: tuple[float, ...] | None
  resize_to: int | None = None
  interpolation: str = "bicubic"


class Written(NamedTuple):
  """A network in the names of a format.

  Attributes:
    weights: names to arrays.
    config: what `config.json` says.
    left: names in jssl of what has no place there and changes no feature.
    notes: what a reader should know, a sentence each.
  """

  weights: dict[str, np.ndarray]
  config: dict[str, Any]
  left: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()


def preprocessor_colours(contents: Contents) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
  """Mean and standard deviation of a `preprocessor_config.json`."""
  colours = contents.preprocessor
  if not {"image_mean", "image_std"} <= colours.keys():
    return None
  return tuple(colours["image_mean"]), tuple(colours["image_std"])


def under(prefix: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
  """The rules with a prefix before every path that they make."""

  def moved(to):
    if to is None or isinstance(to, str):
      return to and prefix + to
    return lambda match: prefix + to(match)

  return tuple((pattern, moved(to)) for pattern, to in rules)


def image_input(size: int | tuple[int, int], channels: int) -> tuple[jax.ShapeDtypeStruct, ...]:
  """The input of a network that sees one image."""
  sides = (size, size) if isinstance(size, int) else tuple(size)
  return (jax.ShapeDtypeStruct((1, *sides, channels), np.float32),)
