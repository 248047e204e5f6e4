"""The same step in PyTorch, as fast as we know how: fused qkv, SDPA, fused AdamW, eager or compiled."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
  """Pre-norm block with one matrix for query, key and value."""

  def __init__(self, width: int, num_heads: int):
    super().__init__()
    self.num_heads = num_heads
    self.norm_0, self.norm_1 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
    self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
    self.dense_0, self.dense_1 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

  def forward(self, x):
    batch, tokens, width = x.shape
    qkv = self.qkv(self.norm_0(x)).view(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(*qkv.unbind(0))
    x = x + self.out(y.transpose(1, 2).reshape(batch, tokens, width))
    return x + self.dense_1(F.gelu(self.dense_0(self.norm_1(x))))


class SimMIM(nn.Module):
  """A ViT whose hidden patches are a mask token, a linear head, and the mean absolute error on the hidden pixels."""

  def __init__(self, *, patch: int, tokens: int, width: int, depth: int, num_heads: int):
    super().__init__()
    self.patch, pixels = patch, 3 * patch**2
    self.embedding = nn.Linear(pixels, width)
    self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
    self.pos_embedding = nn.Parameter(torch.zeros(1, tokens, width))
    self.cls = nn.Parameter(torch.zeros(1, 1, width))
    self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(depth))
    self.norm = nn.LayerNorm(width, eps=1e-6)
    self.head = nn.Linear(width, pixels)

  def forward(self, images, mask):
    """`images [batch, H, W, 3]`, `mask [batch, patches]` bool; returns the loss."""
    target = patchify(images, self.patch)
    x = torch.where(mask[:, :, None], self.mask_token, self.embedding(target)) + self.pos_embedding
    x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
    for block in self.blocks:
      x = block(x)
    error = (self.head(self.norm(x)[:, 1:]) - target).abs() * mask[:, :, None]
    return error.sum() / (mask.sum() * target.shape[-1])


def patchify(images, patch: int):
  """`[batch, H, W, C]` to `[batch, patches, patch * patch * C]`."""
  batch, height, width, channels = images.shape
  x = images.view(batch, height // patch, patch, width // patch, patch, channels)
  return x.transpose(2, 3).reshape(batch, -1, patch * patch * channels)


def cell_mask(batch: int, *, side: int, cell: int, hidden: int):
  """Hides `hidden` random cells of `cell * cell` patches: bool `[batch, side * side]`, as `jssl.masking.cell_mask`."""
  cells = side // cell
  order = torch.rand(batch, cells * cells).argsort(dim=1)
  mask = torch.zeros(batch, cells * cells, dtype=torch.bool).scatter_(1, order[:, :hidden], True)
  mask = mask.view(batch, cells, cells).repeat_interleave(cell, dim=1).repeat_interleave(cell, dim=2)
  return mask.reshape(batch, -1)


def make_optimizer(model: nn.Module, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
  """Fused AdamW; biases and parameters of one dimension are not decayed, as in `jssl.optim`."""
  parameters = list(model.parameters())
  groups = [dict(params=[p for p in parameters if p.ndim > 1], weight_decay=weight_decay),
            dict(params=[p for p in parameters if p.ndim == 1], weight_decay=0.0)]
  return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), fused=True)


def from_jssl(params: Mapping[str, Any]) -> dict[str, torch.Tensor]:
  """The state dict of `SimMIM` from a tree of the shape of jssl's parameters: weights, or their gradients."""
  backbone, head = params["backbone"], params["heads_pixels"]["pixels"]
  transformer = backbone["Transformer"]
  state = {name: backbone[name] for name in ("mask_token", "pos_embedding", "cls")}

  def linear(name, *sources, inputs=1):
    """Sources lie side by side along the outputs; the first `inputs` axes of a kernel are its inputs."""
    kernels = [np.reshape(s["kernel"], (np.prod(s["kernel"].shape[:inputs]), -1)) for s in sources]
    state[f"{name}.weight"] = np.concatenate(kernels, axis=1).T
    state[f"{name}.bias"] = np.concatenate([np.ravel(s["bias"]) for s in sources])

  def norm(name, source):
    state[f"{name}.weight"], state[f"{name}.bias"] = source["scale"], source["bias"]

  linear("embedding", backbone["embedding"], inputs=3)
  linear("head", head)
  norm("norm", transformer["encoder_norm"])
  for i in range(sum(name.startswith("encoderblock_") for name in transformer)):
    block, name = transformer[f"encoderblock_{i}"], f"blocks.{i}"
    attention, mlp = block["MultiHeadDotProductAttention_0"], block["MlpBlock_0"]
    linear(f"{name}.qkv", attention["query"], attention["key"], attention["value"])
    linear(f"{name}.out", attention["out"], inputs=2)
    linear(f"{name}.dense_0", mlp["Dense_0"])
    linear(f"{name}.dense_1", mlp["Dense_1"])
    norm(f"{name}.norm_0", block["LayerNorm_0"])
    norm(f"{name}.norm_1", block["LayerNorm_1"])
  return {name: torch.tensor(np.asarray(value)) for name, value in state.items()}
