"""Running a method's graph: named arrays, filled from left to right.

`start` puts a batch into an `Environment`, and `run_graph` takes it through every unit of a graph; each kind of node has
a function `(nodes, environment, graph) -> environment`. `jssl.tracing` does the same on shapes alone.
"""

from collections.abc import Mapping, Sequence
import contextlib
import math
from typing import Any
import zlib

from flax import struct
import jax
import jax.numpy as jnp

from jssl.collapse import spreads
from jssl.errors import ConfigError
from jssl.gradients import gradient_of
from jssl.graph import fetch, Graph, store
from jssl.models.lora import hold_frozen
from jssl.nodes import call, Drawn, Loss, Mask, Node, Pass, Refresh, Target
from jssl.pictures import as_float
from jssl.stateful import Stateful


def run_key(seed: int) -> jax.Array:
  """The key that all draws of a run come from; threefry, whose draws do not depend on how arrays are split."""
  return jax.random.key(seed, impl="threefry2x32")


def name_key(key: jax.Array, name: str) -> jax.Array:
  """The stream of draws of one name; it does not change when other entries of the config come or go."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


@struct.dataclass
class Environment:
  """What the units of a graph read and write in one step.

  Attributes:
    step: steps taken so far.
    step_key: the key of what is drawn for the whole batch, the same on all devices.
    example_keys: `[batch]`, the key of each example.
    params: network -> parameters, trained or not.
    stats: network -> BatchNorm's running statistics; after a pass the new ones.
    memory: target or loss -> its state; after its turn the new one.
    arrays: name -> array; whatever is neither a table nor whole has the example as its first axis.
    losses: name -> (float32 loss, what it adds to the total).
    metrics: scalars by name: what the losses report, and the value of each scheduled number.
  """

  step: Any
  step_key: jax.Array
  example_keys: jax.Array
  params: dict[str, Any]
  stats: dict[str, Any]
  memory: dict[str, Any]
  arrays: dict[str, Any]
  losses: dict[str, tuple[Any, jax.Array]]
  metrics: dict[str, Any]

  def write(self, node: Node, output) -> "Environment":
    """With the output of a node among the arrays."""
    arrays = dict(self.arrays)
    store(arrays, node.name, output)
    return self.replace(arrays=arrays)

  def report(self, node: Node, metrics: Mapping[str, Any]) -> "Environment":
    """With metrics of a node."""
    return self.replace(metrics=self.metrics | {f"{node.name}/{key}": value for key, value in metrics.items()})

  def keys(self, node: Node) -> jax.Array:
    """One key for each example, of the node's stream: `[batch]`."""
    return jax.vmap(lambda key: name_key(key, node.name))(self.example_keys)

  def batch_key(self, node: Node) -> jax.Array:
    """The key of a node that sees the whole batch."""
    return name_key(jax.random.fold_in(self.step_key, 0xFFFFFFFF), node.name)


def start(graph: Graph, variables, batch: Mapping[str, Any], *, key, step, positions=None) -> Environment:
  """The environment before the first unit: the batch, the tables, and the step's keys. Arguments as `Method.loss`."""
  arrays = {name: as_float(name, batch[name]) for name in graph.batch_names}
  arrays |= {name: jnp.asarray(batch[name]) for name in graph.whole_names} | dict(variables.tables)
  if positions is None:
    positions = jnp.arange(len(next(x for name, x in batch.items() if name not in graph.whole_names)))
  step_key = jax.random.fold_in(key, step)
  return Environment(
    step=step,
    step_key=step_key,
    example_keys=jax.vmap(jax.random.fold_in, (None, 0))(step_key, positions),
    params={**variables.params, **variables.teachers},
    stats=dict(variables.stats),
    memory=dict(variables.memory),
    arrays=arrays,
    losses={},
    metrics={},
  )


def run_graph(graph: Graph, env: Environment) -> Environment:
  """Runs every unit of a graph, in their order."""
  for unit in graph.units:
    env = run_unit(unit, env, graph)
  return env


def run_unit(unit: Sequence[Node], env: Environment, graph: Graph) -> Environment:
  """Runs the nodes of one unit: several views or passes, or one node of another kind."""
  match unit[0]:
    case Drawn():
      return run_drawn(unit, env, graph)
    case Pass():
      return run_passes(unit, env, graph)
    case Refresh():
      return env  # Its tables are written between steps, and are there from the start.
    case Target():
      return run_target(unit[0], env, graph)
    case Loss():
      return run_loss(unit[0], env, graph)
  raise TypeError(f"no node of a graph: {unit[0]}")


