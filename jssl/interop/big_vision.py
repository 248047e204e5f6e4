"""big_vision and vision_transformer (google-research): npz files of ViTs, whose names jssl's are; also a tower `img/`.

GELU is its tanh form there, and images are in [-1, 1], unless a `config.json` and a `preprocessor_config.json` beside the
file, as `save` writes them, say otherwise. Class token and positions of the older files lie in one table. Classifiers and
the text tower stay behind.
"""

import re

import jax.numpy as jnp
import numpy as np

from jssl.errors import ConfigError
from jssl.interop.formats import Described, Format, image_input, Part, Preprocessing, preprocessor_colours, under, Written
from jssl.interop.names import convert_back, Rule
from jssl.interop.pretrained import held_vit, Pretrained
from jssl.interop.torch_vit import need, ratio, side_of, split_positions

_KB, _SB = "(kernel|bias)", "(scale|bias)"
_AT = r"Transformer/encoderblock_(\d+)/"
_TO = r"Transformer/encoderblock_\1/"
# Where there are two numbers, vision_transformer's is the second.
_RULES: tuple[Rule, ...] = under(
  "backbone/",
  (
    ("cls", "cls"),
    ("(cls_position|pos_embedding|mask_token)", r"\1"),
    (f"embedding/{_KB}", r"embedding/\1"),
    ("MAPHead_0/.*", lambda match: match[0]),
    (f"Transformer/encoder_norm/{_SB}", r"Transformer/encoder_norm/\1"),
    (
      _AT + f"MultiHeadDotProductAttention_(?:0|1)/(query|key|value|out)/{_KB}",
      _TO + r"MultiHeadDotProductAttention_0/\2/\3",
    ),
    (_AT + f"LayerNorm_0/{_SB}", _TO + r"LayerNorm_0/\2"),
    (_AT + f"LayerNorm_(?:1|2)/{_SB}", _TO + r"LayerNorm_1/\2"),
    (_AT + rf"MlpBlock_(?:0|3)/Dense_(\d)/{_KB}", _TO + r"MlpBlock_0/Dense_\2/\3"),
    (r"(?:head|pre_logits)/.*", None),
  ),
)
_OLD_TABLE = "Transformer/posembed_input/pos_embedding"


def _vit(weights, contents, num_heads) -> Described:
  del num_heads
  weights = _unstacked({name: _from_void(array) for name, array in weights.items()})
  if _OLD_TABLE in weights:
    weights["pos_embedding"] = weights.pop(_OLD_TABLE)
  if "pos_embedding" not in weights:
    raise ConfigError("there is no pos_embedding: fixed positions of big_vision are none of jssl's")
  cls_position = split_positions(weights, "cls", "pos_embedding", "cls_position")
  kernel = need(weights, "embedding/kernel")
  *patch, channels, width = kernel.shape
  block = "Transformer/encoderblock_0/"
  attention = (block + f"MultiHeadDotProductAttention_{i}/query/kernel" for i in (0, 1))
  hidden = need(weights, *(block + f"MlpBlock_{i}/Dense_0/kernel" for i in (0, 3))).shape[1]
  side = side_of(weights["pos_embedding"])
  network = dict(
    fn="vit",
    image_size=tuple(side * length for length in patch),
    patch_size=tuple(patch),
    width=width,
    depth=1 + max(int(match[1]) for name in weights if (match := re.match(_AT, name))),
    num_heads=need(weights, *attention).shape[1],
    mlp_ratio=ratio(hidden, width),
    position="learned",
    position_offset=0.0,
    cls_token="cls" in weights,
    cls_position=cls_position,
    map_head="MAPHead_0/probe" in weights,
    gelu=contents.config.get("gelu", "tanh"),
    layer_norm_eps=1e-6,
  )
  return Described(network, weights, _RULES, image_input(network["image_size"], channels))


def write(found: Pretrained, seen: Preprocessing) -> Written:
  """`jssl.interop.save` to an npz file; the class token has its position in it."""
  del seen
  vit = held_vit(
    "big_vision",
    found,
    position=("learned", "sincos", "sincos2d"),
    registers=(0,),
    fc_norm=(False,),
    layer_scale=(None,),
    qkv_bias=(True,),
    layer_norm_eps=(1e-6,),
  )
  weights = convert_back("big_vision", found.tabled(cls_position=False).variables, _RULES)
  left = ("mask_token",) if weights.pop("mask_token", None) is not None else ()
  config = dict(
    width=vit.width,
    depth=vit.depth,
    mlp_dim=vit.block.mlp_dim,
    num_heads=vit.block.num_heads,
    patch_size=list(vit.patch_size),
    pool_type="tok" if vit.cls_token else "gap",
    gelu=vit.block.gelu,
  )
  notes = () if vit.block.gelu == "tanh" else ("it was trained with the exact GELU; big_vision's code has the tanh form",)
  return Written({f"params/{name}": x for name, x in weights.items()}, config, left, notes)


def _from_void(array: np.ndarray) -> np.ndarray:
  """bfloat16, whose name npz files lose."""
  return array.view(jnp.bfloat16) if array.dtype.kind == "V" and array.dtype.itemsize == 2 else array


def _unstacked(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Blocks that were trained in a loop, `encoderblock/` with an axis for the block, as `encoderblock_<i>/`."""
  found = {}
  for name, array in weights.items():
    if name.startswith("Transformer/encoderblock/"):
      rest = name.removeprefix("Transformer/encoderblock/")
      found |= {f"Transformer/encoderblock_{i}/{rest}": row for i, row in enumerate(array)}
    else:
      found[name] = array
  return found


_TOP = r"(?:params/|opt/target/)?(?:img/)?"
BIG_VISION = Format(
  parts=dict(backbone=Part(_TOP + r"(cls|pos_embedding|(?:embedding|Transformer|MAPHead_0|head|pre_logits)/.*)", _vit)),
  recognised=lambda contents: any(re.fullmatch(_TOP + "Transformer/encoder_norm/scale", name) for name in contents.weights),
  other=r"params/(?:txt/.*|t|b)|opt/(?!target/).*|(?:chrono|extra)/.*",
  colours=lambda contents: preprocessor_colours(contents) or ((0.5,) * 3, (0.5,) * 3),
)
