"""GMML: regress the clean pixels of destroyed blocks from an average of several blocks' outputs.

Atito, Awais, Kittler, "GMML is All you Need", arXiv 2205.14986; code Sara-Ahmed/GMML, which corruption, readout and loss
follow. Half of the images lose 50 to 75 % of their area to noise, half have 30 % replaced by another image's blocks.
One network, no teacher, no contrast.

    demo       width 96, one view of 32 px, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, one view
    imagenet   ViT-S/16, 224 px, two views as in the code, batch 256, 801 epochs

The reconstruction head has one bias for each pixel of a patch, where a transposed convolution has one a channel.
"""

from jssl.configs import common
from jssl.schedules import cosine


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, scale=(0.2, 1.0), views=("a",), net=dict(**common.SMALL, readout=(1, 2, 3, 4)), head=dict()),
    cifar10=dict(
      size=32,
      patch=4,
      scale=(0.2, 1.0),
      views=("a",),
      net=dict(width=192, depth=12, num_heads=3, readout=(6, 8, 10, 12)),
      head=dict(),
    ),
    imagenet=dict(
      size=224,
      patch=16,
      scale=(0.05, 1.0),
      views=("a", "b"),
      net=dict(variant="S/16", cls_position=True, readout=(6, 8, 10, 12)),
      head=dict(init="transposed"),
    ),
  )
  light = common.view(preset, size=p.size, scale=p.scale, jitter=(0.1, 0.1, 0.1, 0.01), jitter_prob=0.3, blur=0.1)
  config.views = {v: dict(light) for v in p.views}
  config.masking = common.gmml_masks(p.views, area=0.75, fill="noise")
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.size,
      patch_size=p.patch,
      drop_path=0.1,
      **p.net,
      heads=dict(pixels=dict(fn="reconstruction_head", reads=("readout",), layers=3, patch_size=p.patch, **p.head)),
    )
  )
  config.passes = common.passes("s", p.views, "student", join="students", reads=lambda v: (f"hidden_{v}/image",))
  config.update(common.gmml_reconstruction(p.views, patch=p.patch))
  # The class token gets no loss of its own.
  config.evaluation.feature = "mean"

  if preset == "demo":
    config.update(dict(batch_size=64, total_steps=1000))
    common.dino_optim(config, preset, lr=2e-3, weight_decay=cosine(0.04, 0.1), warmup=dict(warmup_fraction=0.1))
  else:
    config.update(dict(batch_size=256, total_epochs=801.0 if preset == "imagenet" else 400.0))
    common.dino_optim(config, preset, weight_decay=cosine(0.04, 0.4), warmup=dict(warmup_epochs=10))
  return config
