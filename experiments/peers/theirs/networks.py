"""Backbones of timm in lightly's wrapper and heads of lightly, which find the parameters that jssl started from."""

from collections import OrderedDict
from collections.abc import Mapping
import pathlib
import re
import sys
from typing import Any

from lightly.models.modules import MaskedVisionTransformerTIMM
from lightly.models.modules.heads import ProjectionHead
import numpy as np
from timm.models.vision_transformer import VisionTransformer
import torch
from torch import nn
from torch.nn import functional as F

sys.path.append(str(pathlib.Path(__file__).parents[2] / "bench"))
import torch_models


class Stem(nn.Module):
  """Convolutions, each with a LayerNorm over channels and a GELU, in the place of timm's patch embedding."""

  def __init__(self, channels, width: int, num_patches: int):
    super().__init__()
    self.num_patches, self.count = num_patches, len(channels)
    for i, (inputs, outputs) in enumerate(zip((3, *channels), channels, strict=False), start=1):
      setattr(self, f"stem{i}", nn.Conv2d(inputs, outputs, 3, 2, 1))
      setattr(self, f"stem{i}_norm", nn.LayerNorm(outputs, eps=1e-6))
    self.embedding = nn.Linear(channels[-1], width)

  def forward(self, images):
    """`[batch, 3, H, W]` to `[batch, rows, columns, width]`."""
    x = images
    for i in range(1, self.count + 1):
      x = getattr(self, f"stem{i}")(x).permute(0, 2, 3, 1)
      x = F.gelu(getattr(self, f"stem{i}_norm")(x)).permute(0, 3, 1, 2)
    return self.embedding(x.permute(0, 2, 3, 1))


def backbone(net: Mapping[str, Any]) -> MaskedVisionTransformerTIMM:
  """The ViT of an entry of jssl's `networks`."""
  fixed = net.get("position") == "sincos2d"
  vit = VisionTransformer(
    img_size=net["image_size"],
    patch_size=net["patch_size"],
    embed_dim=net["width"],
    depth=net["depth"],
    num_heads=net["num_heads"],
    init_values=net.get("layer_scale"),
    class_token=net.get("cls_token", True),
    no_embed_class=not fixed,
    global_pool="token" if net.get("cls_token", True) else "avg",
    fc_norm=False,
    num_classes=0,
    dynamic_img_size=True,
  )
  if net.get("stem"):
    vit.patch_embed = Stem(net["stem"], net["width"], vit.patch_embed.num_patches)
  model = MaskedVisionTransformerTIMM(
    vit, weight_initialization="skip", pos_embed_initialization="sincos" if fixed else "skip"
  )
  model.mask_token.requires_grad_(bool(net.get("mask_token")))
  return model


def network(net: Mapping[str, Any], **heads: nn.Module) -> torch_models.Network:
  """A backbone with heads of lightly."""
  return torch_models.Network(backbone(net), **heads)


def named(head: ProjectionHead) -> ProjectionHead:
  """A head of lightly, with names for its layers: numbers of BatchNorms are those of the Linear layers before them."""
  layers, count = OrderedDict(), -1
  for layer in head.layers:
    count += isinstance(layer, nn.Linear)
    kind = "dense" if isinstance(layer, nn.Linear) else "batch_norm" if isinstance(layer, nn.BatchNorm1d) else "activation"
    layers[f"{kind}_{count}"] = layer
  head.layers = nn.Sequential(layers)
  return head


# What names here become, and those of `torch_models.from_jssl`.
_OURS = (
  (r"\.vit\.", "."),
  (r"\.patch_embed\.proj\.", ".embedding."),
  (r"\.patch_embed\.", "."),
  (r"\.cls_token$", ".cls"),
  (r"\.pos_embed$", ".pos_embedding"),
  (r"\.norm1\.", ".norm_0."),
  (r"\.norm2\.", ".norm_1."),
  (r"\.ls1\.gamma$", ".layer_scale_0"),
  (r"\.ls2\.gamma$", ".layer_scale_1"),
  (r"\.attn\.qkv\.", ".qkv."),
  (r"\.attn\.proj\.", ".out."),
  (r"\.mlp\.fc1\.", ".dense_0."),
  (r"\.mlp\.fc2\.", ".dense_1."),
  (r"\.(layers|decoder)\.", "."),
  (r"\.predictor_embed\.", ".embedding."),
  (r"\.predictor_proj\.", ".head."),
  (r"(\.last_layer\.weight_v|^(prototypes\.backbone)(\.heads\.0)?\.weight)$", r"\2.direction"),
)
_THEIRS = (
  (r"\.mlp\.(dense|batch_norm)_", r".\1_"),
  (r"\.(patch_)?prototypes\.direction$", ".direction"),
  (r"\.pixels\.pixels\.", ".pixels."),
)


@torch.no_grad()
def load(networks: nn.ModuleDict, params: Mapping[str, np.ndarray]) -> None:
  """Gives the networks jssl's parameters, `{"student/backbone/cls": array}`; every one must find its place."""
  trees: dict[str, dict] = {}
  for name, value in params.items():
    trees.setdefault(name.partition("/")[0], {})[name.partition("/")[2]] = value
  found = {_renamed(name, _THEIRS): value for name, value in torch_models.from_jssl(trees).items()}
  own = {_renamed(name, _OURS): p for name, p in networks.named_parameters() if p.requires_grad}
  if sorted(found) != sorted(own):
    raise ValueError(f"parameters of one side only: {sorted(set(found) ^ set(own))}")
  for name, parameter in own.items():
    value = found[name]
    if parameter.ndim == 4 and value.ndim == 2:  # patches are cut row, column, channel there
      value = value.reshape(len(parameter), *parameter.shape[2:], 3).permute(0, 3, 1, 2)
    parameter.copy_(value.reshape(parameter.shape))


def _renamed(name: str, rules) -> str:
  for pattern, replacement in rules:
    name = re.sub(pattern, replacement, name)
  return name
