"""DINOv2 (facebookresearch/dinov2), with registers and without: `dinov2_vit*_pretrain.pth`, and teachers of a training.

The released files have no heads; those of a teacher stay behind. SwiGLU (ViT-g) is not read.
"""

from jssl.interop import torch_vit
from jssl.interop.formats import Described, Format, Part

_NAMES = r"(?:cls_token|pos_embed|mask_token|register_tokens|patch_embed\.|blocks\.|norm\.).*"


def _backbone(weights, contents, num_heads) -> Described:
  del contents
  registers = "register_tokens" in weights
  # hub/backbones.py: interpolate_offset=0.0 and interpolate_antialias=True go with registers.
  return torch_vit.describe(
    weights, num_heads=num_heads, position_offset=0.0 if registers else 0.1, position_antialias=registers
  )


def _recognised(contents) -> bool:
  token = contents.weights.get("mask_token")
  named = lambda ending: any(name.endswith(ending) for name in contents.weights)
  return token is not None and token.ndim == 2 and named("ls1.gamma") and named("pos_embed")


DINOV2 = Format(
  parts=dict(teacher=Part(rf"teacher\.backbone\.({_NAMES})", _backbone), backbone=Part(rf"({_NAMES})", _backbone)),
  recognised=_recognised,
  other=r"teacher\.(?:dino_head|ibot_head)\..*",
)
