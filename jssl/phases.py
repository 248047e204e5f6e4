"""The loop's two general hooks: static numbers that change with progress, and work between epochs."""

from collections.abc import Mapping
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jssl import checkpoint, graph, nodes
from jssl.config import flatten
from jssl.data.sampling import epoch_permutation
from jssl.environment import name_key, run_key
from jssl.errors import ConfigError, nearest
from jssl.schedules import Horizon

# What a phase may change; the rest of a config holds for the whole run.
CHANGEABLE = ("views", "masking", "networks", "passes", "targets", "losses", "refresh", "optim", "dtype")
# Of a network, what counts only where it starts.
_OF_THE_START = ("load", "near", "init")


class Phase(NamedTuple):
  """A stretch of steps, `start <= step < stop`, with one config."""

  name: str
  start: int
  stop: int
  config: ml_collections.ConfigDict


def split(config, horizon: Horizon) -> list[Phase]:
  """The phases of a run, in order.

  An entry `config.phases.late = dict(start_fraction=0.8, override=dict(views=dict(v=dict(size=96))))` changes keys that
  the config has already, from its start to the end of the run; later phases add to earlier ones. It may change
  `CHANGEABLE`, as long as the names and shapes of parameters and of the optimizer's state stay what they are.

  Raises:
    ConfigError: for a phase without a start or an override, and for a key that the config does not have or that a phase
      cannot change.
  """
  starts = {}
  for name, entry in config.phases.items():
    where = f"config.phases.{name}"
    unknown = [key for key in entry if key != "override" and not key.startswith("start_")]
    if unknown:
      raise ConfigError(f"{where}: unknown key '{unknown[0]}'; {nearest(unknown[0], ('override', 'start_fraction'))}")
    start = horizon.steps(entry, "start")
    if start is None:
      raise ConfigError(f"{where}: give start_steps, start_epochs, start_examples or start_fraction")
    _check_override(entry.get("override"), f"{where}.override")
    starts[name] = start
  ordered = sorted(starts, key=starts.get)
  phases = [Phase("first", 0, horizon.total_steps, config)]
  for name in ordered:
    changed = phases[-1].config.copy_and_resolve_references()
    _update(changed, config.phases[name].override, f"config.phases.{name}.override")
    phases[-1] = phases[-1]._replace(stop=starts[name])
    phases.append(Phase(name, starts[name], horizon.total_steps, changed))
  return [phase for phase in phases if phase.start < phase.stop]


def _check_override(changes: Any, where: str) -> None:
  """Raises `ConfigError` for what the loop would not look at again when the phase begins."""
  if not hasattr(changes, "items"):
    raise ConfigError(f"{where}: give a table of what changes, such as dict(views=dict(v=dict(size=96)))")
  may = f"a phase may change {', '.join(CHANGEABLE)}"
  for key in changes:
    if key not in CHANGEABLE:
      raise ConfigError(f"{where}.{key}: it holds for the whole run; {may}")
  networks = changes.get("networks", {})
  for name, network in networks.items() if hasattr(networks, "items") else ():
    heads = network.get("heads", {}).items() if hasattr(network, "items") else ()
    for place, entry in ((name, network), *((f"{name}.heads.{head}", entry) for head, entry in heads)):
      for key in _OF_THE_START:
        if hasattr(entry, "items") and key in entry:
          raise ConfigError(f"{where}.networks.{place}.{key}: it counts only where the network starts, at step 0")


def at(phases: list[Phase], step: int) -> Phase:
  """The phase of a step; the last one for the end of the run."""
  return next((phase for phase in phases if phase.start <= step < phase.stop), phases[-1])


def check_same_state(before: Phase, state, after: Phase, expected) -> None:
  """Raises `ConfigError` unless the state at the end of a phase (shapes suffice) can go on into the next one."""
  variables = [checkpoint.named_leaves(x.variables) for x in (state, expected)]
  checkpoint.require_same(f"config.phases: the state before '{after.name}'", variables[0], "the one after", variables[1])
  if jax.tree.structure(state) == jax.tree.structure(expected):
    return
  names = [checkpoint.named_leaves(x.opt_state).keys() for x in (state, expected)]
  flat = [flatten(phase.config.optim) for phase in (before, after)]
  changed = [f"optim.{key}" for key in sorted({*flat[0], *flat[1]}) if flat[0].get(key) != flat[1].get(key)]
  only = [sorted(names[i] - names[1 - i]) for i in (0, 1)]
  shown = [
    f"only {when} it: {some[0]} and {len(some) - 1} more"
    for when, some in zip(("before", "after"), only, strict=True)
    if some
  ]
  raise ConfigError(
    f"config.phases.{after.name}: the optimizer cannot go on there, as it keeps another state "
    f"({', '.join(changed)} changed{''.join(f'; {part}' for part in shown)})"
  )


