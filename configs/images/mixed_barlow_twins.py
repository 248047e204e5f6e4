"""Mixed Barlow Twins: the embedding of a mixture of two images correlates as a mixture of their embeddings would.

Bandara, De Melo, Patel, "Guarding Barlow Twins Against Overfitting with Mixed Samples", arXiv 2312.02151; code
wgcban/mix-bt. Barlow Twins, with a third forward a step and one more loss.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, batch 256, 2000 epochs: 90.52 % kNN, 92.58 % linear in the repository, the
               best of all epochs on the test set
    imagenet   ResNet-50, 224 px, batch 1024, 300 epochs: 72.2 % linear in the paper, against 71.3 % without

On small data each embedding is L2-normalised before it is standardised, as in the code. The two codes differ in the
second target, see `mixed_barlow_twins_loss`; each preset has that of its own. Both divide variances by B - 1, in what they
add and in Barlow Twins itself.

Departures. Weight decay is AdamW's where the code for CIFAR-10 adds 1e-6 w to Adam's gradient. Variances and
permutations are those of the global batch where the code for ImageNet takes each device's.
"""

from jssl.configs import common
from jssl.configs.images import barlow_twins
from jssl.schedules import linear

SMALL_DATA = dict(normalize=True, unbiased=True, eps=1e-12)  # of the loss of Barlow Twins


def get_config(preset: str = "demo"):
  config = barlow_twins.get_config(preset)
  small_head = dict(layers=2, last_bias=True)
  p = common.pick(
    preset,
    demo=dict(
      views=common.object_pair(interpolation="bilinear", **common.any_hue(common.MOCO_COLOUR)),
      net=common.TINY,
      head=dict(hidden=128, output=256, **small_head),
      bt=dict(lambd=8 / 256, scale=1.0, **SMALL_DATA),
      reg=dict(weight=4 * 8 / 256, form="small", normalize=True),
    ),
    cifar10=dict(
      views=common.symmetric_pair("cifar10", size=32, scale=(0.08, 1.0), interpolation="bilinear", **common.MOCO_COLOUR),
      net=dict(zero_init_residual=False),
      head=dict(hidden=512, output=1024, **small_head),
      bt=dict(lambd=8 / 1024, scale=1.0, **SMALL_DATA),
      reg=dict(weight=4 * 8 / 1024, form="small", normalize=True),
    ),
    imagenet=dict(
      views=common.asymmetric_pair("imagenet", size=224, scale=(0.08, 1.0)),
      net={},
      head={},
      bt=dict(unbiased=True, eps=1e-12),
      reg=dict(weight=linear(0.0, 1.0 * 0.0051 / 2, epochs=10), form="imagenet", normalize=False),
    ),
  )
  config.views = p.views | dict(mix=dict(fn="mix_pairs", scope="batch", reads=("a", "b")))
  config.networks.student.update(p.net)
  config.networks.student.heads.z.update(p.head)
  config.passes["s_mix"] = dict(net="student", reads=("mix/image",))
  config.losses.bt.update(p.bt)
  config.losses["reg"] = dict(
    fn="mixed_barlow_twins_loss", reads=("s_a/z", "s_b/z", "s_mix/z", "mix/lam", "mix/perm"), **p.reg
  )

  if preset == "cifar10":
    common.adamw_run(
      config, batch_size=256, epochs=2000, lr=0.01, weight_decay=1e-6, warmup_start_lr=0.0, end_lr_fraction=1e-3
    )
  elif preset == "imagenet":
    config.update(dict(batch_size=1024, total_epochs=300.0))
  return config
