"""Errors that a user can mend: one line that names the thing and what to write instead."""

from collections.abc import Iterable
import difflib
import inspect
from typing import Any


class ConfigError(ValueError):
  """A config, a data set or a workdir that cannot be used. The message is one line and names the place."""


class UnknownPresetError(KeyError):
  """A config without the preset that was asked for; the message names it and those that there are."""


class NonFiniteError(RuntimeError):
  """A run's loss or gradient is no longer finite.

  Attributes:
    step: at which it was seen.
  """

  def __init__(self, message: str, step: int = 0):
    super().__init__(message)
    self.step = step


class CheckpointError(RuntimeError):
  """A run's state could not be kept."""


class Stopped(Exception):  # noqa: N818
  """Raised where a run was told to stop before its end and something waits for its end; the same call goes on."""


def nearest(name: str, known: Iterable[str]) -> str:
  """Says what may have been meant: `"did you mean 'size'?"`, or the list of what there is."""
  known = sorted(known)
  close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  if close:
    return f"did you mean {' or '.join(repr(c) for c in close)}?"
  return f"known: {', '.join(known) or 'none'}"


def is_boolean(parameter: inspect.Parameter) -> bool:
  """Whether a function's parameter is true or false, or None, and never a string."""
  annotation = getattr(parameter.annotation, "__name__", str(parameter.annotation))
  return (isinstance(parameter.default, bool) or "bool" in annotation) and "str" not in annotation


def check_boolean(where: str, value: Any) -> None:
  """Raises `ConfigError` for a string, such as "false", which would count as True."""
  if isinstance(value, str):
    raise ConfigError(f"{where}={value!r}: write True or False")
