"""DINO (facebookresearch/dino): `*_pretrain.pth`, a ViT; `*_full_checkpoint.pth`, student and teacher with their heads.

A weight-normalised prototype `g v / ||v||` is `prototypes/direction` v and, where the norms g were trained, `gain` g. The
centre is in `extras`.
"""

import re
from typing import Any

import numpy as np

from jssl.interop import torch_vit
from jssl.interop.formats import Described, Format, Part

_WB = r"\.(weight|bias)"
_LAST = r"head\.last_layer\.(?:weight_|parametrizations\.weight\.original)"


def backbone(weights, contents, num_heads) -> Described:
  """DINO's ViT, see `Part.describe`."""
  del contents
  # DINO hands torch the factor (new + 0.1) / old, see `interpolate_positions`.
  return torch_vit.describe(weights, num_heads=num_heads, position_offset=0.1, position_antialias=False)


def _with_head(weights, contents, num_heads) -> Described:
  inner = {name.removeprefix("backbone."): array for name, array in weights.items() if name.startswith("backbone.")}
  found = backbone(inner, contents, num_heads)
  head = {name: array for name, array in weights.items() if not name.startswith("backbone.")}
  layers = sorted({int(match[1]) for name in head if (match := re.match(r"head\.mlp\.(\d+)\.", name))})
  norms = next((name for name in head if re.fullmatch(_LAST + "[g0]", name)), None)
  directions = next((name for name in head if re.fullmatch(_LAST + "[v1]", name)), None)
  if not layers or directions is None:  # a backbone alone, or a head of another kind, whose names have no place
    return found._replace(weights={**found.weights, **head})
  direction, first = head.pop(directions), head[f"head.mlp.{layers[0]}.weight"]
  head["direction"] = direction.T
  fixed = norms is not None and np.all(head[norms] == 1)
  if norms is not None:
    head["gain"] = head.pop(norms).reshape(-1)
  if fixed:
    del head["gain"]
  number = {str(layer): i for i, layer in enumerate(layers)}
  network: dict[str, Any] = dict(
    fn="dino_head",
    reads=("features",),
    hidden=first.shape[0],
    bottleneck=direction.shape[1],
    prototypes=direction.shape[0],
    layers=len(layers),
    norm_last_layer=bool(fixed),
  )
  rules = (
    (r"head\.mlp\.(\d+)" + _WB, lambda match: f"heads_logits/mlp/dense_{number[match[1]]}/{match[2]}"),
    ("direction|gain", r"heads_logits/prototypes/\g<0>"),
  )
  return found._replace(
    network=found.network | dict(heads=dict(logits=network)), weights={**found.weights, **head}, rules=(*rules, *found.rules)
  )


DINO = Format(
  parts=dict(
    student=Part(r"student\.(?:module\.)?(.+)", _with_head),
    teacher=Part(r"teacher\.(?:module\.)?(.+)", _with_head),
    backbone=Part(r"((?:cls_token|pos_embed|patch_embed\.|blocks\.|norm\.).*)", backbone),
  ),
  recognised=lambda contents: "dino_loss.center" in contents.weights,
  extras=dict(center=r"dino_loss\.center"),
)
