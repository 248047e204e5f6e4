"""The loop's two general hooks: static numbers that change with progress, and work between epochs."""

from collections.abc import Mapping
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jssl import graph
from jssl.environment import name_key, run_key
from jssl.errors import ConfigError, nearest
from jssl.schedules import Horizon


class Phase(NamedTuple):
  """A stretch of steps, `start <= step < stop`, with one config."""

  name: str
  start: int
  stop: int
  config: ml_collections.ConfigDict


def split(config, horizon: Horizon) -> list[Phase]:
  """The phases of a run, in order.

  An entry `config.phases.late = dict(start_fraction=0.8, override=dict(views=dict(v=dict(size=96))))` changes keys that
  the config has already, from its start to the end of the run; later phases add to earlier ones. The shapes of
  parameters must stay what they are.

  Raises:
    ConfigError: for a phase without a start, or a key that the config does not have.
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
    starts[name] = start
  ordered = sorted(starts, key=starts.get)
  phases = [Phase("first", 0, horizon.total_steps, config)]
  for name in ordered:
    changed = phases[-1].config.copy_and_resolve_references()
    _update(changed, config.phases[name].get("override", {}), f"config.phases.{name}.override")
    phases[-1] = phases[-1]._replace(stop=starts[name])
    phases.append(Phase(name, starts[name], horizon.total_steps, changed))
  return [phase for phase in phases if phase.start < phase.stop]


def at(phases: list[Phase], step: int) -> Phase:
  """The phase of a step; the last one for the end of the run."""
  return next((phase for phase in phases if phase.start <= step < phase.stop), phases[-1])


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
  tables = [name for name, node in method.nodes.items() if node.stage == "refresh"]
  arrays = method.abstract_environment(spec).arrays if tables else {}
  return {name: jnp.zeros(x.shape, x.dtype) for name, x in arrays.items() if graph.owner(name, method.nodes) in tables}


def refresh(trainer, state, step: int):
  """Runs the `refresh` functions that are due before `step` and stores what they return in the state's tables.

  A function `fn(rng, *arrays [examples, ...], **numbers)` sees what it reads for every example of the data set, in the
  data's order; it is due before the first step, and again every `every_epochs`, `every_steps`, `every_examples` or
  `every_fraction` of the run (1.0: once only).
  """
  due = [
    node
    for node in trainer.single_method.nodes.values()
    if node.stage == "refresh" and step % _period(node, trainer.horizon) == 0
  ]
  for node in due:
    reads = sorted(set(node.names()))
    found = collect(trainer, state, reads, step)
    fetch = lambda read: graph.fetch(found, node.where, read)
    key = name_key(jax.random.fold_in(run_key(trainer.config.seed), step), node.name)
    tables: dict[str, jax.Array] = {}
    graph.store(
      tables,
      node.name,
      graph.call(
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


def _period(node, horizon: Horizon) -> int:
  period = horizon.steps(node.options, "every")
  if not period:
    raise ConfigError(f"{node.where}: give every_epochs, every_steps or every_fraction")
  return period


@functools.lru_cache(maxsize=4)
def _compiled_look(method, parallel, seed: int, names: tuple[str, ...]):
  """Named arrays of one batch as a compiled function; kept, since it is compiled anew for each new function."""

  def look(state, arrays, batch):
    batch = {name: array[batch["index"]] for name, array in arrays.items()} | batch
    env = method.environment(state.variables, batch, key=run_key(seed), step=state.step, positions=batch["index"])
    return {name: env[name] for name in names}

  return parallel.compile(look, gather=True)


def collect(trainer, state, names: list[str], step: int) -> dict[str, np.ndarray]:
  """Named arrays of the method's environment for every example of the data, `[examples, ...]`, in the data's order."""
  method, size = trainer.method, trainer.config.batch_size
  compiled = _compiled_look(method, trainer.parallel, trainer.config.seed, tuple(names))
  count = len(trainer.source)
  parts = []
  for start in range(0, count, size):
    index = np.minimum(np.arange(start, start + size), count - 1).astype(np.int32)[trainer.parallel.part]
    batch = {"index": index}
    if not trainer.resident:
      batch = {k: v for k, v in trainer.source.get(index).items() if k in method.batch_names} | batch
    found = trainer.parallel.gather(compiled(state, trainer.arrays, trainer.parallel.put_batch(batch)))
    parts.append({name: x[: count - start] for name, x in found.items()})
  return {name: np.concatenate([part[name] for part in parts]) for name in names}
