"""From a source to batches: decoded in background threads, started at any step at no cost, built on grain."""

from collections.abc import Callable, Generator
import concurrent.futures
import os

import grain
import numpy as np

from jssl.data.sampling import batch_indices, process_part, steps_per_epoch
from jssl.data.source import complete_batch, DataError, Source
from jssl.errors import nearest


def batches(
  source: Source,
  *,
  batch_size: int,
  seed: int,
  start_step: int,
  stop_step: int,
  keys=None,
  process_index: int = 0,
  process_count: int = 1,
  threads: int | None = None,
  prefetch: int | None = None,
  crops=None,
  order: Callable[..., np.ndarray] = batch_indices,
) -> Generator[dict[str, np.ndarray], None, None]:
  """The batches of the steps `start_step` to `stop_step - 1`.

  What a step reads depends on (seed, step, batch_size) alone, see `jssl.data.batch_indices`.

  Args:
    source: what to read.
    batch_size: of the global batch.
    seed: of the order, >= 0.
    start_step: the first step.
    stop_step: one after the last step.
    keys: names to read, others are dropped; all by default. `index` is always there.
    process_index: this process reads the contiguous slice `process_index` of the global batch ...
    process_count: ... of so many.
    threads: background threads; 0 reads in the caller's thread. By default 2 for arrays in memory, else the number of
      cores up to 16. Each reads a whole batch, or some images of a batch where they are files. Iterators are always read
      in the caller's thread.
    prefetch: batches held ready, by default as many as threads.
    crops: `crops(step, positions [n])` gives the `draw` of `Source.get` for the examples at these places in the global
      batch; for sources with `encoded` images.
    order: which examples a step reads; `jssl.data.wrapped_indices` for sets of any length.

  Returns:
    An iterator of dicts `{key: [batch_size / process_count, ...]}` with `index` int32, the examples' numbers. Errors of
    the background threads are raised at the batch that they belong to. `close()`, or dropping the iterator, stops the
    threads.

  Raises:
    ValueError: if a number is out of range or a key is unknown.
    DataError: while iterating, if the data cannot be read.
  """
  if order is batch_indices:
    steps_per_epoch(len(source), batch_size)
  if not 0 <= process_index < process_count:
    raise ValueError(f"process_index is {process_index}; it must lie in [0, process_count = {process_count})")
  if batch_size % process_count:
    raise ValueError(f"batch_size {batch_size} cannot be split evenly over {process_count} processes")
  if start_step < 0:
    raise ValueError(f"start_step is {start_step}; it must be at least 0")
  names = (
    tuple(key for key in source.element_spec if key != "index")
    if keys is None
    else source.check_keys([key for key in keys if key != "index"])
  )
  part = process_part(batch_size, process_index, process_count)
  if source.read is None:
    return _iterator_batches(source, names, batch_size, start_step, stop_step, part)

  threads = _default_threads(source) if threads is None else threads
  prefetch = threads if prefetch is None else prefetch
  pool, readers = None, threads
  if source.encoded is not None and threads:
    # All threads at the same batch: the first one is there soon, and those under way take the memory of two.
    pool, readers = concurrent.futures.ThreadPoolExecutor(threads), min(2, max(1, prefetch))

  def read(step: int) -> dict[str, np.ndarray]:
    indices = order(step, seed=seed, num_examples=len(source), batch_size=batch_size)[part]
    draw = crops(step, np.arange(batch_size)[part]) if crops else None
    return {**source.get(indices, names, draw, pool), "index": indices.astype(np.int32)}

  options = grain.ReadOptions(num_threads=readers, prefetch_buffer_size=prefetch)
  return _closing(grain.MapDataset.range(start_step, max(start_step, stop_step)).map(read).to_iter_dataset(options), pool)


def _default_threads(source: Source) -> int:
  return 2 if source.arrays is not None else min(16, os.cpu_count() or 1)


def _closing(dataset, pool: concurrent.futures.Executor | None = None) -> Generator[dict[str, np.ndarray], None, None]:
  """Iterates; whatever ends the iteration stops the background threads."""
  iterator = iter(dataset)
  try:
    yield from iterator
  finally:
    iterator.close()
    if pool:
      pool.shutdown(wait=False, cancel_futures=True)


def _iterator_batches(
  source, names, batch_size, start_step, stop_step, part
) -> Generator[dict[str, np.ndarray], None, None]:
  """The user's own batches, checked, and this process's part of them."""
  iterator = iter(source.make_iterator(start_step))
  for step in range(start_step, stop_step):
    try:
      batch = complete_batch(next(iterator), source.name)
    except StopIteration:
      raise DataError(
        f"{source.name} ended before step {step}; it must give a batch for each of the steps {start_step} to {stop_step - 1}"
      ) from None
    for key in names:
      if key not in batch:
        raise DataError(f"{source.name} gave no {key!r} at step {step}; {nearest(key, batch)}")
    size = len(next(iter(batch.values())))
    if size != batch_size:
      raise DataError(f"{source.name} gave {size} examples at step {step}; the global batch is {batch_size}")
    index = batch.get("index", (step * batch_size + np.arange(batch_size)) % len(source))
    yield {key: batch[key][part] for key in names} | {"index": index[part].astype(np.int32)}
