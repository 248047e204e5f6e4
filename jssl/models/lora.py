"""Low-rank adapters: beside a product with frozen weights the product of two narrow matrices, which alone are trained.

    y = x (W + alpha / rank A B),   A [inputs, rank], B [rank, outputs]

B is 0 at first, so that a network with adapters computes what it computed without. They stand beside their kernel in the
tree of parameters, as `lora_a` and `lora_b`. Where a backbone has some, nothing else in it is trained: no gradient
reaches the rest (`hold_frozen`), and the optimizer leaves it as it is (`frozen_paths`). Heads are trained as ever.

References:
  Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, section 4; microsoft/LoRA,
  loralib/layers.py, where A starts as torch's linear layers do (in the paper: as a Gaussian).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

TARGETS = ("query", "key", "value", "out")
ADAPTERS = ("lora_a", "lora_b")


class Lora(NamedTuple):
  """Adapters of a transformer's attention; `lora` makes it.

  Attributes:
    rank: of each adapter.
    alpha: times which, over the rank, its product counts.
    targets: which products of the attention have one.
  """

  rank: int
  alpha: float
  targets: tuple[str, ...]

  def of(self, product: str) -> "Lora | None":
    """For one of `TARGETS`: itself, if that has an adapter."""
    return self if product in self.targets else None


def lora(rank: int | None, alpha: float | None, targets: Iterable[str]) -> Lora | None:
  """The adapters of these numbers; None without a rank.

  Raises:
    ValueError: for a rank below 1, no target, or one that there is not.
  """
  if rank is None:
    return None
  targets = tuple(targets)
  if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
    raise ValueError(f"lora_rank={rank!r}: give a whole number, at least 1, or None for no adapters")
  if not targets or not set(targets) <= set(TARGETS):
    raise ValueError(f"lora_targets={targets}: give some of {', '.join(TARGETS)}")
  return Lora(rank, float(rank if alpha is None else alpha), targets)


def is_adapter(path: str) -> bool:
  """Whether a parameter of this path belongs to an adapter."""
  return path.rpartition("/")[2] in ADAPTERS


def frozen_paths(paths: Iterable[str]) -> set[str]:
  """Of paths `network/backbone/...` those that are frozen, since their backbone has adapters and they are none.

  Example:

    >>> sorted(frozen_paths(["s/backbone/query/kernel", "s/backbone/query/lora_a", "s/heads_z/kernel", "t/backbone/kernel"]))
    ['s/backbone/query/kernel']
  """
  of = lambda path: path.split("/", 2)[:2]
  paths = [path for path in paths if of(path)[1:] == ["backbone"]]
  adapted = {of(path)[0] for path in paths if is_adapter(path)}
  return {path for path in paths if of(path)[0] in adapted and not is_adapter(path)}


def hold_frozen(params: Any) -> Any:
  """A network's parameters, with the gradient stopped at its backbone's if that has adapters, but for these."""
  backbone = params.get("backbone", {})
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
  if not any(is_adapter(name(path)) for path, _ in jax.tree_util.tree_leaves_with_path(backbone)):
    return params
  hold = lambda path, x: x if is_adapter(name(path)) else jax.lax.stop_gradient(x)
  return {**params, "backbone": jax.tree_util.tree_map_with_path(hold, backbone)}


def merge_adapters(params: Mapping[str, Any], *, alpha: float | None = None) -> dict[str, Any]:
  """Parameters without adapters, of which each is added to its kernel: the same function, to rounding.

  Args:
    params: a tree of nested dicts, of a network or a part of one.
    alpha: `lora_alpha` of the network; None where that is None.

  Example:

    >>> dense = dict(kernel=jnp.zeros((2, 2)), lora_a=jnp.ones((2, 1)), lora_b=jnp.array([[1.0, 2.0]]))
    >>> merge_adapters(dict(query=dense), alpha=2.0)["query"]["kernel"].tolist()
    [[2.0, 4.0], [2.0, 4.0]]
  """
  merged = {
    name: merge_adapters(x, alpha=alpha) if isinstance(x, Mapping) else x
    for name, x in params.items()
    if name not in ADAPTERS
  }
  if "lora_a" in params:
    a, b = params["lora_a"], params["lora_b"]
    product = jnp.tensordot(a, b, 1, precision="highest")
    merged["kernel"] = params["kernel"] + (1.0 if alpha is None else alpha / a.shape[-1]) * product
  return merged