def _update(config, changes: Mapping, where: str) -> None:
  for key, value in changes.items():
    if key not in config:
      raise ConfigError(f"{where}: no key '{key}'; {nearest(key, config.keys())}")
    if hasattr(value, "items") and hasattr(config[key], "items") and "schedule" not in value:
      _update(config[key], value, f"{where}.{key}")
    else:
      with config.ignore_type():
        config[key] = value


def initial_tables(method, spec) -> dict[str, jax.Array]:
  """Zeros in the shapes of what the config's `refresh` functions write."""
  tables = [name for name, node in method.nodes.items() if isinstance(node, nodes.Refresh)]
  arrays = method.abstract_environment(spec).arrays if tables else {}
  return {name: jnp.zeros(x.shape, x.dtype) for name, x in arrays.items() if graph.owner(name, method.nodes) in tables}


def check_refresh(config, horizon: Horizon, source) -> None:
  """Raises `ConfigError` for a `refresh` entry without a period, and for one on data without random access."""
  for name, entry in config.refresh.items():
    where = f"config.refresh.{name}"
    if not horizon.steps(entry, "every"):
      raise ConfigError(f"{where}: give every_epochs, every_steps, every_examples or every_fraction, of a step at least")
    if source.read is None:
      raise ConfigError(f"{where} sees all examples, but {source.name} is an iterator, without random access")


def refresh(trainer, state, step: int):
  """Runs the `refresh` functions that are due before `step` and stores what they return in the state's tables.

  A function `fn(rng, *arrays [examples, ...], **numbers)` sees what it reads for every example of the data set, in the
  data's order; it is due before the first step, and again every `every_epochs`, `every_steps`, `every_examples` or
  `every_fraction` of the run (1.0: once only). How the arrays are worked out: `collect`.
  """
  due = [
    node
    for node in trainer.single_method.nodes.values()
    if isinstance(node, nodes.Refresh) and step % trainer.horizon.steps(node.every, "every") == 0
  ]
  for node in due:
    reads = sorted(set(node.names()))
    found = collect(trainer, state, reads, step)
    fetch = functools.partial(graph.fetch, found, node.where)
    key = name_key(jax.random.fold_in(run_key(trainer.config.seed), step), node.name)
    tables: dict[str, jax.Array] = {}
    graph.store(
      tables,
      node.name,
      nodes.call(
        node.fn,
        key,
        *map(fetch, node.reads),
        engine=trainer.single_method.engine,
        **{k: fetch(read) for k, read in node.keywords.items()},
        **node.numbers,
        **{k: schedule(step) for k, schedule in node.schedules.items()},
      ),
    )
    tables = trainer.parallel.put_replicated(tables)
    state = state.replace(variables=state.variables.replace(tables=state.variables.tables | tables))
  return state


@functools.lru_cache(maxsize=4)
def _compiled_look(method, parallel, seed: int, names: tuple[str, ...]):
  """Named arrays of one batch as a compiled function; kept, since it is compiled anew for each new function."""

  def look(state, arrays, batch):
    batch = {name: array[batch["index"]] for name, array in arrays.items()} | batch
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
  compiled = _compiled_look(method, trainer.parallel, trainer.config.seed, tuple(names))
  count = len(trainer.source)
  order = epoch_permutation(trainer.config.seed, step, count)
  collected: dict[str, np.ndarray] = {}
  for start in range(0, count, size):
    chosen = order[np.arange(start, start + size) % count]
    index = chosen[trainer.parallel.part].astype(np.int32)
    batch = {"index": index}
    if not trainer.resident:
      batch = trainer.read(index, step=step, positions=index)
    found = trainer.parallel.gather(compiled(state, trainer.arrays, trainer.parallel.put_batch(batch)))
    own = chosen[: count - start]
    for name, rows in found.items():
      if name not in collected:
        collected[name] = np.empty((count, *rows.shape[1:]), rows.dtype)
      collected[name][own] = rows[: len(own)]
  return collected
