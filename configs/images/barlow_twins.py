"""Barlow Twins: the cross-correlation of two views' embeddings is pushed to the identity.

Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", arXiv 2103.03230;
code facebookresearch/barlowtwins.

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 92.10 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 2048, 1000 epochs: 73.2 % linear in the paper

Each view is a forward of its own, so that BatchNorm normalises the views apart, as in the code.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(views=common.asymmetric_object_pair(), dim=256, lambd=5e-3, scale=0.1),
    cifar10=dict(
      views=common.asymmetric_pair("cifar10", size=32, scale=(0.08, 1.0), blur=False), dim=2048, lambd=5e-3, scale=0.1
    ),
    imagenet=dict(views=common.asymmetric_pair("imagenet", size=224, scale=(0.08, 1.0)), dim=8192, lambd=0.0051, scale=1.0),
  )
  config.views = p.views
  config.networks = dict(
    student=dict(
      **common.BACKBONES[preset],
      heads=dict(
        z=dict(fn="mlp_head", reads=("features",), hidden=p.dim, output=p.dim, layers=3, bias=False, last_bias=False)
      ),
    )
  )
  config.passes = common.passes("s", ("a", "b"), "student")
  config.losses = dict(bt=dict(fn="barlow_twins_loss", reads=("s_a/z", "s_b/z"), lambd=p.lambd, scale=p.scale))

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.3, weight_decay=1e-4)
  else:
    common.lars_run(
      config,
      batch_size=2048,
      epochs=1000,
      lr=0.2,
      weight_decay=1e-6,
      end_lr_fraction=1e-3,
      lr_mults=((r"/(bias|scale)$", 0.0048 / 0.2),),
    )
  return config
