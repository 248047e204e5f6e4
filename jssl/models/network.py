"""A backbone with its heads, as one module."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax


class Network(nn.Module):
  """A backbone and heads that read its outputs by name.

  Parameters are at `backbone/...` and `heads_<name>/...`.

  Attributes:
    backbone: a module called as `backbone(*args, keys=, train=, **kwargs)`. It returns `(features, out)`, or only a
      dict `out` (a decoder), or only an array, which is then `features`.
    heads: name to module, each called as `head(*reads, keys=, train=)`. A head's array is written under its name, the
      entries of its dict under `name/key`.
    head_reads: name of a head to the names that it reads: of the backbone's outputs or of another head's.
  """

  backbone: nn.Module
  heads: Mapping[str, nn.Module] = dataclasses.field(default_factory=dict)
  head_reads: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

  @nn.nowrap
  def grid(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers of the backbone's patches along each axis: rows and columns for an image `[..., H, W, C]`."""
    return self.backbone.grid(image_shape)

  def __call__(
    self, *args: jax.Array, keys: jax.Array | None = None, train: bool = False, **kwargs: jax.Array
  ) -> dict[str, jax.Array]:
    """Runs the backbone on `args` and `kwargs`, then every head.

    Args:
      *args: arrays for the backbone.
      keys: `[batch]` typed keys for stochastic depth; None switches it off.
      train: whether BatchNorm normalises by the batch and updates `batch_stats`.
      **kwargs: named arrays for the backbone, such as `mask` or `ids_keep`.

    Returns:
      every output by name: the backbone's `out`, `features`, and what the heads wrote.

    Raises:
      ValueError: a head reads a name that nothing writes, or writes one that is taken.
    """
    result = self.backbone(*args, keys=keys, train=train, **kwargs)
    if isinstance(result, tuple):
      features, out = result
      out = dict(out, features=features)
    else:
      out = dict(result) if isinstance(result, Mapping) else dict(features=result)
    waiting = list(self.heads)
    while waiting:
      name = next((n for n in waiting if all(read in out for read in self.head_reads[n])), None)
      if name is None:
        missing = {n: [read for read in self.head_reads[n] if read not in out] for n in waiting}
        raise ValueError(f"heads read names that nothing writes: {missing}; there are {sorted(out)}")
      waiting.remove(name)
      value = self.heads[name](*(out[read] for read in self.head_reads[name]), keys=keys, train=train)
      written = {f"{name}/{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
      if taken := sorted(set(written) & set(out)):
        raise ValueError(f"head {name!r} writes names that exist already: {taken}")
      out |= written
    return out


def count_parameters(params: Any) -> int:
  """Number of scalars in a pytree of arrays or of `jax.ShapeDtypeStruct`s."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
