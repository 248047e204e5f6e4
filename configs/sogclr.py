"""SogCLR: SimCLR whose negatives are the whole data set, through a moving average that each image remembers.

Yuan, Wu, Qiu, Du, Zhang, Zhou, Yang, "Provable Stochastic Optimization for Global Contrastive Learning: Small Batch
Does Not Harm Performance", arXiv 2202.12387; code Optimization-AI/SogCLR.

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, batch 128, 400 epochs: the setting in which zhqiu/contrastive-learning-
               iSogCLR compares losses; the temperature is our choice
    imagenet   ResNet-50, 224 px, batch 256, 800 epochs: 69.0 % linear in the authors' repository, with SimCLR at 66.5 %

Both views have BYOL's colours, and on ImageNet are always blurred, as in the code.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  if preset == "imagenet":
    head = dict(hidden=2048, output=128, layers=2, last_batch_norm="plain")
    numbers = dict(scale=(0.08, 1.0), **common.COLOUR, blur=1.0)
  else:
    head = dict(hidden=256, output=64, layers=2) if preset == "demo" else dict(hidden=8192, output=8192, layers=3)
    numbers = dict(scale=(0.2, 1.0), **common.MOCO_COLOUR, blur=0.0 if preset == "demo" else 0.5)
  config.views = common.symmetric_pair(preset, size=common.SIZES[preset], interpolation="bilinear", **numbers)
  config.networks = dict(
    student=dict(
      **common.BACKBONES[preset], heads=dict(z=dict(fn="mlp_head", reads=("features",), bias=False, last_bias=False, **head))
    )
  )
  config.passes = common.passes("s", VIEWS, "student", join=None if preset == "imagenet" else "views")
  config.losses = dict(con=dict(fn="sogclr_loss", temperature=0.1, gamma=0.9, reads=("s_a/z", "s_b/z", "index")))

  if preset == "demo":
    common.object_demo_run(config)
  elif preset == "cifar10":
    config.losses.con.gamma = 0.8
    common.lars_run(
      config,
      batch_size=128,
      epochs=400,
      lr=0.8,
      lr_scale=None,
      weight_decay=5e-4,
      warmup_start_lr=0.01,
      end_lr_fraction=1e-3,
    )
  else:
    common.lars_run(config, batch_size=256, epochs=800, lr=0.075, lr_scale="sqrt", lr_scale_batch=1, weight_decay=1e-6)
  return config
