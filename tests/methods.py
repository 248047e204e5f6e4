"""Small forms of the methods' configs, and data for them."""

import numpy as np

from jssl import data
from jssl.config import load_config

NAMES = ("barlow_twins", "dino", "gmml", "mae", "mmc", "simmim", "sit")


def small(name: str, *, size: int = 16, width: int = 16, depth: int = 2, batch_size: int = 16, **changes):
  """The `demo` preset of a method with images of `size` pixels, patches of a quarter of it, and narrow networks."""
  config = load_config(f"{name}:demo")
  patch = size // 4
  largest = max(view.size for view in config.views.values())
  for view in config.views.values():
    view.size = size * view.size // largest
  for node in (*config.masking.values(), *config.targets.values()):
    if "patch" in node:
      node.patch = patch
  for network in config.networks.values():
    if "ema" in network:
      continue
    numbers = dict(width=width, depth=depth, num_heads=2, patch_size=patch)
    if "image_size" in network:
      numbers["image_size"] = size
    if "readout" in network:
      numbers["readout"] = tuple(range(1, depth + 1))
    network.update(numbers)
    for head in network.get("heads", {}).values():
      head.update({key: value for key, value in dict(hidden=32, bottleneck=8, prototypes=16, patch_size=patch).items()
                   if key in head})
      if "output" in head:
        head.output = 32
  config.update(dict(batch_size=batch_size, total_steps=20, log_every_steps=1, checkpoint_every_steps=10))
  config.data.options = {}
  config.update(changes)
  return config


def source(examples: int = 64, size: int = 20, seed: int = 0) -> data.Source:
  """Smooth random images with labels, in memory."""
  rng = np.random.default_rng(seed)
  coarse = rng.uniform(0, 255, (examples, size // 4, size // 4, 3))
  image = np.repeat(np.repeat(coarse, 4, 1), 4, 2).astype(np.uint8)
  return data.from_arrays(image=image, label=rng.integers(0, 4, examples).astype(np.int32))
