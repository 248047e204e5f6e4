"""MoCo v2: a query finds its key, which an EMA teacher makes of another view, among the keys of past batches.

Chen, Fan, Girshick, He, "Improved Baselines with Momentum Contrastive Learning", arXiv 2003.04297, after He, Fan, Wu,
Xie, Girshick, arXiv 1911.05722; code facebookresearch/moco.

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn (MoCo v2+: both views are queries, with a queue
               for each): 92.94 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 256, 200 epochs: 67.5 +- 0.1 % linear in the paper's repository

The code moves the teacher towards the student before it makes keys, we do after the student's update: between two
forwards both happen, so the keys are the same. BatchNorm's statistics are those of the global batch (as in solo-learn),
where the code shuffles examples between devices; biases and norms are not decayed, where the code's are.
"""

from jssl.configs import common
from jssl.schedules import cosine


def get_config(preset: str = "demo"):
  config = common.base(preset)
  hidden, output, queue, scale, decay = dict(
    demo=(256, 64, 1024, (0.2, 1.0), 0.99),
    cifar10=(2048, 256, 32768, (0.08, 1.0), cosine(0.99, 0.999)),
    imagenet=(2048, 128, 65536, (0.2, 1.0), 0.999),
  )[preset]
  pairs = (("a", "b"), ("b", "a")) if preset == "cifar10" else (("a", "b"),)
  config.views = common.symmetric_pair(
    preset,
    size=common.SIZES[preset],
    scale=scale,
    interpolation="bilinear",
    **common.MOCO_COLOUR,
    blur=0.0 if preset == "demo" else 0.5,
  )
  config.networks = dict(
    student=dict(
      **common.BACKBONES[preset],
      heads=dict(z=dict(fn="mlp_head", reads=("features",), hidden=hidden, output=output, layers=2, batch_norm=False)),
    ),
    teacher=dict(ema="student", decay=decay),
  )
  config.passes = common.passes("s", [query for query, _ in pairs], "student") | common.passes(
    "t", [key for _, key in pairs], "teacher"
  )
  config.losses = {
    f"nce_{query}": dict(
      fn="queue_info_nce_loss", reads=(f"s_{query}/z", f"t_{key}/z"), size=queue, temperature=0.2, weight=1 / len(pairs)
    )
    for query, key in pairs
  }

  if preset == "demo":
    common.object_demo_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="sgd", lr=0.3, weight_decay=1e-4)
  else:
    config.update(dict(batch_size=256, total_epochs=200.0))
    config.optim.update(dict(name="sgd", lr=0.03, lr_scale="linear", weight_decay=1e-4))
  return config
