"""Swin, ConvNeXt and ResNet as models of transformers: their names and their `config.json`."""

import re
from typing import Any

import numpy as np

from jssl.errors import ConfigError
from jssl.interop.formats import Preprocessing, Written
from jssl.interop.huggingface import CONVNEXT, RESNET, SWIN
from jssl.interop.huggingface_config import GELU, sides
from jssl.interop.names import convert_back
from jssl.interop.pretrained import Pretrained
from jssl.interop.torch_vit import ratio
from jssl.models.resnet import DEPTHS


def swin(found: Pretrained, seen: Preprocessing) -> Written:
  """SwinModel; a mask token, which it has not, stays behind."""
  net: Any = found.module.backbone
  numbers = (f"{stage}.blocks.{i}" for stage, depth in enumerate(net.depths) for i in range(depth))
  place = {str(n): number for n, number in enumerate(numbers)}
  before = {str(sum(net.depths[: stage + 1])): stage for stage in range(len(net.depths) - 1)}
  weights = {}
  for name, array in convert_back("hf (swin)", found.variables, SWIN, r"attention\.self\.").items():
    name = re.sub(r"^encoder\.layer\.(\d+)\.merge", lambda m: f"encoder.layers.{before[m[1]]}.downsample", name)
    weights[re.sub(r"^encoder\.layer\.(\d+)", lambda m: f"encoder.layers.{place[m[1]]}", name)] = array
  left = ("mask_token",) if weights.pop("embeddings.mask_token", None) is not None else ()
  block = net.blocks[0]
  config = _config("swin", "SwinModel", seen, weights["embeddings.patch_embeddings.projection.weight"]) | dict(
    patch_size=net.patch_size,
    embed_dim=net.width,
    depths=list(net.depths),
    num_heads=[b.num_heads for b in net.blocks],
    window_size=net.window,
    mlp_ratio=ratio(block.mlp_dim, net.width),
    qkv_bias=block.qkv_bias,
    hidden_act=_act(block.gelu),
    layer_norm_eps=block.layer_norm_eps,
  )
  return Written(weights, config, left)


def convnext(found: Pretrained, seen: Preprocessing) -> Written:
  """ConvNextModel, or with global response normalisation ConvNextV2Model; a mask token stays behind."""
  net: Any = found.module.backbone
  kind = "convnextv2" if net.grn else "convnext"
  _require(kind, found, "stem", "imagenet")
  _require(kind, found, "layer_norm_eps", 1e-6)
  if net.grn:
    _require(kind, found, "layer_scale", None)
  params = dict(found.variables["params"]["backbone"])
  left = ("mask_token",) if params.pop("mask_token", None) is not None else ()
  weights = convert_back(f"hf ({kind})", dict(params=dict(backbone=params)), CONVNEXT)
  weights = {name: x.reshape(1, 1, 1, -1) if ".grn." in name else x for name, x in weights.items()}
  stages = len(net.depths)
  config = _config(
    kind, "ConvNextV2Model" if net.grn else "ConvNextModel", seen, weights["embeddings.patch_embeddings.weight"]
  )
  config |= dict(
    patch_size=4,
    num_stages=stages,
    hidden_sizes=[net.width * 2**stage for stage in range(stages)],
    depths=list(net.depths),
    hidden_act=_act(net.gelu),
    layer_norm_eps=net.layer_norm_eps,
  )
  if not net.grn:
    config |= dict(layer_scale_init_value=float(net.layer_scale or 0.0))
  return Written(weights, config, left)


def resnet(found: Pretrained, seen: Preprocessing) -> Written:
  """ResNetModel."""
  net: Any = found.module.backbone
  _require("resnet", found, "stem", "imagenet")
  weights = convert_back("hf (resnet)", found.variables, RESNET)
  # torch counts the batches of a BatchNorm, which changes nothing where it has a momentum.
  means = [name for name in weights if name.endswith("running_mean")]
  weights |= {name.replace("running_mean", "num_batches_tracked"): np.zeros((), np.int64) for name in means}
  bottleneck = net.depth >= 50
  config = _config("resnet", "ResNetModel", seen, weights["embedder.embedder.convolution.weight"]) | dict(
    embedding_size=net.width,
    hidden_sizes=[net.width * 2**stage * (4 if bottleneck else 1) for stage in range(4)],
    depths=list(DEPTHS[net.depth]),
    layer_type="bottleneck" if bottleneck else "basic",
    hidden_act="relu",
    downsample_in_first_stage=False,
    downsample_in_bottleneck=False,
  )
  return Written(weights, config)


def _config(kind: str, model: str, seen: Preprocessing, first: np.ndarray) -> dict[str, Any]:
  common = dict(model_type=kind, architectures=[model], dtype="float32", num_channels=first.shape[1])
  return common | dict(image_size=sides(seen.size))


def _act(gelu: str) -> str:
  return next(name for name, form in GELU.items() if form == gelu)


def _require(kind: str, found: Pretrained, name: str, value: Any) -> None:
  have = getattr(found.module.backbone, name)
  if have != value:
    raise ConfigError(f"hf ({kind}) holds no {found.network['fn']} of {name}={have!r}, only of {value!r}")
