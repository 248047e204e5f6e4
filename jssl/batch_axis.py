"""The global batch, seen from one device: `axis_name` is the mapped axis over which it is split, or None."""

from typing import TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")


def gather(x: jax.Array, axis_name: str | None) -> jax.Array:
  """`[local_batch, ...]` of every device as `[batch, ...]`; gradients flow back to where each row came from."""
  return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def global_sum(x: Tree, axis_name: str | None) -> Tree:
  """Sum over devices of an array, of each of several, or of a number."""
  return x if axis_name is None else jax.lax.psum(x, axis_name)


def global_mean(x: Tree, axis_name: str | None) -> Tree:
  """Mean over devices; of local means over equal shares, that is the mean over the global batch."""
  return x if axis_name is None else jax.lax.pmean(x, axis_name)


def positions(local_batch: int, axis_name: str | None) -> jax.Array:
  """Places in the global batch of this device's examples, int32 `[local_batch]`."""
  start = 0 if axis_name is None else jax.lax.axis_index(axis_name) * local_batch
  return start + jnp.arange(local_batch)


def global_size(local_batch: int, axis_name: str | None) -> int:
  """Examples in the global batch."""
  return local_batch if axis_name is None else local_batch * jax.lax.axis_size(axis_name)
