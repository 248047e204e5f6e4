"""Networks that start from another run's or from public weights: whole, or in part and under other names."""

from collections.abc import Mapping
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jssl import checkpoint, interop
from jssl.errors import ConfigError
from jssl.files import user_path
from jssl.interop.fit import told_differences
from jssl.logging import log
from jssl.models.lora import is_adapter
from jssl.networks import Load, NetworkSpec


class Loaded(NamedTuple):
  """What of a network came from elsewhere.

  Attributes:
    network: its name here.
    run: where from, a run or public weights.
    taken, drawn: names here, of parameters and statistics that came from there, and of those that were drawn.
    left: names there, of those that stayed behind.
    notes: what a reader should know of the weights, a sentence each.
  """

  network: str
  run: str
  taken: tuple[str, ...]
  drawn: tuple[str, ...]
  left: tuple[str, ...]
  notes: tuple[str, ...] = ()

  def __str__(self) -> str:
    parts = [
      f"network '{self.network}': {len(self.taken)} of {len(self.taken) + len(self.drawn)} tensors come from {self.run}"
    ]
    for title, names in (("drawn", self.drawn), ("left there", self.left)):
      if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        parts.append(f"{title}: {', '.join(names[:5])}{more}")
    return "; ".join([*parts, *self.notes])


def load_networks(networks: Mapping[str, NetworkSpec], variables):
  """Fills every network that has a `load` from there, then lets EMA teachers without one start from what they follow.

  Args:
    networks: of a method, by name.
    variables: the method's, freshly initialised.

  Raises:
    ConfigError: if there is no such network, or what it has does not fit.
  """
  params, teachers, stats = dict(variables.params), dict(variables.teachers), dict(variables.stats)
  for name, network in networks.items():
    if network.load:
      place = params if network.trained else teachers
      place[name], stats[name], loaded = load_network(network, place[name], stats[name])
      log.info("%s", loaded)
  for name, network in networks.items():
    if network.ema_of and networks[network.ema_of].load and not network.load:
      teachers[name], stats[name] = jax.tree.map(jnp.copy, (params[network.ema_of], stats[network.ema_of]))
  return variables.replace(params=params, teachers=teachers, stats=stats)


def load_network(network: NetworkSpec, params, stats) -> tuple[Any, Any, Loaded]:
  """Fills one network by its `load`.

  Args:
    network: which; its `load` says where from, and what.
    params, stats: trees of arrays or of their shapes. What `load.only` chooses must have the same names and shapes on
      both sides.

  Returns:
    `(params, stats)` with the values from there, and which they are.

  Raises:
    ConfigError: with what each side has and the other has not.
  """
  load, notes, behind = network.load, (), ()
  if load.public():
    *found, notes, behind = _public(network)
  else:
    workdir, step, name = load.place()
    found = checkpoint.network_arrays(checkpoint.load_variables(workdir, step), name)
  filled, records = [], []
  for kind, tree, arrays in zip(("params", "statistics"), (params, stats), found, strict=True):
    tree, record = _fill(f"{load.run} ({kind})", load, tree, arrays)
    filled.append(tree)
    records.append(record)
  taken, drawn, left = (tuple(sum(names, [])) for names in zip(*records, strict=True))
  if not taken:
    raise ConfigError(
      f"config.networks.{network.name}.load: nothing of the network has a name with {' or '.join(load.only)}"
    )
  return *filled, Loaded(network.name, load.run, taken, drawn, (*left, *behind), notes)


def _public(network: NetworkSpec):
  """Parameters and statistics of public weights by name, fitted to a network's module; notes; what stayed in the file.

  Raises:
    ConfigError: with the place in the config.
  """
  form, path, part = network.load.public()
  backbone = network.module.backbone
  heads = getattr(getattr(backbone, "block", None), "num_heads", None)
  try:
    found = interop.load(path, form, part=part, num_heads=heads)
    variables = found.fitted(network.module)
  except ConfigError as error:
    raise ConfigError(f"config.networks.{network.name}.load: {error}") from error
  notes = [*found.notes, *told_differences(found.module, network.module)]
  if found.mean is not None:
    notes.append(f"made for images with mean {found.mean} and std {found.std}")
  flat = [checkpoint.named_leaves(variables.get(kind, {})) for kind in ("params", "batch_stats")]
  return *flat, tuple(notes), found.left


def is_there(load: Load) -> bool:
  """Whether the run has a checkpoint, or the file exists."""
  if public := load.public():
    return user_path(public[1]).exists()
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
  there = {name: _with_channels(found[old], here.get(name), load) for name, old in renamed.items() if chosen(name)}
  # Weights that were never adapted have no adapters: these are drawn.
  wanted = {name: leaf for name, leaf in here.items() if chosen(name) and not (is_adapter(name) and name not in there)}
  checkpoint.require_same(source, there, "this config", wanted)
  leaves = [jnp.asarray(there[name]) if name in there else leaf for name, leaf in here.items()]
  drawn = [name for name in here if name not in there]
  left = [old for name, old in renamed.items() if name not in there]
  return jax.tree.unflatten(jax.tree.structure(tree), leaves), (list(there), drawn, left)


def _renamed(name: str, load: Load) -> str:
  for pattern, replacement in load.rename:
    name = re.sub(pattern, replacement, name)
  return name


def _with_channels(array, place, load: Load):
  """A first convolution for the number of channels of its place, where `load` says how."""
  if load.channels is None or place is None or array.ndim != 4 or array.shape[2] == place.shape[2]:
    return array
  try:
    return interop.adapt_channels(array, place.shape[2], load.channels)
  except ValueError as error:
    raise ConfigError(f"{load.run}: {error}") from error
