"""TiCo: two views agree, and embeddings avoid the directions in which those of past batches have piled up.

Zhu, Moraes, Karakulak, Sobol, Canziani, LeCun, "TiCo: Transformation Invariance and Covariance Contrast for
Self-Supervised Visual Representation Learning", arXiv 2206.10698. The authors have published no code; numbers are those
of lightly-ai/lightly, benchmarks/imagenet/resnet50/tico.py.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    our choice: ResNet-18 with the CIFAR stem, batch 256, 1000 epochs with LARS
    imagenet   ResNet-50, 224 px, batch 256, 100 epochs: 49.7 % linear in lightly's table

The student sees the first view and the EMA teacher the second, once a step: the loss is not symmetric. In lightly's
code the views are the other way round.
"""

from jssl.configs import common
from jssl.schedules import cosine


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(views=common.asymmetric_object_pair(), net=common.SMALL_BACKBONES["demo"], hidden=256),
    cifar10=dict(
      views=common.asymmetric_pair("cifar10", size=32, scale=(0.08, 1.0), blur=False),
      net=common.BACKBONES["cifar10"],
      hidden=4096,
    ),
    imagenet=dict(
      views=common.asymmetric_pair("imagenet", size=224, scale=(0.08, 1.0), interpolation="bilinear"),
      net=dict(common.BACKBONES["imagenet"], zero_init_residual=False),
      hidden=4096,
    ),
  )
  config.views = p.views
  config.networks = dict(
    student=dict(
      **p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), hidden=p.hidden, output=256, layers=2, bias=False))
    ),
    teacher=dict(ema="student", decay=cosine(0.99, 1.0)),
  )
  config.passes = dict(s=dict(net="student", reads=("a",)), t=dict(net="teacher", reads=("b",)))
  config.losses = dict(tico=dict(fn="tico_loss", reads=("s/z", "t/z"), rho=8.0, momentum=0.9))

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.3, weight_decay=1e-4)
  else:
    common.lars_run(config, name="larc", batch_size=256, epochs=100, lr=0.2, weight_decay=1.5e-6)
  return config
