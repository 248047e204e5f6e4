"""Static numbers that change with progress: the first of the loop's two general hooks; the other one is `jssl.tables`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import ml_collections

from jssl import checkpoint
from jssl.config import flatten
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
