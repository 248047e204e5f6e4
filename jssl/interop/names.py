"""Renaming of torch's weights: a table of patterns, and a difference both ways when something is left over."""

from collections.abc import Callable, Mapping, Sequence
import re
from typing import Any

import jax
import numpy as np

from jssl.checkpoint import fill
from jssl.errors import ConfigError

# A pattern of a whole name, and the path that it becomes: a template for `re.Match.expand`, or a function of the match.
# The path ends as torch's name does, in `weight`, `bias`, `running_mean` or `running_var`, or is that of a bare
# parameter. None drops the array.
Rule = tuple[str, str | Callable[[re.Match], str] | None]


def convert(source: str, weights: Mapping[str, np.ndarray], like: Any, rules: Sequence[Rule]) -> Any:
  """Fills variables with torch's weights.

  A kernel changes its layout, `[out, in]` to `[in, out]` and `[out, in, h, w]` to `[h, w, in, out]`, and every array
  takes the shape of its place (heads become an axis) and its dtype.

  Args:
    source: what the weights are called in errors.
    weights: torch's names to arrays.
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
      found[place] = _fit(np.asarray(array), place, places.get(place))
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


def _fit(array: np.ndarray, place: str, like) -> np.ndarray:
  """The array in the layout, shape and dtype of its place; in its own shape where the sizes differ."""
  if place.endswith("/kernel"):
    array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
  if like is None:
    return array
  return (array.reshape(like.shape) if array.size == np.prod(like.shape) else array).astype(like.dtype)
