"""From JPEG files to views, in images a second: what a host does for its accelerator.

The files are made of scikit-learn's two photographs, 500 x 375 pixels as most of ImageNet's. jssl decodes each once and cuts
its views out (`jssl.data.encoded`), and leaves flips, colours and normalisation to the device; bytes of uint8 go there.
The others are PyTorch's data loaders in as many worker processes as there are cores: Pillow, as torchvision's transforms on
Pillow images call it, and torchvision's own decoder and transforms.v2 on uint8 tensors. In the cases `one` (MAE), `two` and
`ten` they cut and flip alone; in `ten_whole` they do all that DINO's authors do on the host.
"""

import atexit
import ctypes
import functools
import math
import multiprocessing
import os
import pathlib
import random
import tempfile

import augment
import numpy as np
from turns import Work

LARGE = dict(size=224, scale=(0.4, 1.0))
SMALL = dict(size=96, scale=(0.05, 0.4))
COLOURS = dict(jitter=(0.4, 0.4, 0.2, 0.1), jitter_prob=0.8, grayscale=0.2)
NUMBERS = dict(
  one=([dict(size=224, scale=(0.2, 1.0))], {}),
  two=(2 * [LARGE], {}),
  ten=(2 * [LARGE] + 8 * [SMALL], {}),
  ten_whole=(
    [LARGE | COLOURS | dict(blur=1.0), LARGE | COLOURS | dict(blur=0.1, solarize=0.2)]
    + 8 * [SMALL | COLOURS | dict(blur=0.5)],
    dict(whole=True),
  ),
)
CASES = {
  name: {size: dict(views=views, batch=64, **more) for size in ("cpu", "gpu")} for name, (views, more) in NUMBERS.items()
}


@functools.cache
def folder(batch: int) -> str:
  """A folder of JPEG files of quality 90, each another part of a photograph; it is gone when the process ends."""
  from PIL import Image  # pylint: disable=g-import-not-at-top
  from sklearn import datasets  # pylint: disable=g-import-not-at-top

  place = tempfile.TemporaryDirectory(prefix="jssl-bench-")
  atexit.register(place.cleanup)
  photos = [Image.fromarray(image) for image in datasets.load_sample_images().images]
  rng = np.random.default_rng(0)
  for i in range(batch):
    width = int(rng.integers(380, 560))
    height = width * 3 // 4
    left, top = rng.integers(0, 640 - width), rng.integers(0, 427 - height)
    part = photos[i % 2].crop((left, top, left + width, top + height))
    part.resize((500, 375), Image.Resampling.BICUBIC).save(pathlib.Path(place.name, f"{i:04d}.jpg"), quality=90)
  return place.name


def jssl_side(case: str, *, views, batch: int, whole: bool = False) -> Work:
  """jssl's own reading of a batch, in as many threads as there are cores."""
  del case, whole
  from jssl import data  # pylint: disable=g-import-not-at-top

  crops = jssl_crops(views)
  steps = data.batches(
    data.load(f"folder:{folder(batch)}"),
    batch_size=batch,
    seed=0,
    start_step=0,
    stop_step=10**6,
    keys=(),
    threads=len(os.sched_getaffinity(0)),
    prefetch=1,
    crops=crops.at,
  )
  atexit.register(steps.close)
  return Work(lambda: next(steps), batch)


def jssl_crops(views):
  """What draws the boxes of views of these numbers."""
  from jssl.config import default_config  # pylint: disable=g-import-not-at-top
  from jssl.host_crops import HostCrops  # pylint: disable=g-import-not-at-top
  from jssl.method import Method  # pylint: disable=g-import-not-at-top
  from jssl.schedules import Horizon  # pylint: disable=g-import-not-at-top

  config = default_config()
  config.views = {f"v{i}": dict(fn="augment", reads=("image", "extent=extent"), **view) for i, view in enumerate(views)}
  config.losses = dict(none=dict(fn=augment.no_loss, reads=(tuple(config.views),)))
  method = Method(config, num_examples=1, horizon=Horizon(1), crops_on_host=True)
  return HostCrops(method.cropped, seed=0, channels=3)


def bytes_an_image(case: str) -> int:
  """What jssl sends to the device for an image."""
  views, _ = NUMBERS[case]
  return sum(math.prod(x.shape) for x in jssl_crops(views).specs(1).values())


def pillow_side(case: str, *, views, batch: int, whole: bool = False) -> Work:
  """Pillow, image by image."""
  del case
  return _in_workers(_pillow_reader, views, batch, whole)


def torchvision_side(case: str, *, views, batch: int, whole: bool = False) -> Work:
  """torchvision's decoder and transforms.v2, image by image.

  Raises:
    ImportError: if torchvision, or its decoder, is not installed.
  """
  del case
  import torchvision.io  # pylint: disable=g-import-not-at-top

  _ = torchvision.io.decode_jpeg
  return _in_workers(_torchvision_reader, views, batch, whole)


def _in_workers(make_reader, views, batch: int, whole: bool) -> Work:
  shapes = [(batch, view["size"], view["size"], 3) for view in views]
  context = multiprocessing.get_context("spawn")
  kind = ctypes.c_float if whole else ctypes.c_uint8
  shared = [context.RawArray(kind, math.prod(shape)) for shape in shapes]
  count = len(os.sched_getaffinity(0))
  paths = sorted(map(str, pathlib.Path(folder(batch)).iterdir()))
  pool = context.Pool(count, _start_worker, (make_reader, views, whole, paths, shapes, shared))
  atexit.register(pool.terminate)
  parts = np.array_split(np.arange(batch), 4 * count)
  return Work(lambda: pool.map(_read_part, parts, chunksize=1), batch)


