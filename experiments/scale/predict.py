"""Predicts step time and traffic of ViT-L on many accelerators: `python experiments/scale/predict.py`. Measures nothing.

FLOPs are XLA's count of the step at full depth, as JAX hands it over. Collectives and memory per device are read from
the step compiled for eight simulated devices on the CPU, at two depths, and are taken to grow linearly with depth.
README.md explains the model of time.

    --only mae dino     some of the models
    --skip memory       without what takes longest
"""

import argparse
import dataclasses
import os
import re

DEVICES = 8
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"

import jax  # pylint: disable=g-import-not-at-top
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from jssl import data
from jssl.config import load_config
from jssl.models import count_parameters
from jssl.parallel import AXIS
from jssl.train import Trainer

DEPTH = 24  # of ViT-L
DEPTHS = (1, 2)  # that are compiled
PER_DEVICE = 8  # examples, when compiled; with one or two, XLA would rather move these than parameters
COUNTS = (8, 64, 512)
MODES = {"pmap": dict(mode="pmap"), "jit": dict(mode="jit"), "jit, shard_state": dict(mode="jit", shard_state=True)}
SIZES = dict(f64=8, s64=8, u64=8, f32=4, s32=4, u32=4, bf16=2, f16=2, s16=2, u16=2, pred=1, s8=1, u8=1)
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Machine:
  """An accelerator and its links.

  Attributes:
    peak: FLOP/s of bfloat16 products, dense.
    near: bytes/s at which a device sends to its neighbour, within a group of `group`.
    group: devices.
    far: bytes/s at which a device sends beyond its group.
    most: devices for which this holds.
  """

  peak: float
  near: float
  group: int
  far: float
  most: int


# H100 SXM: NVLink 4 within a node of eight, and an InfiniBand NDR port of 400 Gbit/s for each. TPU v5e: both directions
# of one axis of the torus, of at most 256 chips; a slice of 64 has a second axis, which is not counted on.
MACHINES = {"H100": Machine(989e12, 450e9, 8, 50e9, 1 << 20), "TPU v5e": Machine(197e12, 90e9, 256, 90e9, 256)}


@dataclasses.dataclass(frozen=True)
class Model:
  """A run. `batch` is the paper's or ours, `mfu` the share of the peak that is assumed, the aim of this project."""

  config: str
  network: str
  batch: int
  mfu: float


MODELS = {"mae": Model("mae:imagenet", "encoder", 4096, 0.5), "dino": Model("dino:imagenet", "student", 1024, 0.4)}


def make_trainer(model: Model, depth: int, batch: int, devices: int, **parallel) -> Trainer:
  config = load_config(model.config)
  config.networks[model.network].variant = "L/16"
  config.networks[model.network].depth = depth
  config.batch_size = batch
  config.parallel.update(parallel)
  spec = dict(image=jax.ShapeDtypeStruct((224, 224, 3), np.uint8), extent=jax.ShapeDtypeStruct((2,), np.int32))
  source = data.from_iterator(iter, num_examples=1_281_167, element_spec=spec)
  return Trainer(config, source, devices=jax.devices()[:devices])


def flops(model: Model) -> tuple[float, float]:
  """FLOPs of a step at full depth: `(of each example, of each device beside them)`."""
  small, large = (make_trainer(model, DEPTH, n, 1).lower_single().cost_analysis()["flops"] for n in (4, 8))
  return (large - small) / 4, 2 * small - large


