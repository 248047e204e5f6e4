"""MaskFeat: predict the histograms of gradients of hidden patches.

Wei, Fan, Xie, Wu, Yuille, Feichtenhofer, "Masked Feature Prediction for Self-Supervised Visual Pre-Training", arXiv
2112.09133; code facebookresearch/SlowFast, configs/masked_ssl/in1k_VIT_B_MaskFeat_PT.yaml.

    demo       width 96, crops of 32 px, patch 4, one cell a patch, on a CPU
    cifar10    our choice: native 32 px, patch 4, one cell a patch
    imagenet   ViT-B/16, 224 px, 2 x 2 cells of 8 px, batch 2048, 300 epochs: 84.0 % fine-tuned in the paper after 1600,
               83.4 % after 300 in mmpretrain

Learning rates of the file are for 256 images and a machine; all three are scaled here to eight.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, cell=4, min_block=4, net=common.SMALL, run={}, optim={}),
    cifar10=dict(
      size=32,
      patch=4,
      cell=4,
      min_block=4,
      net=dict(width=192, depth=12, num_heads=3),
      run=dict(batch_size=512, total_epochs=400.0),
      optim=dict(warmup_epochs=10, warmup_start_lr=1e-6, end_lr=1e-6),
    ),
    imagenet=dict(
      size=224,
      patch=16,
      cell=8,
      min_block=15,
      net=dict(variant="B/16", cls_position=True, init="maskfeat"),
      run=dict(batch_size=2048, total_epochs=300.0),
      optim=dict(warmup_epochs=30, warmup_start_lr=8e-6, end_lr=8e-6),
    ),
  )
  config.views = dict(v=common.view(preset, size=p.size, scale=(0.5, 1.0)))
  config.masking = dict(m=dict(fn="block_mask", grid=("v", "encoder"), ratio=0.4, min_block=p.min_block))
  config.networks = dict(
    encoder=dict(
      fn="vit",
      image_size=p.size,
      patch_size=p.patch,
      mask_token=True,
      **p.net,
      heads=dict(hog=dict(fn="linear_head", reads=("patch_tokens",), output=(p.patch // p.cell) ** 2 * 3 * 9)),
    )
  )
  config.passes = dict(e=dict(net="encoder", reads=("v", "mask=m/mask")))
  config.targets = dict(y=dict(fn="hog", reads=("v",), patch=p.patch, cell=p.cell, bins=9))
  config.losses = dict(hog=dict(fn="masked_mse_loss", reads=("e/hog", "y", "m/mask")))
  config.evaluation.feature = "mean"

  if preset == "demo":
    common.demo_run(config)
  else:
    config.update(p.run)
    config.optim.update(dict(name="adamw", lr=2e-4, lr_scale="linear", weight_decay=0.05, **p.optim))
  with config.optim.ignore_type():
    config.optim.clip = dict(global_norm=0.02)
  return config
