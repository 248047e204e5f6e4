"""I-JEPA (facebookresearch/ijepa): `*.pth.tar`, encoder and target encoder (the one that is evaluated); no class token."""

from jssl.interop import torch_vit
from jssl.interop.formats import Described, Format, Part


def _backbone(weights, contents, num_heads) -> Described:
  del contents
  # src/models/vision_transformer.py (interpolate_pos_encoding): the factor is the plain ratio of the sizes.
  return torch_vit.describe(weights, num_heads=num_heads, position_offset=0.0, position_antialias=False)


IJEPA = Format(
  parts=dict(
    student=Part(r"encoder\.(?:module\.)?(.+)", _backbone), teacher=Part(r"target_encoder\.(?:module\.)?(.+)", _backbone)
  ),
  recognised=lambda contents: any(name.startswith("target_encoder.") for name in contents.weights),
  other=r"predictor\..*|(?:opt|scaler)\..*",
)
