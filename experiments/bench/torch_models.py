"""The networks in PyTorch, as fast as we know how: fused qkv, SDPA, one matrix product for the patches; ResNets in
channels_last. Names follow jssl's parameters, so that one function carries them over.
"""

from collections.abc import Mapping, Sequence
import itertools
import re
from typing import Any

from flops import RESNET_BLOCKS
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
  """Pre-norm block with one matrix for query, key and value."""

  def __init__(self, width: int, num_heads: int, layer_scale: float | None = None):
    super().__init__()
    self.num_heads = num_heads
    self.layer_scale_0 = self.layer_scale_1 = None
    if layer_scale is not None:
      self.layer_scale_0, self.layer_scale_1 = (nn.Parameter(torch.full((width,), layer_scale)) for _ in range(2))
    self.norm_0, self.norm_1 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
    self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
    self.dense_0, self.dense_1 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

  def forward(self, x, bias=None):
    """`x [batch, tokens, width]`; `bias` is added to the logits of the attention."""
    batch, tokens, width = x.shape
    qkv = self.qkv(self.norm_0(x)).view(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(*qkv.unbind(0), attn_mask=bias)
    y = self.out(y.transpose(1, 2).reshape(batch, tokens, width))
    x = x + (y if self.layer_scale_0 is None else self.layer_scale_0 * y)
    y = self.dense_1(F.gelu(self.dense_0(self.norm_1(x))))
    return x + (y if self.layer_scale_1 is None else self.layer_scale_1 * y)


class ViT(nn.Module):
  """`images [batch, H, W, 3]` to tokens after the final LayerNorm `[batch, 1 + patches, width]`, class token first.

  `position` is "learned", "sincos2d", or "relative_bias": a bias for each offset of two tokens and each head, as SimMIM's.
  `position_offset` is 0.1 in DINO, iBOT and DINOv2, and 0 in MSN.
  """

  def __init__(
    self,
    *,
    image_size: int,
    patch_size: int,
    width: int,
    depth: int,
    num_heads: int,
    position: str = "learned",
    cls_token: bool = True,
    cls_position: bool = False,
    position_offset: float = 0.1,
    mask_token: bool = False,
    layer_scale: float | None = None,
  ):
    super().__init__()
    self.patch, self.side, self.position_offset = patch_size, image_size // patch_size, position_offset
    self.embedding = nn.Linear(3 * patch_size**2, width)
    self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width)) if cls_token else None
    self.cls_position = nn.Parameter(0.02 * torch.randn(1, 1, width)) if cls_position else None
    self.relative_position_bias = None
    if position == "learned":
      self.pos_embedding = nn.Parameter(0.02 * torch.randn(1, self.side**2, width))
    elif position == "sincos2d":
      self.register_buffer("pos_embedding", sincos2d(self.side, width))
    else:
      self.pos_embedding = None
      self.relative_position_bias = nn.Parameter(torch.zeros((2 * self.side - 1) ** 2 + 3, num_heads))
    self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if mask_token else None
    self.blocks = nn.ModuleList(Block(width, num_heads, layer_scale) for _ in range(depth))
    self.norm = nn.LayerNorm(width, eps=1e-6)

  def forward(self, images, *, mask=None, ids_keep=None):
    """`mask [batch, patches]` bool, True where the mask token stands; `ids_keep [batch, kept]`: patches that are seen."""
    x = self.embedding(patchify(images, self.patch))
    if mask is not None:
      x = torch.where(mask[:, :, None], self.mask_token.to(x.dtype), x)
    if self.pos_embedding is not None:
      x = x + self.positions(images.shape[1] // self.patch)
    if ids_keep is not None:
      x = take(x, ids_keep)
    if self.cls is not None:
      cls = self.cls if self.cls_position is None else self.cls + self.cls_position
      x = torch.cat([cls.expand(len(x), -1, -1), x], dim=1)
    bias = (
      None if self.relative_position_bias is None else self.relative_position_bias[relative_rows(self.side)].permute(2, 0, 1)
    )
    for block in self.blocks:
      x = block(x, bias)
    return self.norm(x)

  def positions(self, side: int):
    """The learned positions of another grid: bicubic, by a factor of `(side + offset) / self.side`."""
    if side == self.side:
      return self.pos_embedding
    table = self.pos_embedding.view(1, self.side, self.side, -1).permute(0, 3, 1, 2)
    table = F.interpolate(table, scale_factor=((side + self.position_offset) / self.side,) * 2, mode="bicubic")
    return table.permute(0, 2, 3, 1).reshape(1, side**2, -1)


class MAEDecoder(nn.Module):
  """Mask tokens for what was hidden, fixed positions, blocks, pixels."""

  def __init__(self, *, inputs: int, side: int, patch_size: int, width: int, depth: int, num_heads: int):
    super().__init__()
    self.embedding = nn.Linear(inputs, width)
    self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
    self.register_buffer("pos_embedding", sincos2d(side, width))
    self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(depth))
    self.norm = nn.LayerNorm(width, eps=1e-6)
    self.head = nn.Linear(width, 3 * patch_size**2)

  def forward(self, tokens, ids_restore):
    """The encoder's `tokens [batch, 1 + kept, dim]` to `[batch, patches, 3 * patch_size^2]`."""
    x = self.embedding(tokens)
    hidden = self.mask_token.to(x.dtype).expand(len(x), ids_restore.shape[1] + 1 - x.shape[1], -1)
    patches = take(torch.cat([x[:, 1:], hidden], dim=1), ids_restore) + self.pos_embedding
    x = torch.cat([x[:, :1], patches], dim=1)
    for block in self.blocks:
      x = block(x)
    return self.head(self.norm(x[:, 1:]))


