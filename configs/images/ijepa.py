"""I-JEPA: from one part of an image predict what an EMA teacher, who sees all of it, says of other parts.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun, Ballas, "Self-Supervised Learning from Images with a
Joint-Embedding Predictive Architecture", arXiv 2301.08243; code facebookresearch/ijepa.

    demo       width 96, crops of 32 px, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, a predictor of four blocks
    imagenet   ViT-B/16, 224 px, batch 2048, 600 epochs: 72.9 % linear in the paper; the numbers of the optimizer are
               those of the released ViT-H/14, in1k_vith14_ep300.yaml (the paper warms up for 15 epochs)

Views are crops alone, neither flipped nor recoloured. Targets are taken from the teacher's OUTPUT: it sees the whole
image. How the masks here differ from the code's is said in `jssl.masking.multi_block_mask`. The authors' networks divide
their residual outputs by sqrt(2 layer), but are initialised a second time, without that (src/helper.py).
"""

from jssl.configs import common
from jssl.schedules import cosine, linear


def get_config(preset: str = "demo"):
  config = common.base(preset)
  # N(0, 0.02) is meant for the 768 pixels of a patch of 16 px: tokens of smaller ones would be little but positions.
  p = common.pick(
    preset,
    demo=dict(
      size=32,
      patch=4,
      crop=dict(),
      decay=0.99,
      net=common.SMALL,
      predictor=dict(width=48, depth=2, num_heads=3, init="normal_rescaled"),
      run={},
      optim={},
    ),
    cifar10=dict(
      size=32,
      patch=4,
      crop=dict(),
      decay=0.996,
      net=dict(width=192, depth=12, num_heads=3, init="mae"),
      predictor=dict(width=96, depth=4, num_heads=3, init="normal_rescaled"),
      run=dict(batch_size=512, total_epochs=400.0),
      optim=dict(lr=5e-4, warmup_epochs=10, warmup_start_lr=1e-4),
    ),
    imagenet=dict(
      size=224,
      patch=16,
      crop=dict(interpolation="bilinear"),
      decay=0.996,
      net=dict(variant="B/16", init="normal"),
      predictor=dict(width=384, depth=6, num_heads=12, init="normal"),
      run=dict(batch_size=2048, total_epochs=600.0),
      optim=dict(lr=1e-3, warmup_epochs=40, warmup_start_lr=2e-4),
    ),
  )
  config.views = dict(v=common.view(preset, size=p.size, scale=(0.3, 1.0), flip=0.0, **p.crop))
  config.masking = dict(
    m=dict(fn="multi_block_mask", grid=("v", "student"), targets=4, scale=(0.15, 0.2), aspect=(0.75, 1.5))
  )
  config.networks = dict(
    student=dict(fn="vit", image_size=p.size, patch_size=p.patch, position="sincos2d", cls_token=False, **p.net),
    teacher=dict(ema="student", decay=linear(p.decay, 1.0)),
    predictor=dict(fn="jepa_predictor", grid=(p.size // p.patch, p.size // p.patch), **p.predictor),
  )
  config.passes = dict(
    t=dict(net="teacher", reads=("v",)),
    s=dict(net="student", reads=("v", "ids_keep=m/context")),
    p=dict(net="predictor", reads=("s/tokens", "m/context", "m/target")),
  )
  config.targets = dict(
    tokens=dict(fn="layer_norm_tokens", reads=("t/tokens",)), y=dict(fn="take_tokens", reads=("tokens", "m/target"))
  )
  config.losses = dict(blocks=dict(fn="smooth_l1_loss", beta=1.0, reads=("p/tokens", "y")))

  if preset == "demo":
    common.demo_run(config)
  else:
    config.update(p.run)
    config.optim.update(dict(name="adamw", end_lr=1e-6, **p.optim))
    with config.optim.ignore_type():
      config.optim.weight_decay = cosine(0.04, 0.4)
    config.optim.decay = ("^predictor/.*mask_token$",)
  return config
