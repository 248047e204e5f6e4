"""DINOv2: iBOT with a regulariser that spreads the class tokens, and a recipe for large ViTs.

Oquab, Darcet, Moutakanni, Vo, Szafraniec et al., "DINOv2: Learning Robust Visual Features without Supervision", arXiv
2304.07193; code facebookresearch/dinov2, dinov2/train/ssl_meta_arch.py and dinov2/configs.

    demo       width 64, depth 3, large crops of 32 px and small ones of 16, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, two crops
    imagenet   the code's vitl16_short: ViT-L/16, 2 x 224 and 8 x 96 px, batch 2048, 125,000 steps (200 epochs; the code
               counts 1250 steps as one): 81.6 % kNN, 82.9 % linear in the paper's repository

After the preset come choices: `--config dinov2:imagenet,sinkhorn,separate_heads` balances the teacher by Sinkhorn-Knopp
in place of a center, and gives the patches a head of their own; both as in the code's runs on larger data.

To iBOT it adds KoLeo (in the paper it helps retrieval most and costs nothing elsewhere), masks that are stratified over
the batch, a teacher that is balanced over the hidden patches only, LayerScale, and learning rates that fall with depth.

Deviations. The code applies its heads to the hidden patches only, this one to all: the same losses for more memory. It
searches KoLeo's neighbours and stratifies masks on each device, this one over the batch. In `demo` and `cifar10` backbone
and head are clipped together, and frozen prototypes have no moments yet. The last phase at 518 px and the SwiGLU of ViT-g
are not here.

`dinov2:continue@dinov2:/path.pth` goes on from any vision transformer (see `configs/released.py`) on images of one's own,
`--config.data.name=folder:/photos`. Student and teacher start from it, new heads are trained on it as it is for a tenth of
the run, and then all is, the backbone at a tenth of the heads' rate. `--config.networks.student.lora_rank=8` trains
adapters of its attention alone. The numbers are ours; the teacher's decay, the weight decay and the backbone's rate (5e-5 at
batch 256) are about those of DINOv3 in its late phases (facebookresearch/dinov3, dinov3_vit7b16_gram_anchor.yaml).

`dinov2:continue,gram@...` keeps patches as alike as that backbone, frozen, finds them: Gram anchoring of DINOv3 (Simeoni et
al., arXiv 2508.10104). There the teacher sees its views without their colours and at twice their size, and is replaced by
the network's own average now and then; here it sees the student's views, and stays.
"""

import types

from jssl.configs import common, released
from jssl.errors import UnknownPresetError
from jssl.schedules import cosine, linear, step

CHOICES = ("sinkhorn", "separate_heads")
LARGE = ("a", "b")


def get_config(arg: str = "demo"):
  words, _, source = arg.partition("@")
  preset, *choices = words.split(",")
  known = (*CHOICES, "gram") if preset == "continue" else CHOICES
  if unknown := [choice for choice in choices if choice not in known]:
    raise UnknownPresetError(f"'{words}'; after the preset there may come {' and '.join(known)}, not {unknown[0]}")
  if preset == "continue":
    return continued(source, choices)
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      sizes=(32, 16),
      local_crops=2,
      patch=4,
      net=dict(**common.TINY, layer_scale=1.0),
      head=dict(common.TINY_HEAD, prototypes=128),
      temp=0.04,
      run=dict(batch_size=64, total_steps=1000),
    ),
    cifar10=dict(
      sizes=(32, None),
      local_crops=0,
      patch=4,
      net=dict(width=192, depth=12, num_heads=3, layer_scale=1e-5, drop_path=(0.1, 0.1)),
      head=dict(hidden=1024, bottleneck=256, prototypes=4096),
      temp=linear(0.04, 0.07, fraction=0.3),
      run=dict(batch_size=512, total_epochs=400.0),
    ),
    imagenet=dict(
      sizes=(224, 96),
      local_crops=8,
      patch=16,
      net=dict(variant="L/16", layer_scale=1e-5, drop_path=(0.3, 0.3), cls_position=True, init="dinov2"),
      head=dict(prototypes=65536, norm_last_layer=False),
      temp=linear(0.04, 0.07, fraction=0.3),
      run=dict(batch_size=2048, total_steps=125_000),
    ),
  )
  p.net = dict(fn="vit", image_size=p.sizes[0], patch_size=p.patch, mask_token=True, **p.net)
  _method(config, preset, p, choices, decay=cosine(0.992, 1.0))
  config.update(p.run)
  common.dino_optim(config, preset, lr=4e-3, weight_decay=cosine(0.04, 0.4), warmup=dict(warmup_fraction=0.1))
  config.optim.update(
    dict(
      lr_scale="sqrt",
      lr_scale_batch=1024,
      layer_decay=0.9,
      lr_mults=((r"/embedding/", 0.2),),
      freeze=((r"prototypes/", dict(until_fraction=0.01)),),
    )
  )
  config.optim.clip = dict(global_norm=3.0)
  if preset == "imagenet":
    # Backbone and heads are clipped apart. At first the prototypes' learning rate is 0: their gradients count in the norm of
    # their head, and their moments move.
    held = (r"prototypes/", step((0.0, 1.0), boundaries_fraction=(0.01,)))
    groups = {name: dict(params=f"^student/heads_{name}/") for name in config.networks.student.heads}
    config.optim.update(dict(decay=("prototypes/gain$",), freeze=(), lr_mults=(held, *config.optim.lr_mults), groups=groups))
  return config


