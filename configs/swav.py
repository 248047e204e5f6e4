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

Deviations. Prototypes are normalised where they are used, so gradients see the normalisation; the code normalises the
weights before each step. The head's BatchNorm sees the large and the small crops apart, in the code together. Biases
and BatchNorm's parameters are neither decayed nor adapted, with LARC they are. The queue fills from the start and is
used later, in the code it starts to fill later.
"""

from jssl.configs import common
from jssl.schedules import step


def get_config(preset: str = "demo"):
  config = common.base(preset)
  head, prototypes, temp, frozen, queue, use = dict(
    demo=(
      dict(hidden=256, output=64),
      128,
      0.03,
      dict(until_fraction=0.1),
      256,
      step((0.0, 1.0), boundaries_fraction=(0.2,)),
    ),
    cifar10=(
      dict(hidden=2048, output=128),
      3000,
      0.05,
      dict(until_epochs=2),
      3840,
      step((0.0, 1.0), boundaries_epochs=(50,)),
    ),
    imagenet=(dict(hidden=2048, output=128), 3000, 0.05, dict(until_steps=313), 0, 0.0),
  )[preset]
  config.views, large, small = common.swav_crops(preset)
  config.networks = dict(
    student=dict(**common.SMALL_BACKBONES[preset], heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=2, **head))),
    prototypes=dict(fn="prototypes", prototypes=prototypes),
  )
  config.passes = (
    common.passes("s", large, "student", join="large")
    | common.passes("s", small, "student", join="small")
    | common.passes("p", large + small, "prototypes", reads=lambda v: (f"s_{v}/z",))
  )
  scores = common.outputs("p", large, "logits")
  config.targets = dict(y=dict(fn="sinkhorn_codes", reads=(scores,), temp=temp, iterations=3))
  if queue:
    config.targets.update(
      {f"queue_{v}": dict(fn="feature_queue", reads=(f"s_{v}/z",), length=queue, use=use) for v in large}
    )
    config.passes.update(common.passes("q", large, "prototypes", reads=lambda v: (f"queue_{v}/rows",)))
    config.targets.y.reads = (scores, common.outputs("q", large, "logits"), common.outputs("queue", large, "counts"))
  config.losses = dict(
    swav=dict(fn="dino_loss", student_temp=0.1, reads=(common.outputs("p", large + small, "logits"), ("y/0", "y/1")))
  )

  if preset == "demo":
    common.object_demo_run(config)
  elif preset == "cifar10":
    common.solo_learn_run(config, name="lars", lr=0.6, weight_decay=1e-6)
  else:
    common.lars_run(
      config, batch_size=4096, epochs=800, lr=0.3, weight_decay=1e-6, warmup_start_lr=0.3, end_lr_fraction=1e-3
    )
  config.optim.freeze = (("^prototypes/", frozen),)
  return config
