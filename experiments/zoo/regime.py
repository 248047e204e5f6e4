"""Every method between its floor and its ceiling: `python -m experiments.zoo.regime --regime glyphs`.

Each method's demo on a regime that was chosen by controls alone (see `experiments.regimes`): all see as many images, on
networks of one width and depth. The floor is the method's own network with the weights that the seed began with, the
competitor raw pixels, and the ceiling the regime's network with labels. What is left out cannot work there: colours of
grey images, and labels of scenes. On `scenes` patches are evaluated, those of all vision transformers of one size.
"""

import pathlib
import statistics
import sys

from experiments.regimes import ARM, Regime, REGIMES
from experiments.zoo.run import METHODS
from jssl import study

OF_COLOURS, OF_LABELS = ("colorization",), ("supcon",)
RANKME = "rankme/rankme"


def arms(regime: Regime) -> dict:
  """Method -> config."""
  left_out = (() if regime.colours else OF_COLOURS) + (OF_LABELS if regime.places else ())
  found = {name: regime.method(name) for name in METHODS if name not in left_out}
  for config in found.values():
    config.evaluation.protocols = (*regime.protocols, "rankme")
  return found


def claims(regime: Regime) -> list[study.Claim]:
  """That each method learns something, by each of the regime's metrics."""
  return [
    study.claim(
      f"{name} tells more than its random weights by {title}",
      name,
      name,
      metric=(metric, f"random weights/{metric}"),
      lower=metric in regime.lower,
    )
    for name in arms(regime)
    for title, metric in regime.metrics.items()
  ]


def table(regime: Regime, rows) -> str:
  """Each method by the regime's metrics, in brackets the share of the way from its random weights to the labels."""
  rows = [row for row in rows if "metrics" in row]
  controls = [row["metrics"] for row in study.Ledger(regime.folder).rows() if row["arm"] == ARM and "metrics" in row]
  lines = [f"| | seeds | {' | '.join(regime.metrics)} | RankMe | seconds | MiB |", "|---" * (5 + len(regime.metrics)) + "|"]
  order = {row["arm"]: 0.0 for row in rows}
  cells = {}
  for arm in order:
    chosen = [row for row in rows if row["arm"] == arm]
    found = [_share(metric, [row["metrics"] for row in chosen], controls) for metric in regime.metrics.values()]
    order[arm] = found[-1][1]
    rank = study.spread([row["metrics"].get(RANKME) for row in chosen], ".1f", deviation=False)
    costs = [study.spread([row[key] for row in chosen], ".0f", deviation=False) for key in ("seconds", "mib")]
    cells[arm] = [str(len(chosen)), *(text for text, _ in found), rank, *costs]
  for arm in sorted(order, key=order.get, reverse=True):
    lines.append(f"| {arm} | {' | '.join(cells[arm])} |")
  for title, prefix in ((ARM, ""), *((control, f"{control}/") for control in regime.controls)):
    numbers = [study.spread([found[prefix + metric] for found in controls]) for metric in regime.metrics.values()]
    lines.append(f"| {title} | {len(controls)} | {' | '.join(numbers)} | | | |")
  return "\n".join(lines)


def _share(metric: str, found: list[dict], controls: list[dict]) -> tuple[str, float]:
  """A metric's mean and spread, and how much of the way from the floor to the ceiling it is, in words and as a number."""
  floor = statistics.mean(one[f"random weights/{metric}"] for one in found)
  ceiling = statistics.mean(one[metric] for one in controls)
  values = [one[metric] for one in found]
  share = (statistics.mean(values) - floor) / (ceiling - floor)
  return f"{study.spread(values)} ({100 * share:.0f} %)", share


def main(argv: list[str] | None = None) -> int:
  here = pathlib.Path(__file__).parent
  parser = study.parser(__doc__, here, seeds=(0, 1, 2))
  parser.add_argument("--regime", choices=[*REGIMES], required=True)
  parser.set_defaults(folder=None, workdir=None)
  arguments = parser.parse_args(argv)
  regime = REGIMES[arguments.regime]
  arguments.folder = arguments.folder or here / regime.name
  arguments.workdir = arguments.workdir or pathlib.Path("runs/zoo") / regime.name
  found = arms(regime)
  return study.execute(
    arguments,
    lambda: dict(
      arms=found,
      measure=study.Pretrained(baselines=("random weights",), places=study.places(arguments)),
      claims=claims(regime),
      about=dict(config={name: name for name in found}),
      regime=regime.folder,
      table=lambda rows: table(regime, rows),
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
