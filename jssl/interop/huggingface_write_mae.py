"""An encoder and MAE's decoder as one model of transformers, ViTMAEForPreTraining, whose loss is MAE's."""

from typing import Any

import numpy as np

from jssl.errors import ConfigError
from jssl.interop.formats import Written
from jssl.interop.huggingface import DECODER, VIT_RULES
from jssl.interop.huggingface_config import GELU
from jssl.interop.names import convert_back
from jssl.interop.pretrained import held, held_vit, Pretrained
from jssl.interop.torch_vit import join_positions
from jssl.models.positions import sincos

_GOAL = "hf (vit_mae)"


def write(found: Pretrained, decoder: Pretrained, norm_pix_loss: bool) -> Written:
  """Both networks, whose numbers must be those that the one config has for both.

  Raises:
    ConfigError: it has no place for one of the networks, or they do not go together.
  """
  vit = held_vit(
    _GOAL,
    found,
    position=("learned", "sincos", "sincos2d"),
    cls_token=(True,),
    registers=(0,),
    fc_norm=(False,),
    layer_scale=(None,),
    qkv_bias=(True,),
  )
  net: Any = held(_GOAL, decoder, ("mae_decoder",))
  for name in ("image_size", "patch_size"):
    if len(set(getattr(vit, name))) > 1:
      raise ConfigError(f"{_GOAL} holds no ViT of {name}={getattr(vit, name)}, only of squares")
  grid = vit.grid((*vit.image_size, 1))
  pairs = dict(
    patch_size=(net.patch_size, vit.patch_size),
    gelu=(net.block.gelu, vit.block.gelu),
    layer_norm_eps=(net.block.layer_norm_eps, vit.block.layer_norm_eps),
    prefix=(net.prefix, 1),
    output=(net.output, None),
    grid=(net.grid or grid, grid),
  )
  for name, (have, want) in pairs.items():
    if have != want:
      raise ConfigError(f"{_GOAL} holds no decoder of {name}={have!r} for this encoder, only of {want!r}")
  encoder = convert_back(_GOAL, found.tabled(cls_position=True).variables, VIT_RULES)
  join_positions(encoder, "embeddings.cls_position", "embeddings.position_embeddings")
  left = ("mask_token",) if encoder.pop("embeddings.mask_token", None) is not None else ()
  second = convert_back(_GOAL, decoder.variables, DECODER)
  if "mask_token" not in second:
    raise ConfigError(f"{_GOAL} holds no decoder without a mask_token, which saw all patches")
  second["decoder_pos_embed"] = np.pad(sincos(grid, net.width), ((1, 0), (0, 0)))[None]
  if encoder["embeddings.position_embeddings"].shape[1] != second["decoder_pos_embed"].shape[1]:
    raise ConfigError(f"{_GOAL}: the encoder's positions are not those of {grid} patches")
  pixels, channels = (
    second["decoder_pred.weight"].shape[0],
    encoder["embeddings.patch_embeddings.projection.weight"].shape[1],
  )
  if pixels != channels * net.patch_size[0] * net.patch_size[1]:
    raise ConfigError(f"{_GOAL}: the decoder predicts {pixels} numbers of a patch, the encoder sees {channels} channels")
  config = dict(
    model_type="vit_mae",
    architectures=["ViTMAEForPreTraining"],
    dtype="float32",
    hidden_size=vit.width,
    num_hidden_layers=vit.depth,
    num_attention_heads=vit.block.num_heads,
    intermediate_size=vit.block.mlp_dim,
    image_size=vit.image_size[0],
    patch_size=vit.patch_size[0],
    num_channels=channels,
    hidden_act=next(name for name, form in GELU.items() if form == vit.block.gelu),
    layer_norm_eps=vit.block.layer_norm_eps,
    qkv_bias=True,
    decoder_hidden_size=net.width,
    decoder_num_hidden_layers=net.depth,
    decoder_num_attention_heads=net.block.num_heads,
    decoder_intermediate_size=net.block.mlp_dim,
    norm_pix_loss=norm_pix_loss,
  )
  weights = {f"vit.{name}": x for name, x in encoder.items()} | {f"decoder.{name}": x for name, x in second.items()}
  return Written(weights, config, left)
