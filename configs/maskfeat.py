"""MaskFeat: predict the histograms of gradients of hidden patches.

Wei, Fan, Xie, Wu, Yuille, Feichtenhofer, "Masked Feature Prediction for Self-Supervised Visual Pre-Training", arXiv
2112.09133; code facebookresearch/SlowFast, configs/masked_ssl/in1k_VIT_B_MaskFeat_PT.yaml.

    demo       width 96, crops of 32 px, patch 4, one cell a patch, on a CPU
    cifar10    our choice: native 32 px, patch 4, one cell a patch
    imagenet   ViT-B/16, 224 px, 2 x 2 cells of 8 px, batch 2048, 300 epochs: 84.0 % fine-tuned in the paper after 1600,
               83.4 % after 300 in mmpretrain
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  size, patch, cell, min_block, net = dict(
    demo=(32, 4, 4, 4, common.SMALL),
    cifar10=(32, 4, 4, 4, dict(width=192, depth=12, num_heads=3)),
    imagenet=(224, 16, 8, 15, dict(variant="B/16")),
  )[preset]
  config.views = dict(v=common.view(preset, size=size, scale=(0.5, 1.0)))
  config.masking = dict(m=dict(fn="block_mask", grid=("v", "encoder"), ratio=0.4, min_block=min_block))
  config.networks = dict(
    encoder=dict(
      fn="vit",
      image_size=size,
      patch_size=patch,
      mask_token=True,
      **net,
      heads=dict(hog=dict(fn="linear_head", reads=("patch_tokens",), output=(patch // cell) ** 2 * 3 * 9)),
    )
  )
  config.passes = dict(e=dict(net="encoder", reads=("v", "mask=m/mask")))
  config.targets = dict(y=dict(fn="hog", reads=("v",), patch=patch, cell=cell, bins=9))
  config.losses = dict(hog=dict(fn="masked_mse_loss", reads=("e/hog", "y", "m/mask")))
  config.evaluation.feature = "mean"

  if preset == "demo":
    common.demo_run(config)
  else:
    batch, epochs, warmup = (2048, 300.0, 30) if preset == "imagenet" else (512, 400.0, 10)
    config.update(dict(batch_size=batch, total_epochs=epochs))
    config.optim.update(
      dict(
        name="adamw", lr=2e-4, lr_scale="linear", weight_decay=0.05, end_lr=1e-6, warmup_epochs=warmup, warmup_start_lr=1e-6
      )
    )
  with config.optim.ignore_type():
    config.optim.clip = dict(global_norm=0.02)
  return config
