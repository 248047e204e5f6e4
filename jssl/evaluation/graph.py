"""An evaluation that a config spells out: views and passes of its own, and what their outputs are.

    evaluation = dict(
      views=dict(v=dict(fn="resize_view", reads=("image", "extent=extent"), size=28, mean=0.5, std=0.25)),
      passes=dict(c=dict(net="classifier", reads=("v",))),
      outputs=dict(features="c/features", logits="c/classes"),
      protocols=("knn", "accuracy"))

It runs by the same rules as the method's own graph, on the weights of a checkpoint; what its views draw is an example's
own, the same each time. Networks are as in evaluation unless a pass says `train=True`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl import networks, tracing
from jssl.environment import run_graph, run_key, start
from jssl.errors import ConfigError, nearest
from jssl.evaluation.choice import ENGINE, still_networks
from jssl.evaluation.devices import on_devices
from jssl.evaluation.model import FeatureModel
from jssl.graph import Graph, order, owner
from jssl.method import Variables
from jssl.nodes import make_node, Node, Pass
from jssl.schedules import Horizon

Weights = Callable[[str], tuple[Any, Any]]  # network -> its parameters and BatchNorm's statistics

# What an output is called in a config -> the attribute of a FeatureModel.
OUTPUTS = dict(features="image_features", places="patch_features", embeddings="embeddings", logits="logits")


class FrozenGraph(NamedTuple):
  """Views and networks that are only looked through.

  Attributes:
    graph: of the evaluation.
    variables: of its networks.
    outputs: what a protocol asks for -> the name of an array of the graph.
    seed: of what its views draw.
    step: of the checkpoint that the weights come from; 0 for the weights before the first step.
  """

  graph: Graph
  variables: Variables
  outputs: Mapping[str, str]
  seed: int
  step: int

  view = None  # There is none for all: the graph has its own.

  def about(self) -> dict[str, Any]:
    """What is evaluated, as results carry it."""
    views = {name: {**node.numbers} for name, node in self.graph.nodes.items() if not isinstance(node, Pass)}
    nets = sorted({node.net for node in self.graph.nodes.values() if isinstance(node, Pass)})
    return dict(network=", ".join(nets), feature=", ".join(f"{k}: {name}" for k, name in self.outputs.items()), view=views)

  def with_weights(self, weights: Weights, step: int) -> "FrozenGraph":
    """The same graph, which is the same program, with the weights of a step."""
    return self._replace(variables=_given(self.graph, weights), step=step)

  def feature_model(self, name: str) -> FeatureModel:
    """The graph's outputs as the protocols want them."""
    functions: dict[str, Any] = {
      OUTPUTS[kind]: on_devices(_Output(self.graph, array, self.seed), self.variables)
      for kind, array in self.outputs.items()
    }
    return FeatureModel(name=name, reads=self.graph.batch_names + self.graph.whole_names, **functions)


class _Output:
  """One named array of the graph; equal ones are the same program, whatever the weights."""

  def __init__(self, graph: Graph, output: str, seed: int):
    self.graph, self.output, self.seed = graph, output, seed
    self.reads, self.whole = graph.batch_names + graph.whole_names, graph.whole_names

  def __call__(self, variables, batch):
    env = start(self.graph, variables, batch, key=run_key(self.seed), step=0, positions=batch["index"])
    return run_graph(self.graph, env).arrays[self.output]

  def _key(self):
    return id(self.graph.nodes), self.output, self.seed

  def __eq__(self, other):
    return isinstance(other, _Output) and self._key() == other._key()

  def __hash__(self):
    return hash(self._key())


