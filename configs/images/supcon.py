"""SupCon: SimCLR with labels: each view finds all views of its class.

Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu, Krishnan, "Supervised Contrastive Learning", arXiv
2004.11362; code HobbitLong/SupContrast (CIFAR) and google-research/google-research, supcon (ImageNet).

    demo       ViT of width 96 on the embedded objects, which are digits: upright crops of 32 px that hold most of one,
               patch 8, on a CPU. Without the head's BatchNorms all embeddings fall into one point at first and stay.
    cifar10    ResNet-50 with the CIFAR stem, batch 1024, 1000 epochs: 96.0 % linear in the authors' repository
    imagenet   ResNet-50, 224 px, batch 6144, 350 epochs. The authors use AutoAugment, with which they report 78.7 % (from
               memory, not checked); our views are SimCLR's. Their head is linear on normalised features, ours the two
               layers of SimCLR.

Both views are one forward. The loss is scaled by tau / 0.07 on CIFAR and by tau on ImageNet, as in the respective code.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.symmetric_pair("demo", size=32, scale=(0.6, 1.0), **common.MOCO_COLOUR, flip=0.0),
      net=common.BACKBONES["demo"],
      head=dict(hidden=256, output=64, last_batch_norm="plain"),
      temperature=0.5,
      scale=1.0,
    ),
    cifar10=dict(
      views=common.symmetric_pair("cifar10", size=32, scale=(0.2, 1.0), **common.MOCO_COLOUR, interpolation="bilinear"),
      net=dict(common.BACKBONES["cifar10"], depth=50, zero_init_residual=False),
      head=dict(hidden=2048, output=128, batch_norm=False),
      temperature=0.1,
      scale=0.1 / 0.07,
    ),
    imagenet=dict(
      views=common.symmetric_pair(
        "imagenet", size=224, scale=(0.08, 1.0), **common.SIMCLR_COLOUR, blur=0.5, interpolation="bilinear"
      ),
      net=dict(common.BACKBONES["imagenet"], init="keras"),
      head=dict(hidden=2048, output=128, batch_norm=False, last_bias=False, init="simclr"),
      temperature=0.1,
      scale=0.1,
    ),
  )
  if preset == "demo":
    config.data.name = "objects"
  config.views = p.views
  config.networks = dict(student=dict(**p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, **p.head))))
  config.passes = common.passes("s", VIEWS, "student", join="views")
  config.losses = dict(
    sup=dict(
      fn="supervised_contrastive_loss",
      temperature=p.temperature,
      scale=p.scale,
      reads=(common.outputs("s", VIEWS, "z"), "label"),
    )
  )

  if preset == "demo":
    common.demo_run(config, steps=2000, lr=2e-3)
  elif preset == "cifar10":
    config.update(dict(batch_size=1024, total_epochs=1000.0))
    config.optim.update(
      dict(name="sgd", lr=0.5, weight_decay=1e-4, warmup_epochs=10, warmup_start_lr=0.01, end_lr_fraction=1e-3)
    )
    config.optim.decay = (".",)
  else:
    common.lars_run(config, batch_size=6144, epochs=350, lr=0.4, weight_decay=1e-3, warmup_epochs=12, classic_momentum=True)
    config.optim.decay = ("/kernel$", "/dense_.*/bias$")  # all but BatchNorm's
  return config
