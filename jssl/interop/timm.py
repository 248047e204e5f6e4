"""ViTs of timm (huggingface/pytorch-image-models), also with registers; classifiers are left out.

Mean and standard deviation are those of the `config.json` beside the file. timm runs the exact GELU, also on weights that
were trained with the other.
"""

from jssl.interop import torch_vit
from jssl.interop.formats import Described, Format, Part


def _backbone(weights, contents, num_heads) -> Described:
  del contents
  # timm/layers/pos_embed.py (resample_abs_pos_embed) hands torch the new size, with antialias=True.
  return torch_vit.describe(weights, num_heads=num_heads, position_offset=0.0, position_antialias=True)


def _colours(contents):
  colours = contents.config.get("pretrained_cfg", {})
  return (tuple(colours["mean"]), tuple(colours["std"])) if {"mean", "std"} <= colours.keys() else None


TIMM = Format(
  parts=dict(backbone=Part("(.+)", _backbone)),
  recognised=lambda contents: {"architecture", "pretrained_cfg"} <= contents.config.keys(),
  colours=_colours,
)
