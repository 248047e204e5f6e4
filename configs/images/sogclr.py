"""SogCLR: SimCLR whose negatives are the whole data set, through a moving average that each image remembers.

Yuan, Wu, Qiu, Du, Zhang, Zhou, Yang, "Provable Stochastic Optimization for Global Contrastive Learning: Small Batch
Does Not Harm Performance", arXiv 2202.12387; code Optimization-AI/SogCLR.

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, batch 128, 400 epochs: the setting in which zhqiu/contrastive-learning-
               iSogCLR compares losses; the temperature is our choice
    imagenet   ResNet-50, 224 px, batch 256, 800 epochs: 69.0 % linear in the authors' repository, with SimCLR at 66.5 %

On ImageNet both views have BYOL's colours and are always blurred, as in the code.

Departures. Gradients flow to every embedding of the global batch. In the code for ImageNet an embedding that other
devices have gathered gets none from their losses, so that its gradient depends on the number of devices; on one device
the two are equal. On CIFAR the code's LARS adapts biases and norms too, multiplies by the trust ratio after the momentum,
and its head's first two layers have biases.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.object_pair(interpolation="bilinear", **common.any_hue(common.MOCO_COLOUR), blur=0.0),
      net=common.BACKBONES["demo"],
      head=dict(hidden=256, output=64, layers=2),
      join="views",
      gamma=0.9,
    ),
    cifar10=dict(
      views=common.symmetric_pair(
        "cifar10", size=32, interpolation="bilinear", scale=(0.2, 1.0), **common.MOCO_COLOUR, blur=0.5
      ),
      net=dict(common.BACKBONES["cifar10"], zero_init_residual=False),
      head=dict(hidden=8192, output=8192, layers=3),
      join="views",
      gamma=0.8,
    ),
    imagenet=dict(
      views=common.symmetric_pair(
        "imagenet", size=224, interpolation="bilinear", scale=(0.08, 1.0), **common.COLOUR, blur=1.0
      ),
      net=common.BACKBONES["imagenet"],
      head=dict(hidden=2048, output=128, layers=2, last_batch_norm="plain"),
      join=None,
      gamma=0.9,
    ),
  )
  config.views = p.views
  config.networks = dict(
    student=dict(**p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), bias=False, last_bias=False, **p.head)))
  )
  config.passes = common.passes("s", VIEWS, "student", join=p.join)
  config.losses = dict(con=dict(fn="sogclr_loss", temperature=0.1, gamma=p.gamma, reads=("s_a/z", "s_b/z", "index")))

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
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
