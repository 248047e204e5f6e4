"""MMC on the embedded scenes, several seeds: `python experiments/mmc_scenes/run.py --seeds 0 1 2`.

Each seed is pretrained by `mmc:demo` and evaluated beside what it must beat: the same network with the weights that the
seed began with, raw pixels, and the patches' positions. `--weights md=0 rec=0` adds an arm without some of the losses,
and `--config.key=value` changes a key of all; both want another `--folder`, see `jssl.study`.
"""

import pathlib
import sys

from jssl import config as configs
from jssl import evaluate, study

METRICS = {"prompt mIoU": "prompt_segmentation/miou_random_fixed", "overlap": "object_similarity/overlap"}
MODELS = {"MMC": ""} | {name: f"{name}/" for name in evaluate.BASELINES}


def claims() -> list[study.Claim]:
  """Of overlap nothing is claimed against positions: objects are compact, and the measure rewards locality."""
  miou, overlap = METRICS.values()
  beats = lambda control, metric, title, **numbers: study.claim(
    f"MMC's {title} is better than that of {control}", "mmc", "mmc", metric=(metric, f"{control}/{metric}"), **numbers
  )
  return [
    *(beats(control, miou, "prompt mIoU") for control in ("random weights", "raw pixels", "position only")),
    *(beats(control, overlap, "overlap", lower=True) for control in ("random weights", "raw pixels")),
  ]


def table(rows: list[dict]) -> str:
  """Every arm against every control."""
  parts = []
  for arm in dict.fromkeys(row["arm"] for row in rows):
    chosen = [row for row in rows if row["arm"] == arm]
    seeds = ", ".join(str(row["seed"]) for row in chosen)
    parts.append(f"Arm {arm}, seeds {seeds}:\n\n{study.controls_table(chosen, METRICS, MODELS)}")
  return "\n\n".join(parts)


def arms(weights: list[str], overrides: list[str]) -> dict:
  """The demo, and the demo with other weights of its losses, where some are given."""
  found = {"mmc": configs.override(configs.load_config("mmc:demo"), overrides)}
  if weights:
    pairs = (weight.partition("=") for weight in weights)
    other = [f"--config.losses.{name}.weight={value}" for name, _, value in pairs]
    found["_".join(["mmc", *weights])] = configs.override(configs.load_config("mmc:demo"), [*overrides, *other])
  return found


def main(argv: list[str] | None = None) -> int:
  parser = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2))
  parser.add_argument("--weights", nargs="*", default=[], help="loss=weight, such as md=0")
  arguments, overrides = parser.parse_known_args(argv)
  return study.execute(
    arguments,
    lambda: dict(
      arms=arms(arguments.weights, overrides),
      measure=study.Pretrained(baselines=evaluate.BASELINES, places=study.places(arguments)),
      claims=claims(),
      about=dict(config="mmc"),
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
