"""What both sides are given: views, masks, weights to start from, the numbers of each step, and images to be scored on.

A record is a folder of NumPy arrays and two JSON files. jssl draws it, by the config's own views and masks.
"""

from collections.abc import Iterator
import json
import pathlib
from typing import Any

import jax
import numpy as np

from jssl import config as configs
from jssl import data
from jssl.checkpoint import named_leaves
from jssl.environment import run_key
from jssl.evaluation.choice import evaluated_network
from jssl.evaluation.view import View
from jssl.graph import owner
from jssl.inputs import examples_of
from jssl.method import Method
from jssl.nodes import Drawn
from jssl.trainer import Trainer

PIXELS = "pixels_"  # before a view's name: what it shows, before it is normalised


def make(config, folder: pathlib.Path) -> None:
  """Draws the views and masks of all steps of a config, with its seed, and writes all that a side needs.

  Args:
    config: of an arm, with its data in their places.
    folder: of the record.
  """
  trainer = Trainer(config, devices=jax.devices()[:1])
  (folder / "arrays").mkdir(parents=True, exist_ok=True)
  names = drawn(trainer.single_method)
  variables = trainer.init_state().variables
  _draw(trainer, variables, names, folder / "arrays")
  start = named_leaves(dict(params=variables.params, memory=variables.memory))
  np.savez(folder / "start.npz", **{name: np.asarray(value) for name, value in start.items()})
  (folder / "config.json").write_text(configs.to_json(of_record(config, names)))
  (folder / "numbers.json").write_text(json.dumps(_numbers(trainer, names)))
  for split in ("train", "test"):
    _save_split(config.evaluation[split], config.evaluation.size, folder, split)


def drawn(method: Method) -> list[str]:
  """What views and masks give to passes, targets and losses, by name."""
  nodes = method.nodes
  read = {name for node in nodes.values() if not isinstance(node, Drawn) for name in node.names()}
  return sorted(name for name in read if isinstance(nodes.get(owner(name, nodes)), Drawn))


def of_record(config, names: list[str]):
  """The same config, whose views and masks are arrays of the data."""
  config, views = config.copy_and_resolve_references(), {}
  for name in (name for name in names if name in config.views):
    entry = config.views[name]
    views[f"rgb_{name}"] = dict(fn="as_rgb", reads=(PIXELS + name,))
    views[name] = dict(fn="color_view", reads=(f"rgb_{name}",), mean=entry.mean, std=entry.std)
  config.views, config.masking = views, {}
  return config


def load_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Views and masks by name, `[steps * batch, ...]`, left on disk."""
  return {path.stem.replace(":", "/"): np.load(path, mmap_mode="r") for path in sorted((folder / "arrays").iterdir())}


def source(folder: pathlib.Path, batch_size: int) -> data.Source:
  """The record as a run reads it: one epoch, in its own order."""
  arrays = load_arrays(folder)
  examples = len(next(iter(arrays.values())))

  def batches(step: int) -> Iterator[dict[str, np.ndarray]]:
    for start in range(step * batch_size, examples, batch_size):
      yield {name: np.array(array[start : start + batch_size]) for name, array in arrays.items()}

  spec = {name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype) for name, array in arrays.items()}
  return data.from_iterator(batches, num_examples=examples, element_spec=spec, name=folder.name)


def _draw(trainer: Trainer, variables, names: list[str], folder: pathlib.Path) -> None:
  """Writes what is drawn in each step, views as uint8 `[steps * batch, height, width, 1]`, for all of them are grey."""
  config, method = trainer.config, trainer.single_method

  @jax.jit
  def draw(arrays, variables, batch, step):
    batch = {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.items()}  # without the axis of devices
    batch = examples_of(arrays, batch, method.whole_names)
    found = method.environment(variables, batch, key=run_key(config.seed), step=step)
    return {name: found[name] for name in names}

  files, size = {}, config.batch_size
  for k, batch in enumerate(trainer.batches(0, config.total_steps)):
    for name, array in jax.device_get(draw(trainer.arrays, variables, batch, k)).items():
      if name in config.views:
        view, name = config.views[name], PIXELS + name
        array = np.rint(np.clip(255 * (array[..., :1] * view.std + view.mean), 0, 255)).astype(np.uint8)
      if name not in files:
        shape, path = (config.total_steps * size, *array.shape[1:]), folder / f"{name.replace('/', ':')}.npy"
        files[name] = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=shape)
      files[name][k * size : (k + 1) * size] = array
  for array in files.values():
    array.flush()


def _numbers(trainer: Trainer, names: list[str]) -> dict[str, Any]:
  """What the peer is told of the config, with the schedules of learning rate and EMA as a number for each step."""
  config, steps = trainer.config, range(trainer.config.total_steps)
  teachers = [network for network in trainer.method.networks.values() if network.ema_of]
  entries = {stage: json.loads(configs.to_json(config))[stage] for stage in ("networks", "losses", "targets")}
  return entries | dict(
    batch_size=config.batch_size,
    views={name: dict(mean=config.views[name].mean, std=config.views[name].std) for name in names if name in config.views},
    size=config.evaluation.size,
    lr=[float(trainer.optim_info["lr"](k)) for k in steps],
    decay=[float(network.decay_at(k)) for network in teachers for k in steps],
    weight_decay=config.optim.weight_decay,
    evaluated=evaluated_network(config),
    feature=config.evaluation.feature or "features",
  )


def _save_split(entry, size: int, folder: pathlib.Path, split: str) -> None:
  """Whole images and labels of a split, uint8 at the size at which networks see them."""
  found = data.load(entry.name, split=entry.split, **entry.options)
  batch = found.get(np.arange(len(found)), ("image", "extent", "label"))
  show = jax.jit(View(size=size).__call__)
  parts = [show({key: batch[key][i : i + 1000] for key in ("image", "extent")}) for i in range(0, len(found), 1000)]
  levels = 255 * np.concatenate([np.asarray(part) for part in parts])
  np.save(folder / f"{split}_image.npy", np.clip(np.round(levels), 0, 255).astype(np.uint8))
  np.save(folder / f"{split}_label.npy", batch["label"])
