"""Features of a whole split, batch by batch: memory holds the features and two batches, whatever the split's size."""

from collections.abc import Callable, Iterator
import concurrent.futures
import os
import time
from typing import Any

import numpy as np

from jssl import logging
from jssl.data.source import Source
from jssl.errors import ConfigError
from jssl.evaluation.view import length, read_batch, View

BATCH = 256
PROGRESS_SECONDS = 10.0  # between two lines


def batches_in_order(
  read: Callable[[np.ndarray], dict[str, np.ndarray]], indices: np.ndarray, *, batch_size: int = BATCH, threads: int = 1
) -> Iterator[dict[str, np.ndarray]]:
  """What `read(indices) -> {name: [n, ...]}` gives for consecutive parts of `indices`; the last one may be smaller.

  The threads share a batch, and read the next one while the caller works on the one before: no more than two are held.
  """
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:

    def start(begin):
      part = indices[begin : begin + batch_size]
      return [pool.submit(read, piece) for piece in np.array_split(part, min(threads, len(part)))]

    waiting = start(0)
    try:
      for begin in range(0, len(indices), batch_size):
        pieces = [future.result() for future in waiting]
        waiting = start(begin + batch_size) if begin + batch_size < len(indices) else []
        batch = pieces[0] if len(pieces) == 1 else {key: np.concatenate([p[key] for p in pieces]) for key in pieces[0]}
        del pieces
        yield batch
    finally:
      for future in waiting:
        future.cancel()


def collect(
  function: Callable[[dict[str, np.ndarray]], Any],
  source: Source,
  view: View | None,
  *,
  more: tuple[str, ...] = (),
  indices: np.ndarray | None = None,
  title: str = "",
  batch_size: int = BATCH,
  reads: tuple[str, ...] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Applies a function to the batches of a source in order, every example once.

  Args:
    function: `function(batch) -> [n, ...]`, of what `read_batch` gives for n <= batch_size examples.
    source: the examples.
    view: through which they are read, see `read_batch`.
    more: names of other arrays of the examples, which are put together as they are.
    indices: of the examples; all by default.
    title: for the progress line, which is logged every ten seconds.
    batch_size: examples a call.
    reads: names of what the function reads, in the place of images.

  Returns:
    What the function gave for all of them `[examples, ...]`, and those arrays of `more` that the source has, by name.

  Raises:
    ConfigError: if there is no example, if the source has no random access, or if what the function gives is not finite.
  """
  if not len(source):
    raise ConfigError(f"{source.name} has no examples")
  if source.read is None:
    raise ConfigError(f"{source.name} is an iterator, which an evaluation cannot read; give arrays or a folder")
  indices = np.arange(len(source)) if indices is None else indices
  count = len(indices)
  more = tuple(key for key in more if key in source.element_spec)
  threads = 1 if source.arrays is not None else min(16, os.cpu_count() or 1)
  read = lambda indices: read_batch(source, indices, view, more, reads)
  features, rest, done = np.empty(0), {}, 0
  progress = Progress(f"{title} on {source.name}".strip(), count)
  shared = {key: source.whole[key] for key in reads or () if key in source.whole}
  for batch in batches_in_order(read, indices, batch_size=batch_size, threads=threads):
    found = np.asarray(function(batch | shared))
    n = length(batch)
    if len(found) != n:
      raise ConfigError(
        f"{title}: features of shape {list(found.shape)} for {n} examples; the first axis must be the example"
      )
    if not np.isfinite(found).all():
      raise ConfigError(f"the features of {title} on {source.name} are not all finite")
    if not done:
      features = np.empty((count, *found.shape[1:]), found.dtype)
      rest = {key: np.empty((count, *batch[key].shape[1:]), batch[key].dtype) for key in more if key in batch}
    features[done : done + n] = found
    for key, whole in rest.items():
      whole[done : done + n] = batch[key]
    done += n
    progress.update(done)
  return features, rest


class Progress:
  """A line in the log every ten seconds: how many examples are done, how fast, and how long it will take."""

  def __init__(self, title: str, count: int):
    self._title, self._count = title, count
    self._start = self._said = time.monotonic()

  def update(self, done: int) -> None:
    now = time.monotonic()
    if now - self._said < PROGRESS_SECONDS or done >= self._count:
      return
    self._said = now
    speed = done / (now - self._start)
    minutes, seconds = divmod(int((self._count - done) / speed), 60)
    logging.log.info(
      "%s: %d of %d examples, %.0f examples/s, %dm%02ds left", self._title, done, self._count, speed, minutes, seconds
    )
