"""The names that the ViTs of timm, DeiT, DINO, DINOv2, iBOT, MAE, MoCo v3 and I-JEPA share."""

from collections.abc import Mapping
import math
import re
from typing import Any

import jax
import numpy as np

from jssl.errors import ConfigError
from jssl.interop.formats import Described, image_input, under, Weights
from jssl.interop.names import Rule

# Heads of the usual widths. A file does not say how many there are: all numbers fit its shapes.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16, 1536: 24}
_WB = r"\.(weight|bias)"
_FIRST_OF_MLP = tuple(f"blocks.0.{chunk}mlp.{name}.weight" for chunk in ("", "0.") for name in ("fc1", "w1"))


def blocks(prefix: str) -> tuple[Rule, ...]:
  """Blocks `<prefix>.<i>.`, or `<prefix>.<chunk>.<i>.` as training with FSDP saves them; query, key and value apart."""
  at, to = rf"{prefix}\.(?:\d+\.)?(\d+)\.", r"Transformer/encoderblock_\1/"
  attention = to + "MultiHeadDotProductAttention_0/"
  return (
    (at + r"attn\.(query|key|value)" + _WB, attention + r"\2/\3"),
    (at + r"attn\.proj" + _WB, attention + r"out/\2"),
    (at + "norm1" + _WB, to + r"LayerNorm_0/\2"),
    (at + "norm2" + _WB, to + r"LayerNorm_1/\2"),
    (at + r"mlp\.w1" + _WB, to + r"MlpBlock_0/gate/\2"),
    (at + r"mlp\.(?:fc1|w2)" + _WB, to + r"MlpBlock_0/Dense_0/\2"),
    (at + r"mlp\.(?:fc2|w3)" + _WB, to + r"MlpBlock_0/Dense_1/\2"),
    (at + r"ls1\.gamma", to + "layer_scale_0"),
    (at + r"ls2\.gamma", to + "layer_scale_1"),
  )


RULES: tuple[Rule, ...] = under(
  "backbone/",
  (
    ("cls_token", "cls"),
    ("cls_position", "cls_position"),
    ("pos_embed", "pos_embedding"),
    ("mask_token|masked_embed", "mask_token"),
    ("register_tokens|reg_token|storage_tokens", "registers"),
    (r"patch_embed\.proj" + _WB, r"embedding/\1"),
    ("norm" + _WB, r"Transformer/encoder_norm/\1"),
    ("fc_norm" + _WB, r"fc_norm/\1"),
    (r"head\..*", None),
    *blocks("blocks"),
  ),
)


def describe(
  weights: Weights, *, num_heads: int | None = None, heads: Mapping[int, int] | None = None, **numbers: Any
) -> Described:
  """A ViT as its arrays tell it.

  Args:
    weights: names of a file to arrays.
    num_heads: of the attention; None for what is usual.
    heads: what is usual: width to number.
    **numbers: of `jssl.models.vit`, those that arrays do not tell.

  Raises:
    ConfigError: arrays that every ViT has are missing, positions of patches are no square grid, or the number of heads is
      not known.
  """
  weights = split_qkv(weights)
  kernel = need(weights, "patch_embed.proj.weight")
  if kernel.ndim != 4:
    raise ConfigError(f"patch_embed.proj.weight {list(kernel.shape)} is no convolution of images")
  width, channels, *patch = kernel.shape
  prefix = split_positions(weights, "cls_token", "pos_embed", "cls_position")
  table = weights.get("pos_embed")
  side = side_of(table) if table is not None else 1
  number, notes = heads_of(width, num_heads, HEADS if heads is None else heads)
  network: dict[str, Any] = dict(
    fn="vit",
    image_size=(side * patch[0], side * patch[1]),
    patch_size=tuple(patch),
    width=width,
    depth=depth_of(weights, "blocks"),
    num_heads=number,
    mlp_ratio=ratio(need(weights, *_FIRST_OF_MLP).shape[0], width),
    qkv_bias=any(name.endswith("attn.query.bias") for name in weights),
    position="none" if table is None else "learned",
    cls_token="cls_token" in weights,
    cls_position=prefix,
    registers=sum(weights[name].shape[1] for name in ("register_tokens", "reg_token", "storage_tokens") if name in weights),
    mask_token="mask_token" in weights or "masked_embed" in weights,
    layer_scale=1.0 if any(name.endswith("ls1.gamma") for name in weights) else None,
    fc_norm="fc_norm.weight" in weights,
    gelu="exact",
    layer_norm_eps=1e-6,
  )
  network |= numbers
  return Described(network, weights, RULES, image_input(network["image_size"], channels), notes)


