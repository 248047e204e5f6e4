"""Trains and evaluates a config with several values of its keys, and shows what comes of each.

    python -m jssl.sweep --config simclr:demo --sweep config.optim.lr=1e-3,3e-3 --sweep config.seed=0,1 --workdir runs/sweep

Each run is a process of its own, as `jssl.study` runs them; the same command goes on with what was stopped. In the place of
values, `--sweep module:function` names a function in the manner of big_vision; without any `--sweep` it is the config's own:

    def get_hyper(hyper):
      return hyper.product([hyper.sweep("config.optim.lr", [1e-3, 3e-3]), hyper.sweep("config.seed", range(3))])

`--slurm FILE` writes a script for `sbatch` with one task a run, and runs nothing.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
import itertools
import pathlib
import re
import shlex
import sys
from typing import Any, NamedTuple

from jssl import config as configs
from jssl import nodes, study
from jssl.errors import ConfigError
from jssl.evaluation.own_data import evaluate_own_data
from jssl.files import user_path, write_whole
from jssl.report.results import MEASURES
from jssl.values import literal, words

Runs = list[dict[str, Any]]  # of each run what differs from the config, "config.key" -> value
SEED = "config.seed"

# `cd` and the program's own path: a task finds what the command found that wrote the script.
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --output={output}
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
# A task is a run. `sbatch FILE` once more goes on with those that were stopped; what a run needs is an option of sbatch:
# sbatch --gpus=1 --time=8:00:00 FILE. Afterwards the table:
# {command}
cd {folder}
exec {command} --task "$SLURM_ARRAY_TASK_ID"
"""


class Hyper:
  """What `get_hyper` puts a sweep together with: lists of runs, each the values of some keys.

  Example:

    >>> hyper = Hyper()
    >>> rates = hyper.zipit([hyper.sweep("config.optim.lr", [1, 2]), hyper.sweep("config.batch_size", [32, 64])])
    >>> len(hyper.product([rates, hyper.sweep("config.seed", range(3))]))
    6
  """

  def sweep(self, name: str, values: Iterable[Any]) -> Runs:
    """A run for each value of a key."""
    return [{name: value} for value in values]

  def fixed(self, name: str, value: Any, length: int = 1) -> Runs:
    """So many runs of the same value."""
    return self.sweep(name, [value] * length)

  def product(self, sweeps: Sequence[Runs]) -> Runs:
    """Each run of one with each run of the others."""
    return [_merged(runs) for runs in itertools.product(*sweeps)]

  def zipit(self, sweeps: Sequence[Runs]) -> Runs:
    """The first run of each together, the second of each, and so on."""
    if len({len(runs) for runs in sweeps}) > 1:
      raise ConfigError(f"hyper.zipit: sweeps of different lengths, {', '.join(str(len(runs)) for runs in sweeps)}")
    return [_merged(runs) for runs in zip(*sweeps, strict=True)]

  def chainit(self, sweeps: Iterable[Runs]) -> Runs:
    """The runs of one after those of the other."""
    return [run for runs in sweeps for run in runs]


