"""MMC: masked image modelling, momentum self-distillation and global contrast.

Wu, Mo, Awais, Atito, Feng, Kittler, "Masked Momentum Contrastive Learning for Zero-shot Semantic Understanding", arXiv
2308.11448. The paper names the three parts; no code was published, and its equations were not at hand. What is built
here is our reading [J]: the reconstruction and the contrast are SiT's (arXiv 2104.03602), the distillation is the patch
loss of MC-SSL (arXiv 2111.15340), by the same group, with one trunk for class and patch tokens. The weights 1, 1, 1 are
ours, too. `--config.losses.<rec|md|gc>.weight=0` switches a part off.

Clean views go to the EMA teacher; the student sees them corrupted by blocks of zeros, or of another image's content. The
demo departs from it: its student contrasts clean views, in the same forward, with three times the weight, and its ViT begins
with convolutions.

    demo       width 96, depth 4, crops of 32 px, patch 8; pretrains in about five minutes on two cores
    cifar10    our choice for one GPU
    imagenet   MC-SSL's setting without its local crops: ViT-S/16, 224 px, batch 512, 800 epochs
"""

from jssl.configs import common
from jssl.schedules import cosine, linear

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  size, patch, head, net = dict(
    demo=(32, 8, dict(common.TINY_HEAD, prototypes=256), dict(common.SMALL, stem=(24, 48, 96), layer_scale=0.01)),
    cifar10=(
      32,
      4,
      dict(hidden=1024, bottleneck=256, prototypes=1024),
      dict(width=192, depth=12, num_heads=3, drop_path=0.1),
    ),
    imagenet=(224, 16, dict(hidden=2048, bottleneck=256, prototypes=8192), dict(variant="S/16", drop_path=0.1)),
  )[preset]
  if preset == "demo":
    config.views = common.symmetric_pair(preset, size=size, scale=(0.25, 1.0), **common.MOCO_COLOUR | dict(jitter_prob=1.0))
  else:
    config.views = common.asymmetric_pair(preset, size=size, scale=(0.25, 1.0), blur=preset == "imagenet")
  config.masking = common.gmml_masks(VIEWS, area=0.5, fill="zeros")
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=size,
      patch_size=patch,
      **net,
      heads=dict(
        trunk=dict(fn="shared_trunk_head", reads=("features", "patch_tokens"), **head),
        pixels=dict(fn="reconstruction_head", reads=("patch_tokens",), layers=3, patch_size=patch),
      ),
    ),
    teacher=dict(ema="student", decay=0.95 if preset == "demo" else cosine(0.996, 1.0)),
  )
  config.passes = common.passes(
    "s", VIEWS, "student", join="students", reads=lambda v: (f"hidden_{v}/image",)
  ) | common.passes("t", VIEWS, "teacher", join="teachers")
  # So small a network that contrasts views with blocks hidden tells scenes apart, but no digits; see experiments/mmc_scenes.
  contrasted = "c" if preset == "demo" else "s"
  if preset == "demo":
    config.passes.update(common.passes("c", VIEWS, "student", join="students"))

  rec = common.gmml_reconstruction(VIEWS, patch=patch)
  temp = linear(0.04, 0.07, **(dict(fraction=0.3) if preset == "demo" else dict(epochs=30)))
  config.targets = rec["targets"] | dict(
    md_target=dict(fn="centered_softmax", reads=(common.outputs("t", VIEWS, "trunk/patch_logits"),), temp=temp, momentum=0.9)
  )
  config.losses = rec["losses"] | dict(
    md=dict(
      fn="patch_distillation_loss",
      student_temp=0.1,
      weight=1.0,
      reads=(common.outputs("s", VIEWS, "trunk/patch_logits"), ("md_target/0", "md_target/1")),
    ),
    gc=dict(
      fn="info_nce_loss",
      temperature=0.2,
      scale=0.4,
      weight=1.0,
      terms=((f"{contrasted}_a/trunk/cls", "t_b/trunk/cls"), (f"{contrasted}_b/trunk/cls", "t_a/trunk/cls")),
    ),
  )

  if preset == "demo":
    config.losses.gc.weight = 3.0
    common.object_demo_run(config)
  elif preset == "cifar10":
    config.update(dict(batch_size=256, total_epochs=200.0))
    common.dino_optim(config, weight_decay=cosine(0.04, 0.1), warmup=dict(warmup_epochs=10))
  else:
    config.update(dict(batch_size=512, total_epochs=800.0))
    common.dino_optim(config, weight_decay=cosine(0.04, 0.4), warmup=dict(warmup_epochs=10))
  return config
