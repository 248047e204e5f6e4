"""Mixed Barlow Twins: the embedding of a mixture of two images correlates as a mixture of their embeddings would.

Bandara, De Melo, Patel, "Guarding Barlow Twins Against Overfitting with Mixed Samples", arXiv 2312.02151; code
wgcban/mix-bt. Barlow Twins, with a third forward a step and one more loss.

    demo       ViT of width 64, depth 3, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem, batch 256, 2000 epochs: 90.52 % kNN, 92.58 % linear in the repository, the
               best of all epochs on the test set
    imagenet   ResNet-50, 224 px, batch 1024, 300 epochs: 72.2 % linear in the paper, against 71.3 % without

On small data each embedding is L2-normalised before it is standardised, as in the code. The two codes differ in the
second target, see `mixed_barlow_twins_loss`; each preset has that of its own.

Deviations. Weight decay is AdamW's where the code for CIFAR-10 adds 1e-6 w to Adam's gradient. Variances and
permutations are those of the global batch where the code for ImageNet takes each device's.
"""

from jssl.configs import barlow_twins, common
from jssl.schedules import linear


def get_config(preset: str = "demo"):
  config = barlow_twins.get_config(preset)
  small = preset != "imagenet"
  if small:
    dim = 256 if preset == "demo" else 1024
    lambd = 8 / dim
    config.views = common.symmetric_pair(preset, size=32, scale=(0.08, 1.0), interpolation="bilinear", **common.MOCO_COLOUR)
    config.networks.student.heads.z.update(dict(hidden=dim // 2, output=dim, layers=2, last_bias=True))
    config.losses.bt.update(dict(lambd=lambd, scale=1.0, normalize=True, eps=1e-12))
    weight = 4 * lambd
  else:
    weight = linear(0.0, 1.0 * config.losses.bt.lambd / 2, epochs=10)
  if preset == "demo":
    common.object_demo_run(config)
  config.views["mix"] = dict(fn="mix_pairs", scope="batch", reads=("a", "b"))
  config.passes["s_mix"] = dict(net="student", reads=("mix/image",))
  config.losses["reg"] = dict(
    fn="mixed_barlow_twins_loss",
    reads=("s_a/z", "s_b/z", "s_mix/z", "mix/lam", "mix/perm"),
    weight=weight,
    form="small" if small else "imagenet",
    normalize=small,
  )

  if preset == "demo":
    config.networks.student.update(common.TINY)
  elif preset == "cifar10":
    common.adamw_run(
      config, batch_size=256, epochs=2000, lr=0.01, weight_decay=1e-6, warmup_start_lr=0.0, end_lr_fraction=1e-3
    )
  else:
    config.update(dict(batch_size=1024, total_epochs=300.0))
  return config
