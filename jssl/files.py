"""Users' paths, numbers that JSON does not have, and files that others may read while they are written."""

from collections.abc import Generator
import contextlib
import json
import math
import os
import pathlib
from typing import Any

from jssl.errors import ConfigError


def user_path(path: str | os.PathLike) -> pathlib.Path:
  """A path as a user writes it, `~` and `~name` being home folders, also where no shell has seen to it.

  Raises:
    ConfigError: if there is no such user.
  """
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise ConfigError(f"{path}: {error}") from error


def finite(value: Any) -> Any:
  """The value with None in place of every float that is not finite, at any depth: JSON has no NaN and no infinity."""
  if isinstance(value, dict):
    return {key: finite(inner) for key, inner in value.items()}
  if isinstance(value, (list, tuple)):
    return [finite(inner) for inner in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def dump_json(value: Any, **options) -> str:
  """JSON as the standard has it (RFC 8259), see `finite`; options are those of `json.dumps`."""
  return json.dumps(finite(value), allow_nan=False, **options)


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Generator[pathlib.Path, None, None]:
  """Where to write what is moved to `path` afterwards: whoever reads there finds the old file or the new, never a part."""
  partial = path.with_suffix(".tmp")
  yield partial
  partial.replace(path)


def write_whole(path: pathlib.Path, text: str) -> None:
  """Writes a text by `whole_file`."""
  with whole_file(path) as partial:
    partial.write_text(text)
