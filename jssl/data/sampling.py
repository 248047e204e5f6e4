"""Which examples a step reads: a pure function of (seed, step), so that a run resumes at any step at no cost.

Random numbers come from the raw output of Philox, seeded by a SeedSequence. NumPy guarantees both streams from version
to version, which it does not do for the methods of `numpy.random.Generator`.
"""

import functools

import numpy as np


def raw_bits(entropy, count: int) -> np.ndarray:
  """Random uint64 numbers `[count]` that depend on the entropy only; a longer stream starts with the shorter one.

  Args:
    entropy: a tuple of integers >= 0, such as `(seed, epoch)`.
    count: how many.
  """
  return np.random.Philox(np.random.SeedSequence(entropy)).random_raw(count)


def uniform(entropy, shape: tuple[int, ...]) -> np.ndarray:
  """Uniform float64 numbers in [0, 1) of a shape. The first rows stay the same when axis 0 grows."""
  return ((raw_bits(entropy, int(np.prod(shape))) >> np.uint64(11)) * 2.0**-53).reshape(shape)


@functools.lru_cache(maxsize=8)
def epoch_permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
  """The order in which an epoch reads the examples: int64 `[num_examples]`, read-only, from (seed, epoch) alone."""
  order = np.argsort(raw_bits((seed, epoch), num_examples), kind="stable").astype(np.int64)
  order.setflags(write=False)
  return order


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Number of whole batches in an epoch; the incomplete last one is dropped.

  Raises:
    ValueError: if not even one batch can be filled.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
  if batch_size > num_examples:
    raise ValueError(f"batch_size {batch_size} is larger than the data set of {num_examples} examples")
  return num_examples // batch_size


def process_part(batch_size: int, index: int, count: int) -> slice:
  """The examples of a global batch that process `index` of `count` reads: equal, contiguous parts."""
  size = batch_size // count
  return slice(index * size, (index + 1) * size)


def batch_indices(step: int, *, seed: int, num_examples: int, batch_size: int) -> np.ndarray:
  """The examples of one step's global batch.

  Args:
    step: number of the step from the run's start, >= 0.
    seed: >= 0.
    num_examples: size of the data set.
    batch_size: size of the global batch.

  Returns:
    int64 `[batch_size]`, without repetition within an epoch of `steps_per_epoch` steps.
  """
  epoch, position = divmod(int(step), steps_per_epoch(num_examples, batch_size))
  order = epoch_permutation(seed, epoch, num_examples)
  return order[position * batch_size : (position + 1) * batch_size]


def wrapped_indices(step: int, *, seed: int, num_examples: int, batch_size: int) -> np.ndarray:
  """As `batch_indices`, for data of any length that stand beside those whose epochs are counted.

  One epoch follows the other without a gap, within a batch too, so that a small set may have less than a batch.
  """
  places = int(step) * batch_size + np.arange(batch_size)
  epochs = places // num_examples
  parts = [epoch_permutation(seed, int(e), num_examples)[places[epochs == e] % num_examples] for e in np.unique(epochs)]
  return np.concatenate(parts)
