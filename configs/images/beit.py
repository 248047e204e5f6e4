"""BEiT: guess the visual words of hidden patches.

Bao, Dong, Piao, Wei, "BEiT: BERT Pre-Training of Image Transformers", arXiv 2106.08254; code microsoft/unilm, beit.

    demo       width 96, crops of 32 px, patch 4, 256 words, on a CPU
    cifar10    our choice: native 32 px, patch 4, 512 words
    imagenet   ViT-B/16, 224 px, 8192 words, batch 2048, 800 epochs: 83.2 % fine-tuned in the paper

The paper's words are those of DALL-E's discrete VAE, trained on 250 million images. Here they come from the data, in
one of two ways; the method is the same, and only what writes the target `y` differs:

    beit:demo                      k-means of whitened patches, fitted before the first step
    beit:demo@runs/tokenizer       a frozen VQ-VAE, trained by `--config tokenizer:demo --workdir runs/tokenizer`

Both read the student's own view, where the authors give their tokenizer one of half the resolution. Colours are
jittered after the crop, not before it. On CIFAR-10 the initialisation is not cut off at one standard deviation as the
authors' is: the ViT is narrow.
"""

from jssl.configs import common
from jssl.configs.images import tokenizer


def get_config(preset: str = "demo"):
  preset, _, workdir = preset.partition("@")
  config = common.base(preset)
  p = common.pick(
    preset,
    demo=dict(size=32, patch=4, words=256, blocks=dict(ratio=0.4, min_block=4), net=common.SMALL, head=dict()),
    cifar10=dict(
      size=32,
      patch=4,
      words=512,
      blocks=dict(ratio=0.4, min_block=4),
      net=dict(
        width=192, depth=12, num_heads=3, position="relative_bias", layer_scale=0.1, drop_path=0.1, init="normal_rescaled"
      ),
      head=dict(),
    ),
    imagenet=dict(
      size=224,
      patch=16,
      words=8192,
      blocks=dict(count=75, min_block=16),
      net=dict(variant="B/16", position="relative_bias", layer_scale=0.1, drop_path=0.1, init="beit"),
      head=dict(init="beit"),
    ),
  )
  config.views = dict(v=common.view(preset, size=p.size, scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.0), jitter_prob=1.0))
  config.masking = dict(m=dict(fn="block_mask", grid=("v", "encoder"), **p.blocks))
  config.networks = dict(
    encoder=dict(
      fn="vit",
      image_size=p.size,
      patch_size=p.patch,
      mask_token=True,
      **p.net,
      heads=dict(words=dict(fn="linear_head", reads=("patch_tokens",), output=p.words, **p.head)),
    )
  )
  config.passes = dict(e=dict(net="encoder", reads=("v", "mask=m/mask")))
  if workdir:
    config.networks.tokenizer = tokenizer.network(preset) | dict(frozen=True, load=f"{workdir}:tokenizer")
    config.passes.t = dict(net="tokenizer", reads=("v",))
    config.targets = dict(y=dict(fn="same", reads=("t/vq/codes",)))
  else:
    # A few patches of each image are enough, and all of a large data set would be too many.
    few = dict(fn="random_patch_mask", grid=("v", "encoder"), ratio=0.99 if preset == "imagenet" else 0.9)
    config.masking.few = few
    config.refresh = dict(codebook=dict(fn="patch_codebook", reads=("few_patches",), codes=p.words, every_fraction=1.0))
    config.targets = dict(
      patches=dict(fn="patch_pixels", reads=("v",), patch=p.patch),
      few_patches=dict(fn="take_tokens", reads=("patches", "few/ids_keep")),
      y=dict(fn="nearest_code", reads=("patches", "codebook/mean", "codebook/whitening", "codebook/centers")),
    )
  config.losses = dict(words=dict(fn="masked_cross_entropy_loss", reads=("e/words", "y", "m/mask")))
  config.evaluation.feature = "mean"

  common.beit_run(config, preset, lr=1.5e-3)
  return config
