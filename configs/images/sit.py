"""SiT: masked reconstruction and contrast with an EMA teacher, from images with large blocks destroyed.

Atito, Awais, Kittler, "SiT: Self-supervised vIsion Transformer", arXiv 2104.03602; code Sara-Ahmed/SiT in its final state
(December 2022), which the losses, heads and corruption follow. Its defaults: half of the images lose 50 % of their area
to zeros, half have 30 % replaced by another image's blocks.

    demo       width 96, crops of 32 px, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, weight 5 on the reconstruction as for small data
    imagenet   ViT-S/16, 224 px, batch 256, 801 epochs

The reconstruction head has one bias for each pixel of a patch, where a transposed convolution has one a channel.
"""

from jssl.configs import common
from jssl.schedules import cosine

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, rec_weight=5.0, net=common.SMALL, z=dict(hidden=256), pixels=dict()),
    cifar10=dict(
      size=32, patch=4, rec_weight=5.0, net=dict(width=192, depth=12, num_heads=3), z=dict(hidden=1024), pixels=dict()
    ),
    imagenet=dict(
      size=224,
      patch=16,
      rec_weight=1.0,
      net=dict(variant="S/16", cls_position=True),
      z=dict(hidden=4096, init="dino"),
      pixels=dict(init="transposed"),
    ),
  )
  config.views = common.asymmetric_pair(preset, size=p.size, scale=(0.2, 1.0), blur=preset == "imagenet")
  config.masking = common.gmml_masks(VIEWS, area=0.5, fill="zeros")
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.size,
      patch_size=p.patch,
      drop_path=0.1,
      **p.net,
      heads=dict(
        z=dict(
          fn="mlp_head",
          reads=("features",),
          output=256,
          layers=3,
          activation=("relu", "gelu"),
          last_batch_norm="plain",
          **p.z,
        ),
        pixels=dict(fn="reconstruction_head", reads=("patch_tokens",), layers=3, patch_size=p.patch, **p.pixels),
      ),
    ),
    teacher=dict(ema="student", decay=cosine(0.996, 1.0)),
  )
  config.passes = common.passes(
    "s", VIEWS, "student", join="students", reads=lambda v: (f"hidden_{v}/image",)
  ) | common.passes("t", VIEWS, "teacher", join="teachers")

  rec = common.gmml_reconstruction(VIEWS, patch=p.patch, weight=p.rec_weight)
  config.targets = rec["targets"]
  config.losses = rec["losses"] | dict(
    con=dict(fn="info_nce_loss", temperature=0.2, scale=0.4, weight=1.0, terms=(("s_a/z", "t_b/z"), ("s_b/z", "t_a/z")))
  )

  if preset == "demo":
    config.update(dict(batch_size=64, total_steps=1000))
    common.dino_optim(config, preset, lr=2e-3, weight_decay=cosine(0.04, 0.1), warmup=dict(warmup_fraction=0.1))
  elif preset == "cifar10":
    config.update(dict(batch_size=256, total_epochs=400.0))
    common.dino_optim(config, preset, weight_decay=cosine(0.04, 0.1), warmup=dict(warmup_epochs=10))
  else:
    config.update(dict(batch_size=256, total_epochs=801.0))
    common.dino_optim(config, preset, weight_decay=cosine(0.04, 0.1), warmup=dict(warmup_epochs=10))
  return config
