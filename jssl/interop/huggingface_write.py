"""Networks as models of Hugging Face's transformers: which of its models holds one, its names and its `config.json`.

| `vit` with | transformers |
|---|---|
| rotary positions | DINOv3ViTModel |
| relative biases, no positions, or `fc_norm` | BeitModel |
| registers | Dinov2WithRegistersModel |
| `layer_scale` | Dinov2Model |
| no class token | IJepaModel |
| none of these | ViTModel |
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jssl.errors import ConfigError
from jssl.interop import huggingface_dinov3, huggingface_write_maps
from jssl.interop.formats import Preprocessing, Written
from jssl.interop.huggingface import VIT_RULES
from jssl.interop.huggingface_config import GELU
from jssl.interop.names import convert_back
from jssl.interop.pretrained import held_vit, Pretrained
from jssl.interop.torch_vit import join_positions, ratio
from jssl.models.vit_module import ViT

_MODELS = dict(
  vit="ViTModel",
  ijepa="IJepaModel",
  dinov2="Dinov2Model",
  dinov2_with_registers="Dinov2WithRegistersModel",
  beit="BeitModel",
)
# What transformers cannot say of a model of this type.
_HOLDS: dict[str, dict[str, tuple]] = dict(
  vit={},
  ijepa=dict(registers=(0,)),
  dinov2=dict(cls_token=(True,)),
  dinov2_with_registers=dict(cls_token=(True,)),
  beit=dict(cls_token=(True,), registers=(0,), qkv_bias=(True,)),
)
_OF_DINOV2 = r"\.(?:norm[12]|mlp|layer_scale[12])\."
# Of the spellings that the table of names has, those of a model other than ViT.
_SPELLING = dict(beit="lambda_[12]$", dinov2=_OF_DINOV2, dinov2_with_registers=_OF_DINOV2)


def write(found: Pretrained, seen: Preprocessing) -> Written:
  """`jssl.interop.save` to what `from_pretrained` reads."""
  return WRITERS[found.network["fn"]](found, seen)


def _vit(found: Pretrained, seen: Preprocessing) -> Written:
  del seen
  if found.network.get("position") == "rope":
    return huggingface_dinov3.write(found)
  vit = held_vit("hf", found)
  kind = _kind(vit)
  held_vit(f"hf ({kind})", found, **_HOLDS[kind])
  for name in ("image_size", "patch_size"):
    if len(set(getattr(vit, name))) > 1:
      raise ConfigError(f"hf holds no ViT of {name}={getattr(vit, name)}, which transformers takes for a square")
  table = vit.position in ("learned", "sincos", "sincos2d")
  found = found.tabled(cls_position=vit.cls_token and table)
  weights = convert_back("hf", found.variables, VIT_RULES, _SPELLING.get(kind, "(?!)"))
  join_positions(weights, "embeddings.cls_position", "embeddings.position_embeddings")
  notes = []
  if kind == "beit":
    for name in [name for name in weights if name.endswith("attention.key.bias")]:
      if np.any(weights.pop(name)):
        notes = ["the biases of keys, which BEiT has not, stay behind: the softmax is blind to them"]
  elif kind.startswith("dinov2"):
    _complete(weights, vit, kind)
  channels = weights["embeddings.patch_embeddings.projection.weight"].shape[1]
  if kind == "vit":
    notes.append("transformers adds a pooler with random weights, unless `from_pretrained(..., add_pooling_layer=False)`")
  resized = vit.position == "learned" and vit.position_offset == 0 and vit.position_antialias == (vit.registers > 0)
  if table and not resized:
    notes.append("transformers resizes positions for images of other sizes otherwise than it was trained")
  return Written(weights, _config(vit, kind, channels), (), tuple(notes))


def _kind(vit: ViT) -> str:
  if vit.position in ("relative_bias", "block_relative_bias", "none") or vit.fc_norm:
    return "beit"
  if vit.registers:
    return "dinov2_with_registers"
  if vit.block.layer_scale is not None:
    return "dinov2"
  return "vit" if vit.cls_token else "ijepa"


def _complete(weights: dict[str, np.ndarray], vit: ViT, kind: str) -> None:
  """Adds what DINOv2's models have and the ViT has not: factors of 1, and a mask token of zeros."""
  token = weights.get("embeddings.mask_token")
  if token is not None:
    weights["embeddings.mask_token"] = token[0]
  elif kind == "dinov2_with_registers":
    weights["embeddings.mask_token"] = np.zeros((1, vit.width), np.float32)
  for i in range(vit.depth):
    for number in (1, 2):
      weights.setdefault(f"encoder.layer.{i}.layer_scale{number}.lambda1", np.ones(vit.width, np.float32))


def _config(vit: ViT, kind: str, channels: int) -> dict[str, Any]:
  block = vit.block
  config: dict[str, Any] = dict(
    model_type=kind,
    architectures=[_MODELS[kind]],
    dtype="float32",
    hidden_size=vit.width,
    num_hidden_layers=vit.depth,
    num_attention_heads=block.num_heads,
    image_size=vit.image_size[0],
    patch_size=vit.patch_size[0],
    num_channels=channels,
    hidden_act=next(name for name, form in GELU.items() if form == block.gelu),
    layer_norm_eps=block.layer_norm_eps,
    qkv_bias=block.qkv_bias,
  )
  if not kind.startswith("dinov2"):
    config["intermediate_size"] = block.mlp_dim
  if kind.startswith("dinov2"):
    if block.mlp_dim % vit.width:
      raise ConfigError(f"hf ({kind}) holds no ViT of mlp_ratio={ratio(block.mlp_dim, vit.width)}, only of whole numbers")
    scale = 1.0 if block.layer_scale is None else float(block.layer_scale)
    config |= dict(mlp_ratio=block.mlp_dim // vit.width, layerscale_value=scale, use_mask_token=vit.mask_token)
  if kind == "dinov2_with_registers":
    config |= dict(num_register_tokens=vit.registers, use_mask_token=True)
  if kind == "beit":
    config |= dict(
      use_mask_token=vit.mask_token,
      use_absolute_position_embeddings=vit.position in ("learned", "sincos", "sincos2d"),
      use_shared_relative_position_bias=vit.position == "relative_bias",
      use_relative_position_bias=vit.position == "block_relative_bias",
      layer_scale_init_value=0.0 if block.layer_scale is None else float(block.layer_scale),
      use_mean_pooling=vit.fc_norm,
    )
  return config


WRITERS: dict[str, Callable[[Pretrained, Preprocessing], Written]] = dict(
  vit=_vit, swin=huggingface_write_maps.swin, convnext=huggingface_write_maps.convnext, resnet=huggingface_write_maps.resnet
)
