"""lightly's side of a record, in an environment of its own: `python experiments/peers/theirs/train.py METHOD RECORD OUT`.

Writes `result.json` and the features of the record's images; with `--float64` after them in twice the bits, which tells
what is rounding. `--versions` prints those of the packages.
"""

import importlib.metadata
import json
import os
import pathlib
import statistics
import sys
import time

import methods
import numpy as np
import torch

PACKAGES = ("lightly", "timm", "torch")
EVERY = 50  # steps, over which speed is measured, as jssl's log does


def main(argv: list[str]) -> int:
  if argv == ["--versions"]:
    print(json.dumps({name: importlib.metadata.version(name) for name in PACKAGES}))
    return 0
  name, folder, out = argv[0], *map(pathlib.Path, argv[1:3])
  torch.set_default_dtype(torch.float64 if argv[3:] == ["--float64"] else torch.float32)
  torch.manual_seed(0)
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  config = json.loads((folder / "numbers.json").read_text())
  method = methods.METHODS[name](config, np.load(folder / "start.npz"))
  result = train(method, folder)
  for split in ("train", "test"):
    np.save(out / f"features_{split}.npy", features(method, np.load(folder / f"{split}_image.npy")))
  (out / "result.json").write_text(json.dumps(result))
  return 0


def train(method: methods.Method, folder: pathlib.Path) -> dict:
  """All steps of a record; what they cost, and their losses."""
  config, size = method.config, method.config["batch_size"]
  arrays = {path.stem.replace(":", "/"): np.load(path, mmap_mode="r") for path in sorted((folder / "arrays").iterdir())}
  optimizer = make_optimizer(method, config["weight_decay"])
  losses, times = {}, [time.monotonic()]
  cpu = time.process_time()
  for k, lr in enumerate(config["lr"]):
    x = {name: np.array(array[k * size : (k + 1) * size]) for name, array in arrays.items()}
    loss = method.loss(tensors(x, config["views"]))
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
      group["lr"] = lr
    optimizer.step()
    method.finish(k)
    losses[k + 1] = loss.item()
    times.append(time.monotonic())
  spans = [(times[k + EVERY] - times[k]) / EVERY for k in range(0, len(times) - EVERY, EVERY)]
  return dict(
    seconds=times[-1] - times[0],
    cpu_seconds=time.process_time() - cpu,
    mib=peak_mib(),
    step_ms=1000 * statistics.median(spans or [(times[-1] - times[0]) / len(losses)]),
    losses=losses,
  )


def make_optimizer(method: methods.Method, weight_decay: float) -> torch.optim.Optimizer:
  """AdamW; what has one axis is not decayed, as in jssl."""
  parameters = [p for p in method.trained.parameters() if p.requires_grad]
  groups = [dict(params=[p for p in parameters if p.ndim > 1], weight_decay=weight_decay)]
  groups.append(dict(params=[p for p in parameters if p.ndim == 1], weight_decay=0.0))
  return torch.optim.AdamW(groups, lr=0.0)


def tensors(x: dict, views: dict) -> dict[str, torch.Tensor]:
  """Views `[batch, 3, H, W]`, normalised, and masks, by jssl's names."""
  found = {name.removeprefix("pixels_"): torch.from_numpy(array) for name, array in x.items()}
  for name, view in views.items():
    found[name] = shown(found[name], **view)
  return {name: array.long() if array.dtype == torch.int32 else array for name, array in found.items()}


def shown(pixels: torch.Tensor, mean: float, std: float) -> torch.Tensor:
  """Grey pixels, uint8 `[batch, H, W, 1]`, as `[batch, 3, H, W]`."""
  return ((pixels.permute(0, 3, 1, 2).to(torch.get_default_dtype()) / 255 - mean) / std).expand(-1, 3, -1, -1)


@torch.no_grad()
def features(method: methods.Method, images: np.ndarray, size: int = 500) -> np.ndarray:
  """`[n, dim]` of whole images, uint8 `[n, H, W, 1]`, by what jssl evaluates: the class token or the mean of the patches."""
  backbone, view = method.evaluated().eval(), next(iter(method.config["views"].values()))
  prefix, parts = backbone.vit.num_prefix_tokens, []
  for start in range(0, len(images), size):
    tokens = backbone.encode(shown(torch.from_numpy(images[start : start + size]), **view))
    mean = method.config["feature"] == "mean" or not prefix
    parts.append(tokens[:, prefix:].mean(1) if mean else tokens[:, 0])
  return torch.cat(parts).numpy()


def peak_mib() -> float:
  """The most memory that this process has held so far."""
  status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
  return int(status["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
