"""DINOv3's ViTs in transformers' names (DINOv3ViTModel): rotary positions, registers, no bias on keys, SwiGLU.

What is left of its config are numbers of the training alone.
"""

from typing import Any

import numpy as np

from jssl.errors import ConfigError
from jssl.interop.formats import Described, under, Written
from jssl.interop.huggingface_config import activation, GELU, image, number, sides, size
from jssl.interop.names import convert_back, Rule
from jssl.interop.pretrained import held_vit, Pretrained
from jssl.interop.torch_vit import ratio

_WB = r"\.(weight|bias)"
_AT, _TO = r"(?:layer|model\.layer)\.(\d+)\.", r"Transformer/encoderblock_\1/"
_ATTENTION = _TO + "MultiHeadDotProductAttention_0/"
RULES: tuple[Rule, ...] = under(
  "backbone/",
  (
    (r"embeddings\.cls_token", "cls"),
    (r"embeddings\.mask_token", "mask_token"),
    (r"embeddings\.register_tokens", "registers"),
    (r"embeddings\.patch_embeddings" + _WB, r"embedding/\1"),
    (r"norm" + _WB, r"Transformer/encoder_norm/\1"),
    (_AT + r"attention\.q_proj" + _WB, _ATTENTION + r"query/\2"),
    (_AT + r"attention\.k_proj" + _WB, _ATTENTION + r"key/\2"),
    (_AT + r"attention\.v_proj" + _WB, _ATTENTION + r"value/\2"),
    (_AT + r"attention\.o_proj" + _WB, _ATTENTION + r"out/\2"),
    (_AT + r"norm1" + _WB, _TO + r"LayerNorm_0/\2"),
    (_AT + r"norm2" + _WB, _TO + r"LayerNorm_1/\2"),
    (_AT + r"mlp\.gate_proj" + _WB, _TO + r"MlpBlock_0/gate/\2"),
    (_AT + r"mlp\.up_proj" + _WB, _TO + r"MlpBlock_0/Dense_0/\2"),
    (_AT + r"mlp\.down_proj" + _WB, _TO + r"MlpBlock_0/Dense_1/\2"),
    (_AT + r"layer_scale1\.lambda1", _TO + "layer_scale_0"),
    (_AT + r"layer_scale2\.lambda1", _TO + "layer_scale_1"),
  ),
)


def describe(weights, contents, num_heads) -> Described:
  """DINOv3's ViT, see `Part.describe`."""
  del num_heads
  config = contents.config
  width, registers = number(config, "hidden_size"), config.get("num_register_tokens", 0)
  biased = config.get("query_bias", True)
  if biased != config.get("value_bias", True):
    raise ConfigError("query_bias and value_bias differ: a vit has both or none")
  network: dict[str, Any] = dict(
    fn="vit",
    image_size=size(number(config, "image_size")),
    patch_size=size(number(config, "patch_size")),
    width=width,
    depth=number(config, "num_hidden_layers"),
    num_heads=number(config, "num_attention_heads"),
    mlp_ratio=ratio(number(config, "intermediate_size"), width),
    qkv_bias=biased,
    key_bias=config.get("key_bias", False),
    position="rope",
    rope_theta=float(number(config, "rope_theta")),
    rope_shift=config.get("pos_embed_shift"),
    rope_jitter=config.get("pos_embed_jitter"),
    rope_rescale=config.get("pos_embed_rescale"),
    registers=registers,
    mask_token=True,
    layer_scale=float(config.get("layerscale_value", 1.0)),
    **_mlp(config),
  )
  # Without registers the file has a token of the shape [1, 0, width].
  weights = {name: x for name, x in weights.items() if registers or name != "embeddings.register_tokens"}
  return Described(network, weights, RULES, image(config))


def _mlp(config) -> dict[str, Any]:
  if not config.get("use_gated_mlp", False):
    return dict(mlp="gelu") | activation(config)
  act = number(config, "hidden_act")
  if act != "silu":
    raise ConfigError(f"hidden_act='{act}' of a gated MLP is not silu, which a vit has")
  return dict(mlp="swiglu", layer_norm_eps=float(number(config, "layer_norm_eps")))


def write(found: Pretrained) -> Written:
  """DINOv3ViTModel of a ViT with rotary positions; factors of 1, no registers and a mask token of zeros are added."""
  goal = "hf (dinov3_vit)"
  vit = held_vit(
    goal,
    found,
    position=("rope",),
    cls_token=(True,),
    cls_position=(False,),
    fc_norm=(False,),
    mlp=("gelu", "swiglu"),
    key_bias=(True, False),
  )
  block = vit.block
  if vit.rope.dtype != "float32":
    raise ConfigError(f"{goal} holds no ViT of rope_dtype='{vit.rope.dtype}', only of 'float32'")
  weights = convert_back(goal, found.variables, RULES)
  weights.setdefault("embeddings.mask_token", np.zeros((1, 1, vit.width), np.float32))
  weights.setdefault("embeddings.register_tokens", np.zeros((1, 0, vit.width), np.float32))
  for i in range(vit.depth):
    for branch in (1, 2):
      weights.setdefault(f"layer.{i}.layer_scale{branch}.lambda1", np.ones(vit.width, np.float32))
  gated = block.mlp == "swiglu"
  config = dict(
    model_type="dinov3_vit",
    architectures=["DINOv3ViTModel"],
    dtype="float32",
    hidden_size=vit.width,
    intermediate_size=block.mlp_dim,
    num_hidden_layers=vit.depth,
    num_attention_heads=block.num_heads,
    image_size=sides(vit.image_size),
    patch_size=sides(vit.patch_size),
    num_channels=weights["embeddings.patch_embeddings.weight"].shape[1],
    hidden_act="silu" if gated else next(name for name, form in GELU.items() if form == block.gelu),
    use_gated_mlp=gated,
    layer_norm_eps=block.layer_norm_eps,
    layerscale_value=1.0 if block.layer_scale is None else float(block.layer_scale),
    query_bias=block.qkv_bias,
    key_bias=block.qkv_bias and block.key_bias,
    value_bias=block.qkv_bias,
    num_register_tokens=vit.registers,
    rope_theta=vit.rope.theta,
    pos_embed_shift=vit.rope.shift,
    pos_embed_jitter=vit.rope.jitter,
    pos_embed_rescale=vit.rope.rescale,
  )
  return Written(weights, config)
