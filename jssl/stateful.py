"""State as a value: queues, centers and per-example tables, in the manner of optax."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.batch_axis import gather


class Stateful(NamedTuple):
  """A target or a loss that remembers something from step to step.

  Attributes:
    init: `init(*reads, **numbers) -> state`, where `reads` are `jax.ShapeDtypeStruct`s of the arrays that the config names.
    apply: `apply(state, *reads, **numbers) -> (output, new_state)`. It is called once a step; what it returns as new
      state is used from the next step on.
  """

  init: Callable
  apply: Callable

  def __call__(self, *args, **kwargs):
    """Refuses: a state must go in and come out."""
    name = getattr(self.apply, "__name__", "this")
    raise TypeError(
      f"{name} keeps a state from step to step and is no function: `state = f.init(*arrays, **numbers)` once, then "
      "`output, state = f.apply(state, *arrays, **numbers)` at each step"
    )


def random_queue(rng: jax.Array, *, size: int, dim: int) -> jax.Array:
  """A queue before its first step, as MoCo has it: random directions, float32 `[size, dim]` of norm 1."""
  return l2_normalize(jax.random.normal(rng, (size, dim), jnp.float32), eps=0.0)


def enqueue(queue: jax.Array, rows: jax.Array, *, axis_name: str | None = None) -> jax.Array:
  """Puts a batch at the front of a first-in, first-out queue and drops as many rows at its end.

  Args:
    queue: `[size, ...]`, the newest batch first.
    rows: `[batch, ...]`. No gradient flows through them. Of more rows than the queue holds, the first ones stay.
    axis_name: mapped axis over which the batch is split: every device's queue gets the rows of all.

  Returns:
    `[size, ...]` of the queue's dtype.

  Example:

    >>> enqueue(jnp.zeros((3, 1)), jnp.array([[1.0], [2.0]])).tolist()
    [[1.0], [2.0], [0.0]]
  """
  rows = gather(jax.lax.stop_gradient(rows), axis_name)
  return jnp.concatenate([rows.astype(queue.dtype), queue])[: len(queue)]
