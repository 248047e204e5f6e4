"""Colorization: from a grey image, the colour of each place as one of 262 classes.

Zhang, Isola, Efros, "Colorful Image Colorization", arXiv 1603.08511; code richzhang/colorization. Of the two targets
this is the paper's, bins of CIELAB's a and b with soft codes and rare colours weighted up, not their values.

    demo       width 96, depth 4, crops of 32 px, patch 4, one colour a patch, on a CPU
    cifar10    our choice: native 32 px, patch 4
    imagenet   ViT-S/16, 224 px, 56 x 56 colours as in the paper; the network, the optimizer and 100 epochs are ours

The distribution by which rare colours gain weight is measured while training, see `color_bins_loss`. The network has
only seen grey: it is evaluated on grey images (`evaluation.grayscale`).
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, net=common.SMALL),
    cifar10=dict(size=32, patch=4, net=dict(width=192, depth=12, num_heads=3)),
    imagenet=dict(size=224, patch=16, net=dict(variant="S/16")),
  )
  statistics = common.colour_statistics(preset)
  config.views = dict(
    crop=common.view(preset, size=p.size, scale=(0.2, 1.0), mean=0.0, std=1.0),
    lab=dict(fn="split_lab", reads=("crop",), **statistics),
  )
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.size,
      patch_size=p.patch,
      drop_path=0.1,
      **p.net,
      heads=dict(colors=dict(fn="color_head", reads=("patch_tokens",), patch_size=p.patch, stride=4)),
    )
  )
  config.passes = dict(s=dict(net="student", reads=("lab/grey",)))
  config.targets = dict(y=dict(fn="color_bins", reads=("lab/ab",), patch=p.patch, stride=4))
  config.losses = dict(color=dict(fn="color_bins_loss", reads=("s/colors", "y/index", "y/weight"), uniform=0.5))

  config.evaluation.update(dict(statistics, grayscale=True))
  common.pretext_run(config, preset, batch_size=1024, epochs=100)
  return config
