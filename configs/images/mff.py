"""MFF: MAE whose decoder sees several of the encoder's blocks, fused, so that the last one need not keep what is low.

Liu, Zhang, Chen, Yu, Chen, Lin, "Improving Pixel-based MIM by Reducing Wasted Modeling Capability", arXiv 2308.00261; code
open-mmlab/mmpretrain, mmpretrain/models/selfsup/mff.py, configs/mff.

Each named block but the last goes through a linear layer; their sum under learned weights (a softmax) takes the place of the
last block before the final LayerNorm and the decoder. What is evaluated is the last block. All else is `mae`'s.

    demo       `mae`'s, width 96, crops of 32 px, patch 4, all four blocks, on a CPU
    cifar10    our choice, `mae`'s: native 32 px, patch 4
    imagenet   ViT-B/16, 224 px, batch 4096, 800 epochs: 83.7 % fine-tuned, 68.3 % linear in its repository

Its crops are MAE's; the code's resize the shorter side to 224 px, pad by 4 and cut 224 px out.
"""

from jssl.configs.images import mae

BLOCKS = dict(demo=(1, 2, 3, 4), cifar10=(1, 3, 5, 7, 9, 12), imagenet=(1, 3, 5, 7, 9, 12))


def get_config(preset: str = "demo"):
  config = mae.get_config(preset)
  config.networks.encoder.update(dict(readout=BLOCKS[preset], readout_fusion="learned"))
  config.passes.d.reads = ("e/readout_tokens", "m/ids_restore")
  # The code's optimizer decays no token, and the weights of the blocks.
  config.optim.no_decay = ("/(cls|mask_token)$",)
  config.optim.decay = ("/readout_weights$",)
  if preset == "imagenet":
    config.total_epochs = 800.0
  return config
