"""What a method's image feature tells: `python experiments/zoo/cues.py --workdir runs/zoo`.

An image of a single object has a digit, the object's colour, the photograph's colour behind it, and a place. A linear map
from the image feature to the last three, fitted by ridge regression on the training images, shows which of them a method
went by: the share of their variance on the test images that it explains (R squared, mean over a cue's numbers; 0 is the
mean's prediction). In brackets the same network with the weights that the run began with. The digit is in `run.py`'s table.

Reads every `<method>_seed<n>` below the workdir and prints a Markdown table; means over the seeds.
"""

import argparse
import pathlib

import numpy as np

from jssl import data, evaluate

CUES = ("object's colour", "background's colour", "place")


def cues_of(arrays) -> dict[str, np.ndarray]:
  """Cue -> [n, numbers] float64, from single-object images and their segments."""
  inside = arrays["segments"][..., None] == 1
  image = arrays["image"].astype(np.float64)
  mean = lambda mask: (image * mask).sum((1, 2)) / mask.sum((1, 2))
  grid = np.indices(inside.shape[1:3]).transpose(1, 2, 0)
  place = (grid * inside).sum((1, 2)) / inside.sum((1, 2))
  return dict(zip(CUES, (mean(inside), mean(~inside), place), strict=True))


def explained(train: np.ndarray, test: np.ndarray, train_cue: np.ndarray, test_cue: np.ndarray) -> float:
  """R squared on `test` of a ridge regression fitted on `train`, with a penalty of a hundredth of a feature's variance."""
  mean, std = train.mean(0), train.std(0) + 1e-6
  x, z = (train - mean) / std, (test - mean) / std
  center = train_cue.mean(0)
  weights = np.linalg.solve(x.T @ x + 0.01 * len(x) * np.eye(x.shape[1]), x.T @ (train_cue - center))
  error = ((z @ weights + center - test_cue) ** 2).sum(0)
  return float(np.mean(1 - error / ((test_cue - test_cue.mean(0)) ** 2).sum(0)))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/zoo"))
  parser.add_argument("--only", nargs="+", default=[], help="methods")
  arguments = parser.parse_args()
  runs = sorted(path.parent for path in arguments.workdir.glob("*_seed*/config.json"))
  methods = {
    name: [run for run in runs if run.name.rpartition("_seed")[0] == name]
    for name in arguments.only or dict.fromkeys(run.name.rpartition("_seed")[0] for run in runs)
  }
  splits = [data.load("objects", split=split).arrays for split in ("train", "test")]
  cues = [cues_of(split) for split in splits]
  print(f"| | {' | '.join(CUES)} |\n{'|---' * (len(CUES) + 1)}|")
  for method, folders in methods.items():
    found = {random: [] for random in (False, True)}
    for folder in folders:
      for random, rows in found.items():
        extract = evaluate.load_frozen(folder, random=random).feature_model(method).image_features
        features = [np.asarray(extract(split["image"]), np.float64) for split in splits]
        rows.append([explained(*features, cues[0][cue], cues[1][cue]) for cue in CUES])
    trained, start = (np.mean(rows, axis=0) for rows in found.values())
    print(f"| {method} | {' | '.join(f'{t:.2f} ({r:.2f})' for t, r in zip(trained, start, strict=True))} |", flush=True)


if __name__ == "__main__":
  main()
