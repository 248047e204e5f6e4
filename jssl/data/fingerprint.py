"""What tells one data set from another, in a few lines of JSON."""

from collections.abc import Mapping
import hashlib
from typing import Any

import numpy as np

SAMPLED = 32  # examples of a set that is not in memory
_WHOLE_BYTES = 1 << 28  # arrays up to this size are hashed whole, in a fraction of a second


def fingerprint(source) -> dict[str, Any]:
  """Name, length, types and shapes, and a hash of a `Source`.

  Args:
    source: whose arrays in memory are hashed whole if they are small; otherwise `SAMPLED` examples at equal distances,
      the first and the last among them. An iterator has no random access: of it the first batch counts, if it was drawn
      to see what it holds.

  Returns:
    `name`, `examples`, `arrays` (name -> type and shape of one example), and `sha256`, or `first_batch` of an iterator.
    Of a source with whole arrays also `whole`, their types and shapes, and `whole_sha256`, of some rows of large ones.
  """
  arrays = {name: f"{np.dtype(x.dtype)}{list(x.shape)}" for name, x in sorted(source.element_spec.items())}
  found: dict[str, Any] = dict(name=source.name, examples=len(source), arrays=arrays)
  if source.whole:
    found["whole"] = {name: f"{x.dtype}{list(x.shape)}" for name, x in sorted(source.whole.items())}
    found["whole_sha256"] = digest(
      {name: x if x.nbytes <= _WHOLE_BYTES else x[_spread(len(x))] for name, x in source.whole.items()}
    )
  if source.read is None:
    return found | dict(first_batch=source.first_batch)
  if source.arrays is not None and sum(x.nbytes for x in source.arrays.values()) <= _WHOLE_BYTES:
    return found | dict(sha256=digest(source.arrays))
  return found | dict(sha256=digest(source.get(_spread(len(source)))))


def _spread(count: int) -> np.ndarray:
  """At most `SAMPLED` numbers below `count` at equal distances, the first and the last among them."""
  return np.unique(np.linspace(0, count - 1, SAMPLED).round().astype(np.int64))


def digest(arrays: Mapping[str, np.ndarray]) -> str:
  """SHA-256 of named arrays, in the order of their names."""
  found = hashlib.sha256()
  for name, array in sorted(arrays.items()):
    array = np.ascontiguousarray(array)
    found.update(f"{name} {array.dtype} {array.shape}\n".encode())
    found.update(array.reshape(-1).view(np.uint8))
  return found.hexdigest()
