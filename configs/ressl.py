"""ReSSL: a student's view is as near to each of a queue of other images as a teacher says that another view is.

Zheng, You, Wang, Qian, Zhang, Wang, Xu, "ReSSL: Relational Self-Supervised Learning with Weak Augmentation", arXiv
2107.09282; code mingkai-zheng/ReSSL.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 90.63 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 256, 200 epochs, one student crop: 69.9 % linear in the authors' repository

The teacher's view is only cropped and flipped, so that the relations are those of the image.

Deviation: BatchNorm is synchronised where the authors shuffle the teacher's images over devices.
"""

from jssl.configs import common
from jssl.schedules import cosine


def get_config(preset: str = "demo"):
  config = common.base(preset)
  scale, colour, head, queue, decay = dict(
    demo=((0.2, 1.0), common.MOCO_COLOUR, dict(hidden=256, output=64), 1024, cosine(0.99, 1.0)),
    cifar10=((0.08, 1.0), common.COLOUR, dict(hidden=4096, output=256), 65536, cosine(0.99, 1.0)),
    imagenet=((0.2, 1.0), common.MOCO_COLOUR, dict(hidden=4096, output=512), 131072, 0.999),
  )[preset]
  weak = dict(size=common.SIZES[preset], scale=scale, interpolation="bilinear")
  config.views = dict(
    strong=common.view(preset, **weak, blur=0.0 if preset == "demo" else 0.5, **colour), weak=common.view(preset, **weak)
  )
  config.networks = dict(
    student=dict(
      **common.SMALL_BACKBONES[preset],
      heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, batch_norm=False, **head)),
    ),
    teacher=dict(ema="student", decay=decay),
  )
  config.passes = dict(s=dict(net="student", reads=("strong",)), t=dict(net="teacher", reads=("weak",)))
  config.losses = dict(
    relation=dict(fn="relational_loss", reads=("s/z", "t/z"), size=queue, student_temp=0.1, teacher_temp=0.04)
  )

  if preset == "demo":
    common.object_demo_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="sgd", lr=0.05, weight_decay=1e-4)
  else:
    config.update(dict(batch_size=256, total_epochs=200.0))
    config.optim.update(dict(name="sgd", lr=0.05, weight_decay=1e-4, warmup_epochs=5))
  return config
