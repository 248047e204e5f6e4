"""Inner arrays of a network, for those who ask: a training step neither computes nor keeps them."""

from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax

_COLLECTION = "inner"


def is_asked(module: nn.Module) -> bool:
  """Whether somebody asks a module that is running for its inner arrays."""
  return module.is_mutable_collection(_COLLECTION) and not module.is_initializing()


def tell(module: nn.Module, name: str, value: Callable[[], jax.Array]) -> None:
  """Tells `inner_outputs` an array of a module that is running; where nobody asks, `value` is not called.

  Args:
    module: the one that has it.
    name: what it is called within the module.
    value: makes it.
  """
  if is_asked(module):
    module.sow(_COLLECTION, name, value(), init_fn=lambda: None, reduce_fn=lambda before, now: now)


def inner_outputs(module: nn.Module, variables: Any, *args, **kwargs) -> tuple[Any, dict[str, jax.Array]]:
  """Runs a module and gives what its parts tell beside its output.

  Args:
    module: such as a `jssl.models.network.Network`.
    variables: its `params` and `batch_stats`.
    *args, **kwargs: of its call.

  Returns:
    The output, and path -> array, the path as that of a parameter: a ViT tells `Transformer/normed01`, ...: the output of
    each block after the final LayerNorm, `[batch, prefix + patches, dim]`, and of each attention the `weights [batch, heads,
    tokens, keys]`; in a network it stands behind `backbone/`.
  """
  output, told = module.apply(variables, *args, **kwargs, mutable=[_COLLECTION])
  return output, flax.traverse_util.flatten_dict(told.get(_COLLECTION, {}), sep="/")
