"""NNCLR: a view is told from others by the nearest neighbour, among past embeddings, of the image's other view.

Dwibedi, Aytar, Tompson, Sermanet, Zisserman, "With a Little Help from My Friends: Nearest-Neighbor Contrastive Learning
of Visual Representations", arXiv 2104.14548. The authors have published no code; vturrisi/solo-learn,
solo/methods/nnclr.py, agrees with their algorithm 1.

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, the setting of solo-learn: 91.88 % online linear after 1000 epochs there
    imagenet   ResNet-50, 224 px, batch 4096, 1000 epochs: 75.6 % linear in the paper's abstract

Neighbours are looked up for both views, and the first view's embeddings join the support set. The neighbour is the
query, and the predictions of the global batch are what it is compared with.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      views=common.asymmetric_object_pair(), hidden=256, predictor_hidden=256, output=64, support=1024, temperature=0.2
    ),
    cifar10=dict(
      views=common.asymmetric_pair("cifar10", size=32, scale=(0.08, 1.0), blur=False),
      hidden=2048,
      predictor_hidden=4096,
      output=256,
      support=65536,
      temperature=0.2,
    ),
    imagenet=dict(
      views=common.asymmetric_pair("imagenet", size=224, scale=(0.08, 1.0)),
      hidden=2048,
      predictor_hidden=4096,
      output=256,
      support=98304,
      temperature=0.1,
    ),
  )
  config.views = p.views
  config.networks = dict(
    student=dict(
      **common.BACKBONES[preset],
      heads=dict(
        z=dict(fn="mlp_head", reads=("features",), hidden=p.hidden, output=p.output, layers=3, last_batch_norm="affine"),
        p=dict(fn="mlp_head", reads=("z",), hidden=p.predictor_hidden, output=p.output, layers=2),
      ),
    )
  )
  config.passes = common.passes("s", VIEWS, "student")
  config.targets = dict(nn=dict(fn="nearest_neighbors", reads=(common.outputs("s", VIEWS, "z"),), size=p.support))
  config.losses = dict(
    nce=dict(fn="info_nce_loss", temperature=p.temperature, weight=0.5, terms=(("nn/0", "s_b/p"), ("nn/1", "s_a/p")))
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.4, weight_decay=1e-5)
  else:
    common.lars_run(config, batch_size=4096, epochs=1000, lr=0.3, weight_decay=1e-6)
  return config
