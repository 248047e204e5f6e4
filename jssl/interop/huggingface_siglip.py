"""SigLIP's and SigLIP 2's image towers in transformers' names (SiglipVisionModel, SiglipModel): pooled by attention (MAP).

The text tower stays behind. SigLIP 2's networks for images of one size are SigLIP's; those for any size (NaFlex,
Siglip2VisionModel), whose positions are resized otherwise, are not read.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jssl.interop.formats import Described, under
from jssl.interop.huggingface_config import activation, image, number, size
from jssl.interop.names import Rule
from jssl.interop.torch_vit import ratio

_WB = r"\.(weight|bias)"
_AT, _TO = r"encoder\.layers\.(\d+)\.", r"Transformer/encoderblock_\1/"
_ATTENTION, _POOLED = _TO + "MultiHeadDotProductAttention_0/", "MAPHead_0/MultiHeadDotProductAttention_0/"
RULES: tuple[Rule, ...] = under(
  "backbone/",
  (
    (r"embeddings\.patch_embedding" + _WB, r"embedding/\1"),
    (r"embeddings\.position_embedding\.weight", "pos_embedding"),
    (r"embeddings\.position_ids", None),
    (r"post_layernorm" + _WB, r"Transformer/encoder_norm/\1"),
    (_AT + r"self_attn\.q_proj" + _WB, _ATTENTION + r"query/\2"),
    (_AT + r"self_attn\.k_proj" + _WB, _ATTENTION + r"key/\2"),
    (_AT + r"self_attn\.v_proj" + _WB, _ATTENTION + r"value/\2"),
    (_AT + r"self_attn\.out_proj" + _WB, _ATTENTION + r"out/\2"),
    (_AT + r"layer_norm1" + _WB, _TO + r"LayerNorm_0/\2"),
    (_AT + r"layer_norm2" + _WB, _TO + r"LayerNorm_1/\2"),
    (_AT + r"mlp\.fc1" + _WB, _TO + r"MlpBlock_0/Dense_0/\2"),
    (_AT + r"mlp\.fc2" + _WB, _TO + r"MlpBlock_0/Dense_1/\2"),
    (r"head\.probe", "MAPHead_0/probe"),
    (r"head\.attention\.(query|key|value)" + _WB, _POOLED + r"\1/\2"),
    (r"head\.attention\.out_proj" + _WB, _POOLED + r"out/\1"),
    (r"head\.layernorm" + _WB, r"MAPHead_0/LayerNorm_0/\1"),
    (r"head\.mlp\.fc1" + _WB, r"MAPHead_0/MlpBlock_0/Dense_0/\1"),
    (r"head\.mlp\.fc2" + _WB, r"MAPHead_0/MlpBlock_0/Dense_1/\1"),
  ),
)
# What SiglipVisionConfig has for what a `config.json` leaves out, as those on the hub do.
_USUAL: Mapping[str, Any] = dict(
  hidden_size=768,
  intermediate_size=3072,
  num_hidden_layers=12,
  num_attention_heads=12,
  image_size=224,
  patch_size=16,
  hidden_act="gelu_pytorch_tanh",
  layer_norm_eps=1e-6,
)


def describe(weights, contents, num_heads) -> Described:
  """The image tower, see `Part.describe`."""
  del num_heads
  config = _USUAL | dict(contents.config.get("vision_config", contents.config))
  weights = _apart({name.removeprefix("vision_model."): x for name, x in weights.items()})
  width = number(config, "hidden_size")
  network = dict(
    fn="vit",
    image_size=size(config["image_size"]),
    patch_size=size(config["patch_size"]),
    width=width,
    depth=config["num_hidden_layers"],
    num_heads=config["num_attention_heads"],
    mlp_ratio=ratio(config["intermediate_size"], width),
    position="learned",
    # transformers hands torch the new size.
    position_offset=0.0,
    cls_token=False,
    map_head=config.get("vision_use_head", True),
    **activation(config),
  )
  return Described(network, weights, RULES, image(config))


def _apart(weights):
  """Query, key and value of torch's MultiheadAttention, which lie one upon the other, under names of their own."""
  found = dict(weights)
  for kind in ("weight", "bias"):
    joint = found.pop(f"head.attention.in_proj_{kind}", None)
    thirds = () if joint is None else np.array_split(joint, 3)
    found |= {f"head.attention.{name}.{kind}": x for name, x in zip(("query", "key", "value"), thirds, strict=False)}
  return found