def run_drawn(unit: Sequence[Drawn], env: Environment, graph: Graph) -> Environment:
  """Views and masks draw from one key an example, or one for the batch.

  A unit's nodes differ in their keys only, and in their crops if the host cut some for each of them.
  """
  node = unit[0]
  args, kwargs = read(node, env)
  numbers, env = numbers_at_step(node, env, graph)
  if node.scope == "batch":
    with told_by(node):
      return env.write(node, call(node.fn, env.batch_key(node), *args, engine=graph.engine, **kwargs, **numbers))

  def one_example(key, args, kwargs):
    with told_by(node):
      return call(node.fn, key, *args, engine=graph.engine, **kwargs, **numbers)

  examples = jax.vmap(one_example, (0, *_example_axes(node, graph)))
  if len(unit) == 1:
    return env.write(node, examples(env.keys(node), args, kwargs))
  # One after the other: compiled once, and no more memory than one of them needs.
  keys = jnp.stack([env.keys(member) for member in unit])
  if all(member.reads == node.reads for member in unit):
    outputs = jax.lax.map(lambda keys: examples(keys, args, kwargs), keys)
  else:
    args = jax.tree.map(lambda *x: jnp.stack(x), *[read(member, env)[0] for member in unit])
    outputs = jax.lax.map(lambda own: examples(*own, kwargs), (keys, args))
  for i, member in enumerate(unit):
    env = env.write(member, jax.tree.map(lambda x, i=i: x[i], outputs))
  return env


def _example_axes(node: Drawn, graph: Graph):
  """The mapped axis of each argument: 0, or None for what every example sees whole."""

  def axis(read):
    if not isinstance(read, str):
      return [axis(r) for r in read]
    return None if graph.is_whole(read) else 0

  return [axis(read) for read in node.reads], {key: axis(read) for key, read in node.keywords.items()}


def run_passes(unit: Sequence[Pass], env: Environment, graph: Graph) -> Environment:
  """Calls one network; joined passes are one call on the concatenation of their batches."""
  node, network = unit[0], graph.networks[unit[0].net]
  train = node.train if node.train is not None else network.trained or network.ema_of is not None
  gradient = gradient_of(node, graph.networks)
  args, kwargs = pass_arguments(unit, env, graph)
  keys = None
  if network.trained and train:
    keys = _joined([_pass_keys(member, env, graph) for member in unit])
  if gradient == "params":
    args, kwargs = jax.lax.stop_gradient((args, kwargs))
  params = jax.lax.stop_gradient(env.params[node.net]) if gradient == "inputs" else hold_frozen(env.params[node.net])
  variables = {"params": params, "batch_stats": env.stats[node.net]}
  with told_by(node):
    outputs, changed = network.module.apply(variables, *args, **kwargs, keys=keys, train=train, mutable=["batch_stats"])
  env = env.replace(stats=env.stats | {node.net: changed.get("batch_stats", env.stats[node.net])})
  return write_outputs(unit, env, graph, jax.lax.stop_gradient(outputs) if gradient == "none" else outputs)


def folded_axes(node: Pass, env: Environment, graph: Graph) -> tuple[int, ...]:
  """The sizes of the axes after the example's that join the batch for a pass.

  Raises:
    ConfigError: unless all that the pass reads begins with the same ones.
  """
  names = [name for name in node.names() if node.fold and not graph.is_whole(name)]
  shapes = {name: fetch(env.arrays, node.where, name).shape for name in names}
  axes = {shape[1 : 1 + node.fold] for shape in shapes.values()}
  if len(axes) > 1 or any(len(found) < node.fold for found in axes):
    raise ConfigError(
      f"{node.where}: fold={node.fold} needs that many equal axes after the batch's in all it reads: {shapes}"
    )
  return axes.pop() if axes else ()


