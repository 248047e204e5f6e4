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

`simclr:continue@hf:/folder` goes on from any backbone (see `configs/released.py`) on images of one's own,
`--config.data.name=folder:/photos`, with our numbers: a new projector is trained on the backbone as it is for a tenth of
the run, then both, the backbone at a tenth of its rate, a transformer with layer decay 0.75.
"""

from jssl.configs import common, released

VIEWS = ("a", "b")


def get_config(arg: str = "demo"):
  preset, _, source = arg.partition("@")
  if preset == "continue":
    return continued(source)
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
  _method(config, p.views, p.net, p.head, temperature=p.temperature, weight=p.weight)
  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.4, weight_decay=1e-4)
  else:
    common.lars_run(config, batch_size=4096, epochs=1000, lr=0.3, weight_decay=1e-6, classic_momentum=True)
  return config


def continued(source: str):
  """The backbone of `source` trained on."""
  found = released.released("simclr:continue", source)
  config = released.base(found)
  views = common.symmetric_pair("imagenet", size=found.fitting(224), scale=(0.2, 1.0), **common.SIMCLR_COLOUR, blur=0.5)
  _method(config, views, found.entry, dict(hidden=2048, output=128, batch_norm=False), temperature=0.2, weight=1.0)
  config.update(dict(batch_size=256, total_epochs=100.0))
  config.optim.update(dict(name="adamw", lr=5e-4, lr_scale="linear", weight_decay=0.05, warmup_fraction=0.05))
  released.go_on(config, "student", found, low=0.1, layer_decay=0.75)
  return config


def _method(config, views: dict, net: dict, head: dict, *, temperature: float, weight: float) -> None:
  """What is seen, and what is compared."""
  config.views = views
  config.networks = dict(student=dict(**net, heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, **head))))
  config.passes = common.passes("s", VIEWS, "student", join="views")
  config.losses = dict(
    nt_xent=dict(fn="nt_xent_loss", temperature=temperature, weight=weight, reads=common.outputs("s", VIEWS, "z"))
  )
