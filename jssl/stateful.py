"""State as a value: queues, centers and per-example tables, in the manner of optax."""

from collections.abc import Callable
from typing import NamedTuple


class Stateful(NamedTuple):
  """A target or a loss that remembers something from step to step.

  Attributes:
    init: `init(*reads, **numbers) -> state`, where `reads` are `jax.ShapeDtypeStruct`s of the arrays that the config names.
    apply: `apply(state, *reads, **numbers) -> (output, new_state)`. It is called once a step; what it returns as new
      state is used from the next step on.
  """

  init: Callable
  apply: Callable