def _pass_keys(node: Pass, env: Environment, graph: Graph) -> jax.Array:
  """A key for each example of a call, which does not depend on how the batch is split.

  Of folded axes each part of an example has one, by its place: `[batch, *axes]`, flat. Where a pass reads nothing but
  whole arrays, their rows are the examples, the same on all devices.
  """
  keys, axes, names = env.keys(node), folded_axes(node, env, graph), node.names()
  if names and all(map(graph.is_whole, names)):
    rows = jnp.arange(len(fetch(env.arrays, node.where, names[0])))
    return jax.vmap(jax.random.fold_in, (None, 0))(env.batch_key(node), rows)
  if not axes:
    return keys
  places = jnp.arange(math.prod(axes))
  return jax.vmap(lambda key: jax.vmap(lambda place: jax.random.fold_in(key, place))(places))(keys).reshape(-1)


def pass_arguments(unit: Sequence[Pass], env: Environment, graph: Graph):
  """`(args, kwargs)` of a unit's call."""
  reads, whole = [], whole_arguments(unit[0], graph)
  for node in unit:
    axes = len(folded_axes(node, env, graph))
    fold = lambda whole, x, axes=axes: x.reshape(-1, *x.shape[1 + axes :]) if axes and not whole else x
    reads.append(jax.tree.map(fold, whole_arguments(node, graph), read(node, env)))
  shapes = [jax.tree.map(lambda x: x.shape, r) for r in reads]
  for node, shape in zip(unit, shapes, strict=True):
    if shape != shapes[0]:
      raise ConfigError(
        f"{node.where}: join='{node.join}' needs equal shapes; {unit[0].where} reads {shapes[0]}, this one {shape}"
      )
  if len(unit) > 1 and any(jax.tree.leaves(whole)):
    for node in unit:
      if [name for name in node.names() if graph.is_whole(name)] != [n for n in unit[0].names() if graph.is_whole(n)]:
        raise ConfigError(f"{node.where}: join='{node.join}': passes of one call read the same tables and whole arrays")
    return jax.tree.map(lambda whole, *x: x[0] if whole else jnp.concatenate(x), whole, *reads)
  return _joined(reads)


def whole_arguments(node: Pass, graph: Graph):
  """`(args, kwargs)` of a pass with, in the place of each array, whether it is a table or whole."""
  of = lambda read: graph.is_whole(read) if isinstance(read, str) else [of(part) for part in read]
  return [of(read) for read in node.reads], {key: of(read) for key, read in node.keywords.items()}


def write_outputs(unit: Sequence[Pass], env: Environment, graph: Graph, outputs) -> Environment:
  """With each pass's part of a call's outputs among the arrays."""
  named: dict[str, Any] = {}
  store(named, "", outputs)
  arrays = dict(env.arrays)
  for name, value in named.items():
    for node, part in zip(unit, jnp.split(value, len(unit)) if len(unit) > 1 else [value], strict=True):
      axes = folded_axes(node, env, graph)
      arrays[node.name + name] = part.reshape(-1, *axes, *part.shape[1:]) if axes else part
  return env.replace(arrays=arrays)


def _joined(trees):
  return trees[0] if len(trees) == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *trees)


def run_target(node: Target, env: Environment, graph: Graph) -> Environment:
  """Calls a target's function on what it reads; no gradient enters or leaves."""
  args, kwargs = jax.lax.stop_gradient(read(node, env))
  numbers, env = numbers_at_step(node, env, graph)
  numbers["rng"] = env.batch_key(node)
  output, env = call_once(node, args, kwargs, numbers, env, graph)
  return env.write(node, jax.lax.stop_gradient(output))


def run_loss(node: Loss, env: Environment, graph: Graph) -> Environment:
  """Calls a loss's function on each of its terms, and adds their weighted sum to the losses."""
  numbers, env = numbers_at_step(node, env, graph)
  numbers["rng"] = env.batch_key(node)
  results = []
  for term in node.terms or (node.reads,):
    args, kwargs = read(node, env, term)
    result, env = call_once(node, args, kwargs, numbers, env, graph)
    results.append(loss_and_metrics(node, result))
  loss = sum(value for value, _ in results)
  metrics = jax.tree.map(lambda *values: sum(values) / len(values), *[found for _, found in results])
  weight = node.weight
  if callable(weight):
    weight = weight(env.step)
    env = env.report(node, {"weight": weight})
  total = weight * loss
  if node.log_variance:
    s = jnp.mean(fetch(env.arrays, node.where, node.log_variance))
    env = env.report(node, {"log_variance": s})
    total = jnp.exp(-s) * total + s / 2
  env = env.replace(losses=env.losses | {node.name: (loss, total)}).report(node, metrics)
  return env.replace(metrics=env.metrics | spreads(node, env, graph))


