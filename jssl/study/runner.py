"""Runs the arms of a study, each with every seed in a process of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import hashlib
import itertools
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import pickle
import re
import signal
import sys
import threading
import time
import traceback
from typing import Any, NamedTuple

import ml_collections

from jssl import config as configs
from jssl import logging, processes, workdirs
from jssl.errors import ConfigError, nearest, Stopped
from jssl.files import user_path
from jssl.study.claims import Claim
from jssl.study.ledger import Ledger, rows_table

GRACE_SECONDS = 300.0  # to save, for runs that are told to stop
Measure = Callable[[Any, int, pathlib.Path], Mapping[str, float]]


class _Job(NamedTuple):
  """A run that is to be: its arm and seed, the hash of the arm, and its folder."""

  arm: str
  seed: int
  hash: str
  folder: pathlib.Path


class _Running(NamedTuple):
  """A run under way."""

  job: _Job
  process: Any
  connection: Any
  begun: float
  commit: str | None


def run(
  folder: str | pathlib.Path,
  *,
  arms: Mapping[str, Any],
  seeds: Iterable[int],
  measure: Measure,
  claims: Sequence[Claim] = (),
  about: Mapping[str, Any] | None = None,
  regime: str | pathlib.Path | None = None,
  workdir: str | pathlib.Path | None = None,
  columns: Mapping[str, str] | None = None,
  table: Callable[[Sequence[Mapping[str, Any]]], str] | None = None,
  only: Sequence[str] = (),
  budget_minutes: float | None = None,
  at_once: int = 1,
  retry: bool = False,
) -> Ledger:
  """Runs what has no row yet, the first seed of all arms before the second, and writes rows and page.

  Args:
    folder: of the study: `rows.jsonl`, `claims.json`, `README.md`, in which only what stands between two marks is written.
    arms: name -> a config, or anything that JSON can hold and `measure` understands.
    seeds: integers, with which the claims are registered.
    measure: `measure(arm, seed, workdir) -> {metric: number}`, from the top of a module, in a process of its own; a workdir
      is the run's alone and is there again when a run that was stopped goes on. `study.Pretrained()` is one.
    claims: see `study.claim`; written down before the first row. Those of earlier calls stay.
    about: kept beside the claims, such as `dict(paper="SimCLR", config="simclr")`, for the list of papers.
    regime: folder of a regime's controls, which must have head-room, see `Ledger.head_room`.
    workdir: where the runs are; by default `runs/<name of the folder>`.
    columns: of the page's table, title -> metric; default all metrics but those of training.
    table: makes the page's table of the rows, in the place of mean and standard deviation by arm.
    only: arms that are run now; default all.
    budget_minutes: after which no run is begun and those under way are told to stop; they go on at the next call.
    at_once: runs at the same time.
    retry: whether runs that failed are run again.

  Returns:
    The study's ledger.

  Raises:
    ConfigError: for rows of an arm whose config was another one, a claim that has changed after there were rows, a regime
      without measured head-room, another process in the same study, or arguments that do not fit together.
  """
  ledger, seeds = Ledger(folder), tuple(int(seed) for seed in seeds)
  _check(arms, seeds, measure, claims, only, at_once)
  if regime is not None and not Ledger(regime).head_room():
    raise ConfigError(
      f"{folder}: the regime {regime} has no measured head-room: with labels the same network must beat every control "
      "by some metric; measure its controls first (python -m experiments.regimes), or take another"
    )
  show = table or (lambda rows: rows_table(rows, columns if columns is not None else _all_columns(rows)))
  with ledger.locked():
    jobs = _jobs(ledger, arms, seeds, user_path(workdir or f"runs/{ledger.folder.name}"), only, retry)
    ledger.register(claims, seeds, about)
    deadline = time.monotonic() + 60 * budget_minutes if budget_minutes is not None else float("inf")
    left = _run_all(ledger, arms, measure, jobs, at_once, deadline, lambda: ledger.write_page(show(ledger.rows())))
    ledger.write_page(show(ledger.rows()))
  if left:
    logging.log.warning("%s: %d of %d runs are left; the same call goes on", folder, left, len(arms) * len(seeds))
  return ledger


def _check(arms, seeds, measure, claims, only, at_once) -> None:
  """Refuses what could only fail later."""
  if not arms or not seeds or len(set(seeds)) < len(seeds) or at_once < 1:
    raise ConfigError(f"a study needs arms, different seeds and at_once >= 1; got {[*arms]}, {seeds}, {at_once}")
  for name in (*(name for claim in claims for name in (claim.better, claim.worse)), *only):
    if name not in arms:
      raise ConfigError(f"there is no arm {name!r}; {nearest(name, arms)}")
  if len({_slug(name) for name in arms}) < len(arms):
    raise ConfigError(f"the names of arms must differ in letters and digits: {', '.join(arms)}")
  try:
    pickle.dumps(measure)
  except (pickle.PicklingError, AttributeError, TypeError) as error:
    raise ConfigError(f"measure must be at the top of a module, for it runs in other processes: {error}") from error


def _jobs(ledger, arms, seeds, workdir, only, retry) -> list[_Job]:
  """What is to be run, in order.

  Raises:
    ConfigError: for rows of another config.
  """
  rows = {(row["arm"], row["seed"]): row for row in ledger.rows()}
  hashes = {name: arm_hash(arm, name) for name, arm in arms.items()}
  jobs = []
  for seed, name in itertools.product(seeds, arms):
    row = rows.get((name, seed))
    # Rows without a hash are older than hashes.
    if row and row.get("config") not in (None, hashes[name]):
      raise ConfigError(
        f"{ledger.folder}: arm {name!r} has rows of another config ({row['config']}, now {hashes[name]}); give the arm "
        "another name, or begin another folder"
      )
    done = row and ("metrics" in row or not retry)
    if not done and name in (only or arms):
      jobs.append(_Job(name, seed, hashes[name], workdir / f"{_slug(name)}_seed{seed}"))
  return jobs


def arm_hash(arm: Any, name: str = "") -> str:
  """Sixteen digits that tell an arm from another.

  Of a config what differs from the defaults counts, so that a key that is new changes nothing; without its seed, which
  every run sets, and what changes only how a run is reported.

  Raises:
    ConfigError: for what JSON cannot hold.
  """
  if isinstance(arm, ml_collections.ConfigDict):
    defaults = configs.flatten(configs.default_config())
    free = tuple(key for key in workdirs.FREE if key != "evaluation.")
    flat = configs.flatten(configs.from_json(configs.to_json(arm)))
    arm = {
      k: v for k, v in flat.items() if k != "seed" and not k.startswith(free) and (k not in defaults or v != defaults[k])
    }
  try:
    text = json.dumps(arm, sort_keys=True, allow_nan=False)
  except (TypeError, ValueError) as error:
    raise ConfigError(f"arm {name!r} must be a config or what JSON can hold: {error}") from error
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _slug(name: str) -> str:
  return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")


def _all_columns(rows) -> dict[str, str]:
  names = dict.fromkeys(name for row in rows for name in row.get("metrics", ()))
  return {name: name for name in names if not name.startswith("train/")}


def _run_all(ledger, arms, measure, jobs, at_once, deadline, report) -> int:
  """Runs jobs until all are done, or it is time to stop; returns how many are left."""
  waiting, running, left = list(jobs), [], 0
  with processes.Interrupt() as interrupt:
    while running or waiting:
      if interrupt.requested or time.monotonic() > deadline:
        left += len(waiting)
        waiting = []
        for one in running:
          one.process.terminate()
        left += _collect(ledger, running, GRACE_SECONDS, report, stopping=True)
        continue
      while waiting and len(running) < at_once:
        running.append(_start(arms, measure, waiting.pop(0)))
      ready = multiprocessing.connection.wait([one.connection for one in running], timeout=0.5)
      done = [one for one in running if one.connection in ready]
      running = [one for one in running if one.connection not in ready]
      left += _collect(ledger, done, None, report, stopping=False)
  return left


def _start(arms, measure, job: _Job) -> _Running:
  # Not forked: JAX has threads, and memory would count what this process holds.
  context = multiprocessing.get_context("spawn")
  here, there = context.Pipe(duplex=False)
  process = context.Process(target=_work, args=(there, measure, arms[job.arm], job.seed, job.folder), daemon=False)
  job.folder.parent.mkdir(parents=True, exist_ok=True)
  logging.log.info("%s, seed %d: begins", job.arm, job.seed)
  process.start()
  there.close()
  return _Running(job, process, here, time.monotonic(), workdirs.commit())


def _work(connection, measure, arm, seed: int, folder: pathlib.Path) -> None:
  """A run, in its own process: sends what came of it."""
  with folder.with_suffix(".log").open("a") as log:
    for stream in (1, 2):
      os.dup2(log.fileno(), stream)
  logging.setup()
  threading.Thread(target=_stop_with_parent, daemon=True).start()
  try:
    found = {"metrics": {str(name): float(value) for name, value in measure(arm, seed, folder).items()}}
  except (Stopped, KeyboardInterrupt):
    found = {"stopped": True}
  except Exception as error:  # pylint: disable=broad-except  # whatever it is, it is the row
    traceback.print_exc()
    found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
  connection.send(found | {"mib": round(processes.peak_mib())})
  sys.stdout.flush()


def _stop_with_parent() -> None:
  """Tells a run to stop where the study that began it was killed: nobody would take its numbers."""
  if parent := multiprocessing.parent_process():
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _collect(ledger, done: list[_Running], seconds: float | None, report, *, stopping: bool) -> int:
  """Writes the rows of runs that have ended, or end within some seconds; returns how many of them go on later."""
  left = 0
  until = time.monotonic() + seconds if seconds is not None else None
  while done:
    one = done.pop()
    found = _received(one, until)
    took = _sittings(one.job.folder, time.monotonic() - one.begun)
    if found.get("stopped") or stopping and "metrics" not in found:
      left += 1
      continue
    found.pop("stopped", None)
    result = {key: found[key] for key in ("metrics", "error") if key in found}
    row = dict(arm=one.job.arm, seed=one.job.seed, commit=one.commit, config=one.job.hash, **result)
    ledger.append(row | dict(seconds=round(took, 1), mib=found.get("mib"), versions=workdirs.versions()))
    one.job.folder.with_suffix(".seconds").unlink()
    if "error" in found:
      logging.log.error("%s, seed %d: %s; see %s", *one.job[:2], found["error"], one.job.folder.with_suffix(".log"))
    else:
      logging.log.info("%s, seed %d: %.0f s, %d MiB", *one.job[:2], took, found["mib"])
    report()
  return left


def _received(one: _Running, until: float | None) -> dict[str, Any]:
  """What a run has sent, or with what it ended; one that does not end in time is killed."""
  found: dict[str, Any] = {}
  try:
    if until is None or one.connection.poll(max(until - time.monotonic(), 0)):
      found = one.connection.recv()
  except EOFError:
    pass
  one.process.join(None if until is None else max(until - time.monotonic(), 1))
  if one.process.is_alive():
    one.process.kill()
    one.process.join()
  if not found:
    code = one.process.exitcode or 0
    what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    found = {"error": f"the process ended with {what}"}
  return found


def _sittings(folder: pathlib.Path, seconds: float) -> float:
  """Seconds that a run has taken, with those of the times before it was stopped."""
  path = folder.with_suffix(".seconds")
  total = seconds + (float(path.read_text()) if path.exists() else 0.0)
  path.write_text(f"{total:.1f}\n")
  return total