class MLP(nn.Module):
  """Linear layers with an activation between, and BatchNorm before it where asked for; a last one has no parameters."""

  def __init__(
    self,
    widths: Sequence[int],
    *,
    activation=F.relu,
    batch_norm: bool = False,
    last_batch_norm: bool = False,
    bias: bool = True,
    last_bias: bool = True,
  ):
    super().__init__()
    self.layers, self.activation = len(widths) - 1, activation
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
      last = i == self.layers - 1
      setattr(self, f"dense_{i}", nn.Linear(inputs, outputs, bias=last_bias if last else bias))
      if last_batch_norm if last else batch_norm:
        setattr(self, f"batch_norm_{i}", nn.BatchNorm1d(outputs, affine=not last))

  def forward(self, x):
    for i in range(self.layers):
      x = getattr(self, f"dense_{i}")(x)
      x = getattr(self, f"batch_norm_{i}", nn.Identity())(x)
      x = self.activation(x) if i < self.layers - 1 else x
    return x


class Prototypes(nn.Module):
  """Linear layer without bias whose rows have a norm of 1, or one that is trained."""

  def __init__(self, inputs: int, count: int, trainable_gain: bool):
    super().__init__()
    self.direction = nn.Parameter(torch.empty(count, inputs).uniform_(-(inputs**-0.5), inputs**-0.5))
    self.gain = nn.Parameter(torch.ones(count)) if trainable_gain else None

  def forward(self, x):
    weight = F.normalize(self.direction, dim=1)
    return F.linear(x, weight if self.gain is None else weight * self.gain[:, None])


class DINOHead(nn.Module):
  """MLP, L2 normalisation, prototypes: of `x [..., dim]`."""

  def __init__(self, inputs: int, *, hidden: int, bottleneck: int, prototypes: int, norm_last_layer: bool = True):
    super().__init__()
    self.mlp = MLP([inputs, hidden, hidden, bottleneck], activation=F.gelu)
    self.prototypes = Prototypes(bottleneck, prototypes, not norm_last_layer)

  def forward(self, x):
    return self.prototypes(F.normalize(self.mlp(x), dim=-1))


