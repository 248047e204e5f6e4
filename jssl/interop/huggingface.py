"""Models of Hugging Face's transformers, as `save_pretrained` and the hub have them: a folder with `config.json`.

| transformers | jssl |
|---|---|
| ViTModel, DeiTModel, ViTMSNModel | `vit` |
| ViTMAEForPreTraining | parts `encoder`, `vit`, and `decoder`, `mae_decoder` |
| BeitForMaskedImageModeling, SimMIM's ViT | `vit(position="relative_bias")` |
| BeitModel, Data2VecVisionModel, pooled | `vit(position="block_relative_bias", fc_norm=True)` |
| IJepaModel | `vit(cls_token=False)` |
| Dinov2Model, Dinov2WithRegistersModel | `vit(layer_scale=..., mask_token=True, registers=...)` |
| DINOv3ViTModel | `vit(position="rope", registers=..., key_bias=False, mlp=...)` |
| SiglipVisionModel, SiglipModel | `vit(cls_token=False, map_head=True)` |
| SwinModel, SwinForMaskedImageModeling | `swin` |
| ConvNextModel, ConvNextV2Model | `convnext` |
| ResNetModel | `resnet` |

`layer_norm_eps` is that of the model's config: 1e-12 for many, where the authors' code has 1e-6. Heads and poolers of
other tasks stay behind (the LayerNorm of BEiT's pooler is `fc_norm`). Mean and standard deviation are those of
`preprocessor_config.json`.
"""

from collections.abc import Callable
import re

import numpy as np

from jssl.errors import ConfigError, nearest
from jssl.interop import huggingface_dinov3, huggingface_siglip
from jssl.interop.files import Contents
from jssl.interop.formats import Described, Format, Part, preprocessor_colours, under, Weights
from jssl.interop.huggingface_config import activation, image, number, size
from jssl.interop.mae import require_sincos
from jssl.interop.names import Rule
from jssl.interop.torch_vit import input_tokens, ratio

# What stands before a backbone's names where it is part of a larger model.
_BASE = "beit|convnext|convnextv2|data2vec_vision|deit|dinov2|dinov2_with_registers|ijepa|resnet|swin|vit"
_BACKBONE = (
  r"embeddings|embedder|encoder|layernorm|layer|model\.layer|norm|pooler\.layernorm|vision_model|post_layernorm|head"
)
_WB = r"\.(weight|bias)"
_NO_WEIGHTS: tuple[Rule, ...] = ((r".*relative_position_index", None), (r".*num_batches_tracked", None))


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


VIT_RULES: tuple[Rule, ...] = under(
  "backbone/",
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
    *_NO_WEIGHTS,
  ),
)
DECODER: tuple[Rule, ...] = under(
  "backbone/",
  (
    (r"mask_token", "mask_token"),
    (r"decoder_embed" + _WB, r"embedding/\1"),
    (r"decoder_norm" + _WB, r"Transformer/encoder_norm/\1"),
    (r"decoder_pred" + _WB, r"head/\1"),
    # transformers 5 writes the second of the two names, and reads both.
    *_blocks(r"(?:decoder_layers|decoder_encoder\.layer)", "Transformer/"),
  ),
)
SWIN: tuple[Rule, ...] = under(
  "backbone/",
  (
    (r"embeddings\.mask_token", "mask_token"),
    (r"embeddings\.norm" + _WB, r"embedding_norm/\1"),
    (r"embeddings\.patch_embeddings\.projection" + _WB, r"embedding/\1"),
    (r"layernorm" + _WB, r"norm/\1"),
    *_blocks(r"encoder\.layer", ""),
    *_NO_WEIGHTS,
  ),
)
_STAGE, _TO_STAGE = r"encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"stages_\1_\2/"
CONVNEXT: tuple[Rule, ...] = under(
  "backbone/",
  (
    (r"embeddings\.patch_embeddings" + _WB, r"downsample_layers_0_0/\1"),
    (r"embeddings\.layernorm" + _WB, r"downsample_layers_0_1/\1"),
    (r"encoder\.stages\.(\d+)\.downsampling_layer\.(\d)" + _WB, r"downsample_layers_\1_\2/\3"),
    (_STAGE + r"(dwconv|pwconv1|pwconv2)" + _WB, _TO_STAGE + r"\3/\4"),
    (_STAGE + r"layernorm" + _WB, _TO_STAGE + r"norm/\3"),
    (_STAGE + r"layer_scale_parameter", _TO_STAGE + "gamma"),
    (_STAGE + r"grn\.weight", _TO_STAGE + "grn/gamma"),
    (_STAGE + r"grn\.bias", _TO_STAGE + "grn/beta"),
    (r"layernorm" + _WB, r"norm/\1"),
  ),
)
_LEAF = r"\.(weight|bias|running_mean|running_var)"
# The one counts stages and convolutions from 0, the other from 1.
RESNET: tuple[Rule, ...] = under(
  "backbone/",
  (
    (r"embedder\.embedder\.convolution" + _LEAF, r"conv1/\1"),
    (r"embedder\.embedder\.normalization" + _LEAF, r"bn1/\1"),
    *(
      (rf"encoder\.stages\.{stage}\.layers\.(\d+)\.{theirs}{_LEAF}", rf"layer{stage + 1}_\1/{ours}/\2")
      for stage in range(4)
      for theirs, ours in (
        (r"shortcut\.convolution", "downsample_0"),
        (r"shortcut\.normalization", "downsample_1"),
        *((rf"layer\.{i}\.convolution", f"conv{i + 1}") for i in range(3)),
        *((rf"layer\.{i}\.normalization", f"bn{i + 1}") for i in range(3)),
      )
    ),
    *_NO_WEIGHTS,
  ),
)


