"""DeepCluster-v2: k-means of all embeddings at every epoch's start; every crop finds its image's clusters.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, "Unsupervised Learning of Visual Features by Contrasting Cluster
Assignments", arXiv 2006.09882; code facebookresearch/swav, main_deepclusterv2.py. It is DeepCluster (Caron, Bojanowski,
Joulin, Douze, arXiv 1807.05520) with centroids for a classifier.

    demo       ViT of width 64, depth 3, large crops of 32 px and small ones of 16, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, two crops, the setting of solo-learn: 88.85 % online linear after 1000
               epochs there
    imagenet   ResNet-50, 2 x 224 and 6 x 96 px, batch 4096, 800 epochs: 75.2 % linear in the paper

Deviations. The embeddings that are clustered are computed at the epoch's start, where the code takes those that the
last epoch's steps came by: no stale ones, for one more forward of the two large crops. The head's BatchNorm sees the
large and the small crops apart, in the code together. Biases and BatchNorm's parameters are neither decayed nor
adapted, with LARC they are.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  hidden, output, clusters = dict(demo=(256, 64, 128), cifar10=(2048, 128, 3000), imagenet=(2048, 128, 3000))[preset]
  config.views, large, small = common.swav_crops(preset)
  config.networks = dict(
    student=dict(
      **common.SMALL_BACKBONES[preset],
      heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, hidden=hidden, output=output)),
    )
  )
  config.passes = common.passes("s", large, "student", join="large") | common.passes("s", small, "student", join="small")
  config.refresh = dict(
    clusters=dict(
      fn="cluster_views",
      reads=(common.outputs("s", large, "z"),),
      clusters=clusters,
      clusterings=3,
      iterations=10,
      every_epochs=1,
    )
  )
  config.targets = dict(y=dict(fn="take_rows", reads=("clusters/assignments", "index")))
  config.losses = dict(
    cluster=dict(
      fn="cluster_loss", temperature=0.1, reads=(common.outputs("s", large + small, "z"), "y", "clusters/centroids")
    )
  )

  if preset == "demo":
    common.object_demo_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.6, weight_decay=1e-6)
    config.optim.update(dict(warmup_epochs=11, warmup_start_lr=0.0, end_lr=6e-4))
  else:
    common.lars_run(
      config, batch_size=4096, epochs=800, lr=0.3, weight_decay=1e-6, warmup_start_lr=0.3, end_lr_fraction=1e-3
    )
  return config