class SharedTrunkHead(nn.Module):
  """The same for class and patch tokens; `[batch, 1 + patches, dim]` to embeddings and the logits of the patches.

  With `share_prototypes` the class token has logits too, the first ones.
  """

  def __init__(
    self,
    inputs: int,
    *,
    hidden: int,
    bottleneck: int,
    prototypes: int,
    norm_last_layer: bool = True,
    share_prototypes: bool = False,
  ):
    super().__init__()
    self.share_prototypes = share_prototypes
    self.mlp = MLP([inputs, hidden, hidden, bottleneck], activation=F.gelu)
    self.patch_prototypes = Prototypes(bottleneck, prototypes, not norm_last_layer)

  def forward(self, tokens):
    embedding = F.normalize(self.mlp(tokens), dim=-1)
    return embedding, self.patch_prototypes(embedding if self.share_prototypes else embedding[:, 1:])


class ReconstructionHead(nn.Module):
  """A few Linear-GELU layers on each patch token, then its pixels."""

  def __init__(self, inputs: int, *, patch_size: int, layers: int = 0):
    super().__init__()
    self.layers = layers
    for i in range(layers):
      setattr(self, f"dense_{i}", nn.Linear(inputs, inputs))
    self.pixels = nn.Linear(inputs, 3 * patch_size**2)

  def forward(self, x):
    for i in range(self.layers):
      x = F.gelu(getattr(self, f"dense_{i}")(x))
    return self.pixels(x)


