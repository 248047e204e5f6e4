"""RankMe: can a score without labels choose a loss's numbers?

    python -m experiments.rankme.run --at fashion_mnist=/my/fashion-mnist

A run trains VICReg with eight weights of its covariance term and SimCLR with eight temperatures, far apart on purpose,
and asks of every network a linear probe and the scores that see no label. A score is as good as the order that it gives
(Spearman's rank correlation with the probe) and as the network that it chooses, held against the best of the grid, the mean
of the grid (a choice by chance) and the choice by the loss of the training.
"""

import dataclasses
import pathlib
import statistics
import sys

import numpy as np
from scipy import stats

from experiments.regimes import REGIMES
from jssl import config as configs
from jssl import study
from jssl.study.runner import arm_hash

REGIME = REGIMES["fashion_mnist_shifted"]
STEPS = 300
COVARIANCE = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
TEMPERATURE = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ACCURACY = "logistic_regression/accuracy"
ALL = "both methods"
ARM = "grids"
# Score -> the number of an evaluation or of the log, and what of it is to be large.
SCORES = {
  "RankMe": ("rankme/embeddings_rankme", lambda x: x),
  "RankMe of features": ("rankme/rankme", lambda x: x),
  "LiDAR": ("lidar/embeddings_lidar", lambda x: x),
  "alpha-ReQ": ("spectrum/alpha", lambda x: -abs(x - 1)),
  "participation ratio": ("spectrum/embeddings_participation_ratio", lambda x: x),
  "loss": ("train/loss", lambda x: -x),
}


def config(method: str):
  """The method in the regime, on the regime's network, for fewer steps."""
  found = REGIME.put(configs.load_config(method))
  found.total_steps = STEPS
  found.views = REGIME.views("a", "b")
  found.networks.student.update(REGIME.net)
  found.evaluation.protocols = ("logistic_regression", "rankme", "spectrum", "lidar")
  return found


def grids() -> dict[str, dict[str, object]]:
  """Method -> value -> config."""
  found: dict[str, dict] = {"VICReg": {}, "SimCLR": {}}
  for weight in COVARIANCE:
    one = found["VICReg"][f"{weight:g}"] = config("vicreg")
    one.losses.vicreg.covariance_weight = weight
  for temperature in TEMPERATURE:
    one = found["SimCLR"][f"{temperature:g}"] = config("simclr")
    one.losses.nt_xent.temperature = temperature
  return found


def claims() -> list[study.Claim]:
  """Of the paper and its companions; for each method, since runs of two are not to be compared."""

  def claim(sentence, better, worse, at_least=0.0):
    return study.claim(sentence, ARM, ARM, metric=(better, worse), at_least=at_least)

  found = []
  for method in ("VICReg", "SimCLR"):
    of = lambda score, number, method=method: f"{method}/{score}/{number}"
    found += [
      claim(
        f"{method}'s grid has something to choose: the best is five points above the worst",
        f"{method}/best",
        f"{method}/worst",
        0.05,
      ),
      claim(
        f"RankMe orders {method}'s runs as a probe does (Spearman's correlation at least 0.6)",
        of("RankMe", "order"),
        "no order",
        0.6,
      ),
      claim(
        f"RankMe's choice among {method}'s runs loses at most a point to the best",
        of("RankMe", "choice"),
        f"{method}/best less a point",
      ),
      claim(f"RankMe's choice among {method}'s runs is better than one by chance", of("RankMe", "choice"), f"{method}/mean"),
      claim(
        f"RankMe's choice among {method}'s runs is better than the loss's", of("RankMe", "choice"), of("loss", "choice")
      ),
      claim(f"LiDAR orders {method}'s runs better than RankMe", of("LiDAR", "order"), of("RankMe", "order")),
    ]
  return found + [
    claim(
      f"RankMe orders {method}'s runs better than those of {ALL} together", f"{method}/RankMe/order", f"{ALL}/RankMe/order"
    )
    for method in ("VICReg", "SimCLR")
  ]


@dataclasses.dataclass(frozen=True)
class Grids(study.Pretrained):
  """Trains and evaluates every network of the grids, and holds each score against the probe."""

  def __call__(self, arm, seed, workdir):
    del arm  # what it says is what `grids` makes
    metrics: dict[str, float] = {"no order": 0.0}
    runs: dict[str, list[dict[str, float]]] = {}
    for method, values in grids().items():
      for value, one in values.items():
        found = super().__call__(one, seed, workdir / method / value)
        runs.setdefault(method, []).append(found)
        metrics |= {f"{method} {value}/{name}": found[name] for name in (ACCURACY, *(name for name, _ in SCORES.values()))}
    runs[ALL] = sum(runs.values(), [])
    for method, found in runs.items():
      metrics |= compared(method, found)
    return metrics


def compared(method: str, found: list[dict[str, float]]) -> dict[str, float]:
  """How each score orders runs, and what its choice is worth; of equal scores the first is chosen."""
  accuracy = [one[ACCURACY] for one in found]
  best = max(accuracy)
  metrics = dict(best=best, worst=min(accuracy), mean=statistics.mean(accuracy)) | {"best less a point": best - 0.01}
  for score, (name, larger) in SCORES.items():
    values = [larger(one[name]) for one in found]
    constant = len(set(values)) == 1 or len(set(accuracy)) == 1  # which orders nothing
    metrics[f"{score}/order"] = 0.0 if constant else float(stats.spearmanr(values, accuracy).statistic)
    metrics[f"{score}/choice"] = accuracy[int(np.argmax(values))]
  return {f"{method}/{name}": value for name, value in metrics.items()}


def table(rows) -> str:
  """How each score orders and chooses, and the runs themselves."""
  rows = [row["metrics"] for row in rows if "metrics" in row]
  if not rows:
    return "Not measured yet."
  mean = lambda name: study.spread([row[name] for row in rows])
  methods = ("VICReg", "SimCLR", ALL)
  lines = [f"| score | {' | '.join(f'order of {m} | its choice' for m in methods)} |", "|---" * 7 + "|"]
  for score in SCORES:
    cells = " | ".join(f"{mean(f'{m}/{score}/order')} | {mean(f'{m}/{score}/choice')}" for m in methods)
    lines.append(f"| {score} | {cells} |")
  for name in ("best", "mean", "worst"):
    cells = " | ".join(f" | {mean(f'{m}/{name}')}" for m in methods)
    lines.append(f"| {name} of the grid | {cells} |")
  lines += ["", f"| run | probe | {' | '.join(SCORES)} |", "|---" * (2 + len(SCORES)) + "|"]
  for method, values in grids().items():
    for value in values:
      cells = (mean(f"{method} {value}/{name}") for name in (ACCURACY, *(name for name, _ in SCORES.values())))
      lines.append(f"| {method} {value} | {' | '.join(cells)} |")
  return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2)).parse_args(argv)
  return study.execute(
    arguments,
    lambda: dict(
      arms={ARM: {method: {value: arm_hash(one) for value, one in values.items()} for method, values in grids().items()}},
      measure=Grids(places=study.places(arguments)),
      claims=claims(),
      about=dict(paper="RankMe", url="https://arxiv.org/abs/2210.02885"),
      regime=REGIME.folder,
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
