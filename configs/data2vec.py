"""data2vec: predict, from hidden patches, what an EMA teacher's upper blocks say of the whole image.

Baevski, Hsu, Xu, Babu, Gu, Auli, "data2vec: A General Framework for Self-supervised Learning in Speech, Vision and
Language", arXiv 2202.03555; code facebookresearch/data2vec_vision.

    demo       width 96, crops of 32 px, patch 4, the mean of the last two of four blocks, on a CPU
    cifar10    our choice: native 32 px, patch 4, the last six of twelve blocks, a teacher of decay 0.996
    imagenet   ViT-B/16, 224 px, the last six blocks, batch 2048, 800 epochs: 84.2 % fine-tuned in the paper

The authors also drop 5 % of the attention weights, for which the ViT here has no place, and jitter colours before the
crop. The demo's positions are learned: a table of relative positions knows no larger grid than that of its crops, and
the demo is evaluated on larger images.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  beit = dict(position="relative_bias", layer_scale=1e-4, drop_path=0.25)
  size, patch, last, decay, blocks, net = dict(
    demo=(32, 4, (3, 4), 0.99, dict(ratio=0.6, min_block=4), common.SMALL),
    cifar10=(32, 4, range(7, 13), 0.996, dict(count=38, min_block=4), dict(width=192, depth=12, num_heads=3, **beit)),
    imagenet=(224, 16, range(7, 13), 0.9998, dict(count=120, min_block=16), dict(variant="B/16", **beit)),
  )[preset]
  config.views = dict(v=common.view(preset, size=size, scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.0), jitter_prob=1.0))
  config.masking = dict(m=dict(fn="block_mask", grid=("v", "student"), **blocks))
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=size,
      patch_size=patch,
      mask_token=True,
      **(dict(init="beit") | net),
      heads=dict(prediction=dict(fn="linear_head", reads=("patch_tokens",))),
    ),
    teacher=dict(ema="student", decay=decay),
  )
  config.passes = dict(s=dict(net="student", reads=("v", "mask=m/mask")), t=dict(net="teacher", reads=("v",)))
  config.targets = dict(y=dict(fn="average_blocks", reads=(tuple(f"t/block{i:02d}" for i in last),)))
  config.losses = dict(features=dict(fn="smooth_l1_loss", beta=2.0, reads=("s/prediction", "y", "m/mask")))
  config.evaluation.feature = "mean"

  common.beit_run(config, preset, lr=2e-3)
  return config
