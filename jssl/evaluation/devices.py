"""A function of a batch, run on all devices of this process in batches of one size."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import numpy as np

from jssl.evaluation.stream import BATCH
from jssl.evaluation.view import as_batch, check_images, length
from jssl.parallel import Parallel


def on_devices(function: Callable, state: Any = ()) -> Callable[[Any], np.ndarray]:
  """Compiles `function(state, batch) -> [n, ...]`, row i of whose output depends on row i of the batch alone.

  Args:
    function: hashable; of two that are equal one is compiled. Its `view`, if it has one, says which images it takes; its
      `reads`, if it has them, name what it takes in the place of images, and its `whole` those of them that have no axis
      of examples.
    state: arrays that it needs, whole on every device.

  Returns:
    A function of a batch of any length, or of images alone, to a NumPy array `[n, ...]`. What does not fill the devices is
    padded with its last row, and the surplus is cut off again. It has the same `reads`.
  """
  sent = None
  shared: tuple[dict, Any] = ({}, {})  # whole arrays, and the same on the devices
  channels = getattr(getattr(function, "view", None), "channels", None)
  reads = getattr(function, "reads", None)

  def call(images):
    nonlocal sent, shared
    batch = {key: np.asarray(x) for key, x in as_batch(images).items() if key in (reads or ("image", "extent", "shown"))}
    if reads is None:
      check_images(batch, channels)
    whole = {key: batch.pop(key) for key in getattr(function, "whole", ())}
    n, devices = length(batch), tuple(jax.local_devices())
    size = len(devices) * -(-min(n, BATCH) // len(devices))
    parallel, compiled = _compiled(function, size, devices)
    sent = parallel.put_replicated(state) if sent is None else sent
    if any(whole[key] is not shared[0].get(key) for key in whole):
      shared = (whole, parallel.put_replicated(whole))
    parts = []
    for start in range(0, n, size):
      take = np.minimum(np.arange(start, start + size), n - 1)
      part = batch if size == n else {key: x[take] for key, x in batch.items()}
      parts.append(np.asarray(compiled(sent, shared[1], parallel.put_batch(part)))[: n - start])
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

  setattr(call, "reads", reads)  # noqa: B010
  return call


@functools.lru_cache(maxsize=16)
def _compiled(function: Callable, batch_size: int, devices: tuple):
  parallel = Parallel("jit", batch_size, devices=devices)
  return parallel, parallel.compile(lambda state, arrays, batch: function(state, arrays | batch), gather=True)
