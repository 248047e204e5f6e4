"""W-MSE: the whitened embeddings of the views of an image agree; whitening leaves no room for collapse.

Ermolov, Siarohin, Sangineto, Sebe, "Whitening for Self-Supervised Representation Learning", arXiv 2007.06346; code
htdt/self-supervised, whose commands for two views (W-MSE 2) the presets follow.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, batch 512, sub-batches of 128 images for 64 dimensions, 1000 epochs
    imagenet   ResNet-18, 224 px, batch 512, sub-batches of 256 for 128 dimensions, 240 epochs: the authors' numbers for
               ImageNet-100, a folder of a hundred classes

Departures. The code changes colours before it crops. Weight decay is AdamW's where the code adds 1e-6 w to Adam's
gradient. The covariance is shrunk to the identity by 1e-4, which the code has as an option; without it a dimension that
is lost for one batch ends the run.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.object_pair(**common.any_hue(common.MOCO_COLOUR)),
      net=common.SMALL_BACKBONES["demo"],
      head=dict(hidden=256, output=32),
      subbatch=64,
    ),
    cifar10=dict(
      views=common.symmetric_pair("cifar10", size=32, scale=(0.2, 1.0), **common.MOCO_COLOUR | dict(grayscale=0.1)),
      net=dict(common.BACKBONES["cifar10"], zero_init_residual=False),
      head=dict(hidden=1024, output=64),
      subbatch=128,
    ),
    imagenet=dict(
      views=common.symmetric_pair("imagenet", size=224, scale=(0.08, 1.0), **common.SIMCLR_COLOUR, blur=0.5),
      net=dict(fn="resnet", depth=18, zero_init_residual=False),
      head=dict(hidden=1024, output=128),
      subbatch=256,
    ),
  )
  config.views = p.views
  config.networks = dict(student=dict(**p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, **p.head))))
  # BatchNorm in the backbone sees each view by itself; in the authors' head it sees them together.
  config.passes = common.passes("s", VIEWS, "student")
  config.losses = dict(w_mse=dict(fn="w_mse_loss", reads=(common.outputs("s", VIEWS, "z"),), subbatch=p.subbatch))

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    step_run(config, epochs=1000, lr=3e-3)
  else:
    step_run(config, epochs=240, lr=2e-3)
  return config


def step_run(config, *, epochs: int, lr: float) -> None:
  """AdamW on batches of 512, with a fifth of the rate 50 epochs before the end and a fifth of that 25 before."""
  common.adamw_run(
    config,
    batch_size=512,
    epochs=epochs,
    lr=lr,
    lr_scale=None,
    weight_decay=1e-6,
    decay=(".",),
    warmup_epochs=None,
    warmup_steps=500,
    lr_schedule="step",
    step_factors=(0.2, 0.04),
    boundaries_epochs=(epochs - 50, epochs - 25),
  )