def continued(source: str, choices):
  """The backbone of `source` trained on."""
  found = released.vit("dinov2:continue", source)
  config, size = released.base(found), found.fitting(224)
  p = types.SimpleNamespace(
    sizes=(size, found.fitting(size * 96 / 224)),
    local_crops=8,
    net=found.changed(mask_token=True, drop_path=(0.1, 0.1)).entry,
    head=dict(prototypes=8192, norm_last_layer=False),
    temp=linear(0.04, 0.07, fraction=0.3),
  )
  _method(config, "imagenet", p, choices, decay=0.999)
  if "gram" in choices:
    config.networks.gram = dict(found.entry, frozen=True)
    config.passes.update(common.passes("g", LARGE, "gram", join="large"))
    patches = tuple(common.outputs(net, LARGE, "patch_tokens") for net in ("s", "g"))
    config.losses.gram = dict(fn="gram_loss", weight=2.0, reads=patches)
  config.update(dict(batch_size=256, total_epochs=100.0))
  common.dino_optim(config, "imagenet", lr=1e-3, weight_decay=0.04, warmup=dict(warmup_fraction=0.05))
  prototypes = (r"prototypes/", dict(until_fraction=0.01))
  config.optim.update(dict(lr_scale="sqrt", lr_scale_batch=1024, freeze=(prototypes,)))
  config.optim.clip = dict(global_norm=3.0)
  released.go_on(config, "student", found, low=0.1, layer_decay=0.9)
  return config


def _method(config, preset: str, p, choices, *, decay) -> None:
  """Views, masks, networks, targets and losses, but for the numbers of the run."""
  large, small = LARGE, tuple(f"l{i + 1}" for i in range(p.local_crops))
  config.views = common.multi_crop(
    preset,
    sizes=p.sizes,
    global_scale=(0.32, 1.0) if small else (0.14, 1.0),
    local_scale=(0.05, 0.32),
    local_crops=p.local_crops,
    blur=preset == "imagenet",
  )
  config.masking = dict(
    m=dict(
      fn="stratified_block_mask",
      scope="batch",
      reads=(large,),
      grid=("a", "student"),
      ratio=(0.1, 0.5),
      prob=0.5,
      min_block=4,
    )
  )
  if "separate_heads" in choices:
    cls, patch = "cls_logits", "patch_logits"
    heads = dict(
      cls_logits=dict(fn="dino_head", reads=("features",), **p.head),
      patch_logits=dict(fn="dino_head", reads=("patch_tokens",), **p.head),
    )
  else:
    cls, patch = "head/cls_logits", "head/patch_logits"
    heads = dict(head=dict(fn="shared_trunk_head", reads=("features", "patch_tokens"), share_prototypes=True, **p.head))
  config.networks = dict(student=dict(**p.net, heads=heads), teacher=dict(ema="student", decay=decay))
  masks = ("m/0", "m/1")
  config.passes = (
    dict(
      s_a=dict(net="student", reads=("a", "mask=m/0"), join="large"),
      s_b=dict(net="student", reads=("b", "mask=m/1"), join="large"),
    )
    | common.passes("s", small, "student", join="small")
    | common.passes("t", large, "teacher", join="large")
  )
  teacher = dict(fn="sinkhorn" if "sinkhorn" in choices else "centered_softmax", temp=p.temp)
  config.targets = dict(
    y=dict(teacher, reads=((f"t_a/{cls}", f"t_b/{cls}"),)),
    # Balanced over the hidden patches, not over all as in iBOT.
    y_patch=dict(teacher, reads=((f"t_a/{patch}", f"t_b/{patch}"), masks)),
  )
  config.losses = dict(
    cls=dict(
      fn="dino_loss", student_temp=0.1, weight=1.0, reads=(common.outputs("s", (*large, *small), cls), ("y/0", "y/1"))
    ),
    patch=dict(
      fn="patch_distillation_loss",
      student_temp=0.1,
      weight=1.0,
      reads=((f"s_a/{patch}", f"s_b/{patch}"), ("y_patch/0", "y_patch/1"), masks),
    ),
    koleo=dict(fn="koleo_loss", weight=0.1, terms=(("s_a/cls",), ("s_b/cls",))),
  )
