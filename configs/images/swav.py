"""SwAV: every crop predicts the prototypes to which the two large crops were assigned, in balance over the batch.

Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, "Unsupervised Learning of Visual Features by Contrasting Cluster
Assignments", arXiv 2006.09882; code facebookresearch/swav.

    demo       ViT of width 64, depth 3, large crops of 32 px and small ones of 16, patch 8, a queue of 4 batches, on a
               CPU
    cifar10    ResNet-18 with the CIFAR stem, two crops, a queue from epoch 50, the setting of solo-learn: 89.17 %
               online linear after 1000 epochs there
    imagenet   ResNet-50, 2 x 224 and 6 x 96 px, batch 4096, 800 epochs: 75.3 % linear in the paper

Each batch is spread over the prototypes in equal shares, which is what keeps everything from going to one of them.
Prototypes are frozen for a while, so that the embeddings spread first. A loss that stays at ln K with
`teacher_entropy` at 1 has collapsed: embeddings are alike, so only uniform codes share the prototypes equally. A lower
`temp` of the codes helps, the authors say, and a queue that starts late; the demo has both.

On ImageNet BatchNorm takes its statistics over 512 images at a time, as the code's groups of eight devices do.

Departures. Prototypes are normalised where they are used, so gradients see the normalisation; the code normalises the
weights before each step. The head's BatchNorm sees the large and the small crops apart, in the code together. The queue
fills from the start and is used later, in the code it starts to fill later.
"""

from jssl.configs import common
from jssl.schedules import step

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
      prototypes=128,
      temp=0.03,
      frozen=dict(until_fraction=0.1),
      queue=256,
      use_queue=step((0.0, 1.0), boundaries_fraction=(0.2,)),
    ),
    cifar10=dict(
      views=common.swav_crops("cifar10", size=32, scale=(0.08, 1.0)),
      small=(),
      net=common.BACKBONES["cifar10"],
      head=dict(hidden=2048, output=128),
      prototypes=3000,
      temp=0.05,
      frozen=dict(until_epochs=2),
      queue=3840,
      use_queue=step((0.0, 1.0), boundaries_epochs=(50,)),
    ),
    imagenet=dict(
      views=common.swav_crops("imagenet", **common.SWAV_IMAGENET),
      small=tuple(f"l{i + 1}" for i in range(6)),
      net=dict(common.BACKBONES["imagenet"], zero_init_residual=False, batch_norm_group=512),
      head=dict(hidden=2048, output=128, batch_norm_group=512),
      prototypes=3000,
      temp=0.05,
      frozen=dict(until_steps=313),
      queue=0,
      use_queue=0.0,
    ),
  )
  config.views = p.views
  config.networks = dict(
    student=dict(**p.net, heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, **p.head))),
    prototypes=dict(fn="prototypes", prototypes=p.prototypes),
  )
  config.passes = (
    common.passes("s", LARGE, "student", join="large")
    | common.passes("s", p.small, "student", join="small")
    | common.passes("p", LARGE + p.small, "prototypes", reads=lambda v: (f"s_{v}/z",))
  )
  scores = common.outputs("p", LARGE, "logits")
  config.targets = dict(y=dict(fn="sinkhorn_codes", reads=(scores,), temp=p.temp, iterations=3))
  if p.queue:
    config.targets.update(
      {f"queue_{v}": dict(fn="feature_queue", reads=(f"s_{v}/z",), length=p.queue, use=p.use_queue) for v in LARGE}
    )
    config.passes.update(common.passes("q", LARGE, "prototypes", reads=lambda v: (f"queue_{v}/rows",)))
    config.targets.y.reads = (scores, common.outputs("q", LARGE, "logits"), common.outputs("queue", LARGE, "counts"))
  config.losses = dict(
    swav=dict(fn="dino_loss", student_temp=0.1, reads=(common.outputs("p", LARGE + p.small, "logits"), ("y/0", "y/1")))
  )

  if preset == "demo":
    common.object_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.6, weight_decay=1e-6)
  else:
    common.larc_run(config)
  config.optim.freeze = (("^prototypes/", p.frozen),)
  return config
