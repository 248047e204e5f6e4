"""Files that others may read while they are written."""

import pathlib


def write_whole(path: pathlib.Path, text: str) -> None:
  """Writes a file beside its place and then moves it there: whoever reads finds the old text or the new, never a part."""
  partial = path.with_suffix(".tmp")
  partial.write_text(text)
  partial.replace(path)
