"""MC-SSL: DINO on class tokens and on patch tokens, and reconstruction, from images with large blocks destroyed.

Atito, Awais, Farooq, Feng, Kittler, "MC-SSL0.0: Towards Multi-Concept Self-Supervised Learning", arXiv 2111.15340; code
Sara-Ahmed/MCSSL, main_MCSSL.py and losses.py, which everything here follows.

    demo       width 64, depth 3, large crops of 32 px and small ones of 16, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, two crops
    imagenet   ViT-S/16, 2 x 224 and 10 x 96 px, batch 512, 800 epochs: 82.4 % fine-tuned in the authors' repository

The teacher sees the large crops whole; the student sees them corrupted, and the small ones as they are. Every patch of
the student predicts the teacher's distribution of the same patch, hidden or not.

The reconstruction head has one bias for each pixel of a patch, where a transposed convolution has one a channel.
"""

from jssl.configs import common
from jssl.schedules import cosine, linear


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      sizes=(32, 16),
      local_crops=2,
      patch=4,
      net=common.TINY,
      head=dict(common.TINY_HEAD, prototypes=256, cls_prototypes=256),
      pixels=dict(),
      run=dict(batch_size=64, total_steps=1000),
    ),
    cifar10=dict(
      sizes=(32, 16),
      local_crops=0,
      patch=4,
      net=dict(width=192, depth=12, num_heads=3),
      head=dict(hidden=1024, bottleneck=256, prototypes=1024, cls_prototypes=1024),
      pixels=dict(),
      run=dict(batch_size=256, total_epochs=400.0),
    ),
    imagenet=dict(
      sizes=(224, 96),
      local_crops=10,
      patch=16,
      net=dict(variant="S/16", cls_position=True),
      head=dict(hidden=2048, bottleneck=256, prototypes=8192, cls_prototypes=8192),
      pixels=dict(init="transposed"),
      run=dict(batch_size=512, total_epochs=800.0),
    ),
  )
  large = ("a", "b")
  small = tuple(f"l{i + 1}" for i in range(p.local_crops))
  config.views = common.multi_crop(
    preset,
    sizes=p.sizes,
    global_scale=(0.25, 1.0),
    local_scale=(0.05, 0.25),
    local_crops=p.local_crops,
    blur=preset == "imagenet",
  )
  config.masking = common.gmml_masks(large, area=0.5, fill="zeros")
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.sizes[0],
      patch_size=p.patch,
      drop_path=0.1,
      **p.net,
      heads=dict(
        trunk=dict(fn="shared_trunk_head", reads=("features", "patch_tokens"), **p.head),
        pixels=dict(fn="reconstruction_head", reads=("patch_tokens",), layers=2, patch_size=p.patch, **p.pixels),
      ),
    ),
    teacher=dict(ema="student", decay=cosine(0.99 if preset == "demo" else 0.996, 1.0)),
  )
  config.passes = (
    common.passes("s", large, "student", join="large", reads=lambda v: (f"hidden_{v}/image",))
    | common.passes("s", small, "student", join="small")
    | common.passes("t", large, "teacher", join="teachers")
  )

  rec = common.gmml_reconstruction(large, patch=p.patch, fn="masked_mse_loss")
  temp = 0.04 if preset == "demo" else linear(0.04, 0.07, epochs=30)
  teacher = lambda name: dict(fn="centered_softmax", reads=(common.outputs("t", large, name),), temp=temp, momentum=0.9)
  config.targets = rec["targets"] | dict(y=teacher("trunk/cls_logits"), y_patch=teacher("trunk/patch_logits"))
  config.losses = rec["losses"] | dict(
    cls=dict(
      fn="dino_loss",
      student_temp=0.1,
      weight=1.0,
      reads=(common.outputs("s", large + small, "trunk/cls_logits"), ("y/0", "y/1")),
    ),
    patch=dict(
      fn="patch_distillation_loss",
      student_temp=0.1,
      weight=1.0,
      reads=(common.outputs("s", large, "trunk/patch_logits"), ("y_patch/0", "y_patch/1")),
    ),
  )

  weight_decay = cosine(0.04, 0.4)
  config.update(p.run)
  if preset == "demo":
    common.dino_optim(config, preset, lr=2e-3, weight_decay=weight_decay, warmup=dict(warmup_fraction=0.1))
  else:
    common.dino_optim(config, preset, weight_decay=weight_decay, warmup=dict(warmup_epochs=10))
    config.optim.freeze = (("heads_trunk/cls_prototypes", dict(until_epochs=1)),)
  return config
