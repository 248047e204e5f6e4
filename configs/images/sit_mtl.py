"""SiT in 2021: rotation, contrast and reconstruction from distorted images, under learned weights.

Atito, Awais, Kittler, "SiT: Self-supervised vIsion Transformer", arXiv 2104.03602 (its first version); code
Sara-Ahmed/SiT at commit 1767b91 of April 2021, with the rotation after the other changes as since July. `sit` is what
became of it.

    demo       width 64, depth 3, crops of 32 px, patch 4, on a CPU
    cifar10    native 32 px and patch 4, our choice, where the authors enlarge to 224 px for a ViT-B/16; batch 288, 501
               epochs and the optimizer as in their command for STL-10

Two tokens stand before the patches: the class token tells the rotation, the register is contrasted. Each loss has a
learned s: exp(-s) a L + s / 2, with a = 1/2 for the reconstruction.

Deviations. Each image is seen once an epoch, not three times in other crops. Negatives are the whole batch's where the
authors take each device's. The reconstruction head has one bias for each pixel of a patch, where theirs has one a
channel. See also `distort` and `alien_blocks`.
"""

from jssl.configs import common

VIEWS = ("a", "b")


def get_config(preset: str = "demo"):
  p = common.pick(
    preset, demo=dict(dim=128, net=common.TINY), cifar10=dict(dim=512, net=dict(width=192, depth=12, num_heads=3))
  )
  config = common.base(preset)
  config.views = common.symmetric_pair(preset, size=32, scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.0), jitter_prob=1.0) | {
    f"turn_{v}": dict(fn="rotate", reads=(v,)) for v in VIEWS
  }
  images = {v: f"turn_{v}/image" for v in VIEWS}
  config.masking = {f"distort_{v}": dict(fn="distort", reads=(image,), area=0.3) for v, image in images.items()} | {
    f"alien_{v}": dict(fn="alien_blocks", scope="batch", reads=(image, f"distort_{v}"), area=0.3)
    for v, image in images.items()
  }
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=32,
      patch_size=4,
      registers=1,
      drop_path=0.1,
      **p.net,
      heads=dict(
        logits=dict(fn="linear_head", reads=("cls",), output=4),
        z=dict(fn="linear_head", reads=("register01",), output=p.dim),
        pixels=dict(fn="reconstruction_head", reads=("patch_tokens",), layers=0, patch_size=4),
      ),
    ),
    uncertainty=dict(fn="scalars", initial=dict(rotation=1.0, contrast=1.0, reconstruction=1.0)),
  )
  config.passes = common.passes("s", VIEWS, "student", join="views", reads=lambda v: (f"alien_{v}",))
  config.passes["u"] = dict(net="uncertainty", reads=("a",))
  config.evaluation.network = "student"  # the other one is given images too, and only counts them
  config.targets = {f"pixels_{v}": dict(fn="patch_pixels", reads=(image,), patch=4) for v, image in images.items()}
  config.losses = dict(
    rotation=dict(
      fn="softmax_cross_entropy_loss",
      weight=1 / 2,
      log_variance="u/rotation",
      terms=tuple((f"s_{v}/logits", f"turn_{v}/label") for v in VIEWS),
    ),
    contrast=dict(fn="nt_xent_loss", temperature=0.5, log_variance="u/contrast", reads=common.outputs("s", VIEWS, "z")),
    reconstruction=dict(
      fn="masked_l1_loss",
      weight=1 / 2,
      log_variance="u/reconstruction",
      reads=(common.outputs("s", VIEWS, "pixels"), tuple(f"pixels_{v}" for v in VIEWS)),
    ),
  )

  if preset == "demo":
    common.demo_run(config)
  else:
    common.adamw_run(
      config, batch_size=288, epochs=501, lr=1e-3, lr_scale_batch=512, end_lr=5e-6, warmup_epochs=5, warmup_start_lr=1e-6
    )
  return config
