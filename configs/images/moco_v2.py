"""MoCo v2: a query finds its key, which an EMA teacher makes of another view, among the keys of past batches.

Chen, Fan, Girshick, He, "Improved Baselines with Momentum Contrastive Learning", arXiv 2003.04297, after He, Fan, Wu,
Xie, Girshick, arXiv 1911.05722; code facebookresearch/moco.

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn (MoCo v2+: both views are queries, with a queue
               for each): 92.94 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 256, 200 epochs: 67.5 +- 0.1 % linear in the paper's repository

The code moves the teacher towards the student before it makes keys, we do after the student's update: between two
forwards both happen, so the keys are the same. Departures: BatchNorm's statistics are those of the global batch (as in
solo-learn), where the code has those of a device's 32 and shuffles the keys' images between devices; the learning rate
falls at every step, in the code at every epoch.
"""

from jssl.configs import common
from jssl.schedules import cosine


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.object_pair(interpolation="bilinear", **common.any_hue(common.MOCO_COLOUR), blur=0.0),
      net=common.BACKBONES["demo"],
      head=dict(hidden=256, output=64),
      queue=1024,
      ema_decay=0.99,
      pairs=(("a", "b"),),
    ),
    cifar10=dict(
      views=common.symmetric_pair(
        "cifar10", size=32, scale=(0.08, 1.0), interpolation="bilinear", **common.MOCO_COLOUR, blur=0.5
      ),
      net=common.BACKBONES["cifar10"],
      head=dict(hidden=2048, output=256),
      queue=32768,
      ema_decay=cosine(0.99, 0.999),
      pairs=(("a", "b"), ("b", "a")),
    ),
    imagenet=dict(
      views=common.symmetric_pair(
        "imagenet", size=224, scale=(0.2, 1.0), interpolation="bilinear", **common.MOCO_COLOUR, blur=0.5
      ),
      net=dict(common.BACKBONES["imagenet"], zero_init_residual=False),
      head=dict(hidden=2048, output=128),
      queue=65536,
      ema_decay=0.999,
      pairs=(("a", "b"),),
    ),
  )
  config.views = p.views
  config.networks = dict(
    student=dict(**p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, batch_norm=False, **p.head))),
    teacher=dict(ema="student", decay=p.ema_decay),
  )
  config.passes = common.passes("s", [query for query, _ in p.pairs], "student") | common.passes(
    "t", [key for _, key in p.pairs], "teacher"
  )
  config.losses = {
    f"nce_{query}": dict(
      fn="queue_info_nce_loss", reads=(f"s_{query}/z", f"t_{key}/z"), size=p.queue, temperature=0.2, weight=1 / len(p.pairs)
    )
    for query, key in p.pairs
  }

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="sgd", lr=0.3, weight_decay=1e-4)
  else:
    config.update(dict(batch_size=256, total_epochs=200.0))
    config.optim.update(dict(name="sgd", lr=0.03, lr_scale="linear", weight_decay=1e-4, decay=(".",)))
  return config
