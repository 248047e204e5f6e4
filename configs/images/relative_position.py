"""Context prediction: tell on which of its eight sides a tile's neighbour lies.

Doersch, Gupta, Efros, "Unsupervised Visual Representation Learning by Context Prediction", arXiv 1505.05192; code
cdoersch/deepcontext. Both tiles go through one network; a small one compares their features.

    demo       width 64, depth 3, tiles of 16 px, patch 4, on a CPU
    cifar10    our choice: tiles of 16 px from images at twice their size, patch 4
    imagenet   ViT-S/16 on tiles of 64 px, 70 epochs at batch 512: the tiles of open-mmlab/mmselfsup, whose ResNet-50
               sees 255 px; the optimizer is our choice

The paper's tiles have 96 px, gaps of 48 and a jitter of 7, and keep one colour channel, or a projection of two, where
these are grey with probability 0.66 as in mmselfsup.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(tiles=dict(size=16, gap=8, jitter=3), net=dict(patch_size=4, **common.TINY), hidden=256, evaluation_size=64),
    cifar10=dict(
      tiles=dict(size=16, gap=5, jitter=2),
      net=dict(patch_size=4, width=192, depth=12, num_heads=3),
      hidden=1024,
      evaluation_size=64,
    ),
    imagenet=dict(
      tiles=dict(size=64, gap=21, jitter=10), net=dict(patch_size=16, variant="S/16"), hidden=4096, evaluation_size=224
    ),
  )
  config.views = dict(
    tiles=dict(
      fn="tile_pair", reads=common.IMAGE, scale=(0.3, 1.0), grayscale=0.66, **p.tiles, **common.colour_statistics(preset)
    )
  )
  config.networks = dict(
    student=dict(fn="vit", image_size=p.tiles["size"], **p.net),
    relation=dict(fn="mlp_head", hidden=p.hidden, output=8, layers=2),
  )
  config.passes = common.passes(
    "s", ("first", "second"), "student", join="tiles", reads=lambda tile: (f"tiles/{tile}",)
  ) | dict(p=dict(net="relation", reads=common.outputs("s", ("first", "second"), "features")))
  config.losses = dict(position=dict(fn="softmax_cross_entropy_loss", reads=("p/features", "tiles/label")))

  config.evaluation.size = p.evaluation_size  # whole images, not tiles
  common.pretext_run(config, preset, batch_size=512, epochs=70)
  return config
