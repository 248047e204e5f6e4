"""jssl's side of a record, in a process of its own: `python -m experiments.peers.ours RECORD OUT`.

Trains as any run does, and writes `result.json` and the features of the record's images, with and without training.
"""

import json
import pathlib
import statistics
import sys
import time

import numpy as np

from experiments.peers import record
from jssl import config as configs
from jssl import logging, processes
from jssl.evaluation.frozen import load_frozen
from jssl.train import train_to_its_end


def main(argv: list[str]) -> int:
  folder, out = map(pathlib.Path, argv)
  logging.setup()
  config = configs.from_json((folder / "config.json").read_text())
  begun, cpu = time.monotonic(), time.process_time()
  train_to_its_end(config, out / "run", source=record.source(folder, config.batch_size))
  result = dict(seconds=time.monotonic() - begun, cpu_seconds=time.process_time() - cpu, mib=processes.peak_mib())
  rows = logging.read_metrics(out / "run")
  speed = statistics.median(
    row["examples_per_second"] for row in rows[1:] or rows
  )  # the first row has the compilation in it
  result |= dict(step_ms=1000 * config.batch_size / speed, losses={row["step"]: row["loss"] for row in rows})
  for name, random in (("features", False), ("random", True)):
    features = load_frozen(out / "run", random=random).feature_model(name).image_features
    for split in ("train", "test"):
      np.save(out / f"{name}_{split}.npy", features(dict(image=np.load(folder / f"{split}_image.npy"))))
  (out / "result.json").write_text(json.dumps(result))
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
