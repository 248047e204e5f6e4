"""Renaming of weights by one table of patterns in both directions, and a difference when something is left over."""

from collections.abc import Callable, Mapping, Sequence
import itertools
import math
import re
from typing import Any

import jax
import numpy as np

from jssl.checkpoint import fill, named_leaves
from jssl.errors import ConfigError

# A pattern of a whole name, and the path that it becomes: a template for `re.Match.expand`, or a function of the match.
# The path ends as torch's name does, in `weight`, `bias`, `running_mean` or `running_var`, or is that of a bare
# parameter. None drops the array. Where a template makes the path, `convert_back` reads the table from right to left: of
# what the pattern may leave out nothing is written, and of alternatives, which are in groups `(?:a|b)`, the first.
Rule = tuple[str, str | Callable[[re.Match], str] | None]


def convert(source: str, weights: Mapping[str, np.ndarray], like: Any, rules: Sequence[Rule]) -> Any:
  """Fills variables with torch's weights.

  A torch `weight` that is a kernel here changes its layout, `[out, in]` to `[in, out]` and `[out, in, h, w]` to
  `[h, w, in, out]`, and every array takes the shape of its place (heads become an axis) and its dtype.

  Args:
    source: what the weights are called in errors.
    weights: names there to arrays.
    like: variables of a module, or their shapes, `{"params": ..., "batch_stats": ...}`.
    rules: the first whose pattern is a name's counts.

  Returns:
    A tree like `like` with the weights' values.

  Raises:
    ConfigError: a name fits no rule; or names and shapes differ from those of `like`, with what each side has and the
      other has not.
  """
  places = {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(like)
  }
  found, strangers = {}, []
  for name, array in weights.items():
    rule = next(((match, to) for pattern, to in rules if (match := re.fullmatch(pattern, name))), None)
    if rule is None:
      strangers.append(name)
    elif rule[1] is not None:
      match, to = rule
      place = _place(match.expand(to) if isinstance(to, str) else to(match), places)
      found[place] = _fit(np.asarray(array), name, place, places.get(place))
  if strangers:
    more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
    raise ConfigError(f"{source}: no place is known for {', '.join(strangers[:5])}{more}")
  return fill(source, like, found, "the network")


def _place(path: str, places: Mapping[str, Any]) -> str:
  """The name in jssl of a path that ends as torch's names do."""
  module, _, leaf = path.rpartition("/")
  if leaf in ("running_mean", "running_var"):
    return f"batch_stats/{module}/{leaf.removeprefix('running_')}"
  if leaf == "weight":
    leaf = "kernel" if f"params/{module}/kernel" in places else "scale"
  return "/".join(part for part in ("params", module, leaf) if part)


def _fit(array: np.ndarray, name: str, place: str, like) -> np.ndarray:
  """The array in the layout, shape and dtype of its place; in its own shape where the sizes differ."""
  if place.endswith("/kernel") and not name.endswith("kernel"):
    array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
  if like is None:
    return array
  return (array.reshape(like.shape) if array.size == np.prod(like.shape) else array).astype(like.dtype)


def convert_back(goal: str, variables: Any, rules: Sequence[Rule], spelling: str = "(?!)") -> dict[str, np.ndarray]:
  """The inverse of `convert`: a network's arrays under the names of the table.

  Args:
    goal: what they are for, in errors.
    variables: of the network, as `convert` fills them.
    rules: the table.
    spelling: of the names that an array may have, the first that has this regular expression in it is taken; or else the
      first of the table.

  Returns:
    names to arrays: kernels in torch's layout, heads no axis, where the name is one of torch's.

  Raises:
    ConfigError: an array has no name there.
  """
  found, strangers = {}, []
  for place, array in named_leaves(variables).items():
    names = [name for path in _paths(place) for rule in rules for name in _names(path, *rule)]
    if not names:
      strangers.append(place)
      continue
    name = next((name for name in names if re.search(spelling, name)), names[0])
    found[name] = _unfit(np.asarray(array), name, place)
  if strangers:
    more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
    raise ConfigError(f"{goal} has no place for {', '.join(strangers[:5])}{more}")
  return found


def _paths(place: str) -> tuple[str, ...]:
  """The paths that rules may make for a name in jssl: torch's, and its own."""
  kind, _, path = place.partition("/")
  module, slash, leaf = path.rpartition("/")
  if kind == "batch_stats":
    return (f"{module}{slash}running_{leaf}",)
  return (f"{module}{slash}weight", path) if leaf in ("kernel", "scale") else (path,)


def _names(path: str, pattern: str, to: str | Callable | None) -> list[str]:
  """The names of which a rule makes this path."""
  if not isinstance(to, str):
    return []
  pieces = re.split(r"\\(\d)", to)
  numbers = [int(number) for number in pieces[1::2]]
  match = re.fullmatch("([^/]+)".join(map(re.escape, pieces[::2])), path)
  if match is None:
    return []
  names = _spellings(pattern, dict(zip(numbers, match.groups(), strict=True)))
  return [name for name in names if (back := re.fullmatch(pattern, name)) and back.expand(to) == path]


def _spellings(pattern: str, values: Mapping[int, str]) -> list[str]:
  """What a pattern becomes with values for its groups, `(...)`, in the order of the alternatives in `(?:a|b)`."""
  numbers = itertools.count(1)
  text = re.sub(r"\((?!\?)[^()]*\)", lambda _: re.escape(values.get(next(numbers), "")), pattern)
  text = re.sub(r"\(\?:[^()]*\)\?", "", text)
  pieces = [piece.split("|") for piece in re.split(r"\(\?:([^()]*)\)", text)]
  return [re.sub(r"\\(.)", r"\1", "".join(chosen)) for chosen in itertools.product(*pieces)]


def _unfit(array: np.ndarray, name: str, place: str) -> np.ndarray:
  """The inverse of `_fit`."""
  if name.endswith("weight") and place.endswith("/kernel"):
    if array.ndim == 4:
      return array.transpose(3, 2, 0, 1)
    inputs = math.prod(array.shape[:-1]) if place.endswith("/out/kernel") else array.shape[0]
    return array.reshape(inputs, -1).T
  return array.reshape(-1) if name.endswith(".bias") else array