def split_qkv(weights: Weights) -> dict[str, np.ndarray]:
  """Query, key and value, which lie one upon the other in torch, under names of their own."""
  apart = {}
  for name, array in weights.items():
    if ".attn.qkv." in name and array.shape[0] % 3 == 0:
      for kind, third in zip(("query", "key", "value"), np.split(array, 3), strict=True):
        apart[name.replace(".qkv.", f".{kind}.")] = third
    else:
      apart[name] = array
  return apart


def join_qkv(weights: Weights) -> dict[str, np.ndarray]:
  """The inverse of `split_qkv`."""
  joined = {}
  for name, array in weights.items():
    if ".attn.query." in name:
      keys_and_values = (weights[name.replace(".query.", f".{kind}.")] for kind in ("key", "value"))
      joined[name.replace(".query.", ".qkv.")] = np.concatenate([array, *keys_and_values])
    elif ".attn.key." not in name and ".attn.value." not in name:
      joined[name] = array
  return joined


def heads_of(width: int, given: int | None, usual: Mapping[int, int]) -> tuple[int, tuple[str, ...]]:
  """The number of heads, and a note if it is not the usual one."""
  number = given or usual.get(width)
  if number is None:
    raise ConfigError(f"how many heads a network of width {width} has is not known: give num_heads")
  if width % number:
    raise ConfigError(f"num_heads={number} does not divide the width {width}")
  if usual.get(width, number) != number:
    return number, (f"taken with {number} heads; networks of width {width} have {usual[width]} as a rule",)
  return number, ()


def ratio(hidden: int, width: int) -> float:
  """The `mlp_ratio` of which `int(width * mlp_ratio)` is the hidden width."""
  found = hidden / width
  return found if int(width * found) == hidden else math.nextafter(found, math.inf)


def depth_of(weights: Weights, prefix: str) -> int:
  """One more than the largest number of a block."""
  found = [int(match[1]) for name in weights if (match := re.match(rf"{prefix}\.(?:\d+\.)?(\d+)\.", name))]
  return max(found, default=-1) + 1


def input_tokens(width: int, tokens: int) -> tuple[jax.ShapeDtypeStruct, ...]:
  """The inputs of MAE's decoder: all tokens of one image, and the order of its patches."""
  return (jax.ShapeDtypeStruct((1, tokens, width), np.float32), jax.ShapeDtypeStruct((1, tokens - 1), np.int32))


def need(weights: Weights, *names: str) -> np.ndarray:
  """The array of the first of these names that there is.

  Raises:
    ConfigError: there is none.
  """
  for name in names:
    if name in weights:
      return weights[name]
  raise ConfigError(f"there is no {names[0]} among {', '.join(sorted(weights)[:5])}, ...")


def _is_square(number: int) -> bool:
  return number > 0 and math.isqrt(number) ** 2 == number


def split_positions(weights: dict[str, np.ndarray], cls: str, table: str, position: str) -> bool:
  """Takes the class token's row out of a table `[1, 1 + patches, dim]` of positions that has one; tells whether it had.

  Args:
    weights: changed in place.
    cls, table, position: names of the class token, the table, and of what its first row becomes.
  """
  found = weights.get(table)
  if cls not in weights or found is None or not _is_square(found.shape[1] - 1):
    return False
  weights[position], weights[table] = found[:, :1], found[:, 1:]
  return True


def join_positions(weights: dict[str, np.ndarray], position: str, table: str) -> None:
  """The inverse of `split_positions`, where there is such a row."""
  if position in weights:
    weights[table] = np.concatenate([weights.pop(position), weights[table]], axis=1)


def side_of(table: np.ndarray) -> int:
  """Rows of the square grid that positions `[1, patches, dim]` are for.

  Raises:
    ConfigError: the grid is no square.
  """
  if not _is_square(table.shape[1]):
    raise ConfigError(f"pos_embed {list(table.shape)} has positions of {table.shape[1]} patches, which are no square grid")
  return math.isqrt(table.shape[1])
