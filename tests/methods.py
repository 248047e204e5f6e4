"""Small forms of the methods' configs, and data for them."""

import re

import numpy as np
import pytest

from jssl import data
from jssl.config import from_json, load_config, to_json

NAMES = (
  "barlow_twins",
  "beit",
  "beit_v2",
  "bss_simclr",
  "byol",
  "cmae",
  "colorization",
  "context_encoder",
  "data2vec",
  "deepcluster_v2",
  "densecl",
  "dino",
  "dinov2",
  "efficient_train",
  "esvit",
  "gmml",
  "ibot",
  "ijepa",
  "inpainting",
  "isogclr",
  "jigsaw",
  "lejepa",
  "mae",
  "maskfeat",
  "mc_ssl",
  "mff",
  "mixed_barlow_twins",
  "mixmim",
  "mmc",
  "moco_v2",
  "moco_v3",
  "msn",
  "nnclr",
  "random_teacher",
  "relative_position",
  "ressl",
  "rotation",
  "simclr",
  "simmim",
  "simsiam",
  "sit",
  "sit_mtl",
  "sogclr",
  "supcon",
  "swav",
  "tico",
  "tokenizer",
  "vicreg",
  "w_mse",
)

# Configs that are nothing without a trained network, which is named after an @.
OF_A_NETWORK = ("distill",)

# These between them have every kind of state, of gathering over devices and of random draws.
EVERY_KIND = (
  "deepcluster_v2",  # clusters and a memory that refresh fills
  "densecl",  # two queues, keys of a teacher
  "dinov2",  # crops of two sizes, hidden patches, two centers, KoLeo
  "efficient_train",  # phases
  "isogclr",  # a table with a row for each example
  "lejepa",  # directions that all devices draw alike
  "mae",  # gathered tokens
  "mixed_barlow_twins",  # a mixed batch, BatchNorm, correlations
  "mmc",  # aliens from the batch, a center
  "swav",  # a queue that starts late, frozen prototypes
  "tokenizer",  # a codebook
  "w_mse",  # whitening
)


# The cheapest of them: gathered tokens; BatchNorm, a mixed batch, correlations over the whole of it.
QUICK = ("mae", "mixed_barlow_twins")


def each_method(quick=QUICK, names=NAMES):
  """All methods for `pytest.mark.parametrize`; only some are quick."""
  return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


def small(name: str, *, size: int = 16, width: int = 16, depth: int = 1, batch_size: int = 16, **changes):
  """The `demo` preset of a method with images of `size` pixels, patches of a quarter of it, and narrow networks."""
  config = load_config(name if ":" in name else f"{name}:demo")
  # What reads the output of a block reads that of the last one here.
  config = from_json(re.sub(r"/block(\d+)", lambda m: f"/block{min(int(m[1]), depth):02d}", to_json(config)))
  patch = size // 4
  later = [phase.override.get("views", {}) for phase in config.phases.values()]
  sized = [view for views in (config.views, *later) for view in views.values() if "size" in view]
  largest = max(view.size for view in sized)
  for view in sized:
    view.size = patch * round(size * view.size / largest / patch)
  for node in (*config.masking.values(), *config.targets.values()):
    if "patch" in node:
      node.patch = patch
    if "targets" in node:  # blocks that leave a context on 4 x 4 patches
      node.update(dict(targets=2, scale=(0.2, 0.3)))
  for node in config.refresh.values():
    if "codes" in node:
      node.codes = 16
  whitened = any("subbatch" in loss for loss in config.losses.values())  # which takes more examples than dimensions
  for network in config.networks.values():
    if "ema" in network:
      continue
    if "near" in network:  # Closer, and the gradient is what is left of two equal numbers.
      network.near = (network.near[0], 0.5)
    numbers = dict(
      width=width,
      depth=depth,
      num_heads=2,
      patch_size=patch,
      image_size=size,
      grid=(4, 4),
      readout=tuple(range(1, depth + 1)),
      hidden=32,
      bottleneck=8,
      prototypes=16,
      codes=16,
      layer_scale=1.0,
    )
    for module in (network, *network.get("heads", {}).values()):
      module.update({key: value for key, value in numbers.items() if key in module})
      if isinstance(module.get("stem"), tuple):
        module.stem = (8,)
      if "output" in module and "hidden" in module:  # an embedding, where a linear head's width is that of its target
        module.output = batch_size // 2 if whitened else 32
      elif "output" in module and "depth" in module:  # a decoder of features, as wide as an encoder's
        module.output = width
  for node in (*config.targets.values(), *config.losses.values(), *config.refresh.values()):
    sizes = dict(length=2 * batch_size, size=2 * batch_size, clusters=6, subbatch=batch_size)
    node.update({key: value for key, value in sizes.items() if key in node})
  config.update(dict(batch_size=batch_size, total_steps=20, log_every_steps=1, checkpoint_every_steps=10))
  config.data.options = {}
  config.update(changes)
  return config


# Three BatchNorms on a fresh ViT's nearly equal features magnify rounding from step to step, large steps the more.
_RATES = {"nnclr": 0.005}


def small_with_sgd(name: str, **numbers):
  """`small` for comparisons: Adam magnifies rounding on parameters whose gradient is zero; SGD does not."""
  config = small(name, **numbers)
  config.optim.update(
    dict(name="sgd", lr=_RATES.get(name, 0.02), lr_scale=None, momentum=0.9, warmup_fraction=None, end_lr=None, freeze=())
  )
  config.optim.groups = {}
  with config.optim.ignore_type():
    config.optim.clip = config.optim.weight_decay = None
  return config


def source(examples: int = 64, size: int = 20, seed: int = 0, noise: int = 0) -> data.Source:
  """Smooth random images with labels, in memory; with `noise` each value is moved by up to as much."""
  rng = np.random.default_rng(seed)
  coarse = rng.uniform(0, 255, (examples, size // 4, size // 4, 3))
  image = np.repeat(np.repeat(coarse, 4, 1), 4, 2)
  label = rng.integers(0, 4, examples).astype(np.int32)
  image = np.clip(image + rng.uniform(-noise, noise, image.shape), 0, 255) if noise else image
  return data.from_arrays(image=image.astype(np.uint8), label=label)
