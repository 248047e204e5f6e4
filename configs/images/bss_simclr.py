"""SimCLR with Batch Styles Standardization: each view gives all images one style, and negatives are of the own view.

Scalbert, Vakalopoulou, Couzinie-Devy, "Towards domain-invariant Self-Supervised Learning with Batch Styles
Standardization", arXiv 2303.06088. Its code was not at hand.

    demo       ViT of width 96, crops of 32 px, patch 8, on a CPU
    cifar10    ResNet-18 with the CIFAR stem; for several domains, --config.data.name=folder:/path/to/sources

The paper pretrains on the source domains of PACS, DomainNet and Camelyon17 without labels. Network, temperature and
optimizer are those of `simclr` here; the order of the views (crop and flip, styles, one colour jitter for the batch,
grey and blur for each image) and the range of the window are our choice.

What tells the demo's scenes apart at first sight is their tint, which one style for all takes away, and the two views
of an image start further apart than two images of a view. Without a BatchNorm the embeddings then collapse, and were
still at ln(batch) after 250 steps. So the demo's head, which reads the mean patch token, has those of SimCLR's code,
each view is a forward of its own, and colours are milder: then the loss falls below it.

Controls: `--config.views.style_a.fn=fourier_augment` (and `style_b`) gives every image a style of its own,
`--config.views.style_a.ratio="(0.0, 0.0)"` none, `--config.losses.nt_xent.negatives=all` takes negatives of both views.
"""

from jssl.configs import common
from jssl.configs.images import simclr
from jssl.errors import UnknownPresetError

VIEWS = simclr.VIEWS
RATIO = (0.02, 0.2)


def get_config(preset: str = "demo"):
  if preset == "imagenet":
    raise UnknownPresetError(f"'{preset}'; there are demo, cifar10")
  config = simclr.get_config(preset)
  plain = dict(mean=0.0, std=1.0)  # styles are of colours in [0, 1]
  p = common.pick(
    preset,
    demo=dict(
      before=common.OBJECT, crop=common.object_view() | plain, colour=common.MOCO_COLOUR | dict(grayscale=0.3), blur=0.0
    ),
    cifar10=dict(
      before={}, crop=common.view("cifar10", size=32, scale=(0.08, 1.0), **plain), colour=common.SIMCLR_COLOUR, blur=0.5
    ),
  )
  config.views = dict(p.before)
  for v in VIEWS:
    crop, style, tint = f"crop_{v}", f"style_{v}", f"tint_{v}"
    config.views[crop] = p.crop
    config.views[style] = dict(fn="standardize_styles", scope="batch", reads=(crop,), ratio=RATIO)
    config.views[tint] = dict(
      fn="batch_color_jitter", scope="batch", reads=(style,), jitter=p.colour["jitter"], prob=p.colour["jitter_prob"]
    )
    config.views[v] = dict(
      fn="color_view", reads=(tint,), grayscale=p.colour["grayscale"], blur=p.blur, **common.colour_statistics(preset)
    )
  config.losses.nt_xent = dict(
    fn="same_view_nt_xent_loss",
    negatives="same_view",
    temperature=config.losses.nt_xent.temperature,
    reads=(common.outputs("s", VIEWS, "z"),),
  )
  if preset == "demo":
    config.networks.student.heads.z.update(
      dict(reads=("mean",), batch_norm=True, last_batch_norm="plain", bias=False, last_bias=False)
    )
    config.evaluation.feature = "mean"
    config.passes = common.passes("s", VIEWS, "student")
  config.evaluation.update(common.colour_statistics(preset) | dict(size=config.evaluation.size or common.SIZES[preset]))
  return config
