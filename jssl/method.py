"""A method: what the network sees, what is hidden, what it must predict, and how wrong it is.

`Method` turns the stages of a config into pure functions; it needs no workdir and no trainer:

    method = Method(config, num_examples=len(images), horizon=Horizon(total_steps=1000))
    variables = method.init(jax.random.key(0), batch)
    loss, (variables, metrics) = method.loss(variables.params, variables, batch, key=key, step=0)
"""

from collections.abc import Collection, Mapping
from typing import Any

from flax import struct
import jax

from jssl import gradients, graph, host_crops, networks, tracing
from jssl.data.source import channels_first
from jssl.environment import Environment, initial_state, name_key, run_graph, start
from jssl.errors import ConfigError, nearest
from jssl.nodes import accepts, Drawn, make_node, Mask, Node, Pass, Refresh, STAGES
from jssl.pictures import is_picture
from jssl.schedules import Horizon
from jssl.stateful import Stateful


@struct.dataclass
class Variables:
  """All that a method holds between steps.

  Attributes:
    params: network -> parameters that the optimizer moves.
    teachers: network -> parameters that no gradient reaches: EMA copies and frozen networks.
    stats: network -> BatchNorm's running statistics.
    memory: target or loss -> its state (center, queue, table).
    tables: what `refresh` functions wrote, `{"clusters/assignments": [examples], ...}`.
  """

  params: dict[str, Any]
  teachers: dict[str, Any]
  stats: dict[str, Any]
  memory: dict[str, Any]
  tables: dict[str, Any]


class Method:
  """A config's method as pure functions.

  Args:
    config: what `get_config` of a config returns; of it the stages, `networks` and `dtype` are read.
    num_examples: of the data set, for per-example state.
    horizon: the run's lengths, in which schedules are measured.
    axis_name: the mapped axis over which the global batch is split, or None.
    crops_on_host: whether the batch holds crops for the views that begin with one, see `jssl.host_crops`.
    whole: names of arrays of the data that every example sees whole: `source.whole`.
    watched: whether losses also report in how many dimensions embeddings differ.

  Raises:
    ConfigError: for anything in the config that cannot work, by its place.

  Attributes:
    graph: all of the following.
    nodes: the entries of all stages by name, resolved.
    units: the same in the order in which they run.
    networks: name -> `NetworkSpec`.
    engine: what functions are given without a config's doing.
    batch_names: the arrays of the data that the method reads, with the example as their first axis.
    whole_names: those that every example sees whole.
    cropped: with `crops_on_host`, the views that the batch holds crops for, whole; in `nodes` are their second halves.
  """

  def __init__(
    self,
    config,
    *,
    num_examples: int,
    horizon: Horizon,
    axis_name: str | None = None,
    crops_on_host: bool = False,
    whole: Collection[str] = (),
    watched: bool = False,
  ):
    self.engine = dict(
      axis_name=axis_name, num_examples=num_examples, batch_size=config.get("batch_size"), dtype=config.dtype
    )
    self.networks = networks.build(config.networks, horizon, self.engine)
    self.nodes, self.cropped = _make_nodes(config, horizon), {}
    if crops_on_host:
      self.nodes, self.cropped = host_crops.take_apart(self.nodes)
    _check_networks(self.nodes, self.networks, evaluated=_evaluated(config))
    graph.check_used(self.nodes)
    gradients.check(self.nodes, self.networks)
    self.units = graph.order(self.nodes)
    reads = {name for node in self.nodes.values() for name in node.names()}
    of_data = sorted(name for name in reads if not graph.owner(name, self.nodes))
    self.batch_names = tuple(name for name in of_data if name not in whole)
    self.whole_names = tuple(name for name in of_data if name in whole)
    names = self.batch_names, self.whole_names
    self.graph = graph.Graph(self.nodes, self.units, self.networks, self.engine, *names, watched)

  def init(self, key: jax.Array, batch: Mapping[str, Any]) -> Variables:
    """Initialises networks and state.

    Args:
      key: typed PRNG key; each network draws from its own name's stream.
      batch: arrays or `jax.ShapeDtypeStruct`s `[batch, ...]` by name, and whole ones. Only shapes and dtypes are used.
    """
    traced = self.abstract_environment(batch)
    params, stats = networks.initial_variables(self.networks, key, traced.calls)
    memory = {
      name: initial_state(self.nodes[name], arguments, name_key(key, name), self.graph)
      for name, arguments in traced.states.items()
    }
    trained = {name: params[name] for name, network in self.networks.items() if network.trained}
    teachers = {name: params[name] for name, network in self.networks.items() if not network.trained}
    return Variables(trained, teachers, stats, memory, {})

  def abstract_environment(self, batch: Mapping[str, Any]) -> tracing.Traced:
    """Traces the graph on shapes alone; `.arrays` holds the shape of every name."""
    self._check_batch(batch)
    spec = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in batch.items()}
    return tracing.trace_graph(self.graph, Variables({}, {}, dict.fromkeys(self.networks, {}), {}, {}), spec)

  def _check_batch(self, batch: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for an array that an entry reads and the batch does not have, or has with channels first."""
    for name in (*self.batch_names, *self.whole_names):
      readers = [node.where for node in self.nodes.values() if name in node.names()]
      if name in batch and is_picture(name, batch[name]) and (wrong := channels_first(batch[name].shape)):
        raise ConfigError(f"{readers[0]} reads '{name}', which {wrong}")
      if name not in batch:
        raise ConfigError(
          f"{readers[0]} reads '{name}', which neither an entry nor the data set writes; "
          f"{_HINTS.get(name) or nearest(name, [*batch, *self.nodes])}"
        )

  def environment(self, variables: Variables, batch, *, key, step, positions=None) -> dict[str, jax.Array]:
    """Every named array of one step: for notebooks, reports and `refresh`. Arguments as `loss`."""
    return self.run(variables, batch, key=key, step=step, positions=positions).arrays

  def run(self, variables: Variables, batch, **draw) -> Environment:
    """All that there is at the end of a step, losses and metrics too. Arguments as `loss`."""
    self._check_batch(batch)
    return run_graph(self.graph, start(self.graph, variables, batch, **draw))

  def loss(self, params, variables: Variables, batch, *, key, step, positions=None):
    """The method's loss on one batch.

    Args:
      params: what is differentiated; takes the place of `variables.params`.
      variables: the rest.
      batch: name -> `[batch, ...]`; with `axis_name`, this device's share; and the whole arrays of the data.
      key: the run's PRNG key (not the step's).
      step: steps taken so far.
      positions: int `[batch]`, place of each example in the global batch; default 0, 1, ...

    Returns:
      The weighted sum of the losses, and `(new variables, metrics)`. The new variables hold the step's statistics and
      memory; `params` and `teachers` are as they were.
    """
    variables = variables.replace(params=params)
    run = self.run(variables, batch, key=key, step=step, positions=positions)
    total = sum(weighted for _, weighted in run.losses.values())
    metrics = {name: loss for name, (loss, _) in run.losses.items()} | run.metrics | {"loss": total}
    return total, (variables.replace(stats=run.stats, memory=run.memory), metrics)

  def update_teachers(self, teachers, params, step):
    """Moves each EMA network towards the one that it follows: `decay * teacher + (1 - decay) * student`."""
    moved = dict(teachers)
    for name, network in self.networks.items():
      if network.ema_of:
        decay = network.decay_at(step)
        moved[name] = jax.tree.map(
          lambda t, s, decay=decay: t * decay + s * (1 - decay), teachers[name], params[network.ema_of]
        )
    return moved

  def coupled(self, variables: Variables) -> list[str]:
    """Why the loss of a batch is not the mean of its parts' losses; empty if it is."""
    reasons = [f"network '{name}' has BatchNorm" for name, stats in variables.stats.items() if stats]
    for node in self.nodes.values():
      if isinstance(node.fn, Stateful) and not isinstance(node, Refresh):
        reasons.append(f"{node.where} keeps state that is updated once a step")
      elif isinstance(node, Drawn) and node.scope == "batch" or (node.fn and accepts(node.fn, "axis_name")):
        reasons.append(f"{node.where} looks at the whole batch")
    return reasons


