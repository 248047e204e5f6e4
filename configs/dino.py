"""DINO: the student predicts, from small crops, what an EMA teacher says of large ones.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin, "Emerging Properties in Self-Supervised Vision Transformers",
arXiv 2104.14294; code facebookresearch/dino.

    demo       width 96, large crops of 32 px and small ones of 16, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, two crops
    imagenet   ViT-S/16, 2 x 224 and 8 x 96 px, batch 512, 100 epochs: 69.3 % kNN, 74.0 % linear in the paper's repository
"""

from jssl.configs import common
from jssl.schedules import cosine, linear


def get_config(preset: str = "demo"):
  config = common.base(preset)
  size, patch, local_crops, head, net = dict(
    demo=(32, 4, 2, dict(common.TINY_HEAD, hidden=256, prototypes=256), common.SMALL),
    cifar10=(32, 4, 0, dict(hidden=1024, bottleneck=256, prototypes=4096), dict(width=192, depth=12, num_heads=3)),
    imagenet=(224, 16, 8, dict(prototypes=65536, norm_last_layer=False), dict(variant="S/16")),
  )[preset]
  large = ("a", "b")
  small = tuple(f"l{i + 1}" for i in range(local_crops))
  if small:
    config.views = common.multi_crop(
      preset,
      sizes=(size, {32: 16, 224: 96}[size]),
      global_scale=(0.4, 1.0),
      local_scale=(0.05, 0.4),
      local_crops=local_crops,
      blur=preset == "imagenet",
    )
  else:
    config.views = common.asymmetric_pair(preset, size=size, scale=(0.14, 1.0), blur=False)
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=size,
      patch_size=patch,
      drop_path=0.1,
      **net,
      heads=dict(logits=dict(fn="dino_head", reads=("features",), **head)),
    ),
    teacher=dict(ema="student", decay=cosine(0.99 if preset == "demo" else 0.996, 1.0)),
  )
  config.passes = (
    common.passes("s", large, "student", join="large")
    | common.passes("s", small, "student", join="small")
    | common.passes("t", large, "teacher", join="large")
  )
  temp = 0.04 if preset == "demo" else linear(0.04, 0.07, epochs=30)  # in a few epochs, more is close to uniform
  config.targets = dict(
    y=dict(fn="centered_softmax", reads=(common.outputs("t", large, "logits"),), temp=temp, momentum=0.9)
  )
  config.losses = dict(
    dino=dict(fn="dino_loss", student_temp=0.1, reads=(common.outputs("s", large + small, "logits"), ("y/0", "y/1")))
  )

  weight_decay = cosine(0.04, 0.4)
  if preset == "demo":
    config.update(dict(batch_size=64, total_steps=1000))
    common.dino_optim(config, lr=2e-3, weight_decay=weight_decay, warmup=dict(warmup_fraction=0.1))
  else:
    batch, epochs = (512, 100.0) if preset == "imagenet" else (256, 400.0)
    config.update(dict(batch_size=batch, total_epochs=epochs))
    common.dino_optim(config, weight_decay=weight_decay, warmup=dict(warmup_epochs=10))
    config.optim.freeze = (("heads_logits/prototypes", dict(until_epochs=1)),)
  return config
