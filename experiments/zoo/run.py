"""Every method on the same data: `python experiments/zoo/run.py --preset demo --seeds 0`.

Each config is trained and evaluated, beside the same network with the weights that the seed began with; raw pixels are
measured once for each number of patches. The folder that is named with `--folder` (default: this one) takes the rows,
see `jssl.study`. `--only dino mae` picks some, `--config.total_steps=300` changes a key of all. In the table "*" marks
what is not above random weights.
"""

import math
import pathlib
import statistics
import sys

from jssl import config as configs
from jssl import evaluate, logging, study

# Not the tokenizer that BEiT may read its words from, which is no method, nor distillation, which needs a trained teacher.
METHODS = sorted(
  name
  for name, module in configs.config_modules().items()
  if module.startswith("jssl.configs.images.") and name not in ("tokenizer", "distill")
)
METRICS = {
  "kNN": "knn/k20",
  "linear": "linear/accuracy",
  "RankMe": "rankme/rankme",
  "prompt mIoU": "prompt_segmentation/miou_random_fixed",
  "overlap": "object_similarity/overlap",
}
LOWER = ("overlap",)  # is better


class Measured(study.Pretrained):
  """A method and its random weights; raw pixels, too, for the first one with so many patches."""

  def __call__(self, arm, seed, workdir):
    metrics = study.train(study.placed(arm, self.places), seed, workdir)
    found = evaluate.evaluate(workdir, baselines=("random weights",))
    patches = math.prod(found["pretrained"].get("object_similarity", {}).get("parameters", {}).get("grid", ()))
    mark = workdir.parent / f"raw_pixels_{patches}"
    if not mark.exists() or mark.read_text() == workdir.name:
      mark.write_text(workdir.name)
      found = evaluate.evaluate(workdir, baselines=("random weights", "raw pixels"))
    rows = logging.read_metrics(workdir)
    # The first row has the compilation in it.
    speed = statistics.median(row["examples_per_second"] for row in rows[1:] or rows)
    return metrics | study.numbers(found) | dict(patches=patches, images_per_second=speed)


def table(rows: list[dict]) -> str:
  """Mean over seeds of each method, in brackets what its own random weights give; raw pixels last."""
  rows = [row for row in rows if "metrics" in row]
  lines = [f"| | seeds | {' | '.join(METRICS)} | images/s | MiB |", "|---" * (len(METRICS) + 4) + "|"]
  for method in dict.fromkeys(row["arm"] for row in rows):
    chosen = [row["metrics"] for row in rows if row["arm"] == method]
    cells = [_cell(name, chosen) for name in METRICS]
    costs = [
      study.spread([found[key] for found in chosen], ".0f", deviation=False) for key in ("images_per_second", "train/mib")
    ]
    lines.append(f"| {method} | {len(chosen)} | {' | '.join(cells + costs)} |")
  for found in (row["metrics"] for row in rows):
    if any(name.startswith("raw pixels/") for name in found):
      cells = [study.spread([found.get(f"raw pixels/{metric}")]) for metric in METRICS.values()]
      lines.append(f"| raw pixels, {found['patches']:.0f} patches | | {' | '.join(cells)} | | |")
  return "\n".join(lines)


def _cell(name: str, found: list[dict]) -> str:
  if any(METRICS[name] not in metrics for metrics in found):
    return "-"
  trained, random = ([metrics[prefix + METRICS[name]] for metrics in found] for prefix in ("", "random weights/"))
  sign = -1 if name in LOWER else 1
  mark = "" if all(sign * t > sign * r for t, r in zip(trained, random, strict=True)) else "*"
  return f"{statistics.mean(trained):.3f}{mark} ({statistics.mean(random):.3f})"


def main(argv: list[str] | None = None) -> int:
  parser = study.parser(__doc__, pathlib.Path(__file__).parent)
  parser.add_argument("--preset", default="demo")
  arguments, overrides = parser.parse_known_args(argv)
  load = lambda name: configs.override(configs.load_config(f"{name}:{arguments.preset}"), overrides)
  return study.execute(
    arguments,
    lambda: dict(arms={name: load(name) for name in METHODS}, measure=Measured(places=study.places(arguments)), table=table),
  )


if __name__ == "__main__":
  sys.exit(main())
