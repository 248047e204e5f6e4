"""Weights of Hugging Face's transformers as jssl's variables, by the names that the files on the hub have.

    from safetensors.numpy import load_file
    module = models.vit(variant="S/14", image_size=518, layer_scale=1.0, mask_token=True, position_offset=0.0)
    like = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 518, 518, 3), "float32"))
    variables = huggingface.vit(load_file("model.safetensors"), like)

A file holds arrays, not the numbers of its model; these go with them, beside sizes:

| transformers | jssl |
|---|---|
| ViTModel, ViTMSNModel | `vit` |
| ViTMAEForPreTraining | `vit(position="sincos2d")`, `mae_decoder` |
| BeitForMaskedImageModeling, SimMIM's ViT | `vit(position="relative_bias", layer_scale=0.1, mask_token=True)` |
| BeitModel, Data2VecVisionModel, pooled | `vit(position="block_relative_bias", layer_scale=0.1, fc_norm=True)` |
| IJepaModel | `vit(cls_token=False)` |
| Dinov2Model | `vit(layer_scale=1.0, mask_token=True, position_offset=0.0)` |
| Dinov2WithRegistersModel | the same with `registers=4, position_antialias=True` |
| SwinModel, SwinForMaskedImageModeling | `swin` |
| ConvNextModel, ConvNextV2Model | `convnext`, `convnext(grn=True, layer_scale=None)` |
| ResNetModel | `resnet` |

`layer_norm_eps` is that of the model's config: 1e-12 for many, where the authors' code has 1e-6. Heads and poolers of
other tasks are left out (the LayerNorm of BEiT's pooler is `fc_norm`). What else a file has and the module has not, or
the other way round, is an error.
"""

from collections.abc import Mapping
import math
import re
from typing import Any

import numpy as np

from jssl.errors import ConfigError
from jssl.interop.names import convert, Rule
from jssl.models.positions import sincos

Weights = Mapping[str, np.ndarray]

SOURCE = "Hugging Face's weights"
# What stands before a backbone's names where it is part of a larger model.
_BASE = re.compile(r"^(beit|convnext|convnextv2|data2vec_vision|deit|dinov2|dinov2_with_registers|ijepa|resnet|swin|vit)\.")
_WB = r"\.(weight|bias)"
_HEADS: tuple[Rule, ...] = (
  (r"(classifier|cls_classifier|distillation_classifier|lm_head|pooler\.dense)\..*", None),
  (r"decoder\..*", None),
  (r".*relative_position_index", None),
  (r".*num_batches_tracked", None),
)


def _blocks(prefix: str, to: str) -> tuple[Rule, ...]:
  """Blocks `<prefix>.<i>.` of a transformer as `<to>encoderblock_<i>/`."""
  at, to = rf"{prefix}\.(\d+)\.", to + r"encoderblock_\1/"
  attention = to + "MultiHeadDotProductAttention_0/"
  return (
    (at + r"attention\.(?:attention|self)\.(query|key|value)" + _WB, attention + r"\2/\3"),
    (
      at + r"attention\.(?:attention\.relative_position_bias|self)\.relative_position_bias_table",
      to + "relative_position_bias",
    ),
    (at + r"attention\.output\.dense" + _WB, attention + r"out/\2"),
    (at + r"(?:layernorm_before|norm1)" + _WB, to + r"LayerNorm_0/\2"),
    (at + r"(?:layernorm_after|norm2)" + _WB, to + r"LayerNorm_1/\2"),
    (at + r"(?:intermediate\.dense|mlp\.fc1)" + _WB, to + r"MlpBlock_0/Dense_0/\2"),
    (at + r"(?:output\.dense|mlp\.fc2)" + _WB, to + r"MlpBlock_0/Dense_1/\2"),
    (at + r"(?:layer_scale1\.lambda1|lambda_1)", to + "layer_scale_0"),
    (at + r"(?:layer_scale2\.lambda1|lambda_2)", to + "layer_scale_1"),
    (at + r"merge\.(norm|reduction)" + _WB, to + r"merge/\2/\3"),
  )


def vit(weights: Weights, like: Any) -> Any:
  """Variables of `jssl.models.vit` from those of ViT, DeiT, MAE's encoder, BEiT, data2vec, MSN, I-JEPA or DINOv2.

  The class token takes its position with it, unless the module has a `cls_position`. BEiT's keys have no bias; here it
  is 0, which changes nothing, as a softmax is blind to it.

  Args:
    weights: names to arrays, as `safetensors.numpy.load_file` reads them.
    like: the module's variables or their shapes.

  Raises:
    ConfigError: the weights do not fit the module.
  """
  weights = {_BASE.sub("", name): array for name, array in weights.items()}
  _split_positions(weights, like)
  for name in [n for n in weights if n.endswith("attention.query.bias")]:
    weights.setdefault(name.replace("query", "key"), np.zeros_like(weights[name]))
  return convert(
    SOURCE,
    weights,
    like,
    (
      (r"embeddings\.cls_token", "cls"),
      (r"embeddings\.cls_position", "cls_position"),
      (r"embeddings\.mask_token", "mask_token"),
      (r"embeddings\.register_tokens", "registers"),
      (r"embeddings\.position_embeddings", "pos_embedding"),
      (r"embeddings\.patch_embeddings\.projection" + _WB, r"embedding/\1"),
      (r"encoder\.relative_position_bias\.relative_position_bias_table", "relative_position_bias"),
      (r"layernorm" + _WB, r"Transformer/encoder_norm/\1"),
      (r"pooler\.layernorm" + _WB, r"fc_norm/\1"),
      *_blocks(r"encoder\.layer", "Transformer/"),
      *_HEADS,
    ),
  )


