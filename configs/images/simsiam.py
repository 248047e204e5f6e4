"""SimSiam: a predictor finds one view's embedding from the other's; no negatives, no teacher.

Chen, He, "Exploring Simple Siamese Representation Learning", arXiv 2011.10566; code facebookresearch/simsiam.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 90.51 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 512, 100 epochs: 68.1 % linear in the authors' repository

The gradient stops at the target; without that, or without the predictor, all embeddings become one, and `spread` in
the metrics, near 1 where they point everywhere, falls to 0. The predictor's learning rate stays at its peak.

Departure: the other rates fall at every step, in the code at every epoch.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.object_pair(interpolation="bilinear", blur=0.0, **common.any_hue(common.MOCO_COLOUR)),
      dim=256,
      bottleneck=64,
    ),
    cifar10=dict(
      views=common.symmetric_pair(
        "cifar10", size=32, scale=(0.08, 1.0), interpolation="bilinear", blur=0.5, **common.MOCO_COLOUR
      ),
      dim=2048,
      bottleneck=512,
    ),
    imagenet=dict(
      views=common.symmetric_pair(
        "imagenet", size=224, scale=(0.2, 1.0), interpolation="bilinear", blur=0.5, **common.MOCO_COLOUR
      ),
      dim=2048,
      bottleneck=512,
    ),
  )
  projector = dict(fn="mlp_head", hidden=p.dim, output=p.dim, layers=3, bias=False, last_bias=False, last_batch_norm="plain")
  config.views = p.views
  config.networks = dict(
    student=dict(**common.SMALL_BACKBONES[preset], heads=dict(z=dict(projector, reads=("features",)))),
    predictor=dict(fn="mlp_head", hidden=p.bottleneck, output=p.dim, layers=2, bias=False),
  )
  config.passes = common.passes("s", VIEWS, "student") | common.passes(
    "p", VIEWS, "predictor", reads=lambda v: (f"s_{v}/z",)
  )
  config.targets = {f"y_{v}": dict(fn="same", reads=(f"s_{v}/z",)) for v in VIEWS}
  config.losses = dict(
    simsiam=dict(fn="negative_cosine_loss", scale=0.5, terms=(("p_a/features", "y_b"), ("p_b/features", "y_a")))
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="sgd", lr=0.5, weight_decay=1e-5)
  else:
    config.update(dict(batch_size=512, total_epochs=100.0))
    config.optim.update(dict(name="sgd", lr=0.05, lr_scale="linear", weight_decay=1e-4, decay=(".",)))
  config.optim.constant_lr = ("^predictor/",)
  return config
