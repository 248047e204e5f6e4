"""jssl beside lightly (PyTorch): the same views, masks, networks, starting weights, heads, optimizer and steps.

    python -m experiments.peers.run --peer-python /my/venv/bin/python --at fashion_mnist=/my/fashion-mnist

An arm is a method. With each seed jssl draws the views and masks of all steps once, and both sides train on them, each in a
process of its own; kNN and a linear classifier score the features of both by the same functions.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from experiments.peers import record
from experiments.peers.arms import arms, METHODS, REGIME
from jssl import processes, study
from jssl.errors import ConfigError
from jssl.evaluation.knn import knn_accuracy
from jssl.evaluation.linear import linear_probe
from jssl.study.runner import arm_hash

HERE = pathlib.Path(__file__).parent
THEIRS = HERE / "theirs/train.py"
MARGIN = 0.005  # half a point
METRICS = {"kNN": "knn/k20", "linear": "linear/accuracy"}
COSTS = {"seconds": "seconds", "CPU s": "cpu_seconds", "ms a step": "step_ms", "MiB": "mib"}
SIDES = ("jssl", "peer")


def claims() -> list[study.Claim]:
  """That jssl is not below the peer, for each method."""
  return [
    study.claim(
      f"{name} in jssl is not below lightly's by half a point of {title}",
      name,
      name,
      metric=(f"jssl/{metric}", f"peer/{metric}"),
      margin=MARGIN,
    )
    for name in METHODS
    for title, metric in METRICS.items()
  ]


@dataclasses.dataclass(frozen=True)
class Beside:
  """Trains both sides on one record and scores their features; `random/...` is what the weights to start from give.

  Attributes:
    names: hash of an arm -> method.
    peer_python: of an environment with lightly.
    places: name of data -> where they are on this machine.
  """

  names: Mapping[str, str]
  peer_python: str
  places: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def __call__(self, arm: Any, seed: int, workdir: pathlib.Path) -> dict[str, float]:
    workdir = workdir.absolute()
    shutil.rmtree(workdir, ignore_errors=True)  # of a run that was stopped
    config, folder = study.placed(arm, self.places), workdir / "record"
    config.seed = int(seed)
    record.make(config, folder)
    found = {}
    theirs = [self.peer_python, str(THEIRS), self.names[arm_hash(arm)]]
    for side, command in (("jssl", [sys.executable, "-m", "experiments.peers.ours"]), ("peer", theirs)):
      out = workdir / side
      out.mkdir()
      run_side([*command, str(folder), str(out)])
      result = json.loads((out / "result.json").read_text())
      result["first_loss"] = result.pop("losses")["1"]
      found |= {f"{side}/{name}": value for name, value in (result | scores(folder, out, "features")).items()}
    found |= {f"random/{name}": value for name, value in scores(folder, workdir / "jssl", "random").items()}
    shutil.rmtree(folder / "arrays")  # up to a hundred MiB
    return found


def run_side(command: list[str]) -> None:
  """Runs a side to its end.

  Raises:
    Stopped: if this process was told to stop; the side is told, too.
    RuntimeError: if it failed.
  """
  with processes.Interrupt() as interrupt, subprocess.Popen(command, cwd=HERE.parents[1]) as child:
    while child.poll() is None and not interrupt.requested:
      time.sleep(0.2)
    child.terminate()
  if interrupt.requested:
    raise study.Stopped(f"told to stop: {' '.join(command)}")
  if child.returncode:
    raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}")


def scores(folder: pathlib.Path, out: pathlib.Path, name: str) -> dict[str, float]:
  """What features tell of the record's labels, by jssl's protocols with their own numbers."""
  arrays = []
  for split in ("train", "test"):
    arrays += [np.load(out / f"{name}_{split}.npy"), np.load(folder / f"{split}_label.npy")]
  knn = knn_accuracy(*arrays, k=20, num_classes=REGIME.classes)["metrics"]
  linear = linear_probe(*arrays, num_classes=REGIME.classes)["metrics"]
  return {METRICS["kNN"]: knn["k20"], METRICS["linear"]: linear["accuracy"]}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
  """Both sides of each method, jssl first, and the mean difference in points."""
  rows = [row for row in rows if "metrics" in row]
  titles = [f"{title}: jssl, lightly, points" for title in METRICS]
  titles += [f"random weights: {', '.join(METRICS)}", *(f"{title}: jssl, lightly" for title in COSTS)]
  lines = [f"| | seeds | {' | '.join(titles)} |", "|---" * (2 + len(titles)) + "|"]
  for arm in dict.fromkeys(row["arm"] for row in rows):
    found = [row["metrics"] for row in rows if row["arm"] == arm]
    values = lambda side, name, found=found: [one[f"{side}/{name}"] for one in found]
    cells = []
    for metric in METRICS.values():
      sides = [values(side, metric) for side in SIDES]
      points = 100 * (statistics.mean(sides[0]) - statistics.mean(sides[1]))
      cells.append(f"{', '.join(study.spread(each) for each in sides)}, {points:+.1f}")
    cells.append(", ".join(study.spread(values("random", metric), deviation=False) for metric in METRICS.values()))
    for cost in COSTS.values():
      cells.append(", ".join(study.spread(values(side, cost), ".0f", deviation=False) for side in SIDES))
    lines.append(f"| {arm} | {len(found)} | {' | '.join(cells)} |")
  return "\n".join(lines)


def versions(peer_python: str) -> dict[str, str]:
  """Those of the peer's packages.

  Raises:
    ConfigError: if they are not there.
  """
  try:
    found = subprocess.run([peer_python, str(THEIRS), "--versions"], capture_output=True, text=True, check=True)
  except (OSError, subprocess.CalledProcessError) as error:
    why = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
    raise ConfigError(f"--peer-python={peer_python}: {why}; {HERE}/README.md says how to make the environment") from error
  return json.loads(found.stdout)


def main(argv: list[str] | None = None) -> int:
  parser = study.parser(__doc__, HERE, seeds=(0, 1, 2))
  parser.add_argument("--peer-python", required=True, help="of an environment with lightly, see README.md")
  arguments = parser.parse_args(argv)

  def keywords() -> dict[str, Any]:
    found = arms()
    names = {arm_hash(config): name for name, config in found.items()}
    return dict(
      arms=found,
      measure=Beside(names, arguments.peer_python, study.places(arguments)),
      claims=claims(),
      about=dict(config={name: name for name in found}, peer=versions(arguments.peer_python)),
      regime=REGIME.folder,
      table=table,
    )

  return study.execute(arguments, keywords)


if __name__ == "__main__":
  sys.exit(main())
