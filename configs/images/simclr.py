"""SimCLR: each view finds the other view of its image among all views of the batch.

Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", arXiv
2002.05709; code google-research/simclr.

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 90.74 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 4096, 1000 epochs: 69.3 % linear in the paper, 69.1 % in its repository

Both views are one forward. On ImageNet images are not normalised and kernels start as in the code, and the head has the
code's BatchNorms, where the paper writes none; the last is without the code's scale. The code adds up the losses of the two
views, hence a weight of 2: what LARS does not adapt, biases and BatchNorms, sees it. Departure: the code's max-pooling pads
behind alone, torch's on both sides.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.object_pair(**common.any_hue(common.SIMCLR_COLOUR), blur=0.0),
      net=common.BACKBONES["demo"],
      head=dict(hidden=256, output=64, batch_norm=False),
      temperature=0.2,
      weight=1.0,
    ),
    cifar10=dict(
      views=common.symmetric_pair("cifar10", size=32, scale=(0.08, 1.0), **common.SIMCLR_COLOUR, blur=0.5),
      net=common.BACKBONES["cifar10"],
      head=dict(hidden=2048, output=256, batch_norm=False),
      temperature=0.2,
      weight=1.0,
    ),
    imagenet=dict(
      # Values in [0, 1]: the code subtracts no mean.
      views=common.symmetric_pair(
        "imagenet", size=224, scale=(0.08, 1.0), **common.SIMCLR_COLOUR, blur=0.5, mean=0.0, std=1.0
      ),
      net=dict(common.BACKBONES["imagenet"], init="keras"),
      head=dict(hidden=2048, output=128, bias=False, last_bias=False, last_batch_norm="plain", init="simclr"),
      temperature=0.1,
      weight=2.0,
    ),
  )
  config.views = p.views
  config.networks = dict(student=dict(**p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, **p.head))))
  config.passes = common.passes("s", VIEWS, "student", join="views")
  config.losses = dict(
    nt_xent=dict(fn="nt_xent_loss", temperature=p.temperature, weight=p.weight, reads=common.outputs("s", VIEWS, "z"))
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.4, weight_decay=1e-4)
  else:
    common.lars_run(config, batch_size=4096, epochs=1000, lr=0.3, weight_decay=1e-6, classic_momentum=True)
  return config