class ResidualBlock(nn.Module):
  """torchvision's BasicBlock, or its Bottleneck with the stride in the 3x3 convolution."""

  def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool):
    super().__init__()
    self.outputs = width * (4 if bottleneck else 1)
    sizes = (
      [(width, 1, 1), (width, 3, stride), (self.outputs, 1, 1)] if bottleneck else [(width, 3, stride), (self.outputs, 3, 1)]
    )
    self.count, channels = len(sizes), inputs
    for i, (features, kernel, step) in enumerate(sizes, start=1):
      setattr(self, f"conv{i}", nn.Conv2d(channels, features, kernel, step, kernel // 2, bias=False))
      setattr(self, f"bn{i}", nn.BatchNorm2d(features))
      channels = features
    self.downsample_0 = self.downsample_1 = None
    if stride != 1 or inputs != self.outputs:
      self.downsample_0 = nn.Conv2d(inputs, self.outputs, 1, stride, bias=False)
      self.downsample_1 = nn.BatchNorm2d(self.outputs)

  def forward(self, x):
    y = x
    for i in range(1, self.count + 1):
      y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
      y = F.relu(y, inplace=True) if i < self.count else y
    return F.relu(y + (x if self.downsample_0 is None else self.downsample_1(self.downsample_0(x))), inplace=True)


class ResNet(nn.Module):
  """torchvision's ResNet without its classifier; images `[batch, H, W, 3]` to `[batch, dim]`."""

  def __init__(self, *, depth: int, stem: str = "imagenet", width: int = 64):
    super().__init__()
    self.imagenet = stem == "imagenet"
    self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False) if self.imagenet else nn.Conv2d(3, width, 3, 1, 1, bias=False)
    self.bn1, self.names, self.width = nn.BatchNorm2d(width), [], width
    for stage, blocks in enumerate(RESNET_BLOCKS[depth]):
      for i in range(blocks):
        block = ResidualBlock(self.width, width * 2**stage, 2 if stage and not i else 1, depth >= 50)
        self.names.append(f"layer{stage + 1}_{i}")
        setattr(self, self.names[-1], block)
        self.width = block.outputs
    self.to(memory_format=torch.channels_last)

  def forward(self, images):
    x = F.relu(self.bn1(self.conv1(images.permute(0, 3, 1, 2))), inplace=True)  # in memory already channels_last
    x = F.max_pool2d(x, 3, 2, 1) if self.imagenet else x
    for name in self.names:
      x = getattr(self, name)(x)
    return x.mean(dim=(2, 3))


class Network(nn.Module):
  """A backbone and heads, under the names that jssl gives them."""

  def __init__(self, backbone: nn.Module, **heads: nn.Module):
    super().__init__()
    self.backbone, self.heads = backbone, nn.ModuleDict(heads)


def patchify(images, patch: int):
  """`[batch, H, W, C]` to `[batch, patches, patch * patch * C]`."""
  batch, height, width, channels = images.shape
  x = images.reshape(batch, height // patch, patch, width // patch, patch, channels)
  return x.transpose(2, 3).reshape(batch, -1, patch * patch * channels)


def take(x, ids):
  """`x [batch, tokens, dim]` at `ids [batch, kept]`."""
  return x.gather(1, ids[:, :, None].expand(-1, -1, x.shape[-1]))


def sincos2d(side: int, width: int):
  """MAE's fixed positions `[1, side^2, width]`, columns before rows."""
  frequencies = 10000.0 ** (-np.arange(width // 4) / (width // 4))
  rows, columns = np.indices((side, side))
  angles = [np.outer(axis.reshape(-1), frequencies) for axis in (columns, rows)]
  table = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
  return torch.from_numpy(table.astype(np.float32))[None]


def relative_rows(side: int):
  """Row of a table of biases for each pair of tokens, the class token first: offsets row by row, then to, from and of it."""
  rows, columns = (axis.reshape(-1) for axis in np.indices((side, side)))
  across = 2 * side - 1
  table = np.full((side**2 + 1,) * 2, across**2 + 2)
  table[1:, 1:] = (rows[:, None] - rows + side - 1) * across + columns[:, None] - columns + side - 1
  table[0, 1:], table[1:, 0] = across**2, across**2 + 1
  return torch.from_numpy(table)


# From jssl's paths to names of parameters here.
_NAMES = (
  (r"Transformer/encoderblock_(\d+)", r"blocks/\1"),
  (r"Transformer/encoder_norm", "norm"),
  (r"MultiHeadDotProductAttention_0/", ""),
  (r"MlpBlock_0/Dense_", "dense_"),
  (r"LayerNorm_", "norm_"),
  (r"/heads_", "/heads/"),
  (r"/(kernel|scale)$", "/weight"),
  (r"/", "."),
)


def from_jssl(params: Mapping[str, Any]) -> dict[str, torch.Tensor]:
  """jssl's parameters, or a tree of that shape such as their gradients, by the names of the modules of this file."""
  found = {}
  for path, value in _leaves(params):
    name = path
    for pattern, replacement in _NAMES:
      name = re.sub(pattern, replacement, name)
    found[name] = _as_torch(path, np.asarray(value))
  for name in [name for name in found if ".query." in name]:
    parts = [found.pop(name.replace("query", part)) for part in ("query", "key", "value")]
    found[name.replace("query", "qkv")] = np.concatenate(parts)
  return {name: torch.tensor(value) for name, value in found.items()}


def _leaves(tree, path=""):
  for key, value in tree.items():
    yield from _leaves(value, f"{path}/{key}" if path else key) if isinstance(value, Mapping) else [(f"{path}/{key}", value)]


def _as_torch(path: str, value: np.ndarray) -> np.ndarray:
  """A kernel is `[*inputs, *outputs]` there and `[outputs, inputs]` here; biases of an attention have two axes there."""
  *_, module, kind = path.split("/")
  if kind == "direction":
    return value.T
  if kind == "bias":
    return value.reshape(-1)
  if kind != "kernel":
    return value
  if re.fullmatch(r"(conv|stem)\d|downsample_0", module):
    return value.transpose(3, 2, 0, 1)
  flat = (-1, value.shape[-1]) if module in ("embedding", "out") else (value.shape[0], -1)
  return value.reshape(flat).T


def load(model: nn.Module, params: Mapping[str, Any]) -> None:
  """Gives a module jssl's parameters; every one must find its place."""
  found, own = from_jssl(params), {n: p for n, p in model.named_parameters() if not n.startswith("teacher.")}
  assert sorted(found) == sorted(own), sorted(set(found) ^ set(own))
  with torch.no_grad():
    for name, parameter in own.items():
      parameter.copy_(found[name])
