"""BEiT v2: BEiT whose words are a teacher's, and whose class token has to tell late in the network what early patches lack.

Peng, Dong, Bao, Ye, Wei, "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers", arXiv 2208.06366; code
microsoft/unilm, beit2.

The words of hidden patches are guessed twice by one layer: from the last block, and behind two blocks more that see the
patches as they were at an early block and of the late ones the class token alone. The words are those of VQ-KD, a tokenizer
distilled from another run (`configs/images/tokenizer.py`); without one, those of `beit`'s k-means:

    --config dino:demo --workdir runs/dino
    --config tokenizer:demo@runs/dino --workdir runs/vqkd
    --config beit_v2:demo@runs/vqkd --workdir runs/beit_v2

    demo       `beit`'s, width 96, crops of 32 px, patch 4, 256 words, patches of block 3 of 4, on a CPU
    cifar10    our choice, `beit`'s: native 32 px, patch 4, 512 words
    imagenet   ViT-B/16, 224 px, 8192 words, batch 2048, 1600 epochs: 85.5 % fine-tuned with CLIP for a teacher in the paper

Crops keep 20 % of the image and more. The teacher is `dino`'s ViT-S on ImageNet, the paper's CLIP's or DINO's ViT-B.
"""

from jssl.configs.images import beit, tokenizer

EARLY = dict(demo=3, cifar10=9, imagenet=9)  # of 4, 12, 12 blocks


def get_config(arg: str = "demo"):
  config = beit.get_config(arg)
  preset, _, workdir = arg.partition("@")
  encoder = config.networks.encoder
  words = encoder.heads.words.to_dict()
  del encoder["heads"], words["reads"]
  encoder.update(dict(readout=(EARLY[preset],), readout_fusion="class_token", readout_depth=2))
  config.networks.words = words
  if workdir:
    config.networks.tokenizer = tokenizer.network(preset, distilled=True) | dict(frozen=True, load=f"{workdir}:tokenizer")
  config.views.v.scale = (0.2, 1.0)
  config.passes.update(last=dict(net="words", reads=("e/patch_tokens",)), behind=dict(net="words", reads=("e/readout",)))
  guess = config.losses.words.to_dict()
  config.losses = dict(
    words=dict(guess, reads=("last/features", "y", "m/mask")),
    class_token=dict(guess, reads=("behind/features", "y", "m/mask")),
  )
  config.evaluation.feature = "cls"
  if preset == "imagenet":
    config.total_epochs = 1600.0
  return config
