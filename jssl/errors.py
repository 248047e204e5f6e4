"""Errors that a user can mend: one line that names the thing and what to write instead."""

from collections.abc import Iterable
import difflib


class ConfigError(ValueError):
  """A config, a data set or a workdir that cannot be used. The message is one line and names the place."""


class UnknownPresetError(KeyError):
  """A config without the preset that was asked for; the message names it and those that there are."""


class NonFiniteError(RuntimeError):
  """A run's loss or gradient is no longer finite."""


class CheckpointError(RuntimeError):
  """A run's state could not be kept."""


def nearest(name: str, known: Iterable[str]) -> str:
  """Says what may have been meant: `"did you mean 'size'?"`, or the list of what there is."""
  known = sorted(known)
  close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  if close:
    return f"did you mean {' or '.join(repr(c) for c in close)}?"
  return f"known: {', '.join(known) or 'none'}"
