"""DINO: the student predicts, from small crops, what an EMA teacher says of large ones.

Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin, "Emerging Properties in Self-Supervised Vision Transformers",
arXiv 2104.14294; code facebookresearch/dino.

    demo       width 96, large crops of 32 px and small ones of 16, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, two crops
    imagenet   ViT-S/16, 2 x 224 and 8 x 96 px, batch 512, 100 epochs: 69.3 % kNN, 74.0 % linear in the paper's repository

These are the numbers of its short run. The longer one, 73.3 % kNN and 76.0 % linear, also trains the norms of the
prototypes (safe with ViT-S alone) and raises the teacher's temperature in the first 30 epochs, `dino:imagenet,boost`.
"""

from jssl.configs import common
from jssl.errors import UnknownPresetError
from jssl.schedules import cosine, linear


def get_config(arg: str = "demo"):
  preset, _, choice = arg.partition(",")
  if choice not in ("", "boost") or choice and preset != "imagenet":
    raise UnknownPresetError(f"'{arg}'; after imagenet there may come ',boost'")
  config = common.base(preset)
  # In a few epochs a higher temperature of the teacher is close to uniform.
  p = common.pick(
    preset,
    demo=dict(
      sizes=(32, 16),
      local_crops=2,
      patch=4,
      net=common.SMALL,
      head=dict(common.TINY_HEAD, hidden=256, prototypes=256),
      decay=0.99,
      temp=0.04,
      run=dict(batch_size=64, total_steps=1000),
    ),
    cifar10=dict(
      sizes=(32, None),
      local_crops=0,
      patch=4,
      net=dict(width=192, depth=12, num_heads=3),
      head=dict(hidden=1024, bottleneck=256, prototypes=4096),
      decay=0.996,
      temp=linear(0.04, 0.07, epochs=30),
      run=dict(batch_size=256, total_epochs=400.0),
    ),
    imagenet=dict(
      sizes=(224, 96),
      local_crops=8,
      patch=16,
      net=dict(variant="S/16", cls_position=True),
      head=dict(prototypes=65536, norm_last_layer=choice != "boost"),
      decay=0.996,
      temp=linear(0.04, 0.07, epochs=30) if choice == "boost" else 0.04,
      run=dict(batch_size=512, total_epochs=300.0 if choice == "boost" else 100.0),
    ),
  )
  large = ("a", "b")
  small = tuple(f"l{i + 1}" for i in range(p.local_crops))
  if small:
    config.views = common.multi_crop(
      preset,
      sizes=p.sizes,
      global_scale=(0.4, 1.0),
      local_scale=(0.05, 0.4),
      local_crops=p.local_crops,
      blur=preset == "imagenet",
    )
  else:
    config.views = common.asymmetric_pair(preset, size=p.sizes[0], scale=(0.14, 1.0), blur=False)
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.sizes[0],
      patch_size=p.patch,
      drop_path=0.1,
      **p.net,
      heads=dict(logits=dict(fn="dino_head", reads=("features",), **p.head)),
    ),
    teacher=dict(ema="student", decay=cosine(p.decay, 1.0)),
  )
  config.passes = (
    common.passes("s", large, "student", join="large")
    | common.passes("s", small, "student", join="small")
    | common.passes("t", large, "teacher", join="large")
  )
  config.targets = dict(
    y=dict(fn="centered_softmax", reads=(common.outputs("t", large, "logits"),), temp=p.temp, momentum=0.9)
  )
  config.losses = dict(
    dino=dict(fn="dino_loss", student_temp=0.1, reads=(common.outputs("s", large + small, "logits"), ("y/0", "y/1")))
  )

  weight_decay = cosine(0.04, 0.4)
  config.update(p.run)
  if preset == "demo":
    common.dino_optim(config, preset, lr=2e-3, weight_decay=weight_decay, warmup=dict(warmup_fraction=0.1))
  else:
    common.dino_optim(config, preset, weight_decay=weight_decay, warmup=dict(warmup_epochs=10))
    config.optim.freeze = (("heads_logits/prototypes", dict(until_epochs=1)),)
  if choice == "boost":
    config.optim.decay = ("prototypes/gain$",)
  return config