# What to do about an array that presets for images read.
_HINTS = {
  "extent": "give the batch `extent`, int32 [batch, 2], each image's valid height and width, as data.from_arrays does",
  "index": "give the batch `index`, int32 [batch], the number of each example in the data set",
}


def _make_nodes(config, horizon) -> dict[str, Node]:
  nodes: dict[str, Node] = {}
  for stage in STAGES:
    for name, entry in config[stage].items():
      node = make_node(stage, name, entry, horizon)
      if name in nodes:
        raise ConfigError(f"{node.where}: another entry is called '{name}' too; all stages share their names")
      nodes[name] = node
  return nodes


def _evaluated(config) -> set[str]:
  """The networks that an evaluation names, which may follow others without being called in a step."""
  evaluation = config.get("evaluation", {})
  return {entry.get("net") for entry in evaluation.get("passes", {}).values()} | {evaluation.get("network")}


def _check_networks(
  nodes: Mapping[str, Node], specs: Mapping[str, networks.NetworkSpec], *, evaluated: Collection[str] = ()
) -> None:
  used = {name for name in evaluated if name in specs and specs[name].ema_of}
  for node in nodes.values():
    if isinstance(node, Pass):
      name = node.net
    elif isinstance(node, Mask) and node.grid_of:
      name = node.grid_of[1]
    else:
      continue
    if name not in specs:
      raise ConfigError(f"{node.where}: no network '{name}'; {nearest(name, specs)}")
    if isinstance(node, Pass):
      used |= {name, specs[name].ema_of}
  for name in specs:
    if name not in used:
      raise ConfigError(f"config.networks.{name}: no pass uses it")
