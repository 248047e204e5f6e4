"""MMC: masked image modelling, momentum self-distillation and global contrast.

Wu, Mo, Awais, Atito, Feng, Kittler, "Masked Momentum Contrastive Learning for Zero-shot Semantic Understanding", arXiv
2308.11448. The paper names the three parts; no code was published, and its equations were not at hand. What is built
here is our reading [J]: the reconstruction and the contrast are SiT's (arXiv 2104.03602), the distillation is the patch
loss of MC-SSL (arXiv 2111.15340), by the same group, with one trunk for class and patch tokens. The weights 1, 1, 1 are
ours, too. `--config.losses.<rec|md|gc>.weight=0` switches a part off.

Clean views go to the EMA teacher; the student sees them corrupted by blocks of zeros, or of another image's content.

    demo       width 64, depth 3, crops of 32 px, patch 4, on a CPU
    cifar10    our choice for one GPU
    imagenet   MC-SSL's setting without its local crops: ViT-S/16, 224 px, batch 512, 800 epochs

`mmc:demo,patch_from_cls` is the other reading of "from global to local": every patch of the student follows the teacher's
class token, which is compared with the patches' prototypes.
"""

from jssl.configs import common
from jssl.errors import nearest, UnknownPresetError
from jssl.schedules import cosine, linear

VIEWS = ("a", "b")


def get_config(arg: str = "demo"):
  preset, _, reading = arg.partition(",")
  if reading not in ("", "patch_from_cls"):
    raise UnknownPresetError(f"'{arg}': {nearest(reading, ('patch_from_cls',))}")
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      size=32,
      patch=4,
      net=common.TINY,
      head=dict(common.TINY_HEAD, prototypes=256),
      # The scenes' tints are random: without them, telling two scenes apart takes their shapes.
      views=dict(scale=(0.3, 1.0), jitter=(0.4, 0.4, 0.4, 0.5), jitter_prob=1.0, blur=False),
      ema_decay=0.99,
      teacher_temp=linear(0.04, 0.07, fraction=0.3),
      run=dict(batch_size=64, total_steps=2400, evaluation=dict(protocols=("prompt_segmentation", "object_similarity"))),
      optim=dict(lr=8e-3, weight_decay=cosine(0.04, 0.1), warmup=dict(warmup_fraction=0.1)),
    ),
    cifar10=dict(
      size=32,
      patch=4,
      net=dict(width=192, depth=12, num_heads=3, drop_path=0.1),
      head=dict(hidden=1024, bottleneck=256, prototypes=1024),
      views=dict(scale=(0.25, 1.0), blur=False),
      ema_decay=0.996,
      teacher_temp=linear(0.04, 0.07, epochs=30),
      run=dict(batch_size=256, total_epochs=200.0),
      optim=dict(weight_decay=cosine(0.04, 0.1), warmup=dict(warmup_epochs=10)),
    ),
    imagenet=dict(
      size=224,
      patch=16,
      net=dict(variant="S/16", drop_path=0.1),
      head=dict(hidden=2048, bottleneck=256, prototypes=8192),
      views=dict(scale=(0.25, 1.0)),
      ema_decay=0.996,
      teacher_temp=linear(0.04, 0.07, epochs=30),
      run=dict(batch_size=512, total_epochs=800.0),
      optim=dict(weight_decay=cosine(0.04, 0.4), warmup=dict(warmup_epochs=10)),
    ),
  )
  config.views = common.asymmetric_pair(preset, size=p.size, **p.views)
  config.masking = common.gmml_masks(VIEWS, area=0.5, fill="zeros")
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.size,
      patch_size=p.patch,
      **p.net,
      heads=dict(
        trunk=dict(fn="shared_trunk_head", reads=("features", "patch_tokens"), **p.head),
        pixels=dict(fn="reconstruction_head", reads=("patch_tokens",), layers=3, patch_size=p.patch),
      ),
    ),
    teacher=dict(ema="student", decay=cosine(p.ema_decay, 1.0)),
  )
  config.passes = common.passes(
    "s", VIEWS, "student", join="students", reads=lambda v: (f"hidden_{v}/image",)
  ) | common.passes("t", VIEWS, "teacher", join="teachers")
  rec = common.gmml_reconstruction(VIEWS, patch=p.patch)
  config.targets = rec["targets"] | dict(
    md_target=dict(
      fn="centered_softmax", reads=(common.outputs("t", VIEWS, "trunk/patch_logits"),), temp=p.teacher_temp, momentum=0.9
    )
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
      terms=(("s_a/trunk/cls", "t_b/trunk/cls"), ("s_b/trunk/cls", "t_a/trunk/cls")),
    ),
  )
  config.update(p.run)
  common.dino_optim(config, preset, **p.optim)
  if reading:
    config.networks.student.heads.trunk.share_prototypes = True
    config.targets.md_target.reads = (common.outputs("t", VIEWS, "trunk/cls_logits"),)
  return config