def _vit(weights, contents, num_heads) -> Described:
  """The keys of BEiT have no bias: here it is 0, which changes nothing, as a softmax is blind to it."""
  del num_heads
  config, weights = contents.config, dict(weights)
  table = weights.pop("embeddings.position_embeddings", None)
  cls_token = "embeddings.cls_token" in weights
  if table is not None:
    weights["embeddings.position_embeddings"] = table[:, int(cls_token) :]
    if cls_token:
      weights["embeddings.cls_position"] = table[:, :1]
  for name in [n for n in weights if n.endswith("attention.query.bias")]:
    weights.setdefault(name.replace("query", "key"), np.zeros_like(weights[name]))
  shared = any(name.startswith("encoder.relative_position_bias") for name in weights)
  in_blocks = any(name.endswith("relative_position_bias_table") for name in weights)
  tables = "relative_bias" if shared else "block_relative_bias" if in_blocks else "none"
  scaled = any(name.endswith(("layer_scale1.lambda1", "lambda_1")) for name in weights)
  registers = weights["embeddings.register_tokens"].shape[1] if "embeddings.register_tokens" in weights else 0
  width = number(config, "hidden_size")
  network = dict(
    fn="vit",
    image_size=size(number(config, "image_size")),
    patch_size=size(number(config, "patch_size")),
    width=width,
    depth=number(config, "num_hidden_layers"),
    num_heads=number(config, "num_attention_heads"),
    mlp_ratio=ratio(config["intermediate_size"], width) if "intermediate_size" in config else number(config, "mlp_ratio"),
    qkv_bias=any(name.endswith(".query.bias") for name in weights),
    position="learned" if table is not None else tables,
    # transformers hands torch the new size.
    position_offset=0.0,
    position_antialias=registers > 0,
    cls_token=cls_token,
    cls_position=cls_token and table is not None,
    registers=registers,
    mask_token="embeddings.mask_token" in weights,
    layer_scale=float(config.get("layerscale_value", config.get("layer_scale_init_value", 1.0))) if scaled else None,
    fc_norm="pooler.layernorm.weight" in weights,
    **activation(config),
  )
  return Described(network, weights, VIT_RULES, image(config))


def _mae_decoder(weights, contents, num_heads) -> Described:
  del num_heads
  config, weights = contents.config, dict(weights)
  if "decoder_pos_embed" not in weights:
    raise ConfigError("the decoder has no decoder_pos_embed")
  table = require_sincos(weights.pop("decoder_pos_embed")[:, 1:])
  width = number(config, "decoder_hidden_size")
  network = dict(
    fn="mae_decoder",
    patch_size=size(number(config, "patch_size")),
    width=width,
    depth=number(config, "decoder_num_hidden_layers"),
    num_heads=number(config, "decoder_num_attention_heads"),
    mlp_ratio=ratio(number(config, "decoder_intermediate_size"), width),
    channels=config.get("num_channels", 3),
    **activation(config),
  )
  return Described(network, weights, DECODER, input_tokens(number(config, "hidden_size"), 1 + table.shape[1]))


