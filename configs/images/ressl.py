"""ReSSL: a student's view is as near to each of a queue of other images as a teacher says that another view is.

Zheng, You, Wang, Qian, Zhang, Wang, Xu, "ReSSL: Relational Self-Supervised Learning with Weak Augmentation", arXiv
2107.09282; code mingkai-zheng/ReSSL.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 90.63 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 256, 200 epochs, one student crop: 69.9 % linear in the authors' repository

The teacher's view is only cropped and flipped, so that the relations are those of the image.

Departure: BatchNorm's statistics are those of the global batch, where the authors have those of a device's 32 and shuffle
the teacher's images over devices.
"""

from jssl.configs import common
from jssl.schedules import cosine


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.OBJECT
      | dict(
        strong=common.object_view(interpolation="bilinear", blur=0.0, **common.any_hue(common.MOCO_COLOUR)),
        weak=common.object_view(interpolation="bilinear"),
      ),
      net=common.SMALL_BACKBONES["demo"],
      head=dict(hidden=256, output=64),
      queue=1024,
      ema_decay=cosine(0.99, 1.0),
    ),
    cifar10=dict(
      views=dict(
        strong=common.view("cifar10", size=32, scale=(0.08, 1.0), interpolation="bilinear", blur=0.5, **common.COLOUR),
        weak=common.view("cifar10", size=32, scale=(0.08, 1.0), interpolation="bilinear"),
      ),
      net=common.BACKBONES["cifar10"],
      head=dict(hidden=4096, output=256),
      queue=65536,
      ema_decay=cosine(0.99, 1.0),
    ),
    imagenet=dict(
      views=dict(
        strong=common.view("imagenet", size=224, scale=(0.2, 1.0), interpolation="bilinear", blur=0.5, **common.MOCO_COLOUR),
        weak=common.view("imagenet", size=224, scale=(0.2, 1.0), interpolation="bilinear"),
      ),
      net=dict(common.BACKBONES["imagenet"], zero_init_residual=False),
      head=dict(hidden=4096, output=512),
      queue=131072,
      ema_decay=0.999,
    ),
  )
  config.views = p.views
  config.networks = dict(
    student=dict(**p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, batch_norm=False, **p.head))),
    teacher=dict(ema="student", decay=p.ema_decay),
  )
  config.passes = dict(s=dict(net="student", reads=("strong",)), t=dict(net="teacher", reads=("weak",)))
  config.losses = dict(
    relation=dict(fn="relational_loss", reads=("s/z", "t/z"), size=p.queue, student_temp=0.1, teacher_temp=0.04)
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="sgd", lr=0.05, weight_decay=1e-4)
  else:
    config.update(dict(batch_size=256, total_epochs=200.0))
    config.optim.update(dict(name="sgd", lr=0.05, weight_decay=1e-4, warmup_epochs=5))
    # The code spares what has `bn` or `bias` in its name, which the shortcuts' norms have not.
    config.optim.decay = ("downsample_1/scale$",)
  return config
