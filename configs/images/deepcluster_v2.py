"""DeepCluster-v2: k-means of all embeddings at every epoch's start; every crop finds its image's clusters.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, "Unsupervised Learning of Visual Features by Contrasting Cluster
Assignments", arXiv 2006.09882; code facebookresearch/swav, main_deepclusterv2.py. It is DeepCluster (Caron, Bojanowski,
Joulin, Douze, arXiv 1807.05520) with centroids for a classifier.

    demo       ViT of width 64, depth 3, large crops of 32 px and small ones of 16, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, two crops, the setting of solo-learn: 88.85 % online linear after 1000
               epochs there
    imagenet   ResNet-50, 2 x 224 and 6 x 96 px, batch 4096, 800 epochs: 75.2 % linear in the paper

On ImageNet BatchNorm takes its statistics over 512 images at a time, as the code's groups of eight devices do.

Departures. The embeddings that are clustered are computed at the epoch's start, where the code takes those that the
last epoch's steps came by: no stale ones, for one more forward of the two large crops. The head's BatchNorm sees the
large and the small crops apart, in the code together.
"""

from jssl.configs import common

LARGE = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.object_pair(interpolation="bilinear", **common.any_hue(common.SIMCLR_COLOUR), blur=0.0)
      | common.small_object_views(("l1", "l2"), interpolation="bilinear", **common.any_hue(common.SIMCLR_COLOUR), blur=0.0),
      small=("l1", "l2"),
      net=common.SMALL_BACKBONES["demo"],
      head=dict(hidden=256, output=64),
      clusters=128,
    ),
    cifar10=dict(
      views=common.swav_crops("cifar10", size=32, scale=(0.08, 1.0)),
      small=(),
      net=common.BACKBONES["cifar10"],
      head=dict(hidden=2048, output=128),
      clusters=3000,
    ),
    imagenet=dict(
      views=common.swav_crops("imagenet", **common.SWAV_IMAGENET),
      small=tuple(f"l{i + 1}" for i in range(6)),
      net=dict(common.BACKBONES["imagenet"], zero_init_residual=False, batch_norm_group=512),
      head=dict(hidden=2048, output=128, batch_norm_group=512),
      clusters=3000,
    ),
  )
  config.views = p.views
  config.networks = dict(student=dict(**p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, **p.head))))
  config.passes = common.passes("s", LARGE, "student", join="large") | common.passes("s", p.small, "student", join="small")
  config.refresh = dict(
    clusters=dict(
      fn="cluster_views",
      reads=(common.outputs("s", LARGE, "z"),),
      clusters=p.clusters,
      clusterings=3,
      iterations=10,
      every_epochs=1,
    )
  )
  config.targets = dict(y=dict(fn="take_rows", reads=("clusters/assignments", "index")))
  config.losses = dict(
    cluster=dict(
      fn="cluster_loss", temperature=0.1, reads=(common.outputs("s", LARGE + p.small, "z"), "y", "clusters/centroids")
    )
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.6, weight_decay=1e-6)
    config.optim.update(dict(warmup_epochs=11, warmup_start_lr=0.0, end_lr=6e-4))
  else:
    common.larc_run(config)
  return config
