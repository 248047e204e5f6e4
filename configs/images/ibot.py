"""iBOT: DINO on class tokens, and the same loss on patches that the student does not see: the teacher is the tokenizer.

Zhou, Wei, Wang, Shen, Xie, Yuille, Kong, "iBOT: Image BERT Pre-Training with Online Tokenizer", arXiv 2111.07832; code
bytedance/ibot, main_ibot.py and loader.py.

Class tokens and patches share one head. Half of the student's large views are whole, the others lose U(0.1, 0.5) of
their patches in blocks; the small views and the teacher see everything.

    demo       width 64, depth 3, large crops of 32 px and small ones of 16, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, two crops
    imagenet   ViT-S/16, 2 x 224 and 10 x 96 px, batch 1024, 800 epochs: 75.2 % kNN, 77.9 % linear, 82.3 % fine-tuned
               in the paper's repository

Both losses are needed: ViT-S after 300 epochs of two crops has 69.1 % kNN in the paper, and 9.5 % (29.8 % linear)
without the class token's loss, `--config.losses.cls.weight=0`.

The demo keeps the teacher's temperature at 0.04: after 300 steps of a small network (width 32, 16 prototypes) its class
tokens had 0.73 of the largest entropy, and 0.94, next to nothing learnt, where the temperature rose to 0.07.
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
      min_block=4,
      net=common.TINY,
      head=dict(common.TINY_HEAD, prototypes=128),
      decay=0.99,
      temp=0.04,
      run=dict(batch_size=64, total_steps=1000),
    ),
    cifar10=dict(
      sizes=(32, None),
      local_crops=0,
      patch=4,
      min_block=4,
      net=dict(width=192, depth=12, num_heads=3, drop_path=0.1),
      head=dict(hidden=1024, bottleneck=256, prototypes=1024),
      decay=0.996,
      temp=linear(0.04, 0.07, epochs=30),
      run=dict(batch_size=512, total_epochs=400.0),
    ),
    imagenet=dict(
      sizes=(224, 96),
      local_crops=10,
      patch=16,
      min_block=16,
      net=dict(variant="S/16", drop_path=0.1, cls_position=True, init="ibot"),
      head=dict(prototypes=8192, norm_last_layer=False),
      decay=0.996,
      temp=linear(0.04, 0.07, epochs=30),
      run=dict(batch_size=1024, total_epochs=800.0),
    ),
  )
  large = ("a", "b")
  small = tuple(f"l{i + 1}" for i in range(p.local_crops))
  config.views = common.multi_crop(
    preset,
    sizes=p.sizes,
    global_scale=(0.25, 1.0) if small else (0.14, 1.0),
    local_scale=(0.05, 0.25),
    local_crops=p.local_crops,
    blur=preset == "imagenet",
  )
  config.masking = {
    f"m_{v}": dict(fn="block_mask", grid=(v, "student"), ratio=(0.1, 0.5), prob=0.5, min_block=p.min_block) for v in large
  }
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.sizes[0],
      patch_size=p.patch,
      mask_token=True,
      **p.net,
      heads=dict(head=dict(fn="shared_trunk_head", reads=("features", "patch_tokens"), share_prototypes=True, **p.head)),
    ),
    teacher=dict(ema="student", decay=cosine(p.decay, 1.0)),
  )
  config.passes = (
    common.passes("s", large, "student", join="large", reads=lambda v: (v, f"mask=m_{v}/mask"))
    | common.passes("s", small, "student", join="small")
    | common.passes("t", large, "teacher", join="large")
  )
  teacher = dict(fn="centered_softmax", temp=p.temp, momentum=0.9)
  config.targets = dict(
    y=dict(teacher, reads=(("t_a/head/cls_logits", "t_b/head/cls_logits"),)),
    y_patch=dict(teacher, reads=(("t_a/head/patch_logits", "t_b/head/patch_logits"),)),
  )
  config.losses = dict(
    cls=dict(
      fn="dino_loss",
      student_temp=0.1,
      weight=1.0,
      reads=(common.outputs("s", (*large, *small), "head/cls_logits"), ("y/0", "y/1")),
    ),
    patch=dict(
      fn="patch_distillation_loss",
      student_temp=0.1,
      weight=1.0,
      reads=(("s_a/head/patch_logits", "s_b/head/patch_logits"), ("y_patch/0", "y_patch/1"), ("m_a/mask", "m_b/mask")),
    ),
  )

  weight_decay = cosine(0.04, 0.4)
  config.update(p.run)
  if preset == "demo":
    common.dino_optim(config, preset, lr=2e-3, weight_decay=weight_decay, warmup=dict(warmup_fraction=0.1))
  else:
    common.dino_optim(config, preset, weight_decay=weight_decay, warmup=dict(warmup_epochs=10))
    config.optim.freeze = (("head/patch_prototypes", dict(until_epochs=1)),)
  if preset == "imagenet":
    config.optim.decay = ("patch_prototypes/gain$",)
  return config
