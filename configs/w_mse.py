"""W-MSE: the whitened embeddings of the views of an image agree; whitening leaves no room for collapse.

Ermolov, Siarohin, Sangineto, Sebe, "Whitening for Self-Supervised Representation Learning", arXiv 2007.06346; code
htdt/self-supervised, whose commands for two views (W-MSE 2) the presets follow.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, batch 512, sub-batches of 128 images for 64 dimensions, 1000 epochs
    imagenet   ResNet-18, 224 px, batch 512, sub-batches of 256 for 128 dimensions, 240 epochs: the authors' numbers for
               ImageNet-100, a folder of a hundred classes

Deviations. The code changes colours before it crops. Weight decay is AdamW's where the code adds 1e-6 w to Adam's
gradient. The covariance is shrunk to the identity by 1e-4, which the code has as an option; without it a dimension that
is lost for one batch ends the run.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  size, dim, hidden, subbatch, net = dict(
    demo=(32, 32, 256, 64, common.SMALL_BACKBONES["demo"]),
    cifar10=(32, 64, 1024, 128, common.BACKBONES["cifar10"]),
    imagenet=(224, 128, 1024, 256, dict(fn="resnet", depth=18)),
  )[preset]
  if preset == "imagenet":
    config.views = common.symmetric_pair(preset, size=size, scale=(0.08, 1.0), **common.SIMCLR_COLOUR)
  else:
    config.views = common.symmetric_pair(preset, size=size, scale=(0.2, 1.0), **common.MOCO_COLOUR | dict(grayscale=0.1))
  config.networks = dict(
    student=dict(**net, heads=dict(z=dict(fn="mlp_head", reads=("features",), hidden=hidden, output=dim, layers=2)))
  )
  # BatchNorm in the backbone sees each view by itself; in the authors' head it sees them together.
  config.passes = common.passes("s", VIEWS, "student")
  config.losses = dict(w_mse=dict(fn="w_mse_loss", reads=(common.outputs("s", VIEWS, "z"),), subbatch=subbatch))

  if preset == "demo":
    common.object_demo_run(config)
  else:
    epochs, lr = (1000, 3e-3) if preset == "cifar10" else (240, 2e-3)
    common.adamw_run(
      config,
      batch_size=512,
      epochs=epochs,
      lr=lr,
      lr_scale=None,
      weight_decay=1e-6,
      warmup_epochs=None,
      warmup_steps=500,
      lr_schedule="step",
      step_factors=(0.2, 0.04),
      boundaries_epochs=(epochs - 50, epochs - 25),
    )
  return config
