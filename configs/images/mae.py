"""MAE: encode a quarter of the patches, decode the others' pixels.

He, Chen, Xie, Li, Dollar, Girshick, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377; code
facebookresearch/mae.

    demo       width 96, crops of 32 px, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, a decoder of two blocks
    imagenet   ViT-B/16, 224 px, batch 4096, 1600 epochs: 83.6 % fine-tuned, 67.8-68.0 % linear in the paper

`mae:continue@mae:/path.pth` goes on from any vision transformer (see `configs/released.py`) on images of one's own,
`--config.data.name=folder:/photos`, with our numbers: a new decoder is trained on the encoder as it is for a tenth of the
run, then both, the encoder at a tenth of the decoder's rate, with layer decay 0.75.
`--config.networks.encoder.lora_rank=8` trains adapters of its attention alone,
`--config.networks.decoder.load=mae:/path.pth:decoder` begins with a released decoder.
"""

from jssl.configs import common, released


def get_config(arg: str = "demo"):
  preset, _, source = arg.partition("@")
  if preset == "continue":
    return continued(source)
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, net=common.SMALL, decoder=dict(width=64, depth=1, num_heads=2)),
    cifar10=dict(
      size=32, patch=4, net=dict(width=192, depth=12, num_heads=3), decoder=dict(width=128, depth=2, num_heads=4)
    ),
    imagenet=dict(size=224, patch=16, net=dict(variant="B/16"), decoder=dict(width=512, depth=8, num_heads=16)),
  )
  encoder = dict(fn="vit", image_size=p.size, patch_size=p.patch, position="sincos2d", **(dict(init="mae") | p.net))
  _method(config, preset, p.size, encoder, dict(patch_size=p.patch, **p.decoder))
  common.mae_run(config, preset)
  return config


def continued(source: str):
  """The encoder of `source` trained on."""
  found = released.vit("mae:continue", source)
  config = released.base(found)
  decoder = dict(patch_size=found.patch, width=512, depth=8, num_heads=16, prefix=found.prefix)
  _method(config, "imagenet", found.fitting(224), found.entry, decoder)
  config.update(dict(batch_size=256, total_epochs=100.0))
  config.optim.update(dict(name="adamw", b2=0.95, weight_decay=0.05, lr=1.5e-4, lr_scale="linear", warmup_fraction=0.05))
  released.go_on(config, "encoder", found, low=0.1, layer_decay=0.75)
  return config


def _method(config, preset: str, size: int, encoder: dict, decoder: dict) -> None:
  """What the encoder sees, what is hidden from it, and what is decoded."""
  config.views = dict(v=common.view(preset, size=size, scale=(0.2, 1.0)))
  config.masking = dict(m=dict(fn="random_patch_mask", grid=("v", "encoder"), ratio=0.75))
  config.networks = dict(encoder=encoder, decoder=dict(fn="mae_decoder", **decoder))
  config.passes = dict(
    e=dict(net="encoder", reads=("v", "ids_keep=m/ids_keep")), d=dict(net="decoder", reads=("e/tokens", "m/ids_restore"))
  )
  config.targets = dict(y=dict(fn="patch_pixels", reads=("v",), patch=decoder["patch_size"], normalize=True))
  config.losses = dict(rec=dict(fn="mae_loss", reads=("d/pixels", "y", "m/mask")))
