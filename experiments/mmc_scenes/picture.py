"""The picture of the README: `python -m experiments.mmc_scenes.picture --workdir runs/demo`, of an evaluated run.

One click on each of the first test scenes, at a random patch of its first object, as the protocol clicks; below it what is
above the threshold by the pretrained network, by the weights that it began with, and the object. The thresholds are those of
the evaluation, which calibration scenes gave.
"""

import argparse
import pathlib
import sys

import numpy as np

from jssl import evaluate
from jssl.evaluation.frozen import run_config
from jssl.evaluation.prompt_segmentation import choose_prompts
from jssl.report.figures import image_grid
from jssl.report.scenes import clicked_panels

_CLICK, _SEGMENT, _OBJECT = 0, 2, 3  # of a click's panels


def random_click(segments: np.ndarray, grid: tuple[int, int]) -> int:
  """A random patch of a scene's first object."""
  return int(choose_prompts(segments[None], grid, random_prompts=1)["prompt"][0, 1])


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--workdir", type=pathlib.Path, required=True, help="of the run")
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "clicks.png")
  arguments = parser.parse_args(argv)
  config, results = run_config(arguments.workdir), evaluate.read_results(arguments.workdir)
  found = clicked_panels(arguments.workdir, config, results, scale=2, choose=random_click)
  panels = {model: [*zip(*clicks, strict=True)] for model, _, clicks in found}
  pretrained = panels.pop("pretrained")
  rows = [pretrained[_CLICK], pretrained[_SEGMENT], *(other[_SEGMENT] for other in panels.values()), pretrained[_OBJECT]]
  arguments.out.write_bytes(image_grid(rows))
  return 0


if __name__ == "__main__":
  sys.exit(main())
