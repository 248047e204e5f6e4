"""VICReg: the embeddings of two views agree, every dimension varies, and no two are correlated.

Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", arXiv
2105.04906; code facebookresearch/vicreg.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 92.07 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 2048, 1000 epochs: 73.2 % linear in the paper

Without the variance term the embeddings shrink to a point, which `spread` in the metrics shows. solo-learn does not
halve that term, so that its weight of 25 is 50 here.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.object_pair(**common.any_hue(common.COLOUR), solarize=0.1),
      net=common.SMALL_BACKBONES["demo"],
      dim=256,
      variance_weight=25.0,
    ),
    cifar10=dict(
      views=common.symmetric_pair("cifar10", size=32, scale=(0.2, 1.0), **common.COLOUR, solarize=0.1),
      net=common.BACKBONES["cifar10"],
      dim=2048,
      variance_weight=50.0,
    ),
    imagenet=dict(
      views=common.asymmetric_pair("imagenet", size=224, scale=(0.08, 1.0)),
      net=common.BACKBONES["imagenet"],
      dim=8192,
      variance_weight=25.0,
    ),
  )
  config.views = p.views
  config.networks = dict(
    student=dict(
      **p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), hidden=p.dim, output=p.dim, layers=3, last_bias=False))
    )
  )
  config.passes = common.passes("s", VIEWS, "student")
  config.losses = dict(
    vicreg=dict(
      fn="vicreg_loss",
      reads=common.outputs("s", VIEWS, "z"),
      invariance_weight=25.0,
      variance_weight=p.variance_weight,
      covariance_weight=1.0,
    )
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.3, weight_decay=1e-4)
  else:
    common.lars_run(config, batch_size=2048, epochs=1000, lr=0.2, weight_decay=1e-6, end_lr_fraction=1e-3)
  return config
