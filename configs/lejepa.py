"""LeJEPA: the views of an image agree, and the embeddings of each view follow a standard normal distribution.

Balestriero, LeCun, "LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics", arXiv 2511.08544;
code rbalestr-lab/lejepa: README.md (views, optimizer), MINIMAL.md (small data) and scripts/ (ImageNet).

    demo       width 64, depth 3, two large crops of 32 px and two small ones of 16, patch 8, on a CPU
    cifar10    our choice: native 32 px, patch 4; four views, 16 dimensions and weight 0.02 as in MINIMAL.md, which is
               for Imagenette at 128 px
    imagenet   ViT-L/14, 2 x 224 and 6 x 98 px, batch 512, 100 epochs, 512 dimensions, weight 0.05

There is no teacher, predictor or stop-gradient, and one number to choose: the weight of the normal distribution, the
rest of 1 being that of the agreement. Ten epochs of warm-up are our choice; MINIMAL.md has one, of 800. The scripts
evaluate an average of the weights and have a linear layer between backbone and projector; this has neither.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  size, patch, small_crops, weight, slices, head, net = dict(
    demo=(32, 8, 2, 0.05, 256, dict(hidden=256, output=16), dict(common.TINY, layer_scale=0.01)),
    cifar10=(32, 4, 0, 0.02, 256, dict(hidden=2048, output=16), dict(width=192, depth=12, num_heads=3)),
    imagenet=(224, 14, 6, 0.05, 1024, dict(hidden=2048, output=512), dict(variant="L/14")),
  )[preset]
  large = ("a", "b") if small_crops else ("a", "b", "c", "d")
  small = tuple(f"l{i + 1}" for i in range(small_crops))
  numbers = dict(**common.COLOUR, blur=0.5 if preset == "imagenet" else 0.0, solarize=0.2)
  whole = common.view(preset, size=size, scale=(0.3, 1.0) if small else (0.08, 1.0), **numbers)
  part = common.view(preset, size={32: 16, 224: 98}[size], scale=(0.05, 0.3), **numbers)
  config.views = {v: dict(whole) for v in large} | {v: dict(part) for v in small}
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=size,
      patch_size=patch,
      drop_path=0.1,
      **net,
      heads=dict(z=dict(fn="mlp_head", reads=("features",), layers=3, **head)),
    )
  )
  config.passes = common.passes("s", large, "student", join="large") | common.passes("s", small, "student", join="small")
  views = common.outputs("s", large + small, "z")
  config.losses = dict(
    sigreg=dict(fn="sigreg_loss", reads=(views,), slices=slices, weight=weight),
    agree=dict(fn="view_center_loss", reads=(views, common.outputs("s", large, "z")), weight=1 - weight),
  )

  if preset == "demo":
    common.object_demo_run(config)
  elif preset == "cifar10":
    common.adamw_run(config, batch_size=256, epochs=800, lr=2e-3, end_lr_fraction=1e-3)
  else:
    common.adamw_run(config, batch_size=512, epochs=100, lr=5e-4, lr_scale=None, end_lr_fraction=1e-3)
  return config
