"""Barlow Twins: the cross-correlation of two views' embeddings is pushed to the identity.

Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", arXiv 2103.03230;
code facebookresearch/barlowtwins.

    demo       ViT of width 96, crops of 32 px, patch 4, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 92.10 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 2048, 1000 epochs: 73.2 % linear in the paper

Each view is a forward of its own, so that BatchNorm normalises the views apart, as in the code.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  size, dim, lambd, scale, net = dict(
      demo=(32, 256, 5e-3, 0.1, dict(fn="vit", image_size=32, patch_size=4, width=96, depth=4, num_heads=3)),
      cifar10=(32, 2048, 5e-3, 0.1, dict(fn="resnet", depth=18, stem="cifar")),
      imagenet=(224, 8192, 0.0051, 1.0, dict(fn="resnet", depth=50)))[preset]
  config.views = common.asymmetric_pair(preset, size=size, scale=(0.08, 1.0), blur=preset == "imagenet")
  config.networks = dict(
      student=dict(**net, heads=dict(
          z=dict(fn="mlp_head", reads=("features",), hidden=dim, output=dim, layers=3, bias=False, last_bias=False))))
  config.passes = common.passes("s", ("a", "b"), "student")
  config.losses = dict(
      bt=dict(fn="barlow_twins_loss", reads=("s_a/z", "s_b/z"), lambd=lambd, scale=scale))

  if preset == "demo":
    config.update(dict(batch_size=64, total_steps=1000))
    config.optim.update(dict(name="adamw", lr=1e-3, weight_decay=0.05, warmup_fraction=0.1))
  elif preset == "cifar10":
    config.update(dict(batch_size=256, total_epochs=1000.0))
    config.optim.update(dict(name="lars", eta=0.02, lars_clip=True, lr=0.3, lr_scale="linear", weight_decay=1e-4,
                             warmup_epochs=10, warmup_start_lr=3e-5))
  else:
    config.update(dict(batch_size=2048, total_epochs=1000.0))
    config.optim.update(dict(name="lars", eta=1e-3, lr=0.2, lr_scale="linear", weight_decay=1e-6, warmup_epochs=10,
                             end_lr_fraction=1e-3, lr_mults=((r"/(bias|scale)$", 0.0048 / 0.2),)))
  return config
