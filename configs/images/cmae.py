"""CMAE: MAE, and contrast of what its student makes of the visible patches with an EMA teacher's view of the whole image.

Huang, Jin, Lu, Hou, Cheng, Fu, Shen, Feng, "Contrastive Masked Autoencoders are Stronger Vision Learners", arXiv
2207.13532; code ZhichengHuang/CMAE, which views, masks, networks, losses and optimizer follow.

The student's visible tokens go to a decoder of pixels and to a small one of features. The mean of the latter is projected
and predicts the teacher's projection, the key, among those of the batch; the key is the mean of the patches of the teacher's
last block, before the final LayerNorm. Teacher and student see windows of one crop, the teacher's shifted and in other
colours. Of cells of 2 x 2 patches 65 % are hidden.

    demo       width 96, crops of 32 px, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, a decoder of two blocks, shifts of up to 4 px
    imagenet   ViT-B/16, 224 px, batch 4096, 1600 epochs: 84.7 % fine-tuned in its repository

The teacher moves before the next step, as there, by a decay of 0.996 all the time.
"""

from jssl.configs import common

COLOUR = common.MOCO_COLOUR | dict(blur=0.5)
TEMPERATURE = 0.07


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      window=dict(size=32, shift=4),
      colour=common.any_hue(common.MOCO_COLOUR),
      patch=4,
      net=common.SMALL,
      width=96,
      decoder=dict(width=64, depth=1, num_heads=2),
      features=dict(width=64, depth=1, num_heads=2),
      hidden=192,
      block=4,
    ),
    cifar10=dict(
      window=dict(size=32, shift=4),
      colour=common.MOCO_COLOUR,
      patch=4,
      net=dict(width=192, depth=12, num_heads=3),
      width=192,
      decoder=dict(width=128, depth=2, num_heads=4),
      features=dict(width=128, depth=1, num_heads=4),
      hidden=384,
      block=12,
    ),
    imagenet=dict(
      window=dict(size=224, shift=31),
      colour=COLOUR,
      patch=16,
      net=dict(variant="B/16"),
      width=768,
      decoder=dict(width=512, depth=8, num_heads=16),
      features=dict(width=512, depth=2, num_heads=16),
      hidden=1536,
      block=12,
    ),
  )
  levels = common.colour_statistics(preset)
  config.views = dict(
    windows=dict(fn="shifted_pair", reads=common.IMAGE, scale=(0.2, 1.0), **p.window),
    v=dict(fn="color_view", reads=("windows/first",), **levels),
    w=dict(fn="color_view", reads=("windows/second",), **p.colour, **levels),
  )
  config.masking = dict(m=dict(fn="cell_mask", grid=("v", "student"), cell=2, ratio=0.65))
  mlp = dict(fn="mlp_head", hidden=p.hidden, output=256, layers=2, last_bias=False)
  config.networks = dict(
    student=dict(
      fn="vit", image_size=p.window["size"], patch_size=p.patch, position="sincos2d", **(dict(init="mae") | p.net)
    ),
    teacher=dict(ema="student", decay=0.996),
    decoder=dict(fn="mae_decoder", patch_size=p.patch, **p.decoder),
    features=dict(fn="mae_decoder", patch_size=p.patch, output=p.width, **p.features),
    projector=dict(mlp),
    teacher_projector=dict(ema="projector", decay=0.996),
    predictor=dict(mlp),
  )
  config.passes = dict(
    e=dict(net="student", reads=("v", "ids_keep=m/ids_keep")),
    d=dict(net="decoder", reads=("e/tokens", "m/ids_restore")),
    f=dict(net="features", reads=("e/tokens", "m/ids_restore")),
    z=dict(net="projector", reads=("f/mean",)),
    q=dict(net="predictor", reads=("z/features",)),
    t=dict(net="teacher", reads=("w",)),
    k=dict(net="teacher_projector", reads=("pooled",)),
  )
  config.targets = dict(
    y=dict(fn="patch_pixels", reads=("v",), patch=p.patch, normalize=True),
    pooled=dict(fn="average_tokens", reads=(f"t/block{p.block:02d}",)),
  )
  config.losses = dict(
    rec=dict(fn="mae_loss", weight=1.0, reads=("d/pixels", "y", "m/mask")),
    con=dict(
      fn="info_nce_loss", weight=1.0, temperature=TEMPERATURE, scale=2 * TEMPERATURE, reads=("q/features", "k/features")
    ),
  )
  config.evaluation.network = "student"

  common.mae_run(config, preset)
  # Neither class nor mask tokens are decayed; what scales after a BatchNorm is.
  config.optim.no_decay = ("/(cls|mask_token)$",)
  config.optim.decay = ("/batch_norm_0/scale$",)
  return config
