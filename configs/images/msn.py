"""MSN: views with patches dropped are assigned to the same prototypes as another view, which is whole.

Assran, Caron, Misra, Bojanowski, Bordes, Vincent, Joulin, Rabbat, Ballas, "Masked Siamese Networks for Label-Efficient
Learning", arXiv 2204.07141; code facebookresearch/msn, src/msn_train.py and configs/pretrain/msn_vits16.yaml.

All anchors, one large crop that loses patches and several small ones that lose none, follow one target. The prototypes
are neither averaged nor decayed: teacher and student are compared with the same ones.

    demo       width 64, depth 3, large crops of 32 px and small ones of 16, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, four small crops
    imagenet   ViT-S/16, 2 x 224 and 10 x 96 px, batch 1024, 800 epochs, as in the file

From memory, not checked: the paper's 76.9 % linear, and that it drops more of larger models' patches, 0.3 for ViT-B and
0.7 for ViT-L.

Without `memax` everything may go to one prototype at no cost: the cross-entropy is 0 there and this term ln K.

Deviations. The code drops the same patches in the whole batch, this one draws them for each image. It clips the encoder's
gradient alone; in `demo` and `cifar10` the prototypes' is clipped with it.
"""

from jssl.configs import common
from jssl.schedules import cosine, linear


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      sizes=(32, 16), focal_crops=2, patch=4, net=common.TINY, head=dict(hidden=128, output=64, init="mae"), prototypes=64
    ),
    cifar10=dict(
      sizes=(32, 16),
      focal_crops=4,
      patch=4,
      net=dict(width=192, depth=12, num_heads=3),
      head=dict(hidden=1024, output=256, init="dino"),
      prototypes=256,
    ),
    imagenet=dict(
      sizes=(224, 96),
      focal_crops=10,
      patch=16,
      net=dict(variant="S/16", cls_position=True, position_offset=0.0, init="msn"),
      head=dict(hidden=2048, output=256, init="dino"),
      prototypes=1024,
    ),
  )
  focal = tuple(f"focal{i + 1}" for i in range(p.focal_crops))
  anchors = ("anchor", *focal)
  numbers = dict(
    interpolation="bilinear", jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2, blur=0.5 if preset == "imagenet" else 0.0
  )
  whole = common.view(preset, size=p.sizes[0], scale=(0.3, 1.0), **numbers)
  part = common.view(preset, size=p.sizes[1], scale=(0.05, 0.3), **numbers)
  config.views = dict(target=whole, anchor=dict(whole)) | {v: dict(part) for v in focal}
  config.masking = dict(m=dict(fn="random_patch_mask", grid=("anchor", "student"), ratio=0.15))
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.sizes[0],
      patch_size=p.patch,
      **p.net,
      heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=3, activation="gelu", **p.head)),
    ),
    teacher=dict(ema="student", decay=linear(0.996, 1.0, fraction=1.25)),
    prototypes=dict(fn="prototypes", prototypes=p.prototypes),
  )
  config.passes = (
    dict(s_anchor=dict(net="student", reads=("anchor", "ids_keep=m/ids_keep")))
    | common.passes("s", focal, "student", join="focal")
    | common.passes("p", anchors, "prototypes", join="anchors", reads=lambda v: (f"s_{v}/z",))
    | dict(t=dict(net="teacher", reads=("target",)), p=dict(net="prototypes", reads=("t/z",)))
  )
  # Temperature 0.1, sharpened by 0.25: p^(1 / 0.25) normalised is a softmax at 0.1 x 0.25.
  config.targets = dict(y=dict(fn="sinkhorn", reads=("p/logits",), temp=0.025, rows_first=True))
  logits = common.outputs("p", anchors, "logits")
  config.losses = dict(
    ce=dict(fn="prototype_loss", reads=(logits, "y"), student_temp=0.1),
    memax=dict(fn="mean_entropy_loss", reads=(logits,), temp=0.1, weight=1.0),
  )

  config.optim.update(
    dict(
      name="adamw", clip=dict(global_norm=3.0), no_decay=(r"^prototypes/",), weight_decay=cosine(0.04, 0.4, fraction=1.25)
    )
  )
  if preset == "demo":
    config.update(dict(batch_size=64, total_steps=1000))
    config.optim.update(dict(lr=1e-3, warmup_fraction=0.1))
  elif preset == "cifar10":
    config.update(dict(batch_size=512, total_epochs=400.0))
    config.optim.update(dict(lr=5e-4, warmup_epochs=10))
  else:
    config.update(dict(batch_size=1024, total_epochs=800.0))
    # The schedules are cut where four fifths of their way are done.
    config.optim.lr = cosine(1e-3, 1e-6, epochs=985, warmup_epochs=15, warmup_start=2e-4)
    config.optim.groups = dict(prototypes=dict(params="^prototypes/", clip=None))
  return config
