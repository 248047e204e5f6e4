"""MoCo v3 (facebookresearch/moco-v3): `vit-*.pth.tar`, student and momentum encoder; projector and predictor stay behind.

Its fixed positions have rows first, MAE's columns: they are kept as a learned table.
"""

from jssl.interop import torch_vit
from jssl.interop.formats import Described, Format, Part


def _backbone(weights, contents, num_heads) -> Described:
  del contents
  # vits.py: ViT-S has 12 heads here. Positions are not interpolated there; so they are as in timm, whose class it is.
  return torch_vit.describe(
    weights, num_heads=num_heads, heads={384: 12, 768: 12}, position_offset=0.0, position_antialias=True
  )


MOCO_V3 = Format(
  parts=dict(
    student=Part(r"(?:state_dict\.)?module\.base_encoder\.(?!head\.)(.+)", _backbone),
    teacher=Part(r"(?:state_dict\.)?module\.momentum_encoder\.(?!head\.)(.+)", _backbone),
  ),
  recognised=lambda contents: any("module.base_encoder.blocks." in name for name in contents.weights),
  other=r"(?:state_dict\.)?module\.(?:\w+_encoder\.head|predictor)\..*|(?:optimizer|scaler)\..*",
)