_worker = {}


def _start_worker(make_reader, views, whole, paths, shapes, shared) -> None:
  dtype = np.float32 if whole else np.uint8
  outputs = [np.frombuffer(block, dtype).reshape(shape) for shape, block in zip(shapes, shared, strict=True)]
  _worker.update(read=make_reader(views, whole), paths=paths, outputs=outputs)
  random.seed(os.getpid())


def _read_part(part) -> None:
  for i in part:
    for output, view in zip(_worker["outputs"], _worker["read"](_worker["paths"][i]), strict=True):
      output[i] = view


def _pillow_reader(views, whole: bool):
  """A function from a path to its views."""
  from PIL import Image  # pylint: disable=g-import-not-at-top

  if whole:
    makers = [augment.pillow_view(**(augment.DEFAULTS | _statistics() | view)) for view in views]
  else:
    makers = [functools.partial(_pillow_crop, **view) for view in views]

  def read(path):
    image = Image.open(path).convert("RGB")
    array = np.asarray(image) if whole else image
    return [make(array) for make in makers]

  return read


def _statistics():
  return dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def _pillow_crop(image, *, size, scale):
  from PIL import Image  # pylint: disable=g-import-not-at-top

  top, left, height, width = augment.draw_box(image.height, image.width, scale)
  view = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else view)


def _torchvision_reader(views, whole: bool):
  """As `_pillow_reader`."""
  import torch  # pylint: disable=g-import-not-at-top
  from torchvision import io  # pylint: disable=g-import-not-at-top

  v2 = augment.import_torchvision_transforms()
  torch.set_num_threads(1)
  if whole:
    makers = [augment.torchvision_view(**(augment.DEFAULTS | _statistics() | view)) for view in views]
  else:
    bicubic = v2.InterpolationMode.BICUBIC
    crop = lambda size, scale: v2.RandomResizedCrop(size, scale=scale, interpolation=bicubic, antialias=True)
    steps = [v2.Compose([crop(**view), v2.RandomHorizontalFlip()]) for view in views]
    makers = [lambda image, step=step: step(image).permute(1, 2, 0).numpy() for step in steps]

  def read(path):
    image = io.decode_jpeg(io.read_file(path), mode=io.ImageReadMode.RGB)
    return [make(image.permute(1, 2, 0).numpy() if whole else image) for make in makers]

  return read


SIDES = {"jssl": jssl_side, "Pillow": pillow_side, "torchvision": torchvision_side}


def check(case: str, *, views, batch: int, whole: bool = False) -> None:
  """Asserts that jssl's views and Pillow's have the same mean and deviation, to a tenth of the deviation."""
  del whole
  from jssl import data  # pylint: disable=g-import-not-at-top

  views = [{key: view[key] for key in ("size", "scale")} for view in views]
  crops = jssl_crops(views)
  source = data.load(f"folder:{folder(batch)}")
  mine = source.get(np.arange(batch), (), crops.at(0, np.arange(batch)))
  read = _pillow_reader(views, False)
  random.seed(0)
  theirs = [read(path) for path in sorted(pathlib.Path(folder(batch)).iterdir())]
  for size in {view["size"] for view in views}:
    ours, other = (
      np.concatenate([x for x in found if x.shape[1] == size]).astype(float)
      for found in ([mine[name] for name in crops.names], [np.stack(x) for x in zip(*theirs, strict=True)])
    )
    assert abs(ours.mean() - other.mean()) < 0.1 * other.std() and abs(ours.std() / other.std() - 1) < 0.1, size
  print(f"{case}: means and deviations of {len(views)} views agree; {bytes_an_image(case):,} bytes an image")


def main() -> None:
  """Prints images a CPU second of one thread, the best of five turns: for a machine that others use."""
  import time  # pylint: disable=g-import-not-at-top

  print("| case | jssl | Pillow | torchvision | bytes an image |\n|---|---|---|---|---|")
  for case, sizes in CASES.items():
    found = {side: 0.0 for side in SIDES}
    calls = {side: call for side, make in _CALLS.items() if (call := make(**sizes["cpu"]))}
    for _ in range(6):  # of which the first compiles
      for side, call in calls.items():
        start = time.thread_time()
        call()
        found[side] = max(found[side], sizes["cpu"]["batch"] / (time.thread_time() - start))
    print(f"| {case} | {' | '.join(f'{rate:.0f}' for rate in found.values())} | {bytes_an_image(case):,} |", flush=True)


def _jssl_call(views, batch: int, whole: bool = False):
  del whole
  from jssl import data  # pylint: disable=g-import-not-at-top

  views = [{key: view[key] for key in ("size", "scale")} for view in views]
  source, crops = data.load(f"folder:{folder(batch)}"), jssl_crops(views)
  return lambda: source.get(np.arange(batch), (), crops.at(0, np.arange(batch)))


def _other_call(make_reader, views, batch: int, whole: bool = False):
  try:
    read = make_reader(views, whole)
  except ImportError:
    return None
  outputs = [np.empty((batch, view["size"], view["size"], 3), np.float32 if whole else np.uint8) for view in views]
  paths = sorted(map(str, pathlib.Path(folder(batch)).iterdir()))

  def call():
    for i, path in enumerate(paths):
      for output, view in zip(outputs, read(path), strict=True):
        output[i] = view

  return call


_CALLS = {
  "jssl": _jssl_call,
  "Pillow": functools.partial(_other_call, _pillow_reader),
  "torchvision": functools.partial(_other_call, _torchvision_reader),
}

if __name__ == "__main__":
  main()
