"""The nodes of a config as one graph: in which order they run, which of them run together, and the names between them.

The order follows from what each node reads, so a mask may well depend on a teacher's attention.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl.errors import ConfigError, nearest
from jssl.nodes import Loss, Node, Pass, Refresh, STAGES, View


class Graph(NamedTuple):
  """What runs, and with what.

  Attributes:
    nodes: the entries of all stages by name, resolved.
    units: the same in the order in which they run; those of one unit run together.
    networks: name -> `jssl.networks.NetworkSpec`.
    engine: what functions are given without a config's doing: `axis_name`, `num_examples`, `batch_size`, `dtype`.
    batch_names: the arrays of the data that the nodes read, with the example as their first axis.
    whole_names: the arrays of the data that they read and that every example sees whole, as it sees tables.
    watched: whether the run is monitored, and its embeddings are looked at more closely.
  """

  nodes: Mapping[str, Node]
  units: list[tuple[Node, ...]]
  networks: Mapping[str, Any]
  engine: Mapping[str, Any]
  batch_names: tuple[str, ...]
  whole_names: tuple[str, ...] = ()
  watched: bool = False

  def is_whole(self, name: str) -> bool:
    """Whether an array is a table or a whole array of the data: it has no axis of examples."""
    writer = owner(name, self.nodes)
    return name in self.whole_names if writer is None else isinstance(self.nodes[writer], Refresh)


def owner(name: str, nodes: Mapping[str, Any]) -> str | None:
  """The node that writes `name`: itself, or what stands before the first slash."""
  head = name.partition("/")[0]
  return head if head in nodes else None


def make_units(nodes: Mapping[str, Node]) -> list[tuple[Node, ...]]:
  """Groups nodes that are computed together: passes with the same `join`, and views that differ in their draw only."""
  groups: dict[Any, list[Node]] = {}
  for node in nodes.values():
    key: Any = node.name
    if isinstance(node, Pass) and node.join:
      key = ("join", node.net, node.join, node.train, node.gradient, node.fold)
    elif isinstance(node, View) and node.scope == "example" and not node.schedules:
      reads = "crops" if node.cropped else node.reads  # crops of equal numbers have one shape
      key = ("same", _identity([node.fn, reads, node.keywords, node.numbers]))
    groups.setdefault(key, []).append(node)
  return [tuple(group) for group in groups.values()]


def _identity(value) -> Any:
  """A hashable stand-in that two values share only if a function cannot tell them apart."""
  if hasattr(value, "items"):
    return type(value), tuple(sorted((key, _identity(part)) for key, part in value.items()))
  if isinstance(value, (list, tuple)):
    return type(value), tuple(map(_identity, value))
  if isinstance(value, (np.ndarray, jax.Array)):
    return type(value), value.shape, str(value.dtype), np.asarray(value).tobytes()
  if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
    return type(value), repr(value)
  return type(value), id(value)


def order(nodes: Mapping[str, Node]) -> list[tuple[Node, ...]]:
  """Sorts the units so that each comes after all that it reads.

  Raises:
    ConfigError: if some read each other in a circle.
  """
  waiting = make_units(nodes)
  waiting.sort(key=lambda unit: STAGES.index(unit[0].stage))
  done: set[str] = set()
  ordered = []
  while waiting:
    for unit in waiting:
      needs = {owner(name, nodes) for node in unit for name in node.names()} - {None}
      if needs <= done:
        break
    else:
      circle = ", ".join(node.where for unit in waiting for node in unit)
      raise ConfigError(f"these read each other in a circle: {circle}")
    waiting.remove(unit)
    ordered.append(unit)
    done |= {node.name for node in unit}
  return ordered


def inputs_of(names: Iterable[str], graph: Graph) -> set[str]:
  """The arrays of the data that these names follow from within a step; what runs together counts as one."""
  unit_of = {node.name: unit for unit in graph.units for node in unit}
  found: set[str] = set()
  frontier, seen = list(names), set()
  while frontier:
    name = frontier.pop()
    writer = owner(name, graph.nodes)
    if writer is None:
      found.add(name)
    elif writer not in seen and not isinstance(graph.nodes[writer], Refresh):
      seen |= {node.name for node in unit_of[writer]}
      frontier += [read for node in unit_of[writer] for read in node.names()]
  return found


def check_used(nodes: Mapping[str, Node]) -> None:
  """Raises `ConfigError` for an entry from which no path leads to a loss."""
  reached: set[str] = set()
  frontier = [node.name for node in nodes.values() if isinstance(node, Loss)]
  while frontier:
    name = frontier.pop()
    if name not in reached:
      reached.add(name)
      frontier += [n for n in (owner(read, nodes) for read in nodes[name].names()) if n]
  for node in nodes.values():
    if node.name not in reached:
      raise ConfigError(f"{node.where}: no loss reads '{node.name}', nor anything that a loss reads")


def store(env: dict[str, Any], name: str, value) -> None:
  """Writes a function's output: an array as `name`, a dict as `name/key`, a sequence as `name/0`, `name/1`, ..."""
  if isinstance(value, Mapping):
    for key, part in value.items():
      store(env, f"{name}/{key}", part)
  elif isinstance(value, (list, tuple)):
    for i, part in enumerate(value):
      store(env, f"{name}/{i}", part)
  else:
    env[name] = value


def fetch(env: Mapping[str, Any], where: str, read):
  """Reads a name, or a tuple of names as a list of arrays."""
  if not isinstance(read, str):
    return [fetch(env, where, r) for r in read]
  if read not in env:
    head = read.partition("/")[0]
    siblings = [n for n in env if n.partition("/")[0] == head] or list(env)
    raise ConfigError(f"{where} reads '{read}', which nothing writes; {nearest(read, siblings)}")
  return env[read]
