"""iBOT (bytedance/ibot): `checkpoint_teacher.pth`, a ViT; `checkpoint.pth`, student and teacher, whose heads stay behind."""

from jssl.interop import dino
from jssl.interop.formats import Format, Part

_NAMES = r"(?:cls_token|pos_embed|masked_embed|patch_embed\.|blocks\.|norm\.|fc_norm\.).*"

IBOT = Format(
  parts=dict(
    student=Part(rf"student\.(?:module\.)?backbone\.({_NAMES})", dino.backbone),
    teacher=Part(rf"teacher\.(?:module\.)?backbone\.({_NAMES})", dino.backbone),
    backbone=Part(rf"(?:state_dict\.)?({_NAMES})", dino.backbone),
  ),
  recognised=lambda contents: any(name.endswith("masked_embed") for name in contents.weights),
  other=r"(?:student|teacher)\.(?:module\.)?head\..*|ibot_loss\..*|(?:optimizer|fp16_scaler)\..*",
)
