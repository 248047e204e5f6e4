"""RotNet: tell by how many quarters an image has been turned.

Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", arXiv 1803.07728; code
gidariss/FeatureLearningRotNet. All four rotations of an image are in one batch, which the paper finds much better than
one of them.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem in the place of a Network in Network, else config/CIFAR10_RotNet_NIN4blocks
    imagenet   ResNet-50 in the place of AlexNet, 224 px, else config/ImageNet_RotNet_AlexNet: 50 epochs

CIFAR's crops are random resized ones where the code pads by 4 pixels and crops.
"""

from jssl.configs import common

TURNS = tuple(f"r{k}" for k in range(4))


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(crop=common.OBJECT | dict(crop=common.object_view()), net=common.SMALL_BACKBONES["demo"], init="dino"),
    cifar10=dict(
      crop=dict(crop=common.view("cifar10", size=32, scale=(0.5, 1.0))), net=common.BACKBONES["cifar10"], init="torch"
    ),
    imagenet=dict(
      crop=dict(crop=common.view("imagenet", size=224, scale=(0.08, 1.0), interpolation="bilinear")),
      net=common.BACKBONES["imagenet"],
      init="torch",
    ),
  )
  config.views = p.crop | {v: dict(fn="rotate", reads=("crop",), turns=k) for k, v in enumerate(TURNS)}
  logits = dict(fn="linear_head", reads=("features",), output=4, init=p.init)
  config.networks = dict(student=dict(**p.net, heads=dict(logits=logits)))
  config.passes = common.passes("s", TURNS, "student", join="turns", reads=lambda v: (f"{v}/image",))
  config.losses = dict(
    rotation=dict(
      fn="softmax_cross_entropy_loss", weight=1 / len(TURNS), terms=tuple((f"s_{v}/logits", f"{v}/label") for v in TURNS)
    )
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    step_run(config, batch_size=128, epochs=200.0, lr=0.1, boundaries=(60, 120, 160), factors=(0.2, 0.04, 0.008))
  else:
    step_run(config, batch_size=192, epochs=50.0, lr=0.01, boundaries=(15, 30, 45), factors=(0.1, 0.01, 0.001))
  return config


def step_run(config, *, batch_size: int, epochs: float, lr: float, boundaries: tuple, factors: tuple) -> None:
  """SGD with Nesterov's momentum, whose rate falls in steps; everything is decayed."""
  config.update(dict(batch_size=batch_size, total_epochs=epochs))
  config.optim.update(
    dict(
      name="sgd",
      nesterov=True,
      lr=lr,
      weight_decay=5e-4,
      decay=(".",),
      lr_schedule="step",
      step_factors=factors,
      boundaries_epochs=boundaries,
    )
  )
