"""GMML: regress the clean pixels of destroyed blocks from an average of several blocks' outputs.

Atito, Awais, Kittler, "GMML is All you Need", arXiv 2205.14986; code Sara-Ahmed/GMML, which corruption, readout and loss
follow. Half of the images lose 50 to 75 % of their area to noise, half have 30 % replaced by another image's blocks.
One network, no teacher, no contrast.

    demo       width 96, one view of 32 px, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, one view
    imagenet   ViT-S/16, 224 px, two views as in the code, batch 256, 801 epochs
"""

from jssl.configs import common
from jssl.schedules import cosine


def get_config(preset: str = "demo"):
  config = common.base(preset)
  size, patch, scale, views, net = dict(
    demo=(32, 4, (0.2, 1.0), ("a",), dict(**common.SMALL, readout=(1, 2, 3, 4))),
    cifar10=(32, 4, (0.2, 1.0), ("a",), dict(width=192, depth=12, num_heads=3, readout=(6, 8, 10, 12))),
    imagenet=(224, 16, (0.05, 1.0), ("a", "b"), dict(variant="S/16", readout=(6, 8, 10, 12))),
  )[preset]
  light = common.view(preset, size=size, scale=scale, jitter=(0.1, 0.1, 0.1, 0.01), jitter_prob=0.3, blur=0.1)
  config.views = {v: dict(light) for v in views}
  config.masking = common.gmml_masks(views, area=0.75, fill="noise")
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=size,
      patch_size=patch,
      drop_path=0.1,
      **net,
      heads=dict(pixels=dict(fn="reconstruction_head", reads=("readout",), layers=3, patch_size=patch)),
    )
  )
  config.passes = common.passes("s", views, "student", join="students", reads=lambda v: (f"hidden_{v}/image",))
  config.update(common.gmml_reconstruction(views, patch=patch))
  # The class token gets no loss of its own.
  config.evaluation.feature = "mean"

  if preset == "demo":
    config.update(dict(batch_size=64, total_steps=1000))
    common.dino_optim(config, lr=2e-3, weight_decay=cosine(0.04, 0.1), warmup=dict(warmup_fraction=0.1))
  else:
    config.update(dict(batch_size=256, total_epochs=801.0 if preset == "imagenet" else 400.0))
    common.dino_optim(config, weight_decay=cosine(0.04, 0.4), warmup=dict(warmup_epochs=10))
  return config
