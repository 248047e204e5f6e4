"""MAE (facebookresearch/mae): `mae_pretrain_*.pth`, the encoder; `*_full.pth` and `mae_visualize_*.pth`, the decoder too.

Which of the decoders predict normalised pixels is in no file: `*_full.pth` does, `mae_visualize_*.pth` does not. Fixed
positions stay fixed. A fine-tuned file has `fc_norm`; its classifier is left out.
"""

import math

import numpy as np

from jssl.errors import ConfigError
from jssl.interop import torch_vit
from jssl.interop.formats import Described, Format, Part, under
from jssl.models.positions import sincos

_WB = r"\.(weight|bias)"
_RULES = under(
  "backbone/",
  (
    ("mask_token", "mask_token"),
    ("decoder_embed" + _WB, r"embedding/\1"),
    ("decoder_norm" + _WB, r"Transformer/encoder_norm/\1"),
    ("decoder_pred" + _WB, r"head/\1"),
    *torch_vit.blocks("decoder_blocks"),
  ),
)


def _encoder(weights, contents, num_heads) -> Described:
  del contents
  # util/pos_embed.py (interpolate_pos_embed) hands torch the new size.
  return torch_vit.describe(weights, num_heads=num_heads, position_offset=0.0, position_antialias=False)


def _decoder(weights, contents, num_heads) -> Described:
  del contents
  weights = torch_vit.split_qkv(weights)
  missing = {
    "decoder_embed.weight",
    "decoder_pred.weight",
    "decoder_pos_embed",
    "decoder_blocks.0.mlp.fc1.weight",
  } - weights.keys()
  if missing:
    raise ConfigError(f"the decoder has no {', '.join(sorted(missing))}")
  width, encoder = weights["decoder_embed.weight"].shape
  table = require_sincos(weights.pop("decoder_pos_embed")[:, 1:])
  pixels = weights["decoder_pred.weight"].shape[0]
  if pixels % 3 or math.isqrt(pixels // 3) ** 2 != pixels // 3:
    raise ConfigError(f"decoder_pred predicts {pixels} numbers, which are no square patch of three colours")
  number, notes = torch_vit.heads_of(width, num_heads, {512: 16})
  network = dict(
    fn="mae_decoder",
    patch_size=math.isqrt(pixels // 3),
    width=width,
    depth=torch_vit.depth_of(weights, "decoder_blocks"),
    num_heads=number,
    mlp_ratio=torch_vit.ratio(weights["decoder_blocks.0.mlp.fc1.weight"].shape[0], width),
    gelu="exact",
    layer_norm_eps=1e-6,
  )
  return Described(network, weights, _RULES, torch_vit.input_tokens(encoder, 1 + table.shape[1]), notes)


def require_sincos(table: np.ndarray) -> np.ndarray:
  """The positions `[1, patches, dim]` of a decoder, which must be the fixed ones.

  Raises:
    ConfigError: they are others.
  """
  side = math.isqrt(table.shape[1])
  if side**2 != table.shape[1] or not np.allclose(table[0], sincos((side, side), table.shape[2]), atol=1e-5):
    raise ConfigError("the decoder's positions are not the fixed ones of MAE, which mae_decoder has")
  return table


MAE = Format(
  parts=dict(
    encoder=Part(r"(?:model\.)?((?:cls_token|pos_embed|patch_embed\.|blocks\.|norm\.|fc_norm\.|head\.).*)", _encoder),
    decoder=Part(r"(?:model\.)?((?:mask_token|decoder_).*)", _decoder),
  ),
  recognised=lambda contents: any(name.removeprefix("model.") == "decoder_pred.weight" for name in contents.weights),
)