def make_graph(config, whole: Collection[str] = ()) -> Graph:
  """The graph that `config.evaluation` spells out.

  Args:
    config: of the run.
    whole: names of arrays of the data that every example sees whole.

  Raises:
    ConfigError: for what cannot work, by its place.
  """
  entries, horizon = config.evaluation, Horizon(1)
  specs = still_networks(config)
  nodes: dict[str, Node] = {}
  for stage, options in (("views", {}), ("passes", dict(train=False))):
    for name, entry in entries[stage].items():
      if name in nodes:
        raise ConfigError(f"config.evaluation.{stage}.{name}: another entry is called '{name}' too")
      try:
        nodes[name] = make_node(stage, name, {**options, **entry}, horizon)
      except ConfigError as error:
        raise ConfigError(str(error).replace(f"config.{stage}.", f"config.evaluation.{stage}.")) from error
  used = {}
  for node in nodes.values():
    if isinstance(node, Pass):
      if node.net not in specs:
        raise ConfigError(f"config.evaluation.passes.{node.name}: no network '{node.net}'; {nearest(node.net, specs)}")
      # One that follows another starts from that.
      used |= {name: specs[name] for name in (node.net, specs[node.net].ema_of) if name}
  reads = {name for node in nodes.values() for name in node.names()}
  of_data = sorted({name for name in reads if not owner(name, nodes)} | {"index"})
  of_examples, shared = (tuple(name for name in of_data if (name in whole) == side) for side in (False, True))
  return Graph(nodes, order(nodes), used, ENGINE, of_examples, shared)


def check_outputs(outputs: Mapping[str, str], arrays: Mapping[str, Any]) -> None:
  """Raises `ConfigError` for an output that no protocol knows, and for one that the graph does not write."""
  for kind, name in outputs.items():
    where = f"config.evaluation.outputs.{kind}"
    if kind not in OUTPUTS:
      raise ConfigError(f"{where}: {nearest(kind, OUTPUTS)}")
    if name not in arrays:
      raise ConfigError(f"{where}='{name}': nothing writes it; {nearest(name, arrays)}")
    rank = 3 if kind == "places" else 2
    if len(arrays[name].shape) != rank:
      axes = "[example, place, dim]" if rank == 3 else "[example, dim]"
      raise ConfigError(f"{where}='{name}' is {list(arrays[name].shape)}; it must be {axes}")
  if not outputs:
    raise ConfigError(f"config.evaluation.outputs: name some of {', '.join(OUTPUTS)}, such as dict(features='f/features')")


def load_graph(
  config,
  weights: Weights,
  step: int,
  element_spec: Mapping[str, Any],
  whole_spec: Mapping[str, Any] = {},
  *,
  random: bool = False,
) -> FrozenGraph:
  """The evaluation graph of a run with the weights of a step.

  Args:
    config: of the run, with `evaluation.passes`.
    weights: of its networks.
    step: that they are of.
    element_spec: name -> `jax.ShapeDtypeStruct` of one example of what the run was trained on.
    whole_spec: the same of its whole arrays; those of the data that are evaluated take their place.
    random: with freshly drawn weights, as a control.

  Raises:
    ConfigError: for what cannot work, by its place.
  """
  graph, outputs = make_graph(config, whole_spec), config.evaluation.outputs.to_dict()
  batch = {name: _batch_spec(name, element_spec) for name in graph.batch_names}
  batch |= {name: whole_spec[name] for name in graph.whole_names}
  nobody = Variables({}, {}, dict.fromkeys(graph.networks, {}), {}, {})
  traced = tracing.trace_graph(graph, nobody, batch)
  check_outputs(outputs, traced.arrays)
  variables = _drawn(graph, config.seed, traced.calls) if random else _given(graph, weights)
  return FrozenGraph(graph, variables, outputs, config.seed, 0 if random else step)


def _batch_spec(name: str, element_spec: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
  if name == "index":
    return jax.ShapeDtypeStruct((2,), np.int32)
  if name not in element_spec:
    raise ConfigError(f"config.evaluation reads '{name}', which the data does not have; {nearest(name, element_spec)}")
  return jax.ShapeDtypeStruct((2, *element_spec[name].shape), element_spec[name].dtype)


def _drawn(graph: Graph, seed: int, calls) -> Variables:
  return _split(graph, *networks.initial_variables(graph.networks, run_key(seed), calls))


def _given(graph: Graph, weights: Weights) -> Variables:
  called = sorted({node.net for node in graph.nodes.values() if isinstance(node, Pass)})
  found = {name: weights(name) for name in called}
  params, stats = ({name: part[i] for name, part in found.items()} for i in (0, 1))
  return _split(graph, params, stats)


def _split(graph: Graph, params, stats) -> Variables:
  trained = {name for name, network in graph.networks.items() if network.trained}
  own = lambda side: {name: tree for name, tree in params.items() if (name in trained) == side}
  return Variables(own(True), own(False), stats, {}, {})
