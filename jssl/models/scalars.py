"""Numbers that are learned: weights of losses, temperatures."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp


class Scalars(nn.Module):
  """Learned numbers by name; `scalars` builds it and explains the field."""

  initial: tuple[tuple[str, float], ...]

  @nn.compact
  def __call__(self, x: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> dict[str, jax.Array]:
    """Each number, once for every example of `x [batch, ...]`: `{name: [batch]}` float32."""
    del keys, train
    values = {name: self.param(name, nn.initializers.constant(value), (), jnp.float32) for name, value in self.initial}
    return {name: jnp.broadcast_to(value, x.shape[:1]) for name, value in values.items()}


def scalars(*, initial: Mapping[str, float]) -> Scalars:
  """Learned numbers as a network, since only networks have parameters: `u=dict(net="scalars", reads=("image",))`.

  They do not depend on what is read but for its number of examples. Having no dimension they are never decayed.

  Args:
    initial: name -> value at the start.

  Returns:
    a module, `[batch, ...]` to `{name: [batch]}`; its parameters are the names, each of shape ().
  """
  return Scalars(tuple(sorted(initial.items())))