def compiled(trainer: Trainer):
  """The step compiled for the trainer's devices, from shapes alone."""
  parallel = trainer.parallel
  state, batch = trainer.step_spec()
  if parallel.axis_name:
    split = lambda x: jax.ShapeDtypeStruct((DEVICES, x.shape[0] // DEVICES, *x.shape[1:]), x.dtype)
    return trainer.compile_step(state).lower(state, {}, jax.tree.map(split, batch)).compile()
  placed = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
  state = jax.tree.map(lambda x: placed(x, parallel.state_sharding(x)), state)
  batch = jax.tree.map(lambda x: placed(x, NamedSharding(parallel.mesh, PartitionSpec(AXIS))), batch)
  return trainer.compile_step(state).lower(state, {}, batch).compile()


def collectives(text: str) -> dict[str, float]:
  """Bytes of each kind of collective in a compiled program: of the whole array, before or after the collective."""
  found = dict.fromkeys(KINDS, 0.0)
  for result, kind in re.findall(rf"= (\(.*?\)|\S+) ({'|'.join(KINDS)})(?:-start)?\(", text):
    size = sum(
      SIZES[dtype] * np.prod([int(n) for n in dims.split(",") if n], dtype=float)
      for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", result)
    )
    found[kind] += size * (DEVICES if kind == "reduce-scatter" else 1)  # whose result is a device's share
  return found


def traffic(model: Model, mode: str) -> tuple[dict[str, float], dict[str, float]]:
  """Bytes of collectives, and of memory per device, of a step at full depth with `PER_DEVICE` examples on each."""
  rows = []
  for depth in DEPTHS:
    program = compiled(make_trainer(model, depth, DEVICES * PER_DEVICE, DEVICES, **MODES[mode]))
    memory = program.memory_analysis()
    kept = dict(
      state=memory.argument_size_in_bytes,
      temporaries=memory.temp_size_in_bytes,
      outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
    )
    rows.append((collectives(program.as_text()), kept))
  (low, low_kept), (high, high_kept) = rows
  extend = lambda a, b: {name: a[name] + (b[name] - a[name]) * (DEPTH - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0]) for name in a}
  return extend(low, high), extend(low_kept, high_kept)


def seconds(moved: dict[str, float], machine: Machine, count: int) -> float:
  """Time of the collectives: rings within a group, then rings of the groups' equal parts; an all-reduce goes twice."""
  passes = 2 * moved["all-reduce"] + moved["all-gather"] + moved["reduce-scatter"]
  inner, groups = min(count, machine.group), max(count // machine.group, 1)
  return passes * ((inner - 1) / inner / machine.near + (groups - 1) / groups / inner / machine.far)


def listed(sizes: dict[str, float]) -> str:
  return ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in sizes.items() if size >= 2**20)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
  parser.add_argument("--skip", choices=("memory",))
  arguments = parser.parse_args()
  for name in arguments.only:
    model = MODELS[name]
    each, fixed = flops(model)
    parameters = sum(map(count_parameters, make_trainer(model, DEPTH, 8, 1).abstract.params.values()))
    print(
      f"\n{name} ViT-L/16, batch {model.batch}: {each / 1e9:.1f} GFLOPs an example and {fixed / 1e9:.1f} on each "
      f"device, {parameters / 1e6:.0f} M trained parameters",
      flush=True,
    )
    for mode in MODES if arguments.skip != "memory" else ["pmap"]:
      moved, memory = traffic(model, mode)
      print(f"\n{mode}: {listed(moved)}; of a device with {PER_DEVICE} examples: {listed(memory)}")
      print(
        "\n| machine | devices | examples a device | compute, ms | collectives, ms | step, ms: hidden, not hidden "
        "| images/s |\n" + "|---" * 7 + "|"
      )
      for label, machine in MACHINES.items():
        for count in COUNTS:
          if count > machine.most:
            continue
          compute = (each * model.batch / count + fixed) / (machine.peak * model.mfu)
          apart = seconds(moved, machine, count)
          print(
            f"| {label} | {count} | {model.batch // count} | {compute * 1e3:.0f} | {apart * 1e3:.1f} "
            f"| {max(compute, apart) * 1e3:.0f}, {(compute + apart) * 1e3:.0f} "
            f"| {model.batch / (compute + apart):,.0f} to {model.batch / max(compute, apart):,.0f} |",
            flush=True,
          )


if __name__ == "__main__":
  main()
