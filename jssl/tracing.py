"""Running a graph on shapes alone, before there are parameters: what is there, and what is initialised from what."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jssl import environment
from jssl.environment import Environment
from jssl.errors import ConfigError
from jssl.graph import fetch, Graph
from jssl.nodes import call, Node, Pass, Refresh
from jssl.stateful import Stateful


class Traced(NamedTuple):
  """A graph run on shapes alone.

  Attributes:
    arrays: name -> `jax.ShapeDtypeStruct`.
    calls: network -> `(args, kwargs)` of its first call, for one example, from which it is initialised.
    states: target or loss -> `(args, kwargs)` that its state is initialised from.
    tables: `refresh` entry that is a `Stateful` -> the same of its tables.
  """

  arrays: dict[str, jax.ShapeDtypeStruct]
  calls: dict[str, Any]
  states: dict[str, Any]
  tables: dict[str, Any]


def trace_graph(graph: Graph, variables, batch: Mapping[str, jax.ShapeDtypeStruct]) -> Traced:
  """Runs a graph as `environment.run_graph` does, with arrays that have a shape and a type only.

  Args:
    graph: what to run.
    variables: empty ones.
    batch: name -> `[batch, ...]`.
  """
  begin = lambda batch: environment.start(graph, variables, batch, key=environment.run_key(0), step=0)
  env = jax.eval_shape(begin, batch)
  traced = Traced({}, {}, {}, {})
  outputs: dict[Any, Any] = {}
  for unit in graph.units:
    match unit[0]:
      case Pass():
        env = _trace_passes(unit, env, graph, traced.calls, outputs)
      case Refresh():
        env = env.write(unit[0], _table_shapes(unit[0], env, graph, traced.tables))
      case Node(fn=Stateful()):
        env = _trace_stateful(unit[0], env, graph, traced.states)
      case _:
        env = _trace(unit, env, graph)
  return traced._replace(arrays=env.arrays)


def _trace(unit: Sequence[Node], env: Environment, graph: Graph) -> Environment:
  return jax.eval_shape(lambda env: environment.run_unit(unit, env, graph), env)


def _trace_passes(unit: Sequence[Pass], env: Environment, graph: Graph, calls, outputs) -> Environment:
  """Notes what a network is first called with; `outputs` holds what it gives for each shape of arguments."""
  node, network = unit[0], graph.networks[unit[0].net]
  source = network.ema_of or node.net
  arguments = jax.eval_shape(lambda env: environment.pass_arguments(unit, env, graph), env)
  one_example = lambda whole, x: x if whole else jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
  calls.setdefault(source, jax.tree.map(one_example, environment.whole_arguments(node, graph), arguments))
  key = (source, jax.tree.structure(arguments), *jax.tree.leaves(arguments))
  if key not in outputs:
    run = lambda args, kwargs: network.module.init_with_output(environment.run_key(0), *args, **kwargs)[0]
    with environment.told_by(node):
      outputs[key] = jax.eval_shape(run, *arguments)
  return jax.eval_shape(lambda env, outputs: environment.write_outputs(unit, env, graph, outputs), env, outputs[key])


def _table_shapes(node: Refresh, env: Environment, graph: Graph, tables):
  """What a `refresh` function writes when it sees the whole data set."""

  def of_all(name):
    array = fetch(env.arrays, node.where, name)
    if graph.is_whole(name):
      return array
    return jax.ShapeDtypeStruct((graph.engine["num_examples"], *array.shape[1:]), array.dtype)

  of_reads = lambda read: of_all(read) if isinstance(read, str) else [of_reads(part) for part in read]
  args, kwargs = [of_reads(read) for read in node.reads], {key: of_reads(read) for key, read in node.keywords.items()}
  numbers = environment.numbers_at_start(node)
  if isinstance(node.fn, Stateful):
    tables[node.name] = (args, kwargs)
    shapes = jax.eval_shape(lambda key: environment.initial_state(node, (args, kwargs), key, graph), env.step_key)
    if not isinstance(shapes, dict) or jax.tree.structure(shapes) != jax.tree.structure(_as_dicts(shapes)):
      raise ConfigError(f"{node.where}: what its `init` returns must be a dict of arrays, {{name: table}}; it is {shapes}")
    return shapes
  run = lambda key, args, kwargs: call(node.fn, key, *args, engine=graph.engine, **kwargs, **numbers)
  with environment.told_by(node):
    return jax.eval_shape(run, env.step_key, args, kwargs)


def _as_dicts(tree):
  return {key: _as_dicts(part) for key, part in tree.items()} if isinstance(tree, dict) else 0


def _trace_stateful(node: Node, env: Environment, graph: Graph, states) -> Environment:
  """Notes what a state is initialised from, and runs the node on that state.

  Raises:
    ConfigError: if the state after a step has other shapes or types than before.
  """
  arguments = states[node.name] = environment.read(node, env)
  state = jax.eval_shape(lambda key: environment.initial_state(node, arguments, key, graph), env.step_key)
  env = _trace((node,), env.replace(memory=env.memory | {node.name: state}), graph)
  shapes = [jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", s) for s in (state, env.memory[node.name])]
  if shapes[0] != shapes[1]:
    raise ConfigError(f"{node.where}: its state must stay of the same shapes and types; it is {shapes[0]}, then {shapes[1]}")
  return env
