"""Durations for which a run is too short; none of them is an error, since short trials of long recipes are made."""

from collections.abc import Iterator, Mapping
from typing import Any

from jssl.schedules import Horizon, is_schedule, UNITS


def unreachable(config, horizon: Horizon) -> list[str]:
  """One line for every duration of a config that ends, or begins, after the run: its place, and what does not happen.

  A run of the whole length, such as `every_fraction=1.0`, is not too short.
  """
  learnt = {key: table for key, table in config.to_dict().items() if key != "monitor"}  # which looks at the end anyway
  return list(_unreachable(learnt, "config", horizon))


def _unreachable(table: Mapping[str, Any], where: str, horizon: Horizon) -> Iterator[str]:
  found = _of_schedule(table, horizon) if is_schedule(table) else _of_table(table, horizon)
  for prefix, end, what in found:
    names = [f"{prefix}_{unit}" if prefix else unit for unit in UNITS]
    key = next(name for name in names if table.get(name) is not None)
    yield f"{where}.{key}={table[key]}: {what}: that is step {end}, the run has {horizon.total_steps}"
  for key, value in table.items():
    for place, inner in _tables(value, f"{where}.{key}"):
      yield from _unreachable(inner, place, horizon)


def _of_table(table: Mapping[str, Any], horizon: Horizon) -> Iterator[tuple[str, int, str]]:
  """Of the optimizer, of frozen parameters, of phases and of `refresh` functions, which alone have these keys."""
  total = horizon.total_steps
  if (end := _last(table, "warmup", horizon)) > total:
    yield "warmup", end, "the warm-up is longer than the run, so the learning rate never reaches its peak"
  if (end := _last(table, "boundaries", horizon)) >= total:
    yield "boundaries", end, "the last boundary is never passed"
  if (end := _last(table, "until", horizon)) >= total:
    yield "until", end, "what is frozen until then never moves"
  if "override" in table and (start := _last(table, "start", horizon)) >= total:
    yield "start", start, "the phase never begins"
  if (period := _last(table, "every", horizon)) > total:
    yield "every", period, "it runs before the first step only"


def _of_schedule(spec: Mapping[str, Any], horizon: Horizon) -> Iterator[tuple[str, int, str]]:
  total = horizon.total_steps
  warmup, hold, length = (_last(spec, prefix, horizon) for prefix in ("warmup", "hold", ""))
  if warmup > total:
    yield "warmup", warmup, "the warm-up is longer than the run"
  elif hold and warmup + hold >= total:
    yield "hold", warmup + hold, "it never leaves its start"
  elif length and warmup + hold + length > total:
    yield "", warmup + hold + length, "it does not get to its end"
  if (end := _last(spec, "boundaries", horizon)) >= total:
    yield "boundaries", end, "the last boundary is never passed"


def _last(table: Mapping[str, Any], prefix: str, horizon: Horizon) -> int:
  """A duration in steps, the last of several; 0 without one."""
  steps = horizon.steps(table, prefix)
  return max(steps, default=0) if isinstance(steps, tuple) else steps or 0


def _tables(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """The tables in a value: itself, or what a tuple of it holds, at any depth."""
  if isinstance(value, Mapping):
    yield where, value
  elif isinstance(value, (list, tuple)):
    for inner in value:
      yield from _tables(inner, where)
