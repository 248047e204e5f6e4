"""A tokenizer for BEiT: a small VQ-VAE whose codes stand for the patches of a ViT.

van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", arXiv 1711.00937, with the normalised
entries of few dimensions of Yu et al., "Vector-quantized Image Modeling with Improved VQGAN", arXiv 2110.04627, and
transformers for its encoder and decoder as there. Nothing in it is BEiT's own, whose tokenizer is that of DALL-E.

    demo       width 64, 256 codes, crops of 32 px, patch 4, on a CPU
    cifar10    native 32 px, patch 4, 512 codes
    imagenet   width 384, 8192 codes, 224 px, patch 16

All numbers are our choice. Entries that no patch is nearest to are dead: a codebook that learns from its own patches
alone leaves most of them so. The loss `usage` pulls them in, by asking that on average over a batch all entries be
about as near; its metric `used` says how many are in use.
"""

from jssl.configs import common


def network(preset: str) -> dict:
  """The encoder and its quantiser, which `configs/images/beit.py` loads."""
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, codes=256, net=dict(width=64, depth=2, num_heads=2)),
    cifar10=dict(size=32, patch=4, codes=512, net=dict(width=192, depth=4, num_heads=3)),
    imagenet=dict(size=224, patch=16, codes=8192, net=dict(width=384, depth=6, num_heads=6)),
  )
  return dict(
    fn="vit",
    image_size=p.size,
    patch_size=p.patch,
    cls_token=False,
    **p.net,
    heads=dict(vq=dict(fn="vector_quantizer", reads=("patch_tokens",), codes=p.codes, dim=32)),
  )


def get_config(preset: str = "demo"):
  config = common.base(preset)
  encoder = network(preset)
  patch = encoder["patch_size"]
  p = common.pick(
    preset,
    demo=dict(decoder=dict(width=64, depth=1, num_heads=2), run={}, warmup=None),
    cifar10=dict(decoder=dict(width=192, depth=2, num_heads=3), run=dict(batch_size=256, total_epochs=200.0), warmup=10),
    imagenet=dict(decoder=dict(width=384, depth=3, num_heads=6), run=dict(batch_size=1024, total_epochs=100.0), warmup=5),
  )
  config.views = dict(v=common.view(preset, size=encoder["image_size"], scale=(0.2, 1.0)))
  config.networks = dict(tokenizer=encoder, decoder=dict(fn="mae_decoder", patch_size=patch, prefix=0, **p.decoder))
  config.passes = dict(t=dict(net="tokenizer", reads=("v",)), d=dict(net="decoder", reads=("t/vq/quantized",)))
  config.targets = dict(y=dict(fn="patch_pixels", reads=("v",), patch=patch))
  config.losses = dict(
    rec=dict(fn="masked_mse_loss", reads=("d/pixels", "y")),
    vq=dict(fn="quantization_loss", reads=("t/vq/latents", "t/vq/entries"), commitment=0.25, weight=1.0),
    usage=dict(fn="mean_entropy_loss", reads=("t/vq/cosines",), temp=0.05, weight=0.1),
  )

  if preset == "demo":
    common.demo_run(config)
  else:
    config.update(p.run)
    config.optim.update(dict(name="adamw", lr=2e-4, lr_scale="linear", weight_decay=0.05, warmup_epochs=p.warmup))
  return config
