"""Networks that start from another run's: whole, or in part and under other names."""

from collections.abc import Mapping
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jssl import checkpoint
from jssl.errors import ConfigError
from jssl.files import user_path
from jssl.logging import log
from jssl.networks import Load, NetworkSpec


class Loaded(NamedTuple):
  """What of a network came from another run.

  Attributes:
    network: its name here.
    run: where from.
    taken, drawn: names here, of parameters and statistics that came from there, and of those that were drawn.
    left: names there, of those that stayed behind.
  """

  network: str
  run: str
  taken: tuple[str, ...]
  drawn: tuple[str, ...]
  left: tuple[str, ...]

  def __str__(self) -> str:
    parts = [
      f"network '{self.network}': {len(self.taken)} of {len(self.taken) + len(self.drawn)} tensors come from {self.run}"
    ]
    for title, names in (("drawn", self.drawn), ("left there", self.left)):
      if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        parts.append(f"{title}: {', '.join(names[:5])}{more}")
    return "; ".join(parts)


def load_networks(networks: Mapping[str, NetworkSpec], variables):
  """Fills every network that has a `load` from its run, then lets EMA teachers without one start from what they follow.

  Args:
    networks: of a method, by name.
    variables: the method's, freshly initialised.

  Raises:
    ConfigError: if a run has no such network, or what it has does not fit.
  """
  params, teachers, stats = dict(variables.params), dict(variables.teachers), dict(variables.stats)
  for name, network in networks.items():
    if network.load:
      place = params if network.trained else teachers
      place[name], stats[name], loaded = load_network(name, network.load, place[name], stats[name])
      log.info("%s", loaded)
  for name, network in networks.items():
    if network.ema_of and networks[network.ema_of].load and not network.load:
      teachers[name], stats[name] = jax.tree.map(jnp.copy, (params[network.ema_of], stats[network.ema_of]))
  return variables.replace(params=params, teachers=teachers, stats=stats)


def load_network(name: str, load: Load, params, stats) -> tuple[Any, Any, Loaded]:
  """Fills one network from another run.

  Args:
    name: of the network here.
    load: where from, and what.
    params, stats: trees of arrays or of their shapes. What `load.only` chooses must have the same names and shapes on
      both sides.

  Returns:
    `(params, stats)` with the run's values, and which they are.

  Raises:
    ConfigError: with what each side has and the other has not.
  """
  workdir, step, network = load.place()
  found = checkpoint.network_arrays(checkpoint.load_variables(workdir, step), network)
  filled, records = [], []
  for kind, tree, arrays in zip(("params", "statistics"), (params, stats), found, strict=True):
    tree, record = _fill(f"{load.run} ({kind})", load, tree, arrays)
    filled.append(tree)
    records.append(record)
  taken, drawn, left = (tuple(sum(names, [])) for names in zip(*records, strict=True))
  if not taken:
    raise ConfigError(f"config.networks.{name}.load: nothing of the network has a name with {' or '.join(load.only)}")
  return *filled, Loaded(name, load.run, taken, drawn, left)


def is_there(load: Load) -> bool:
  """Whether the run has a checkpoint."""
  return bool(checkpoint.known_steps(user_path(load.place()[0]).absolute() / "checkpoints"))


def _fill(source: str, load: Load, tree, found: Mapping[str, Any]):
  """A tree with the values that `load` chooses, and the names of what was taken, drawn and left."""
  renamed: dict[str, str] = {}
  for old in found:
    new = _renamed(old, load)
    if new in renamed:
      raise ConfigError(f"{source}: `rename` gives two tensors one name: {renamed[new]} and {old} become {new}")
    renamed[new] = old
  chosen = lambda name: not load.only or any(re.search(pattern, name) for pattern in load.only)
  here = checkpoint.named_leaves(tree)
  there = {name: found[old] for name, old in renamed.items() if chosen(name)}
  checkpoint.require_same(source, there, "this config", {name: leaf for name, leaf in here.items() if chosen(name)})
  leaves = [jnp.asarray(there[name]) if name in there else leaf for name, leaf in here.items()]
  drawn = [name for name in here if name not in there]
  left = [old for name, old in renamed.items() if name not in there]
  return jax.tree.unflatten(jax.tree.structure(tree), leaves), (list(there), drawn, left)


def _renamed(name: str, load: Load) -> str:
  for pattern, replacement in load.rename:
    name = re.sub(pattern, replacement, name)
  return name
