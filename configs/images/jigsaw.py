"""Jigsaw: tell in which of some orders the nine tiles of an image are shown.

Noroozi, Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", arXiv 1603.09246. Every tile
goes through one network by itself; a small one sees the features of all nine in the order of their places.

    demo       width 64, depth 3, tiles of 16 px, patch 4, 24 orders, on a CPU
    cifar10    our choice: tiles of 16 px from images at twice their size, patch 4, 100 orders
    imagenet   ViT-S/16 on tiles of 64 px, 1000 orders as in the paper, 70 epochs at batch 256 as in its code for Caffe and
               in bbrattoli/JigsawPuzzlePytorch; the optimizer is our choice

The orders are the paper's by its algorithm, without its draw (`jssl.views.hamming_permutations`). Tiles lie in cells of
85 px and are grey with probability 0.66, as in facebookresearch/vissl; the paper's lie in cells of 75 px, three of ten
images are grey, and each tile is standardised by itself.
"""

from jssl.configs import common

PLACES = tuple(str(i) for i in range(9))


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      orders=24, tiles=dict(size=16, gap=8, jitter=3), net=dict(patch_size=4, **common.TINY), hidden=256, evaluation_size=64
    ),
    cifar10=dict(
      orders=100,
      tiles=dict(size=16, gap=5, jitter=2),
      net=dict(patch_size=4, width=192, depth=12, num_heads=3),
      hidden=1024,
      evaluation_size=64,
    ),
    imagenet=dict(
      orders=1000,
      tiles=dict(size=64, gap=21, jitter=10),
      net=dict(patch_size=16, variant="S/16"),
      hidden=4096,
      evaluation_size=224,
    ),
  )
  config.views = dict(
    tiles=dict(
      fn="jigsaw_tiles",
      reads=common.IMAGE,
      permutations=p.orders,
      scale=(0.3, 1.0),
      grayscale=0.66,
      **p.tiles,
      **common.colour_statistics(preset),
    )
  )
  config.networks = dict(
    student=dict(fn="vit", image_size=p.tiles["size"], **p.net),
    solver=dict(fn="mlp_head", hidden=p.hidden, output=p.orders, layers=2),
  )
  config.passes = common.passes("s", PLACES, "student", join="tiles", reads=lambda place: (f"tiles/{place}",)) | dict(
    p=dict(net="solver", reads=common.outputs("s", PLACES, "features"))
  )
  config.losses = dict(order=dict(fn="softmax_cross_entropy_loss", reads=("p/features", "tiles/label")))

  config.evaluation.size = p.evaluation_size  # whole images, not tiles
  common.pretext_run(config, preset, batch_size=256, epochs=70)
  return config