def mae_decoder(weights: Weights, like: Any) -> Any:
  """Variables of `jssl.models.mae_decoder` from ViTMAEForPreTraining's; arguments and errors as `vit`."""
  weights = {name: array for name, array in weights.items() if name.startswith("decoder.")}
  _require_sincos(weights.pop("decoder.decoder_pos_embed")[:, 1:])
  return convert(
    SOURCE,
    weights,
    like,
    (
      (r"decoder\.mask_token", "mask_token"),
      (r"decoder\.decoder_embed" + _WB, r"embedding/\1"),
      (r"decoder\.decoder_norm" + _WB, r"Transformer/encoder_norm/\1"),
      (r"decoder\.decoder_pred" + _WB, r"head/\1"),
      # transformers 5 writes the second of the two names, and reads both.
      *_blocks(r"decoder\.(?:decoder_layers|decoder_encoder\.layer)", "Transformer/"),
    ),
  )


def swin(weights: Weights, like: Any) -> Any:
  """Variables of `jssl.models.swin` from SwinModel's or SwinForMaskedImageModeling's; arguments and errors as `vit`."""
  weights = {_BASE.sub("", name): array for name, array in weights.items()}
  block = re.compile(r"encoder\.layers\.(\d+)\.blocks\.(\d+)\.")
  places = {(int(match[1]), int(match[2])) for name in weights if (match := block.match(name))}
  numbers = {place: number for number, place in enumerate(sorted(places))}

  def through_stages(name):
    if match := block.match(name):
      return f"encoder.layer.{numbers[int(match[1]), int(match[2])]}.{name[match.end() :]}"
    if match := re.match(r"encoder\.layers\.(\d+)\.downsample\.", name):
      return f"encoder.layer.{numbers[int(match[1]) + 1, 0]}.merge.{name[match.end() :]}"
    return name

  return convert(
    SOURCE,
    {through_stages(name): array for name, array in weights.items()},
    like,
    (
      (r"embeddings\.mask_token", "mask_token"),
      (r"embeddings\.norm" + _WB, r"embedding_norm/\1"),
      (r"embeddings\.patch_embeddings\.projection" + _WB, r"embedding/\1"),
      (r"layernorm" + _WB, r"norm/\1"),
      *_blocks(r"encoder\.layer", ""),
      *_HEADS,
    ),
  )


def convnext(weights: Weights, like: Any) -> Any:
  """Variables of `jssl.models.convnext` from ConvNextModel's or ConvNextV2Model's; arguments and errors as `vit`."""
  block, to = r"encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"stages_\1_\2/"
  return convert(
    SOURCE,
    {_BASE.sub("", name): array for name, array in weights.items()},
    like,
    (
      (r"embeddings\.patch_embeddings" + _WB, r"downsample_layers_0_0/\1"),
      (r"embeddings\.layernorm" + _WB, r"downsample_layers_0_1/\1"),
      (r"encoder\.stages\.(\d+)\.downsampling_layer\.(\d)" + _WB, r"downsample_layers_\1_\2/\3"),
      (block + r"(dwconv|pwconv1|pwconv2)" + _WB, to + r"\3/\4"),
      (block + r"layernorm" + _WB, to + r"norm/\3"),
      (block + r"layer_scale_parameter", to + "gamma"),
      (block + r"grn\.weight", to + "grn/gamma"),
      (block + r"grn\.bias", to + "grn/beta"),
      (r"layernorm" + _WB, r"norm/\1"),
      *_HEADS,
    ),
  )


def resnet(weights: Weights, like: Any) -> Any:
  """Variables of `jssl.models.resnet`, statistics too, from ResNetModel's; arguments and errors as `vit`."""
  part = {"convolution": "conv{}", "normalization": "bn{}"}
  shortcut = {"convolution": "downsample_0", "normalization": "downsample_1"}
  block, leaf = r"encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"\.(convolution|normalization)\.(weight|bias|running_\w+)"
  return convert(
    SOURCE,
    {_BASE.sub("", name): array for name, array in weights.items()},
    like,
    (
      (r"embedder\.embedder" + leaf, lambda m: f"{part[m[1]].format(1)}/{m[2]}"),
      (block + r"shortcut" + leaf, lambda m: f"layer{int(m[1]) + 1}_{m[2]}/{shortcut[m[3]]}/{m[4]}"),
      (block + r"layer\.(\d)" + leaf, lambda m: f"layer{int(m[1]) + 1}_{m[2]}/{part[m[4]].format(int(m[3]) + 1)}/{m[5]}"),
      *_HEADS,
    ),
  )


def _split_positions(weights: dict[str, np.ndarray], like: Any) -> None:
  """Gives the class token its position, adds it where the module has no place for one; leaves learned ones of patches."""
  table = weights.pop("embeddings.position_embeddings", None)
  if table is None:
    return
  if "embeddings.cls_token" in weights:
    if "cls_position" in like["params"]:
      weights["embeddings.cls_position"] = table[:, :1]
    else:
      weights["embeddings.cls_token"] = weights["embeddings.cls_token"] + table[:, :1]
    table = table[:, 1:]
  if "pos_embedding" in like["params"]:
    weights["embeddings.position_embeddings"] = table
  else:
    _require_sincos(table)


def _require_sincos(table: np.ndarray) -> None:
  """Raises ConfigError unless `[1, patches, dim]` are the fixed positions that a module without a table uses."""
  side = math.isqrt(table.shape[1])
  if side**2 != table.shape[1] or not np.allclose(table[0], sincos((side, side), table.shape[2]), atol=1e-5):
    raise ConfigError(f"{SOURCE} have positions that are not those of position='sincos2d': the module needs 'learned'")
