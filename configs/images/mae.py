"""MAE: encode a quarter of the patches, decode the others' pixels.

He, Chen, Xie, Li, Dollar, Girshick, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377; code
facebookresearch/mae.

    demo       width 96, crops of 32 px, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, a decoder of two blocks
    imagenet   ViT-B/16, 224 px, batch 4096, 1600 epochs: 83.6 % fine-tuned, 67.8-68.0 % linear in the paper
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, net=common.SMALL, decoder=dict(width=64, depth=1, num_heads=2)),
    cifar10=dict(
      size=32, patch=4, net=dict(width=192, depth=12, num_heads=3), decoder=dict(width=128, depth=2, num_heads=4)
    ),
    imagenet=dict(size=224, patch=16, net=dict(variant="B/16"), decoder=dict(width=512, depth=8, num_heads=16)),
  )
  config.views = dict(v=common.view(preset, size=p.size, scale=(0.2, 1.0)))
  config.masking = dict(m=dict(fn="random_patch_mask", grid=("v", "encoder"), ratio=0.75))
  config.networks = dict(
    encoder=dict(fn="vit", image_size=p.size, patch_size=p.patch, position="sincos2d", **(dict(init="mae") | p.net)),
    decoder=dict(fn="mae_decoder", patch_size=p.patch, **p.decoder),
  )
  config.passes = dict(
    e=dict(net="encoder", reads=("v", "ids_keep=m/ids_keep")), d=dict(net="decoder", reads=("e/tokens", "m/ids_restore"))
  )
  config.targets = dict(y=dict(fn="patch_pixels", reads=("v",), patch=p.patch, normalize=True))
  config.losses = dict(rec=dict(fn="mae_loss", reads=("d/pixels", "y", "m/mask")))

  common.mae_run(config, preset)
  return config
