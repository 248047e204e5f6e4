"""Chunked application of a function, so that an evaluation's memory is bounded whatever the size of its data."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def map_chunks(function: Callable, *arrays, chunk: int) -> Any:
  """Applies `function` to consecutive chunks of the leading axis and concatenates what it returns.

  Every call sees exactly `chunk` rows (the last chunk repeats its last row, and the surplus is cut off again), so a
  jitted function is compiled once.

  Args:
    function: `function(*arrays) -> pytree`, all with the same leading axis; row i of the output may only depend on
      row i of the input.
    *arrays: arrays `[n, ...]`, n >= 1.
    chunk: rows a call.

  Returns:
    The pytree of NumPy arrays `[n, ...]`.

  Raises:
    ValueError: if the arrays are empty or differ in their leading axis.
  """
  lengths = {len(array) for array in arrays}
  if len(lengths) != 1 or 0 in lengths:
    raise ValueError(f"Expected arrays of one common, non-zero length; found lengths {sorted(lengths)}.")
  if chunk < 1:
    raise ValueError(f"chunk={chunk} must be at least 1.")
  (n,) = lengths
  outputs = []
  for start in range(0, n, chunk):
    rows = min(chunk, n - start)
    take = np.minimum(np.arange(start, start + chunk), n - 1)
    pieces = jax.device_get(function(*(array[take] for array in arrays)))
    outputs.append(jax.tree.map(lambda piece, rows=rows: np.asarray(piece)[:rows], pieces))
  return jax.tree.map(lambda *pieces: np.concatenate(pieces), *outputs)
