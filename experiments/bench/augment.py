"""Augmentation alone, in views a second: uint8 images in memory -> normalised float32 views.

The views are those of jssl's configs of SimCLR, BYOL and DINO (with its small crops) at other sizes; all sides take
their numbers from there. jssl draws them as a step does, compiled, on its device. The others are what PyTorch's data
loaders do, image by image, in as many worker processes as there are cores: Pillow, called as torchvision's transforms
on Pillow images call it, and torchvision.transforms.v2 on uint8 tensors. Their workers keep the images and write the
views into shared memory, so that nothing is pickled; on a GPU, sending the views there is not counted.
"""

import atexit
import ctypes
import itertools
import math
import multiprocessing
import os
import random

import numpy as np
from turns import Work

CASES = {
  "simclr": dict(
    cpu=dict(config="simclr:cifar10", batch=256, side=64, sizes=(32,)),
    gpu=dict(config="simclr:imagenet", batch=256, side=224, sizes=(224,)),
  ),
  "byol": dict(
    cpu=dict(config="byol:imagenet", batch=128, side=64, sizes=(64,)),
    gpu=dict(config="byol:imagenet", batch=256, side=224, sizes=(224,)),
  ),
  "dino": dict(
    cpu=dict(config="dino:imagenet", batch=64, side=64, sizes=(64, 32)),
    gpu=dict(config="dino:imagenet", batch=128, side=224, sizes=(224, 96)),
  ),
}
DEFAULTS = dict(
  scale=(0.08, 1.0),
  interpolation="bicubic",
  flip=0.5,
  jitter=None,
  jitter_prob=0.8,
  grayscale=0.0,
  blur=0.0,
  blur_sigma=(0.1, 2.0),
  solarize=0.0,
)  # those of jssl.views.augment
RATIO = (math.log(3 / 4), math.log(4 / 3))


def load_views(config: str, sizes: tuple[int, ...]):
  """A config with nothing but its views; the largest of their sizes becomes the first of `sizes`, others the second."""
  from jssl.config import load_config  # pylint: disable=g-import-not-at-top

  config = load_config(config)
  largest = max(view.size for view in config.views.values())
  for view in config.views.values():
    view.size = sizes[view.size < largest]
  config.networks = config.passes = config.masking = config.targets = {}
  config.losses = dict(none=dict(fn=no_loss, reads=(tuple(config.views),)))
  return config


def no_loss(views):
  """A method needs a loss, and its views a reader; the compiled function leaves this out."""
  del views
  return 0.0, {}


