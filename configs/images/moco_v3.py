"""MoCo v3: a ViT's predictions of one view find an EMA teacher's embeddings of the other within the batch.

Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers", arXiv 2104.02057; code
facebookresearch/moco-v3.

    demo       width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 93.10 % online linear after 1000 epochs there
    imagenet   ViT-S/16 of 12 heads, 224 px, batch 4096, 300 epochs: 73.2 % linear in the paper

The ViT's patches are projected at random: the projection stays as it was drawn, against instabilities. Each view is a
forward of its own. The teacher moves after the student's update, which gives the same keys as the code's move before
the next forward, with the decay of the step before.
"""

from jssl.configs import common
from jssl.schedules import cosine

VIEWS = ("a", "b")
FIXED_VIT = dict(position="sincos2d", init="moco_v3")
PROJECTION = ("student/backbone/embedding/",)


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.asymmetric_object_pair(interpolation="bilinear"),
      net=dict(common.BACKBONES["demo"], **FIXED_VIT),
      frozen=PROJECTION,
      mlp=dict(hidden=256, output=64),
      layers=3,
      predictor_batch_norm="plain",
    ),
    cifar10=dict(
      views=common.asymmetric_pair("cifar10", size=32, scale=(0.08, 1.0), interpolation="bilinear", blur=False),
      net=common.BACKBONES["cifar10"],
      frozen=(),
      mlp=dict(hidden=4096, output=256),
      layers=2,
      predictor_batch_norm="none",
    ),
    imagenet=dict(
      views=common.asymmetric_pair("imagenet", size=224, scale=(0.08, 1.0), interpolation="bilinear"),
      net=dict(fn="vit", variant="S/16", image_size=224, num_heads=12, **FIXED_VIT),
      frozen=PROJECTION,
      mlp=dict(hidden=4096, output=256),
      layers=3,
      predictor_batch_norm="plain",
    ),
  )
  mlp = dict(fn="mlp_head", **p.mlp, bias=False, last_bias=False)
  config.views = p.views
  config.networks = dict(
    student=dict(**p.net, heads=dict(z=dict(mlp, reads=("features",), layers=p.layers, last_batch_norm="plain"))),
    teacher=dict(ema="student", decay=cosine(0.99, 1.0)),
    predictor=dict(mlp, layers=2, last_batch_norm=p.predictor_batch_norm),
  )
  config.passes = (
    common.passes("s", VIEWS, "student")
    | common.passes("t", VIEWS, "teacher")
    | common.passes("p", VIEWS, "predictor", reads=lambda v: (f"s_{v}/z",))
  )
  config.losses = dict(
    nce=dict(fn="info_nce_loss", temperature=0.2, scale=0.4, terms=(("p_a/features", "t_b/z"), ("p_b/features", "t_a/z")))
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.3, weight_decay=1e-6)
  else:
    config.update(dict(batch_size=4096, total_epochs=300.0))
    config.optim.update(dict(name="adamw", lr=1.5e-4, lr_scale="linear", weight_decay=0.1, warmup_epochs=40, decay=(".",)))
  config.optim.freeze = p.frozen
  return config
