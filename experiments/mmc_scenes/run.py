"""MMC on the embedded scenes, several seeds: `python experiments/mmc_scenes/run.py --seeds 0 1 2 --workdir runs/mmc_scenes`.

Each seed is pretrained by `mmc:demo` and evaluated beside what it must beat: the same network with the weights that the
seed began with, raw pixels, and the patches' positions. Prints mean and standard deviation over the seeds, and by how much
each seed is above each control. What is there already is not run again. `--weights md=0 rec=0` ablates.
"""

import argparse
import pathlib

import numpy as np

from jssl import config as configs
from jssl import evaluate, logging
from jssl.train import train_and_evaluate

METRICS = {"prompt mIoU": ("prompt_segmentation", "miou_random_fixed"), "overlap": ("object_similarity", "overlap")}


def run(workdir: pathlib.Path, seed: int, weights: dict[str, float], overrides: list[str]) -> dict:
  config = configs.load_config("mmc:demo")
  config.seed = seed
  for name, weight in weights.items():
    config.losses[name].weight = weight
  configs.override(config, overrides)
  train_and_evaluate(config, workdir)
  if (workdir / "evaluation.json").exists():
    return evaluate.read_results(workdir)
  return evaluate.evaluate(workdir, baselines=True)


def table(results: list[dict]) -> str:
  lines = [f"{'':26}" + "".join(f"{name:>26}" for name in METRICS)]
  for model in results[0]:
    cells = []
    for protocol, metric in METRICS.values():
      values = [r[model][protocol]["metrics"][metric] for r in results if protocol in r[model]]
      cells.append(f"{np.mean(values):.4f} +- {np.std(values):.4f}" if values else "-")
    lines.append(f"{model:26}" + "".join(f"{cell:>26}" for cell in cells))
  for control in [model for model in results[0] if model != "pretrained"]:
    cells = [
      ", ".join(f"{r['pretrained'][p]['metrics'][m] - r[control][p]['metrics'][m]:+.3f}" for r in results)
      for p, m in METRICS.values()
    ]
    lines.append(f"{f'less {control}':26}" + "".join(f"{cell:>26}" for cell in cells))
  return "\n".join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/mmc_scenes"))
  parser.add_argument("--weights", nargs="*", default=[], help="loss=weight, such as md=0")
  arguments, overrides = parser.parse_known_args()
  logging.setup()
  weights = {name: float(value) for name, _, value in (w.partition("=") for w in arguments.weights)}
  name = "_".join(["mmc", *arguments.weights])
  print(table([run(arguments.workdir / f"{name}_seed{seed}", seed, weights, overrides) for seed in arguments.seeds]))


if __name__ == "__main__":
  main()