def loss_and_metrics(node: Loss, result) -> tuple[Any, dict[str, Any]]:
  """What a loss's function returned.

  Raises:
    ConfigError: unless it is a scalar and a dict of scalars.
  """
  wanted = "return a pair of a scalar and a dict of scalars by name: `return loss, {}`"
  if not isinstance(result, (tuple, list)) or len(result) != 2 or not isinstance(result[1], Mapping):
    raise ConfigError(f"{node.where}: its function returns {_described(result)}; {wanted}")
  loss, metrics = result
  if not _is_scalar(loss):
    raise ConfigError(f"{node.where}: its loss is {_described(loss)}; {wanted}, the mean over the batch for example")
  for name, value in metrics.items():
    if not _is_scalar(value):
      raise ConfigError(f"{node.where}: its metric '{name}' is {_described(value)}; {wanted}")
  return loss, dict(metrics)


def _is_scalar(value) -> bool:
  return isinstance(value, (bool, int, float)) or getattr(value, "shape", None) == ()


def _described(value) -> str:
  if hasattr(value, "shape") and hasattr(value, "dtype"):
    return f"an array {value.dtype}[{','.join(map(str, value.shape))}]" if value.shape else "a scalar alone"
  if isinstance(value, (tuple, list)):
    return f"a {type(value).__name__} of {len(value)} ({', '.join(map(_described, value))})"
  if isinstance(value, Mapping):
    return f"a dict ({', '.join(map(str, value))})" if value else "an empty dict"
  return "a scalar alone" if _is_scalar(value) else f"a {type(value).__name__}"


def read(node: Node, env: Environment, reads=None):
  """`(args, kwargs)`: the arrays that a node reads; `reads` in the place of its own for one of several terms."""
  found = lambda name: fetch(env.arrays, node.where, name)
  reads = node.reads if reads is None else reads
  return [found(name) for name in reads], {key: found(name) for key, name in node.keywords.items()}


def numbers_at_step(node: Node, env: Environment, graph: Graph) -> tuple[dict[str, Any], Environment]:
  """A node's numbers, and the environment with the scheduled ones among the metrics."""
  scheduled = {name: schedule(env.step) for name, schedule in node.schedules.items()}
  numbers = node.numbers | scheduled
  if isinstance(node, Mask) and node.grid_of:
    view, network = node.grid_of
    shape = fetch(env.arrays, node.where, view).shape[1:]
    with told_by(node):
      numbers["grid"] = graph.networks[network].module.grid(shape)
  elif isinstance(node, Mask) and node.grid:
    numbers["grid"] = node.grid
  return numbers, env.report(node, scheduled)


def call_once(node: Node, args, kwargs, numbers, env: Environment, graph: Graph):
  """The output of a target's or a loss's function, and the environment with its new state if it is a `Stateful`."""
  with told_by(node):
    if not isinstance(node.fn, Stateful):
      return call(node.fn, *args, engine=graph.engine, **kwargs, **numbers), env
    output, state = call(node.fn.apply, env.memory[node.name], *args, engine=graph.engine, **kwargs, **numbers)
  return output, env.replace(memory=env.memory | {node.name: state})


def initial_state(node: Node, arguments, rng: jax.Array, graph: Graph):
  """The state of a `Stateful` before the first step.

  Args:
    node: a target or a loss.
    arguments: `(args, kwargs)` of `jax.ShapeDtypeStruct`s.
    rng: the key of what it draws.
    graph: the node's.
  """
  args, kwargs = arguments
  with told_by(node):
    return call(node.fn.init, *args, engine=graph.engine, **kwargs, **numbers_at_start(node), rng=rng)


def numbers_at_start(node: Node) -> dict[str, Any]:
  """A node's numbers at step 0."""
  return node.numbers | {name: schedule(0) for name, schedule in node.schedules.items()}


@contextlib.contextmanager
def told_by(node: Node):
  """What a node's function finds wrong with its arguments is told with the entry's place."""
  try:
    yield
  except ConfigError:
    raise
  except jax.errors.ConcretizationTypeError as error:
    scheduled = ", ".join(node.schedules) or "no number"
    raise ConfigError(
      f"{node.where}: a number that sets a shape or a choice cannot be a schedule ({scheduled} is one); "
      "change it by config.phases"
    ) from error
  except (TypeError, ValueError) as error:
    raise ConfigError(f"{node.where}: {' '.join(str(error).split())}") from error