def _merged(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
  found: dict[str, Any] = {}
  for run in runs:
    for key, value in run.items():
      if key in found:
        raise ConfigError(f"{key} is swept twice")
      found[key] = value
  return found


class Plan(NamedTuple):
  """A sweep as a study has it.

  Attributes:
    arms: name, such as "optim.lr=0.001", -> config.
    seeds: with which each arm is run.
  """

  arms: dict[str, Any]
  seeds: tuple[int, ...]

  def tasks(self) -> list[tuple[str, int]]:
    """Arm and seed of each run."""
    return [(name, seed) for seed in self.seeds for name in self.arms]


def plan(config: str, sweeps: Sequence[str] = (), overrides: Sequence[str] = ()) -> Plan:
  """The arms and the seeds of a sweep.

  Args:
    config: as `load_config` takes it.
    sweeps: each "config.key=value,value", or "module:function" of a `get_hyper`; () for the config's own.
    overrides: `--config.key=value`, of all runs.

  Raises:
    ConfigError: for a key or a value that the config does not take, and seeds that are not those of every arm.
  """
  hyper = Hyper()
  runs = hyper.product([_runs(spec, hyper) for spec in sweeps]) if sweeps else _own(config, hyper)
  arms, found = {}, []
  for run in runs:
    values = {key: value for key, value in run.items() if key != SEED}
    name = ", ".join(f"{key.removeprefix('config.')}={value}" for key, value in values.items()) or config
    if name not in arms:
      changes = [*overrides, *(f"--{key}={value!r}" for key, value in values.items())]
      arms[name] = configs.override(configs.load_config(config), changes)
      evaluate_own_data(arms[name], changes)  # as in `jssl.train`
      configs.check_config(arms[name])
    found.append((name, run.get(SEED, arms[name].seed)))
  made = Plan(arms, tuple(dict.fromkeys(seed for _, seed in found)))
  for seed in made.seeds:
    if isinstance(seed, bool) or not isinstance(seed, int):
      raise ConfigError(f"{SEED}={seed!r}: it must be a whole number")
  if sorted(found) != sorted(made.tasks()):
    raise ConfigError(f"{SEED}: each run that is swept must have the same seeds, once: {', '.join(map(str, made.seeds))}")
  return made


def _own(config: str, hyper: Hyper) -> Runs:
  name = config.partition(":")[0]
  get_hyper = getattr(configs.config_module(name), "get_hyper", None)
  if get_hyper is None:
    raise ConfigError(f"--sweep config.key=value,value is missing, and the config {name} has no function get_hyper")
  return get_hyper(hyper)


def _runs(spec: str, hyper: Hyper) -> Runs:
  """What one `--sweep` says."""
  key, equals, text = spec.removeprefix("--").partition("=")
  if equals and key.startswith("config."):
    return hyper.sweep(key, [literal(value, key) for value in split(text)])
  if equals or ":" not in spec:
    raise ConfigError(f"--sweep {spec}: write config.key=value,value or module:function")
  return nodes.resolve("--sweep", spec, "config")(hyper)


def split(text: str) -> list[str]:
  """The values between commas, but for commas in brackets or quotes.

  Example:

    >>> split("(0.2, 1.0),(0.5, 1.0),None,'a,b'")
    ['(0.2, 1.0)', '(0.5, 1.0)', 'None', "'a,b'"]
  """
  values, depth, quote = [""], 0, ""
  for letter in text:
    if quote:
      quote = "" if letter == quote else quote
    elif letter in "'\"":
      quote = letter
    elif letter == "," and not depth:
      values.append("")
      continue
    depth += 0 if quote else (letter in "([{") - (letter in ")]}")
    values[-1] += letter
  return values


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """The last loss of each arm and its evaluation, of a protocol the number that a report shows."""
  columns = {"loss": "train/loss"}
  for name in dict.fromkeys(name for row in rows for name in row.get("metrics", ())):
    protocol, _, metric = name.partition("/")
    if protocol != "train" and (protocol not in MEASURES or re.fullmatch(MEASURES[protocol].metric, metric)):
      columns[name] = name
  return study.rows_table(rows, columns)


def slurm(command: Sequence[str], tasks: int, workdir: pathlib.Path) -> str:
  """The script for `sbatch` that runs each task of a sweep."""
  return SCRIPT.format(
    name=workdir.name,
    last=tasks - 1,
    output=pathlib.Path.cwd() / _place(workdir) / "%a.out",
    command=shlex.join(command),
    folder=shlex.quote(str(pathlib.Path.cwd())),
  )


def _place(workdir: pathlib.Path, task: int | None = None) -> pathlib.Path:
  """Where the rows of tasks are, each in a folder of its own: they run side by side."""
  return workdir / "tasks" / ("" if task is None else str(task))


def _gather(workdir: pathlib.Path) -> None:
  """Takes the rows of tasks that are done into those of the sweep."""
  ledger = study.Ledger(workdir)
  with ledger.locked():
    known = {(row["arm"], row["seed"]) for row in ledger.rows() if "metrics" in row}
    for place in sorted(_place(workdir).glob("*/")):
      for row in study.Ledger(place).rows():
        if "metrics" in row and (row["arm"], row["seed"]) not in known:
          ledger.append(row)


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m jssl.sweep",
    description=__doc__.splitlines()[0],
    epilog="--config.key=value changes any key of the config, in all runs",
  )
  parser.add_argument("--config", required=True, help="file.py[:arg], or the name of one of jssl's, such as mmc:demo")
  parser.add_argument(
    "--sweep",
    action="append",
    default=[],
    metavar="config.KEY=VALUE,VALUE",
    help="several of them are run each with each; or module:get_hyper; default the config's own get_hyper",
  )
  parser.add_argument("--workdir", required=True, type=user_path, help="of the runs, their rows and README.md")
  parser.add_argument("--slurm", type=user_path, metavar="FILE", help="write a script for sbatch, a task a run, and stop")
  parser.add_argument("--task", type=int, metavar="N", help="one run alone, as that script asks for it")
  parser.add_argument(
    "--budget", type=float, metavar="MINUTES", help="after which runs are stopped; the same command goes on"
  )
  parser.add_argument("--at-once", type=int, default=1, metavar="N", help="runs at the same time")
  parser.add_argument("--retry", action="store_true", help="run again what failed")
  parser.add_argument("--modules", type=words, default=(), help="modules outside jssl whose functions the config may name")
  arguments, overrides = parser.parse_known_args(argv)
  try:
    made = plan(arguments.config, arguments.sweep, overrides)
    if arguments.slurm:
      return _write_script(arguments, overrides, len(made.tasks()))
    if arguments.task is None:
      _gather(arguments.workdir)
    else:
      made = _only(made, arguments.task)
  except ConfigError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  arguments.seeds, arguments.only = made.seeds, ()
  arguments.folder = arguments.workdir
  if arguments.task is not None:
    arguments.folder, arguments.retry = _place(arguments.workdir, arguments.task), True
  measure = study.Pretrained(modules=arguments.modules)
  return study.execute(arguments, lambda: dict(arms=made.arms, measure=measure, table=table))


def _only(made: Plan, task: int) -> Plan:
  """One run of a sweep."""
  tasks = made.tasks()
  if not 0 <= task < len(tasks):
    raise ConfigError(f"--task {task}: the sweep has runs 0 to {len(tasks) - 1}")
  name, seed = tasks[task]
  return Plan({name: made.arms[name]}, (seed,))


def _write_script(arguments: argparse.Namespace, overrides: Sequence[str], tasks: int) -> int:
  sweeps = [word for sweep in arguments.sweep for word in ("--sweep", sweep)]
  command = [sys.executable, "-m", "jssl.sweep", "--config", arguments.config, *sweeps]
  command += ["--workdir", str(arguments.workdir), *overrides]
  command += ["--modules", ",".join(arguments.modules)] if arguments.modules else []
  _place(arguments.workdir).mkdir(parents=True, exist_ok=True)  # SLURM makes no folder for its logs
  write_whole(arguments.slurm, slurm(command, tasks, arguments.workdir))
  print(f"{tasks} tasks: sbatch {arguments.slurm}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
