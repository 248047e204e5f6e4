"""The command line that studies have in common."""

import argparse
from collections.abc import Callable, Mapping
import pathlib
import sys
from typing import Any

from jssl import logging
from jssl.errors import ConfigError
from jssl.study.runner import run


def parser(doc: str, folder: pathlib.Path, seeds: tuple[int, ...] = (0,)) -> argparse.ArgumentParser:
  """A parser for `doc`'s first line, with the options of `study.run` that one chooses when it is run.

  Args:
    doc: of the script.
    folder: of the study.
    seeds: with which it is run by default.
  """
  found = argparse.ArgumentParser(description=doc.partition("\n")[0])
  found.add_argument("--folder", type=pathlib.Path, default=folder, help="of rows.jsonl, claims.json and README.md")
  found.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs") / folder.name, help="of the runs")
  found.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
  found.add_argument("--only", nargs="+", default=[], metavar="ARM", help="arms that are run now")
  found.add_argument(
    "--budget", type=float, metavar="MINUTES", help="after which runs are stopped; the same command goes on"
  )
  found.add_argument("--at-once", type=int, default=1, metavar="N", help="runs at the same time")
  found.add_argument("--retry", action="store_true", help="run again what failed")
  found.add_argument(
    "--at", nargs="+", default=[], metavar="DATA=FOLDER", help="where data are that are not where the system keeps them"
  )
  return found


def options(arguments: argparse.Namespace) -> dict[str, Any]:
  """What `parser` has read, as keywords of `study.run`."""
  given = vars(arguments)
  same = ("folder", "workdir", "seeds", "only", "at_once", "retry")
  return {name: given[name] for name in same} | dict(budget_minutes=given["budget"])


def places(arguments: argparse.Namespace) -> dict[str, str]:
  """`--at`, as `study.Pretrained` takes it."""
  return dict(pair.split("=", 1) for pair in arguments.at)


def execute(arguments: argparse.Namespace, keywords: Callable[[], Mapping[str, Any]]) -> int:
  """Runs a study as a script does: with a log, the table at its end, and one line for what cannot be run.

  Args:
    arguments: which `parser` has read.
    keywords: gives the others of `study.run`, `table` among them.

  Returns:
    The script's exit status: 2 for what cannot be run, 1 if there are runs that failed, else 0.
  """
  logging.setup()
  try:
    given = keywords()
    rows = run(**given, **options(arguments)).rows()
  except ConfigError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(given["table"](rows))
  return 1 if any("error" in row for row in rows) else 0
