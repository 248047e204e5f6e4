"""EsViT: DINO between views, and between each region of a view and the region of another view that is most like it.

Li, Yang, Zhang, Gao, Xiao, Dai, Yuan, Gao, "Efficient Self-supervised Vision Transformers for Representation Learning",
arXiv 2106.09785; code microsoft/esvit, main_esvit.py (`DDINOLoss`).

A patch of a student's view predicts the teacher's distribution of that patch of another view whose backbone feature is most
similar to its own, through a head and a center of their own; both losses weigh a half. Views, teacher and optimizer are
those of `dino`.

    demo       width 64, depth 3, large crops of 32 px and small ones of 16, patch 8, on a CPU
    cifar10    our choice, `dino`'s: native 32 px, patch 4, two crops
    imagenet   ViT-S/16, `deit_small` of the code, with the numbers of its command for Swin-T (75.7 % kNN, 78.0 % linear in
               its repository): 2 x 224 and 8 x 96 px, batch 512, 300 epochs

A Swin has 7 x 7 regions of a large view where this ViT has 14 x 14 patches, four times the regions' memory.
"""

from jssl.configs import common
from jssl.configs.images import dino

LARGE = ("a", "b")


def get_config(preset: str = "demo"):
  # The longer run of DINO: 300 epochs, the prototypes' norms are trained, the teacher's temperature rises.
  config = dino.get_config("imagenet,boost" if preset == "imagenet" else preset)
  student = config.networks.student
  if preset == "demo":  # cheaper than `dino`'s, of single objects: 16 regions of a large view, 4 of a small one
    student.update(common.SMALL_BACKBONES["demo"])
    config.views = common.asymmetric_object_pair() | common.small_object_views(("l1", "l2"), **common.any_hue(common.COLOUR))
    config.total_steps = 2000
  student.heads.region = dict(student.heads.logits, reads=("patch_tokens",))
  config.targets.y_region = dict(config.targets.y, reads=(common.outputs("t", LARGE, "region"),))
  pairs = [(teacher, view) for teacher in LARGE for view in config.views if view not in (teacher, "object")]
  for teacher, view in pairs:
    config.targets[f"match_{view}_{teacher}"] = dict(
      fn="match_tokens", reads=(f"s_{view}/patch_tokens", f"t_{teacher}/patch_tokens", f"y_region/{LARGE.index(teacher)}")
    )
  config.losses.dino.weight = 0.5
  config.losses.region = dict(
    fn="patch_distillation_loss",
    student_temp=0.1,
    weight=0.5,
    reads=(tuple(f"s_{view}/region" for _, view in pairs), tuple(f"match_{view}_{teacher}" for teacher, view in pairs)),
  )
  config.optim.freeze = tuple(("heads_(logits|region)/prototypes", when) for _, when in config.optim.freeze)
  return config
