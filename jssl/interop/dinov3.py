"""DINOv3's ViTs (facebookresearch/dinov3): `dinov3_vit*_pretrain_*.pth`, and teachers of a training.

`bias_mask`, by which biases are multiplied, is multiplied into them; where it is 0 throughout the key, the key has none. The
periods of rotary positions are in the file, rounded to bfloat16 in those that were released. The norm of local crops, which
only training uses, and heads stay behind.
"""

import numpy as np

from jssl.errors import ConfigError
from jssl.interop import torch_vit
from jssl.interop.formats import Described, Format, Part
from jssl.models.rope import periods

_NAMES = r"(?:cls_token|mask_token|storage_tokens|rope_embed\.|patch_embed\.|blocks\.|norm\.|cls_norm\.).*"


def _backbone(weights, contents, num_heads) -> Described:
  del contents
  weights = _masked(dict(weights))
  found = torch_vit.need(weights, "rope_embed.periods")
  del weights["rope_embed.periods"]
  *_, side, _ = torch_vit.need(weights, "patch_embed.proj.weight").shape
  width = len(weights["patch_embed.proj.weight"])
  heads, rest = divmod(width, 4 * len(found))
  if rest or num_heads not in (None, heads):
    raise ConfigError(f"{len(found)} periods of a network of width {width} are not those of num_heads={num_heads or heads}")
  gated = any(name.endswith("mlp.w1.weight") for name in weights)
  described = torch_vit.describe(
    weights,
    num_heads=heads,
    heads={width: heads},  # the periods tell it
    image_size=(14 * side, 14 * side),  # 224, on patches of 16; no array depends on it
    position="rope",
    # hub/backbones.py has it for all of them.
    rope_rescale=2.0,
    **_theta(found),
    mlp="swiglu" if gated else "gelu",
    layer_norm_eps=1e-5,
  )
  return described._replace(network=described.network | _biases(described.weights))


def _masked(weights):
  """The weights with `bias_mask` in the biases; one that is masked throughout is left out.

  Raises:
    ConfigError: a mask has other numbers than 0 and 1.
  """
  for name in [name for name in weights if name.endswith(".bias_mask")]:
    mask, bias = weights.pop(name), name.removesuffix("_mask")
    if not np.isin(mask, (0, 1)).all():
      raise ConfigError(f"{name} has other numbers than 0 and 1: it was never filled")
    weights[bias] = torch_vit.need(weights, bias) * mask
  return weights


def _biases(weights):
  """Whether keys have a bias; zeros, which a mask made, are none, and are taken out."""
  names = [name for name in weights if name.endswith("attn.key.bias")]
  zero = all(not np.any(weights[name]) for name in names)
  for name in names if zero else ():
    del weights[name]
  return dict(key_bias=bool(names) and not zero)


def _theta(found: np.ndarray) -> dict:
  """The base that a file's periods have, and to what they were rounded.

  Raises:
    ConfigError: they are no powers of a whole number.
  """
  number = len(found)
  theta = float(np.round(float(found[-1]) ** (number / (number - 1)))) if number > 1 else 100.0
  for dtype in ("float32", "bfloat16"):
    if np.allclose(found.astype(np.float32), periods(theta, number, dtype), rtol=1e-6, atol=0):
      return dict(rope_theta=theta, rope_dtype=dtype)
  raise ConfigError(f"rope_embed.periods {found.tolist()} are not theta ** (k / {number}) of a whole number theta")


DINOV3 = Format(
  parts=dict(teacher=Part(rf"teacher\.backbone\.({_NAMES})", _backbone), backbone=Part(rf"({_NAMES})", _backbone)),
  recognised=lambda contents: any(name.endswith("rope_embed.periods") for name in contents.weights),
  other=r"(?:teacher\.backbone\.)?local_cls_norm\..*|teacher\.(?:dino_head|ibot_head)\..*|optimizer\..*",
)
