"""What a public function of arrays is given: the kinds of its arguments, and checks that name what does not fit.

The checks read shapes, dtypes and constants alone. Under `jax.jit`, `jax.vmap` and `jax.grad` they run while the function
is traced and leave nothing in the compiled program.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import operator
import re
from typing import Any, NamedTuple

import jax
from jax.core import Tracer
import jax.numpy as jnp
import numpy as np

Number = float | jax.Array  # a constant, or the value of a schedule in this step
Range = tuple[float, float]  # (low, high)
Views = jax.Array | Sequence[jax.Array]  # an array, or several of the same images
Loss = tuple[jax.Array, dict[str, jax.Array]]  # a scalar, and scalar metrics by name

_KINDS: Mapping[str, tuple[tuple, str]] = {
  "float": ((jnp.floating,), "floats"),
  "int": ((jnp.integer,), "integers"),
  "bool": ((jnp.bool_,), "booleans"),
  "mask": ((jnp.bool_, jnp.floating), "booleans or floats"),
  "any": ((jnp.generic,), "numbers"),
}


def as_views(x: Views) -> list[jax.Array]:
  """A list of views; an array is a single one."""
  return list(x) if isinstance(x, Sequence) else [x]


def check_arrays(function: str, **arrays: tuple[Any, str]) -> None:
  """Raises unless arrays have the kinds and the shapes that are asked for, and agree in the axes of the same name.

  A pattern reads like a docstring: `float [batch, dim]`. The kind is `float`, `int`, `bool`, `mask` (bool or float) or
  `any`; `views of float [batch, dim]` takes a list or a tuple of such arrays too. An axis is a name, a number, `...` for
  any axes, or `*name` for axes that agree with those of the same name. Nothing is broadcast: `[1, dim]` does not fit
  `[batch, dim]`, nor `[batch]` `[batch, 1]`.

  Args:
    function: name of the function whose arguments these are.
    **arrays: name -> `(value, pattern)`; None is left out.

  Raises:
    ValueError: in one line, with the names and the shapes of what does not fit.

  Example:

    >>> query, key = jnp.zeros((64, 128)), jnp.zeros((32, 128))
    >>> check_arrays("info_nce_loss", query=(query, "float [batch, dim]"), key=(key, "float [batch, dim]"))
    Traceback (most recent call last):
    ValueError: info_nce_loss: query [64, 128] and key [32, 128] differ in batch; key must be float [batch, dim]
  """
  bound: dict[str, tuple[Any, str]] = {}
  for name, (value, wanted) in arrays.items():
    pattern = wanted.removeprefix("views of ")
    several = pattern != wanted and isinstance(value, (list, tuple))
    if several and not value:
      raise ValueError(f"{function}: {name} holds no array; it must be {wanted}")
    for i, array in enumerate(value if several else [value]):
      if array is not None:
        _check_array(function, f"{name}[{i}]" if several else name, array, pattern, bound)


def check_values(function: str, **values: tuple[Any, str]) -> None:
  """Raises unless numbers lie in the intervals that are asked for; NaN lies in none.

  An interval is written as in mathematics: `(0, inf)`, `[0, 1)`. `int [1, inf)` asks for a whole number, and
  `range (0, 1)` for a pair low <= high within the interval. The value of a schedule is not known while a function is
  traced, and passes.

  Args:
    function: name of the function whose arguments these are.
    **values: name -> `(value, interval)`; None is left out.

  Raises:
    ValueError: in one line, with the name and the value.

  Example:

    >>> check_values("block_mask", prob=(0.0, "(0, 1]"))
    Traceback (most recent call last):
    ValueError: block_mask: prob=0.0 must lie in (0, 1]
  """
  for name, (value, wanted) in values.items():
    kind, interval, inside = _interval(wanted)
    parts = list(value) if kind == "range" and isinstance(value, (list, tuple)) else [value]
    if value is None or any(isinstance(part, Tracer) for part in parts):
      continue
    numbers = all(map(_is_number, parts))
    if kind == "range":
      if not numbers or len(parts) != 2 or not (parts[0] <= parts[1] and all(map(inside, parts))):
        raise ValueError(f"{function}: {name}={value} must be (low, high) with low <= high, both in {interval}")
    elif not numbers or (kind == "int" and not isinstance(value, (int, np.integer))):
      raise ValueError(f"{function}: {name}={value!r} must be a {'whole ' if kind else ''}number in {interval}")
    elif not inside(value):
      raise ValueError(f"{function}: {name}={value} must lie in {interval}")


def check_grid(function: str, grid: Any, axes: int | None = None) -> None:
  """Raises unless `grid` holds positive whole numbers, as many as there are axes.

  Args:
    function: name of the function whose argument it is.
    grid: numbers of patches along each axis.
    axes: how many there must be; None for any number.

  Raises:
    ValueError: in one line, with the grid.

  Example:

    >>> check_grid("block_mask", (14,), axes=2)
    Traceback (most recent call last):
    ValueError: block_mask: grid=(14,) must hold 2 positive whole numbers, one an axis
  """
  sides = tuple(grid) if isinstance(grid, (list, tuple)) else ()
  whole = all(isinstance(side, (int, np.integer)) and side > 0 for side in sides)
  if not sides or not whole or (axes is not None and len(sides) != axes):
    number = "" if axes is None else f"{axes} "
    raise ValueError(f"{function}: grid={grid} must hold {number}positive whole numbers, one an axis")


class _Pattern(NamedTuple):
  kind: str
  before: tuple[str, ...]
  rest: str | None  # `...` or `*name`; None where the rank is fixed
  after: tuple[str, ...]


@functools.cache
def _parse(pattern: str) -> _Pattern:
  match = re.fullmatch(r"(\w+) \[(.*)\]", pattern)
  if match is None or match[1] not in _KINDS:
    raise AssertionError(f"not a pattern of arrays: {pattern!r}")
  axes = tuple(axis.strip() for axis in match[2].split(",") if axis.strip())
  rest = [i for i, axis in enumerate(axes) if axis == "..." or axis[0] == "*"]
  if not rest:
    return _Pattern(match[1], axes, None, ())
  (at,) = rest
  return _Pattern(match[1], axes[:at], axes[at], axes[at + 1 :])


def _check_array(function: str, name: str, array: Any, pattern: str, bound: dict[str, tuple[Any, str]]) -> None:
  kind, before, rest, after = _parse(pattern)
  if not hasattr(array, "shape") or not hasattr(array, "dtype"):
    raise ValueError(f"{function}: {name} is a {type(array).__name__}, not an array; it must be {pattern}")
  shape = tuple(array.shape)
  title = f"{name} {list(shape)}"
  kinds, words = _KINDS[kind]
  if not any(jnp.issubdtype(array.dtype, k) for k in kinds):
    raise ValueError(f"{function}: {title} is of {array.dtype}; it must be {words}, {pattern}")
  if len(shape) < len(before) + len(after) or (rest is None and len(shape) != len(before)):
    raise ValueError(f"{function}: {title} must be {pattern}")
  if 0 in shape:
    raise ValueError(f"{function}: {title} is empty; it must be {pattern}")
  end = len(shape) - len(after)
  sizes: list[tuple[str, Any]] = [*zip(before, shape[: len(before)], strict=True), *zip(after, shape[end:], strict=True)]
  if rest is not None and rest != "...":
    sizes.append((rest, shape[len(before) : end]))
  for axis, size in sizes:
    if axis.isdigit() and size != int(axis):
      raise ValueError(f"{function}: {title} must be {pattern}")
    known, first = bound.setdefault(axis, (size, title))
    if known != size:
      what = "shape" if axis[0] == "*" else axis
      raise ValueError(f"{function}: {first} and {title} differ in {what}; {name} must be {pattern}")


@functools.cache
def _interval(text: str) -> tuple[str, str, Callable[[Any], bool]]:
  """The kind of number that is asked for, the interval, and its test, which NaN fails."""
  match = re.fullmatch(r"(?:(int|range) )?(([\[(])(\S+), (\S+)([\])]))", text)
  if match is None:
    raise AssertionError(f"not an interval: {text!r}")
  kind, interval, left, low, high, right = match.groups()
  above = operator.ge if left == "[" else operator.gt
  below = operator.le if right == "]" else operator.lt
  return kind or "", interval, lambda x: bool(np.all(above(x, float(low)) & below(x, float(high))))


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float, np.number)) or (hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.number))
