"""Every method on the same data: `python experiments/zoo/run.py --workdir runs/zoo --preset demo --seeds 0`.

Each config is trained and evaluated in processes of their own, beside the same network with the weights that the seed
began with; raw pixels are measured once for each number of patches. A run that is done appends a row to `table.jsonl`
and is not run again; an interrupted one goes on from its checkpoint. A method that fails is named at the end, and the
others go on. `--only dino mae` picks some,
`--config.total_steps=300` changes a key of all. Prints a Markdown table; "*" marks what is not above random weights.
"""

import argparse
import json
import math
import os
import pathlib
import pkgutil
import statistics
import subprocess
import sys
import time

from jssl import configs as room
from jssl import evaluate, logging, workdirs
from jssl.errors import ConfigError, nearest

# What is no method: shared pieces, and the tokenizer that BEiT may read its words from.
METHODS = sorted(m.name for m in pkgutil.iter_modules(room.__path__) if m.name not in ("common", "tokenizer", "transfer"))
METRICS = {
  "kNN": ("knn", "k20"),
  "linear": ("linear", "accuracy"),
  "RankMe": ("rankme", "rankme"),
  "prompt mIoU": ("prompt_segmentation", "miou_random_fixed"),
  "overlap": ("object_similarity", "overlap"),
}
LOWER = ("overlap",)  # is better


def timed(command: list[str]) -> tuple[float, float]:
  """Runs a command to its end; returns its seconds and the MiB of memory that it held at most.

  Raises:
    RuntimeError: with its exit code.
  """
  start = time.monotonic()
  process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL)
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise RuntimeError(f"{' '.join(command)}: exit code {os.waitstatus_to_exitcode(status)}")
  return time.monotonic() - start, usage.ru_maxrss / 1024


def evaluated(folder: str, baselines: str) -> dict:
  timed(["jssl.evaluate", "--workdir", folder, "--baselines", baselines])
  return evaluate.read_results(folder)


def run(method: str, preset: str, seed: int, workdir: pathlib.Path, overrides: list[str], measured: set[int]) -> dict:
  """Trains and evaluates one method with one seed; returns its row of the table.

  Args:
    measured: the numbers of patches for which there are raw pixels already.
  """
  folder = str(workdir / f"{method}_seed{seed}")
  seconds, memory = timed(
    ["jssl.train", "--config", f"{method}:{preset}", "--workdir", folder, f"--config.seed={seed}", *overrides]
  )
  found = evaluated(folder, "random weights")
  patches = math.prod(found["pretrained"].get("object_similarity", {}).get("parameters", {}).get("grid", ()))
  if patches not in measured:
    found = evaluated(folder, "random weights,raw pixels")
  rows = logging.read_metrics(folder)
  values = {
    model: {name: result[protocol]["metrics"][metric] for name, (protocol, metric) in METRICS.items() if protocol in result}
    for model, result in found.items()
  }
  # The first row has the compilation in it.
  speed = statistics.median(row["images_per_second"] for row in rows[1:] or rows)
  return dict(
    method=method,
    seed=seed,
    patches=patches,
    commit=workdirs.commit(),
    steps=rows[-1]["step"],
    loss=rows[-1]["loss"],
    seconds=round(seconds, 1),
    images_per_second=round(speed, 1),
    mib=round(memory),
    values=values,
  )


def read(path: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: list[dict]) -> str:
  """Mean over seeds of each method, in brackets what its own random weights give; raw pixels last."""
  lines = [f"| | seeds | {' | '.join(METRICS)} | images/s | MiB |", "|---" * (len(METRICS) + 4) + "|"]
  for method in dict.fromkeys(row["method"] for row in rows):
    chosen = [row for row in rows if row["method"] == method]
    cells = [_cell(name, chosen) for name in METRICS]
    costs = [f"{statistics.mean(row[key] for row in chosen):.0f}" for key in ("images_per_second", "mib")]
    lines.append(f"| {method} | {len(chosen)} | {' | '.join(cells + costs)} |")
  for row in rows:
    if pixels := row["values"].get("raw pixels"):
      cells = [f"{pixels[name]:.3f}" if name in pixels else "-" for name in METRICS]
      lines.append(f"| raw pixels, {row['patches']} patches | | {' | '.join(cells)} | | |")
  return "\n".join(lines)


def _cell(name: str, rows: list[dict]) -> str:
  if any(name not in row["values"]["pretrained"] for row in rows):
    return "-"
  trained, random = ([row["values"][model][name] for row in rows] for model in ("pretrained", "random weights"))
  sign = -1 if name in LOWER else 1
  mark = "" if all(sign * t > sign * r for t, r in zip(trained, random, strict=True)) else "*"
  return f"{statistics.mean(trained):.3f}{mark} ({statistics.mean(random):.3f})"


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/zoo"))
  parser.add_argument("--preset", default="demo")
  parser.add_argument("--seeds", type=int, nargs="+", default=[0])
  parser.add_argument("--only", nargs="+", default=METHODS)
  arguments, overrides = parser.parse_known_args(argv)
  for method in arguments.only:
    if method not in METHODS:
      raise ConfigError(f"--only {method}: {nearest(method, METHODS)}")
  path = arguments.workdir / "table.jsonl"
  arguments.workdir.mkdir(parents=True, exist_ok=True)
  failed = []
  for seed in arguments.seeds:
    for method in arguments.only:
      if (method, seed) in {(row["method"], row["seed"]) for row in read(path)}:
        continue
      try:
        measured = {row["patches"] for row in read(path) if "raw pixels" in row["values"]}
        row = run(method, arguments.preset, seed, arguments.workdir, overrides, measured)
      except RuntimeError as error:
        failed.append(str(error))
        continue
      with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
      print(f"{method}, seed {seed}: {row['seconds']:.0f} s", flush=True)
  if rows := read(path):
    print(table(rows))
  print(*failed, sep="\n", file=sys.stderr)
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
