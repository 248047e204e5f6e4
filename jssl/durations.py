"""Durations for which a run is too short; none of them is an error, since short trials of long recipes are made."""

from collections.abc import Iterator, Mapping
from typing import Any

from jssl.schedules import Horizon, is_schedule


def unreachable(config, horizon: Horizon) -> list[str]:
  """One line for every duration of a config that ends, or begins, after the run: its place, and what does not happen.

  A run of the whole length, such as `every_fraction=1.0`, is not too short.
  """
  return list(_unreachable(config.to_dict(), "config", horizon))


def _unreachable(table: Mapping[str, Any], where: str, horizon: Horizon) -> Iterator[str]:
  total = horizon.total_steps
  said = lambda end, text: f"{where}: {text}: that is step {end}, the run has {total}"
  if is_schedule(table):
    yield from (said(*found) for found in _of_schedule(table, horizon))
  else:
    # Of the optimizer, of frozen parameters, of phases and of refresh functions: the only tables that have these keys.
    if (warmup := _last(table, "warmup", horizon)) > total:
      yield said(warmup, "the warm-up is longer than the run, so the learning rate never reaches its peak")
    if (boundary := _last(table, "boundaries", horizon)) >= total > 0:
      yield said(boundary, "the last boundary is never passed")
    if (thaw := _last(table, "until", horizon)) >= total:
      yield said(thaw, "what is frozen until then never moves")
    if "override" in table and (start := _last(table, "start", horizon)) >= total:
      yield said(start, "the phase never begins")
    if (period := _last(table, "every", horizon)) > total:
      yield said(period, "it runs before the first step only")
  for key, value in table.items():
    for place, inner in _tables(value, f"{where}.{key}"):
      yield from _unreachable(inner, place, horizon)


def _of_schedule(spec: Mapping[str, Any], horizon: Horizon) -> Iterator[tuple[int, str]]:
  warmup, hold, length = (_last(spec, prefix, horizon) for prefix in ("warmup", "hold", ""))
  if warmup > horizon.total_steps:
    yield warmup, "the warm-up is longer than the run"
  elif warmup + hold >= horizon.total_steps > 0 and hold:
    yield warmup + hold, "it never leaves its start"
  elif warmup + hold + length > horizon.total_steps and length:
    yield warmup + hold + length, "it does not get to its end"
  if (boundary := _last(spec, "boundaries", horizon)) >= horizon.total_steps > 0:
    yield boundary, "the last boundary is never passed"


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
