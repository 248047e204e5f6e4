"""MixMIM (MixMAE): two images share one input, each hidden where the other shows, and both are reconstructed.

Liu, Huang, Zheng, Liu, Li, "MixMAE: Mixed and Masked Autoencoder for Efficient Pretraining of Hierarchical Vision
Transformers" (first "MixMIM: Mixed and Masked Image Modeling for Visual Representation Learning"), arXiv 2205.13137;
code Sense-X/MixMIM.

    demo       width 96, crops of 32 px, patch 4, on a CPU
    cifar10    our choice: native 32 px, patch 4, a decoder of two blocks
    imagenet   ViT-B/16, 224 px, batch 2048, 600 epochs, the optimizer of exp/base_600ep/pretrain.sh; the paper's 85.1 %
               fine-tuned are of a Swin-B with windows of 14

On a plain ViT: two learned vectors tell the encoder which patches are whose, and it attends to all of them. The authors
encode with a Swin whose tokens attend only to those of their own image. On a plain ViT that would make two encoders of
half an image out of one, which mixing could not change. Each image has a mask of its own, not each batch.
"""

from jssl.configs import common


def get_config(preset: str = "demo"):
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, net=common.SMALL, decoder=dict(width=64, depth=1, num_heads=2), run={}, optim={}),
    cifar10=dict(
      size=32,
      patch=4,
      net=dict(width=192, depth=12, num_heads=3),
      decoder=dict(width=128, depth=2, num_heads=4),
      run=dict(batch_size=512, total_epochs=400.0),
      optim=dict(lr=2.5e-4, warmup_epochs=10),
    ),
    imagenet=dict(
      size=224,
      patch=16,
      net=dict(variant="B/16"),
      decoder=dict(width=512, depth=8, num_heads=16),
      run=dict(batch_size=2048, total_epochs=600.0),
      optim=dict(lr=1.5e-4, warmup_epochs=40),
    ),
  )
  config.views = dict(v=common.view(preset, size=p.size, scale=(0.2, 1.0)))
  config.masking = dict(
    m=dict(fn="cell_mask", grid=("v", "encoder"), cell=2, ratio=0.5),
    mix=dict(fn="mix_patches", scope="batch", reads=("v", "m/mask"), patch=p.patch),
  )
  config.networks = dict(
    encoder=dict(
      fn="vit",
      image_size=p.size,
      patch_size=p.patch,
      position="sincos2d",
      cls_token=False,
      mix_embedding=True,
      **(dict(init="mae") | p.net),
    ),
    decoder=dict(fn="mae_decoder", patch_size=p.patch, prefix=0, **p.decoder),
  )
  config.passes = dict(
    e=dict(net="encoder", reads=("mix/image", "mix=m/mask")),
    own=dict(net="decoder", reads=("e/tokens", "mask=m/mask"), join="both"),
    other=dict(net="decoder", reads=("e/tokens", "mask=mix/partner_mask"), join="both"),
  )
  config.targets = dict(
    y_own=dict(fn="patch_pixels", reads=("v",), patch=p.patch, normalize=True),
    y_other=dict(fn="patch_pixels", reads=("mix/partner",), patch=p.patch, normalize=True),
  )
  config.losses = dict(
    rec=dict(
      fn="masked_mse_loss", reads=(("own/pixels", "other/pixels"), ("y_own", "y_other"), ("m/mask", "mix/partner_mask"))
    )
  )

  if preset == "demo":
    common.demo_run(config)
  else:
    config.update(p.run)
    config.optim.update(dict(name="adamw", lr_scale="linear", weight_decay=0.05, **p.optim))
  config.optim.b2 = 0.95
  return config
