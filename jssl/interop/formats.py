"""What a format of public weights says of itself: which names belong to which network, and what network that is."""

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
