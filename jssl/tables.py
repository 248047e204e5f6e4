"""Work between steps: what `refresh` functions make of all examples, or of a world of their own, as tables for nodes."""

from collections.abc import Callable
import functools
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from jssl import graph, nodes
from jssl.data.sampling import epoch_permutation
from jssl.environment import initial_state, name_key, run_key, told_by
from jssl.errors import ConfigError, nearest
from jssl.inputs import examples_of
from jssl.nodes import Refresh
from jssl.schedules import Horizon
from jssl.stateful import Stateful


def initial_tables(method, spec, seed: int) -> dict[str, jax.Array]:
  """The tables of a config's `refresh` entries before the first step: what a `Stateful` begins with, and otherwise zeros."""
  found = [node for node in method.nodes.values() if isinstance(node, Refresh)]
  if not found:
    return {}
  traced = method.abstract_environment(spec)
  tables: dict[str, Any] = {}
  for node in found:
    if isinstance(node.fn, Stateful):
      first = initial_state(node, traced.tables[node.name], name_key(run_key(seed), node.name), method.graph)
      graph.store(tables, node.name, jax.tree.map(jnp.asarray, first))
  for name, shape in traced.arrays.items():
    writer = graph.owner(name, method.nodes)
    if writer and isinstance(method.nodes[writer], Refresh) and name not in tables:
      tables[name] = jnp.zeros(shape.shape, shape.dtype)
  return tables


def check_refresh(method, horizon: Horizon, source, process_count: int = 1) -> None:
  """Raises `ConfigError` for a `refresh` entry without a period, and for one that asks for what there is not."""
  for node in method.nodes.values():
    if not isinstance(node, Refresh):
      continue
    if not horizon.steps(node.every, "every"):
      raise ConfigError(
        f"{node.where}: give every_epochs, every_steps, every_examples or every_fraction, of a step at least"
      )
    examples = [name for name in node.names() if not method.graph.is_whole(name)]
    if source.read is None and examples:
      raise ConfigError(f"{node.where} sees all examples, but {source.name} is an iterator, without random access")
    own = {*source.element_spec, "index"}
    if others := sorted(name for name in graph.inputs_of(examples, method.graph) if "/" in name and name not in own):
      raise ConfigError(f"{node.where} sees '{others[0]}', but a refresh goes through the run's own data alone")
    if isinstance(node.fn, Stateful) and process_count > 1:
      raise ConfigError(f"{node.where}: a `Stateful` works in one process; this run has {process_count}")


def is_reported(name: str, method) -> bool:
  """Whether a metric of this name may come from a `Stateful` among the `refresh` entries."""
  writer = graph.owner(name, method.nodes)
  return writer is not None and isinstance(method.nodes[writer], Refresh) and isinstance(method.nodes[writer].fn, Stateful)


def refresh(trainer, state, step: int) -> tuple[Any, dict[str, float]]:
  """Runs the `refresh` functions that are due before `step` and stores what they return in the state's tables.

  They are due before the first step, and again every `every_epochs`, `every_steps`, `every_examples` or `every_fraction`
  of the run (1.0: once only). What they read is worked out for every example of the data, see `collect`, except tables
  and whole arrays, which they get as they are.

  * A function `fn(rng, *arrays, **numbers) -> tables` forgets what it wrote before.
  * A `Stateful` goes on from it: `init(*shapes, rng, **numbers) -> tables`, as those of targets and losses, and
    `apply(tables, call, *arrays, rng, **numbers) -> (metrics, tables)`. `call(network, *arrays, **arrays)` gives the outputs
    of a network by name, with the weights of this step, as in evaluation. What must last from one call to the next has to
    be in the tables, and every draw has to come from `rng`: then a run that was killed goes on as if it had not been.

  Returns:
    The state, and metrics as numbers by name.
  """
  method = trainer.single_method
  metrics: dict[str, float] = {}
  for node in method.nodes.values():
    if not isinstance(node, Refresh) or step % trainer.horizon.steps(node.every, "every"):
      continue
    key = jax.random.fold_in(run_key(trainer.config.seed), step)
    if rollbacks := int(state.rollbacks):
      key = jax.random.fold_in(key, rollbacks)
    key = name_key(key, node.name)
    args, kwargs = _arguments(trainer, state, node, step)
    numbers = node.numbers | {name: schedule(step) for name, schedule in node.schedules.items()}
    with told_by(node):
      if isinstance(node.fn, Stateful):
        before = trainer.parallel.single_copy(_unstored(node, state.variables.tables))
        call = functools.partial(call_network, trainer, state)
        found, after = nodes.call(node.fn.apply, before, call, *args, engine=method.engine, **kwargs, **numbers, rng=key)
        _check_tables(node, before, after)
        metrics |= {f"{node.name}/{name}": float(value) for name, value in found.items()}
      else:
        after = nodes.call(node.fn, key, *args, engine=method.engine, **kwargs, **numbers)
    tables: dict[str, jax.Array] = {}
    graph.store(tables, node.name, jax.tree.map(jnp.asarray, after))
    tables = trainer.parallel.put_replicated(tables)
    state = state.replace(variables=state.variables.replace(tables=state.variables.tables | tables))
  return state, metrics


