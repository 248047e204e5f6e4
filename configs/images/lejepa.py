"""LeJEPA: the views of an image agree, and the embeddings of each view follow a standard normal distribution.

Balestriero, LeCun, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics", arXiv 2511.08544;
code rbalestr-lab/lejepa: README.md (views, optimizer), MINIMAL.md (small data) and scripts/ (ImageNet).

    demo       width 64, depth 3, two large crops of 32 px and two small ones of 16, patch 8, on a CPU
    cifar10    our choice: native 32 px, patch 4; four views, 16 dimensions and weight 0.02 as in MINIMAL.md, which is
               for Imagenette at 128 px
    imagenet   ViT-L/14, 2 x 224 and 6 x 98 px, batch 512, 100 epochs, 512 dimensions, weight 0.05

There is no teacher, predictor or stop-gradient, and one number to choose: the weight of the normal distribution, the
rest of 1 being that of the agreement. As in MINIMAL.md everything is decayed, biases and norms too.

Deviations. The scripts' large views have 238 px, the README's 224, as here. The scripts also set `patch_mask_ratio=0.3`;
the code that reads it is not published, the README knows no masks, and here there are none. The scripts evaluate an
average of the weights and have a linear layer between backbone and projector; this has neither. Ten epochs of warm-up
from 0 are our choice; MINIMAL.md has one of 800, from a hundredth of the peak.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(
      sizes=(32, 16),
      small_crops=2,
      patch=8,
      weight=0.05,
      slices=256,
      net=dict(common.TINY, layer_scale=0.01),
      head=dict(hidden=256, output=16),
    ),
    cifar10=dict(
      sizes=(32, None),
      small_crops=0,
      patch=4,
      weight=0.02,
      slices=256,
      net=dict(width=192, depth=12, num_heads=3),
      head=dict(hidden=2048, output=16),
    ),
    imagenet=dict(
      sizes=(224, 98),
      small_crops=6,
      patch=14,
      weight=0.05,
      slices=1024,
      net=dict(variant="L/14", cls_position=True, init="dinov2"),  # which is timm's, too
      head=dict(hidden=2048, output=512),
    ),
  )
  large = ("a", "b") if p.small_crops else ("a", "b", "c", "d")
  small = tuple(f"l{i + 1}" for i in range(p.small_crops))
  if preset == "demo":
    numbers = dict(common.any_hue(common.COLOUR), blur=0.0, solarize=0.2)
    config.views = common.object_pair(**numbers) | common.small_object_views(small, **numbers)
  else:
    numbers = dict(**common.COLOUR, blur=0.5 if preset == "imagenet" else 0.0, solarize=0.2)
    whole = common.view(preset, size=p.sizes[0], scale=(0.3, 1.0) if small else (0.08, 1.0), **numbers)
    part = common.view(preset, size=p.sizes[1], scale=(0.05, 0.3), **numbers)
    config.views = {v: dict(whole) for v in large} | {v: dict(part) for v in small}
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.sizes[0],
      patch_size=p.patch,
      drop_path=0.1,
      **p.net,
      heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=3, **p.head)),
    )
  )
  config.passes = common.passes("s", large, "student", join="large") | common.passes("s", small, "student", join="small")
  views = common.outputs("s", large + small, "z")
  config.losses = dict(
    sigreg=dict(fn="sigreg_loss", reads=(views,), slices=p.slices, weight=p.weight),
    agree=dict(fn="view_center_loss", reads=(views, common.outputs("s", large, "z")), weight=1 - p.weight),
  )

  if preset == "demo":
    common.object_run(config)
    return config
  config.optim.decay = (".",)
  if preset == "cifar10":
    common.adamw_run(config, batch_size=256, epochs=800, lr=2e-3, end_lr_fraction=1e-3)
  else:
    common.adamw_run(config, batch_size=512, epochs=100, lr=5e-4, lr_scale=None, end_lr_fraction=1e-3)
  return config
