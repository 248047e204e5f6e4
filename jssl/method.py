"""A method: what the network sees, what is hidden, what it must predict, and how wrong it is.

`Method` turns the stages of a config into pure functions; it needs no workdir and no trainer:

    method = Method(config, num_examples=len(images), horizon=Horizon(total_steps=1000))
    variables = method.init(jax.random.key(0), batch)
    loss, (variables, metrics) = method.loss(variables.params, variables, batch, key=key, step=0)
"""

from collections.abc import Mapping
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp

from jssl import graph, networks
from jssl.environment import AbstractEnvironment, Environment, name_key, specs
from jssl.errors import ConfigError, nearest
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
    config: what `configs/*.py` return; of it the stages, `networks` and `dtype` are read.
    num_examples: of the data set, for per-example state.
    horizon: the run's lengths, in which schedules are measured.
    axis_name: the mapped axis over which the global batch is split, or None.

  Raises:
    ConfigError: for anything in the config that cannot work, by its place.

  Attributes:
    nodes: the entries of all stages by name, resolved.
    units: the same in the order in which they run.
    networks: name -> `NetworkSpec`.
    batch_names: the arrays of the data set that the method reads.
  """

  def __init__(self, config, *, num_examples: int, horizon: Horizon, axis_name: str | None = None):
    self.engine = dict(axis_name=axis_name, num_examples=num_examples, dtype=config.dtype)
    self.networks = networks.build(config.networks, horizon, self.engine)
    self.nodes = _make_nodes(config, horizon)
    _check_networks(self.nodes, self.networks)
    graph.check_used(self.nodes)
    self.units = graph.order(self.nodes)
    reads = {name for node in self.nodes.values() for name in node.names()}
    self.batch_names = tuple(sorted(name for name in reads if not graph.owner(name, self.nodes)))

  def init(self, key: jax.Array, batch: Mapping[str, Any]) -> Variables:
    """Initialises networks and state.

    Args:
      key: typed PRNG key; each network draws from its own name's stream.
      batch: arrays or `jax.ShapeDtypeStruct`s `[batch, ...]` by name. Only shapes and dtypes are used.
    """
    abstract = self.abstract_environment(batch)
    params, teachers, stats = {}, {}, {}
    for name, network in self.networks.items():
      if not network.ema_of:
        variables = networks.initialise(network.module, name_key(key, name), abstract.calls[name])
        (params if network.trained else teachers)[name] = variables.get("params", {})
        stats[name] = variables.get("batch_stats", {})
    for name, network in self.networks.items():
      if network.near:
        own = params if network.trained else teachers
        own[name] = networks.start_near(network, own[name], {**params, **teachers})
    for name, network in self.networks.items():
      if network.ema_of:
        teachers[name] = jax.tree.map(jnp.copy, params[network.ema_of])
        stats[name] = jax.tree.map(jnp.copy, stats[network.ema_of])
    memory = {}
    for name, (args, kwargs) in abstract.initial.items():
      node = self.nodes[name]
      numbers = node.numbers | dict(rng=name_key(key, name))
      memory[name] = graph.call(node.fn.init, *args, **kwargs, **numbers, engine=self.engine)
    return Variables(params, teachers, stats, memory, {})

  def abstract_environment(self, batch: Mapping[str, Any]) -> AbstractEnvironment:
    """Traces the graph on shapes alone; `.arrays` holds the shape of every name."""
    spec = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in batch.items()}
    for name in self.batch_names:
      if name not in spec:
        readers = [node.where for node in self.nodes.values() if name in node.names()]
        raise ConfigError(
          f"{readers[0]} reads '{name}', which neither an entry nor the data set writes; "
          f"{nearest(name, [*spec, *self.nodes])}"
        )
    seen = []

    def run(batch):
      seen.append(AbstractEnvironment(self, Variables({}, {}, dict.fromkeys(self.networks, {}), {}, {}), batch))
      seen[0].arrays = specs(seen[0].arrays)

    jax.eval_shape(run, spec)
    return seen[0]

  def environment(self, variables: Variables, batch, *, key, step, positions=None) -> dict[str, jax.Array]:
    """Every named array of one step: for notebooks, reports and `refresh`. Arguments as `loss`."""
    return Environment(self, variables, batch, key=key, step=step, positions=positions).arrays

  def loss(self, params, variables: Variables, batch, *, key, step, positions=None):
    """The method's loss on one batch.

    Args:
      params: what is differentiated; takes the place of `variables.params`.
      variables: the rest.
      batch: name -> `[batch, ...]`; with `axis_name`, this device's share.
      key: the run's PRNG key (not the step's).
      step: steps taken so far.
      positions: int `[batch]`, place of each example in the global batch; default 0, 1, ...

    Returns:
      The weighted sum of the losses, and `(new variables, metrics)`. The new variables hold the step's statistics and
      memory; `params` and `teachers` are as they were.
    """
    variables = variables.replace(params=params)
    run = Environment(self, variables, batch, key=key, step=step, positions=positions)
    total = sum(weighted for _, weighted in run.losses.values())
    metrics = {name: loss for name, (loss, _) in run.losses.items()} | run.metrics | {"loss": total}
    return total, (variables.replace(stats=run.stats, memory=run.memory), metrics)

  def update_teachers(self, teachers, params, step):
    """Moves each EMA network towards the one that it follows: `decay * teacher + (1 - decay) * student`."""
    moved = dict(teachers)
    for name, network in self.networks.items():
      if network.ema_of:
        decay = network.decay_at(step)
        moved[name] = jax.tree.map(lambda t, s: t * decay + s * (1 - decay), teachers[name], params[network.ema_of])
    return moved

  def coupled(self, variables: Variables) -> list[str]:
    """Why the loss of a batch is not the mean of its parts' losses; empty if it is."""
    reasons = [f"network '{name}' has BatchNorm" for name, stats in variables.stats.items() if stats]
    for node in self.nodes.values():
      if isinstance(node.fn, Stateful):
        reasons.append(f"{node.where} keeps state that is updated once a step")
      elif node.options.get("scope") == "batch" or (node.fn and graph.accepts(node.fn, "axis_name")):
        reasons.append(f"{node.where} looks at the whole batch")
    return reasons


def _make_nodes(config, horizon) -> dict[str, graph.Node]:
  nodes: dict[str, graph.Node] = {}
  for stage in graph.STAGES:
    for name, spec in config[stage].items():
      node = graph.make_node(stage, name, spec, horizon)
      if name in nodes:
        raise ConfigError(f"{node.where}: another entry is called '{name}' too; all stages share their names")
      nodes[name] = node
  return nodes


def _check_networks(nodes, specs: Mapping[str, networks.NetworkSpec]) -> None:
  used = set()
  for node in nodes.values():
    grid = node.options.get("grid")
    if node.stage == "passes" and "net" not in node.options:
      raise ConfigError(f"{node.where}: 'net' is missing")
    for name in (node.options.get("net"), grid[1] if grid and isinstance(grid[0], str) else None):
      if name is not None and name not in specs:
        raise ConfigError(f"{node.where}: no network '{name}'; {nearest(name, specs)}")
    if node.stage == "passes":
      used |= {node.options["net"], specs[node.options["net"]].ema_of}
  for name in specs:
    if name not in used:
      raise ConfigError(f"config.networks.{name}: no pass uses it")