def make_images(batch: int, side: int) -> np.ndarray:
  """Smooth random images `[batch, side, side, 3]` uint8."""
  coarse = np.random.default_rng(0).uniform(0, 255, (batch, side // 8, side // 8, 3))
  return np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)


def jssl_side(case: str, *, config: str, batch: int, side: int, sizes: tuple[int, ...]) -> Work:
  """The views of a batch as one compiled function, drawn through `Method` as a train step draws them."""
  del case
  import jax  # pylint: disable=g-import-not-at-top

  draw, names = jssl_views(config, sizes, batch)
  images = jax.device_put(make_images(batch, side))
  steps = itertools.count()
  return Work(lambda: jax.block_until_ready(draw(images, next(steps))), batch * len(names))


def jssl_views(config: str, sizes: tuple[int, ...], batch: int):
  """Returns `(draw, names)`: a compiled `draw(images, step) -> {name: [batch, size, size, 3] float32}`."""
  import jax  # pylint: disable=g-import-not-at-top
  import jax.numpy as jnp  # pylint: disable=g-import-not-at-top

  from jssl.environment import run_key  # pylint: disable=g-import-not-at-top
  from jssl.method import Method, Variables  # pylint: disable=g-import-not-at-top
  from jssl.schedules import Horizon  # pylint: disable=g-import-not-at-top

  config = load_views(config, sizes)
  names = tuple(config.views)
  method = Method(config, num_examples=batch, horizon=Horizon(1000, batch_size=batch))
  nothing = Variables({}, {}, {}, {}, {})

  @jax.jit
  def draw(images, step):
    extent = jnp.tile(jnp.array(images.shape[1:3]), (batch, 1))
    arrays = method.environment(nothing, dict(image=images, extent=extent), key=run_key(0), step=step)
    return {name: arrays[name] for name in names}

  return draw, names


def pillow_side(case: str, *, config: str, batch: int, side: int, sizes: tuple[int, ...]) -> Work:
  """Pillow, image by image, in as many processes as there are cores."""
  del case
  return _in_workers(pillow_view, config, batch, side, sizes)


def torchvision_side(case: str, *, config: str, batch: int, side: int, sizes: tuple[int, ...]) -> Work:
  """torchvision.transforms.v2, image by image, in as many processes as there are cores.

  Raises:
    ImportError: if torchvision is not installed.
  """
  del case
  import_torchvision_transforms()
  return _in_workers(torchvision_view, config, batch, side, sizes)


def _in_workers(make_view, config: str, batch: int, side: int, sizes: tuple[int, ...]) -> Work:
  views = [DEFAULTS | view for view in plain_views(config, sizes)]
  shapes = [(batch, view["size"], view["size"], 3) for view in views]
  context = multiprocessing.get_context("spawn")
  shared = [context.RawArray(ctypes.c_float, math.prod(shape)) for shape in shapes]
  count = len(os.sched_getaffinity(0))
  pool = context.Pool(count, _start_worker, (make_view, views, make_images(batch, side), shapes, shared))
  atexit.register(pool.terminate)
  parts = np.array_split(np.arange(batch), 4 * count)  # less than a worker's share: who is ready takes the next one
  return Work(lambda: pool.map(_augment_part, parts, chunksize=1), batch * len(views))


def plain_views(config: str, sizes: tuple[int, ...]) -> list[dict]:
  """The numbers of each view as `jssl.views.augment` takes them."""
  views = load_views(config, sizes).views.to_dict().values()
  return [{key: value for key, value in view.items() if key not in ("fn", "reads")} for view in views]


_worker = {}


def _start_worker(make_view, views, images, shapes, shared) -> None:
  outputs = [np.frombuffer(block, np.float32).reshape(shape) for shape, block in zip(shapes, shared, strict=True)]
  _worker.update(views=[make_view(**view) for view in views], images=images, outputs=outputs)
  random.seed(os.getpid())


def _augment_part(part) -> None:
  for view, output in zip(_worker["views"], _worker["outputs"], strict=True):
    for i in part:
      output[i] = view(_worker["images"][i])


def draw_box(height: int, width: int, scale) -> tuple[int, int, int, int]:
  """torchvision's `RandomResizedCrop.get_params`: (top, left, height, width)."""
  for _ in range(10):
    area = height * width * random.uniform(*scale)
    ratio = math.exp(random.uniform(*RATIO))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      return random.randint(0, height - h), random.randint(0, width - w), h, w
  w = min(width, round(height * math.exp(RATIO[1])))
  h = min(height, round(width / math.exp(RATIO[0])))
  return (height - h) // 2, (width - w) // 2, h, w


def pillow_view(*, size, scale, interpolation, flip, jitter, jitter_prob, grayscale, blur, blur_sigma, solarize, mean, std):
  """A view as torchvision's first transforms make it of a Pillow image, and MoCo v3 and DINO blur and solarise it.

  Returns:
    a function `[height, width, 3] uint8 -> [size, size, 3] float32`.
  """
  from PIL import Image, ImageEnhance, ImageFilter, ImageOps  # pylint: disable=g-import-not-at-top

  resample = dict(bicubic=Image.Resampling.BICUBIC, bilinear=Image.Resampling.BILINEAR)[interpolation]
  # x / 255, then (x - mean) / std, in one multiplication and one addition.
  factor = np.float32(1) / (255 * np.asarray(std, np.float32))
  shift = -np.asarray(mean, np.float32) / np.asarray(std, np.float32)

  def turn_hue(image, turns):
    hue, saturation, value = image.convert("HSV").split()
    hue = Image.fromarray(np.asarray(hue) + np.array(int(turns * 255) % 256, np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")

  def jittered(image):
    blends = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for op in random.sample(range(4), 4):
      strength = jitter[op]
      if not strength:
        continue
      if op == 3:
        image = turn_hue(image, random.uniform(-strength, strength))
      else:
        image = blends[op](image).enhance(random.uniform(max(0.0, 1 - strength), 1 + strength))
    return image

  def view(array):
    image = Image.fromarray(array)
    top, left, height, width = draw_box(image.height, image.width, scale)
    image = image.crop((left, top, left + width, top + height)).resize((size, size), resample)
    if random.random() < flip:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if jitter and random.random() < jitter_prob:
      image = jittered(image)
    if random.random() < grayscale:
      image = image.convert("L").convert("RGB")
    if random.random() < blur:
      image = image.filter(ImageFilter.GaussianBlur(random.uniform(*blur_sigma)))
    if random.random() < solarize:
      image = ImageOps.solarize(image, 128)
    return np.asarray(image, np.float32) * factor + shift

  return view


def torchvision_view(
  *, size, scale, interpolation, flip, jitter, jitter_prob, grayscale, blur, blur_sigma, solarize, mean, std
):
  """As `pillow_view`, by torchvision.transforms.v2 on a uint8 tensor, with one thread."""
  import torch  # pylint: disable=g-import-not-at-top

  v2 = import_torchvision_transforms()
  torch.set_num_threads(1)
  torch.manual_seed(os.getpid())
  steps = [
    v2.RandomResizedCrop(size, scale=scale, interpolation=v2.InterpolationMode(interpolation), antialias=True),
    v2.RandomHorizontalFlip(flip),
  ]
  if jitter:
    steps.append(v2.RandomApply([v2.ColorJitter(*jitter)], jitter_prob))
  if grayscale:
    steps.append(v2.RandomGrayscale(grayscale))
  if blur:
    radius = math.ceil(3 * blur_sigma[1])
    kernel = min(2 * radius + 1, 2 * (size // 2) - 1)
    steps.append(v2.RandomApply([v2.GaussianBlur(kernel, blur_sigma)], blur))
  if solarize:
    steps.append(v2.RandomSolarize(128, solarize))
  transform = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])
  return lambda array: transform(torch.from_numpy(array).permute(2, 0, 1)).permute(1, 2, 0)


def import_torchvision_transforms():
  """torchvision.transforms.v2, also of a torchvision whose compiled operators, which it does without, need a GPU.

  PyPI's torchvision does not import beside a torch for CPUs, for it describes operators that it could not load. They are
  declared here, without anything to call.
  """
  import torch  # pylint: disable=g-import-not-at-top

  try:
    from torchvision.transforms import v2  # pylint: disable=g-import-not-at-top
  except RuntimeError:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
      library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)  # What it declares is gone when it is.
    from torchvision.transforms import v2  # pylint: disable=g-import-not-at-top
  return v2


_kept = []
SIDES = {"jssl": jssl_side, "Pillow": pillow_side, "torchvision": torchvision_side}


def check(case: str, *, config: str, batch: int, side: int, sizes: tuple[int, ...]) -> None:
  """Asserts that Pillow's views have jssl's mean and deviation, by view, to a tenth of the deviation."""
  batch = min(batch, 64)
  draw, names = jssl_views(config, sizes, batch)
  images = make_images(batch, side)
  random.seed(0)
  worst = 0.0
  ours = [draw(images, step) for step in range(8)]
  for name, numbers in zip(names, plain_views(config, sizes), strict=True):
    view = pillow_view(**(DEFAULTS | numbers))
    theirs = np.stack([view(image) for _ in range(8) for image in images])
    mine = np.concatenate([views[name] for views in ours])
    deviation = theirs.std()
    worst = max(worst, abs(mine.mean() - theirs.mean()) / deviation, abs(mine.std() / deviation - 1))
  print(f"{case}: means and deviations of {len(names)} views agree to {worst:.3f} of the deviation")
  assert worst < 0.1
