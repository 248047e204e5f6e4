"""Part (c): training with everything that feeds it, beside the bare step: the `Trainer` with the method's own views.

The images are uint8, from arrays that live on the device, from arrays in the host's memory that are streamed, and from a
folder of JPEG files. What a loop does beside, logs and checkpoints, is left out. The ratio of the table is that of the
fastest other side, the bare step, to arrays on the device: 1.00 where feeding costs nothing.
"""

import atexit
import pathlib
import tempfile

import flops
import numpy as np
import steps
import turns


def _case(case: str, size: str, *, examples: int, side: int, repeat: int) -> dict:
  """A train step's numbers, and how many images of how many pixels a side there are; `repeat` steps make a call."""
  return steps.CASES[case][size] | dict(examples=examples, side=side, repeat=repeat)


CASES = {
  "mae": dict(
    cpu=_case("mae", "cpu", examples=1024, side=96, repeat=2), gpu=_case("mae", "gpu", examples=4096, side=256, repeat=20)
  ),
  "simclr": dict(
    cpu=_case("simclr", "cpu", examples=1024, side=32, repeat=2),
    gpu=_case("simclr", "gpu", examples=50000, side=32, repeat=20),
  ),
}


def make_images(examples: int, side: int) -> np.ndarray:
  """Smooth shapes with some noise, which compress about as photographs do: uint8 `[examples, side, side, 3]`."""
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (examples, 8, 8, 3), np.uint8)
  scale = -(-side // 8)
  smooth = coarse.repeat(scale, axis=1).repeat(scale, axis=2)[:, :side, :side]
  return np.clip(smooth.astype(np.int16) + rng.integers(-12, 13, smooth.shape, np.int16), 0, 255).astype(np.uint8)


def write_files(folder: pathlib.Path, images: np.ndarray) -> None:
  from PIL import Image  # pylint: disable=g-import-not-at-top

  for i, image in enumerate(images):
    Image.fromarray(image).save(folder / f"{i:06d}.jpg", quality=90)


def _training(kind: str, *, examples: int, side: int, repeat: int, batch_size: int, **numbers) -> turns.Work:
  """`repeat` steps of the trainer; `kind` is "device", "streamed" or "files"."""
  import jax  # pylint: disable=g-import-not-at-top
  import jssl_steps  # pylint: disable=g-import-not-at-top

  from jssl import data  # pylint: disable=g-import-not-at-top
  from jssl.train import Trainer  # pylint: disable=g-import-not-at-top

  config = jssl_steps.get_config(batch_size=batch_size, **numbers)
  config.update(dict(total_steps=jssl_steps.STEPS, total_epochs=None, parallel=dict(mode="jit")))
  config.data.device_bytes = 0 if kind == "streamed" else 1 << 40
  images = make_images(examples, side)
  if kind == "files":
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    write_files(pathlib.Path(folder.name), images)
    source = data.load(f"folder:{folder.name}", split="train", canvas=side)
  else:
    source = data.from_arrays(image=images)
  trainer = Trainer(config, source, devices=jax.devices()[:1])
  state, batches = trainer.init_state(), trainer.batches(0, 1 << 30)
  step = trainer.compile_step(state)

  def call():
    nonlocal state
    for _ in range(repeat):
      state, _ = step(state, trainer.arrays, next(batches))
    jax.block_until_ready(state)

  method = numbers["config"].partition(":")[0]
  work = flops.step_flops(method, batch_size=batch_size, views=numbers["views"], networks=numbers["networks"])
  return turns.Work(call, repeat * batch_size, repeat * work, turns.jax_product(numbers["dtype"]))


def _bare(*, repeat: int, examples: int, side: int, **numbers) -> turns.Work:
  del examples, side
  import jssl_steps  # pylint: disable=g-import-not-at-top

  images = steps.make_images(numbers["batch_size"], numbers["views"])
  return jssl_steps.make_work(images, repeat=repeat, **numbers)


SIDES = {
  "jssl": lambda case, **numbers: _training("device", **numbers),
  "streamed": lambda case, **numbers: _training("streamed", **numbers),
  "JPEG files": lambda case, **numbers: _training("files", **numbers),
  "bare step": lambda case, **numbers: _bare(**numbers),
}
check = None
