"""BYOL: a predictor finds, from one view's embedding, an EMA teacher's embedding of the other view.

Grill, Strub, Altche, Tallec, Richemond, Buchatskaya, Doersch, Avila Pires, Guo, Gheshlaghi Azar, Piot, Kavukcuoglu,
Munos, Valko, "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", arXiv 2006.07733; code
google-deepmind/deepmind-research, byol.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 92.58 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 4096, 1000 epochs: 74.3 % linear in the paper

There are no negatives. What keeps the embeddings apart is the predictor, fast, before a slow teacher: `spread` in the
metrics falls to 0 when it fails. The teacher's BatchNorm takes the statistics of its own batch. The loss is the paper's
less the constant 4.
"""

from jssl.configs import common
from jssl.schedules import cosine

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  decay, hidden, output = dict(demo=(0.99, 256, 64), cifar10=(0.99, 4096, 256), imagenet=(0.996, 4096, 256))[preset]
  config.views = common.asymmetric_pair(preset, size=common.SIZES[preset], scale=(0.08, 1.0), blur=preset == "imagenet")
  head = dict(fn="mlp_head", hidden=hidden, output=output, layers=2)
  config.networks = dict(
    student=dict(**common.SMALL_BACKBONES[preset], heads=dict(z=dict(head, reads=("features",)))),
    teacher=dict(ema="student", decay=cosine(decay, 1.0)),
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
    common.object_demo_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=1.0, weight_decay=1e-5)
  else:
    common.lars_run(config, batch_size=4096, epochs=1000, lr=0.2, weight_decay=1.5e-6)
  return config