def call_network(trainer, state, network: str, *args, **kwargs) -> dict[str, jax.Array]:
  """The outputs of a network of the present phase by name, as in evaluation; compiled once for each shape.

  Raises:
    ConfigError: if there is no such network.
  """
  method = trainer.single_method
  if network not in method.networks:
    raise ConfigError(f"call('{network}', ...): {nearest(network, method.networks)}")
  variables = state.variables
  params = (variables.params if method.networks[network].trained else variables.teachers)[network]
  variables = {"params": params, "batch_stats": variables.stats[network]}
  return _compiled_call(method, network)(trainer.parallel.single_copy(variables), args, kwargs)


@functools.lru_cache(maxsize=16)
def _compiled_call(method, network: str) -> Callable:
  module = method.networks[network].module
  return jax.jit(lambda variables, args, kwargs: module.apply(variables, *args, **kwargs, train=False))


def _arguments(trainer, state, node: Refresh, step: int):
  """`(args, kwargs)` of a `refresh` function."""
  names, method = set(node.names()), trainer.single_method
  own = {name: table for name, table in state.variables.tables.items() if name in names}
  found: dict[str, Any] = trainer.parallel.single_copy(own)
  found |= {name: trainer.whole[name] for name in names & set(method.whole_names)}
  if examples := sorted(name for name in names if not method.graph.is_whole(name)):
    found |= collect(trainer, state, examples, step)
  fetch = functools.partial(graph.fetch, found, node.where)
  return [fetch(read) for read in node.reads], {key: fetch(read) for key, read in node.keywords.items()}


def _unstored(node: Refresh, tables):
  """The tables of a `Stateful` as the dict that its `init` returned."""
  prefix = f"{node.name}/"
  return traverse_util.unflatten_dict({n[len(prefix) :]: x for n, x in tables.items() if n.startswith(prefix)}, sep="/")


def _check_tables(node: Refresh, before, after) -> None:
  described = lambda tree: jax.tree.map(lambda x: f"{np.result_type(x)}{list(np.shape(x))}", tree)
  if described(before) != described(after):
    raise ConfigError(
      f"{node.where}: its tables must stay of the same names, shapes and types; they are {described(before)}, then "
      f"{described(after)}"
    )


@functools.lru_cache(maxsize=4)
def _compiled_look(method, parallel, seed: int, names: tuple[str, ...], others: tuple):
  """Named arrays of one batch as a compiled function; kept, since it is compiled anew for each new function.

  `others` are the (name, shape, type) of what comes from other data than the run's own: nothing that is looked at.
  """

  def look(state, arrays, batch):
    rows = len(batch["index"])
    zeros = {name: jnp.zeros((rows, *shape), dtype) for name, shape, dtype in others}
    batch = examples_of(arrays, batch, method.whole_names) | zeros
    env = method.environment(state.variables, batch, key=run_key(seed), step=state.step, positions=batch["index"])
    return {name: env[name] for name in names}

  return parallel.compile(look, gather=True)


def collect(trainer, state, names: list[str], step: int) -> dict[str, np.ndarray]:
  """Named arrays of the method's environment for every example of the data, `[examples, ...]`, in the data's order.

  They are what a training step would have computed for the example: the networks run as in training, BatchNorm with
  the statistics of a batch, and batches are drawn at random from the whole data set, whatever its order (a folder is
  sorted by class, and a batch of one class has the statistics of that class). The last batch is filled up from the
  first. facebookresearch/swav does the same for DeepCluster-v2 (main_deepclusterv2.py: shuffled loader, training mode);
  running statistics, which DeepCluster takes, would be those of no data at all before the first step. What an example
  draws, for its views for one, depends on the seed, the step and its index, not on its batch.
  """
  method, size = trainer.method, trainer.config.batch_size
  read, spec = set(method.batch_names), trainer.spec
  others = tuple((n, spec[n].shape[1:], spec[n].dtype) for one in trainer.inputs[1:] for n in sorted(read & set(one.names)))
  compiled = _compiled_look(method, trainer.parallel, trainer.config.seed, tuple(names), others)
  arrays = {name: array for name, array in trainer.arrays.items() if name not in {other[0] for other in others}}
  count = len(trainer.source)
  order = epoch_permutation(trainer.config.seed, step, count)
  collected: dict[str, np.ndarray] = {}
  for start in range(0, count, size):
    chosen = order[np.arange(start, start + size) % count]
    index = chosen[trainer.parallel.part].astype(np.int32)
    batch = {"index": index}
    if trainer.inputs[0].resident is None:
      batch = trainer.read(index, step=step, positions=index)
    found = trainer.parallel.gather(compiled(state, arrays, trainer.parallel.put_batch(batch)))
    own = chosen[: count - start]
    for name, rows in found.items():
      if name not in collected:
        collected[name] = np.empty((count, *rows.shape[1:]), rows.dtype)
      collected[name][own] = rows[: len(own)]
  return collected
