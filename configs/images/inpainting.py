"""Context encoder: fill one large hole in an image.

Pathak, Krahenbuhl, Donahue, Darrell, Efros, "Context Encoders: Feature Learning by Inpainting", arXiv 1604.07379; code
pathak22/context-encoder. Of the two losses this has the squared error of the hidden pixels; `context_encoder` has the
adversarial one, too.

    demo       width 96, depth 4, crops of 32 px, patch 4, a quarter of the area at a random place, on a CPU
    cifar10    our choice: native 32 px, patch 4, the same hole
    imagenet   ViT-S/16, 224 px, the middle quarter as in the paper; the network, the optimizer and 100 epochs are ours

Each hidden pixel is predicted from its patch's token by a light decoder, where the paper decodes from one vector. The
code's wider weight on a border that the hole shares with what is seen has no place here: nothing is predicted there.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, place="random", net=common.SMALL),
    cifar10=dict(size=32, patch=4, place="random", net=dict(width=192, depth=12, num_heads=3)),
    imagenet=dict(size=224, patch=16, place="center", net=dict(variant="S/16")),
  )
  config.views = dict(v=common.view(preset, size=p.size, scale=(0.2, 1.0)))
  config.masking = dict(m=dict(fn="hole", reads=("v",), side=0.5, place=p.place))
  config.networks = dict(
    student=dict(
      fn="vit",
      image_size=p.size,
      patch_size=p.patch,
      drop_path=0.1,
      **p.net,
      heads=dict(pixels=dict(fn="reconstruction_head", reads=("patch_tokens",), layers=3, patch_size=p.patch)),
    )
  )
  config.passes = dict(s=dict(net="student", reads=("m/image",)))
  config.targets = dict(
    y=dict(fn="patch_pixels", reads=("v",), patch=p.patch), where=dict(fn="patchify_mask", reads=("m/mask",), patch=p.patch)
  )
  config.losses = dict(rec=dict(fn="masked_mse_loss", reads=("s/pixels", "y", "where")))

  common.pretext_run(config, preset, batch_size=1024, epochs=100)
  return config
