"""A ViT in torch with the names of timm, DINO, DINOv2, MAE and their kin, written for the tests."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, SIDE, PATCH = 16, 2, 4, 4


class Block(nn.Module):
  def __init__(self, width=WIDTH, layer_scale=False):
    super().__init__()
    self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
    self.attn = nn.ModuleDict(dict(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width)))
    self.mlp = nn.ModuleDict(dict(fc1=nn.Linear(width, 2 * width), fc2=nn.Linear(2 * width, width)))
    if layer_scale:
      self.ls1, self.ls2 = nn.ParameterDict(dict(gamma=torch.ones(width))), nn.ParameterDict(dict(gamma=torch.ones(width)))

  def forward(self, x):
    batch, tokens, width = x.shape
    qkv = self.attn["qkv"](self.norm1(x)).reshape(batch, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
    weights = (qkv[0] @ qkv[1].transpose(-2, -1) / (width // HEADS) ** 0.5).softmax(dim=-1)
    y = self.attn["proj"]((weights @ qkv[2]).transpose(1, 2).reshape(batch, tokens, width))
    x = x + (y * self.ls1["gamma"] if hasattr(self, "ls1") else y)
    y = self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))
    return x + (y * self.ls2["gamma"] if hasattr(self, "ls2") else y)


class ViT(nn.Module):
  """`resize(table [1, dim, side, side], (rows, columns))` is how the code at hand makes positions for another grid."""

  def __init__(self, resize, *, cls=True, cls_position=True, registers=None, mask=None, layer_scale=False):
    super().__init__()
    self.resize, self.registers_name = resize, registers
    if cls:
      self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
    self.pos_embed = nn.Parameter(torch.zeros(1, (cls and cls_position) + SIDE**2, WIDTH))
    if registers:
      setattr(self, registers, nn.Parameter(torch.zeros(1, 2, WIDTH)))
    if mask:
      setattr(self, mask, nn.Parameter(torch.zeros(1, WIDTH)))
    self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(3, WIDTH, PATCH, PATCH)))
    self.blocks = nn.ModuleList([Block(layer_scale=layer_scale) for _ in range(2)])
    self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
    fill(self)

  def forward(self, images):
    x = self.patch_embed["proj"](images)
    grid = tuple(x.shape[2:])
    x = x.flatten(2).transpose(1, 2)
    row, table = self.pos_embed[:, : -(SIDE**2)], self.pos_embed[:, -(SIDE**2) :]
    if grid != (SIDE, SIDE):
      table = self.resize(table.reshape(1, SIDE, SIDE, WIDTH).permute(0, 3, 1, 2), grid).flatten(2).transpose(1, 2)
    x = x + table
    prefix = []
    if hasattr(self, "cls_token"):
      prefix = [self.cls_token + row if row.shape[1] else self.cls_token]
    if self.registers_name:
      prefix.append(getattr(self, self.registers_name))
    x = torch.cat([*(token.expand(len(x), -1, -1) for token in prefix), x], dim=1)
    for block in self.blocks:
      x = block(x)
    return self.norm(x)


def fill(module, seed=0):
  """Weights large enough that every part of a module matters."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for parameter in module.parameters():
      parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def run(module, images):
  """A module's answer to NumPy images `[batch, H, W, 3]`."""
  with torch.no_grad():
    return module(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))).numpy()


def by_factor(offset):
  """Positions as DINO resizes them."""
  return lambda table, grid: functional.interpolate(
    table, scale_factor=tuple((new + offset) / SIDE for new in grid), mode="bicubic"
  )


def by_size(antialias):
  """Positions as timm, MAE and DINOv2 with registers resize them."""
  return lambda table, grid: functional.interpolate(table, size=grid, mode="bicubic", antialias=antialias)
