"""DenseCL: MoCo v2, and the same for each position of the feature map with its match in the other view.

Wang, Zhang, Shen, Kong, Li, "Dense Contrastive Learning for Self-Supervised Visual Pre-Training", arXiv 2011.09157;
code WXinlong/DenseCL.

    demo       ViT of width 96, crops of 32 px, 64 patches, on a CPU
    cifar10    our choice: solo-learn's setting of MoCo v2 with ResNet-18, whose last feature map has 4 x 4 positions
    imagenet   ResNet-50, 224 px, 7 x 7 positions, batch 256, 200 epochs: 58.7 AP on VOC detection in the paper's
               repository, where MoCo v2 has 57.0

A query's match is the position of the other view whose backbone feature is most similar. The negatives of a position
are past images' dense keys, averaged over positions. The image's feature is the mean over positions, also in the ViT.
What `configs/images/moco_v2.py` says of teacher, BatchNorm and learning rate holds here too.
"""

from jssl.configs.images import moco_v2

DENSE_WEIGHT = 0.5


def get_config(preset: str = "demo"):
  config = moco_v2.get_config(preset)
  student = config.networks.student
  local = "feature_map"
  if student.fn == "vit":
    local = "patch_tokens"
    student.cls_token = False
  student.heads.dense = dict(student.heads.z, reads=(local,))
  if preset == "imagenet":
    # mmcv starts the backbone and the linear layers; the dense head's 1x1 convolutions stay as torch has them.
    student.init = student.heads.z.init = "mmcv"
  for name, loss in list(config.losses.items()):
    query, key = (read.removesuffix("/z") for read in loss.reads)
    view = name.removeprefix("nce_")
    match = f"match_{view}"
    config.targets[match] = dict(fn="match_tokens", reads=(f"{query}/{local}", f"{key}/{local}", f"{key}/dense"))
    config.losses[f"dense_{view}"] = dict(
      loss, reads=(f"{query}/dense", match, f"{key}/dense"), weight=DENSE_WEIGHT * loss.weight
    )
    loss.weight *= 1 - DENSE_WEIGHT
  return config
