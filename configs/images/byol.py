"""BYOL: a predictor finds, from one view's embedding, an EMA teacher's embedding of the other view.

Grill, Strub, Altche, Tallec, Richemond, Buchatskaya, Doersch, Avila Pires, Guo, Gheshlaghi Azar, Piot, Kavukcuoglu,
Munos, Valko, "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", arXiv 2006.07733; code
google-deepmind/deepmind-research, byol.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 92.58 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 4096, 1000 epochs: 74.3 % linear in the paper

There are no negatives. What keeps the embeddings apart is the predictor, fast, before a slow teacher: `spread` in the
metrics falls to 0 when it fails. The teacher's BatchNorm takes the statistics of its own batch. The loss is the paper's
less the constant 4. Departures: the code draws the teacher's start by itself, and Haiku pads strided convolutions and
the pooling by a pixel less in front.
"""

from jssl.configs import common
from jssl.schedules import cosine

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.asymmetric_object_pair(),
      net=common.SMALL_BACKBONES["demo"],
      head=dict(hidden=256, output=64),
      ema_decay=0.99,
    ),
    cifar10=dict(
      views=common.asymmetric_pair("cifar10", size=32, scale=(0.08, 1.0), blur=False),
      net=common.BACKBONES["cifar10"],
      head=dict(hidden=4096, output=256),
      ema_decay=0.99,
    ),
    imagenet=dict(
      views=common.asymmetric_pair("imagenet", size=224, scale=(0.08, 1.0)),
      net=dict(common.BACKBONES["imagenet"], init="haiku"),
      head=dict(hidden=4096, output=256, last_bias=False, init="haiku"),
      ema_decay=0.996,
    ),
  )
  head = dict(fn="mlp_head", layers=2, **p.head)
  config.views = p.views
  config.networks = dict(
    student=dict(**p.net, heads=dict(z=dict(head, reads=("features",)))),
    teacher=dict(ema="student", decay=cosine(p.ema_decay, 1.0)),
    predictor=dict(head),
  )
  config.passes = (
    common.passes("s", VIEWS, "student")
    | common.passes("t", VIEWS, "teacher")
    | common.passes("p", VIEWS, "predictor", reads=lambda v: (f"s_{v}/z",))
  )
  config.losses = dict(
    byol=dict(fn="negative_cosine_loss", scale=2.0, terms=(("p_a/features", "t_b/z"), ("p_b/features", "t_a/z")))
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=1.0, weight_decay=1e-5)
  else:
    common.lars_run(config, batch_size=4096, epochs=1000, lr=0.2, weight_decay=1.5e-6)
  return config