def _swin(weights, contents, num_heads) -> Described:
  del num_heads
  block = re.compile(r"encoder\.layers\.(\d+)\.blocks\.(\d+)\.")
  places = {(int(match[1]), int(match[2])) for name in weights if (match := block.match(name))}
  numbers = {place: i for i, place in enumerate(sorted(places))}

  def through_stages(name):
    if match := block.match(name):
      return f"encoder.layer.{numbers[int(match[1]), int(match[2])]}.{name[match.end() :]}"
    if match := re.match(r"encoder\.layers\.(\d+)\.downsample\.", name):
      return f"encoder.layer.{numbers[int(match[1]) + 1, 0]}.merge.{name[match.end() :]}"
    return name

  config = contents.config
  network = dict(
    fn="swin",
    patch_size=number(config, "patch_size"),
    window=number(config, "window_size"),
    width=number(config, "embed_dim"),
    depths=tuple(number(config, "depths")),
    num_heads=tuple(number(config, "num_heads")),
    mlp_ratio=number(config, "mlp_ratio"),
    qkv_bias=number(config, "qkv_bias"),
    mask_token="embeddings.mask_token" in weights,
    **activation(config),
  )
  return Described(network, {through_stages(name): x for name, x in weights.items()}, SWIN, image(config))


def _convnext(weights, contents, num_heads) -> Described:
  del num_heads
  config = contents.config
  scaled = any(name.endswith("layer_scale_parameter") for name in weights)
  network = dict(
    fn="convnext",
    width=number(config, "hidden_sizes")[0],
    depths=tuple(number(config, "depths")),
    layer_scale=float(number(config, "layer_scale_init_value")) if scaled else None,
    grn=any(".grn." in name for name in weights),
    # The blocks' LayerNorms have 1e-6 in transformers, whatever the config says.
    **(activation(config) | dict(layer_norm_eps=1e-6)),
  )
  return Described(network, weights, CONVNEXT, image(config))


_DEPTHS = {
  ("basic", (2, 2, 2, 2)): 18,
  ("basic", (3, 4, 6, 3)): 34,
  ("bottleneck", (3, 4, 6, 3)): 50,
  ("bottleneck", (3, 4, 23, 3)): 101,
  ("bottleneck", (3, 8, 36, 3)): 152,
}


def _resnet(weights, contents, num_heads) -> Described:
  del num_heads
  config = contents.config
  kind = (number(config, "layer_type"), tuple(number(config, "depths")))
  if kind not in _DEPTHS:
    raise ConfigError(f"a ResNet of {kind[0]} blocks {kind[1]} is none of those of 18, 34, 50, 101 and 152 layers")
  network = dict(fn="resnet", depth=_DEPTHS[kind], width=number(config, "embedding_size"))
  return Described(network, weights, RESNET, image(config))


_FAMILIES: dict[str, Callable[[Weights, Contents, int | None], Described]] = {
  **dict.fromkeys(("vit", "deit", "vit_msn", "vit_mae", "beit", "data2vec-vision", "ijepa"), _vit),
  **dict.fromkeys(("dinov2", "dinov2_with_registers"), _vit),
  "dinov3_vit": huggingface_dinov3.describe,
  **dict.fromkeys(("siglip", "siglip_vision_model"), huggingface_siglip.describe),
  "swin": _swin,
  **dict.fromkeys(("convnext", "convnextv2"), _convnext),
  "resnet": _resnet,
}


def _encoder(weights, contents, num_heads) -> Described:
  kind = contents.config.get("model_type")
  if kind is None:
    raise ConfigError("there is no config.json with a model_type beside the weights")
  if kind not in _FAMILIES:
    raise ConfigError(f"models of transformers' type '{kind}' are not read; {nearest(kind, _FAMILIES)}")
  return _FAMILIES[kind](weights, contents, num_heads)


HUGGING_FACE = Format(
  parts=dict(
    encoder=Part(rf"(?:(?:{_BASE})\.)?((?:{_BACKBONE})\..*)", _encoder),
    decoder=Part(r"decoder\.((?:mask_token|decoder_).*)", _mae_decoder),
  ),
  recognised=lambda contents: "model_type" in contents.config,
  other=rf"(?:(?:{_BASE})\.)?(?:(?:cls_|distillation_)?classifier|lm_head|pooler\.dense|decoder\.\d+|text_model)\..*"
  r"|logit_(?:scale|bias)",
  colours=preprocessor_colours,
)
