"""What the losses share: precision, unit vectors, and the global batch over a mapped axis.

With `axis_name` set, a loss sees one device's share of the batch. Either it returns the mean over that share, or a
value that is computed through `psum` and `all_gather` and is the same on every device. In both cases the mean over
devices of the value, and of the gradient, is that of the global batch: the transpose of a sum over devices is that sum.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def precise(x: jax.Array) -> jax.Array:
  """At least float32; float64 stays."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def as_views(x: jax.Array | Sequence[jax.Array]) -> list[jax.Array]:
  """A list of views; an array is a single one."""
  return list(x) if isinstance(x, (list, tuple)) else [x]


def l2_normalize(x: jax.Array) -> jax.Array:
  """`x / sqrt(sum x^2 + 1e-12)` over the last axis: a unit vector, and a finite gradient at zero."""
  return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)


def gather(x: jax.Array, axis_name: str | None) -> jax.Array:
  """`[local_batch, ...]` of every device as `[batch, ...]`; gradients flow back to where each row came from."""
  return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def global_sum(x: jax.Array, axis_name: str | None) -> jax.Array:
  return x if axis_name is None else jax.lax.psum(x, axis_name)


def global_mean(x: jax.Array, axis_name: str | None) -> jax.Array:
  """Mean over devices; of local means over equal shares, that is the mean over the global batch."""
  return x if axis_name is None else jax.lax.pmean(x, axis_name)


def positions(local_batch: int, axis_name: str | None) -> jax.Array:
  """Places in the global batch of this device's examples, int32 `[local_batch]`."""
  start = 0 if axis_name is None else jax.lax.axis_index(axis_name) * local_batch
  return start + jnp.arange(local_batch)
