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

from jssl.configs import common, simclr
from jssl.errors import UnknownPresetError

RATIO = (0.02, 0.2)


def get_config(preset: str = "demo"):
  if preset == "imagenet":
    raise UnknownPresetError(f"'{preset}'; there are demo, cifar10")
  config = simclr.get_config(preset)
  views = config.views.to_dict()
  for v in simclr.VIEWS:
    views |= one_style(v, views.pop(v))
  config.views = views
  config.losses.nt_xent = dict(
    fn="same_view_nt_xent_loss",
    negatives="same_view",
    temperature=config.losses.nt_xent.temperature,
    reads=(common.outputs("s", simclr.VIEWS, "z"),),
  )
  if preset == "demo":
    config.networks.student.heads.z.update(
      dict(reads=("mean",), batch_norm=True, last_batch_norm="plain", bias=False, last_bias=False)
    )
    config.evaluation.feature = "mean"
    config.passes = common.passes("s", simclr.VIEWS, "student")
    for v in simclr.VIEWS:
      config.views[f"tint_{v}"].jitter = common.MOCO_COLOUR["jitter"]
  config.evaluation.update(common.colour_statistics(preset) | dict(size=config.evaluation.size or common.SIZES[preset]))
  return config


def one_style(name: str, view: dict) -> dict:
  """A view by `augment` in four steps, of which the second and the third treat all images of the batch alike."""
  jitter, jitter_prob = view.pop("jitter"), view.pop("jitter_prob")
  colours = {key: view.pop(key) for key in ("grayscale", "blur", "mean", "std")}
  crop, style, tint = (f"{step}_{name}" for step in ("crop", "style", "tint"))
  return {
    crop: view | dict(mean=0.0, std=1.0),
    style: dict(fn="standardize_styles", scope="batch", reads=(crop,), ratio=RATIO),
    tint: dict(fn="batch_color_jitter", scope="batch", reads=(style,), jitter=jitter, prob=jitter_prob),
    name: dict(fn="color_view", reads=(tint,), **colours),
  }
