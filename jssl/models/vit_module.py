"""The module of a Vision Transformer; `jssl.models.vit` builds it."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import kind_of, patch_grid, patchify, without_padding
from jssl.models import parts, positions
from jssl.models.map_head import MapHead
from jssl.models.rope import kept, Rope, rotation
from jssl.models.transformer import BlockConfig, LayerNorm, relative_bias, Transformer


class ViT(nn.Module):
  """Vision Transformer; `vit` builds it and explains the fields."""

  image_size: tuple[int, ...]
  patch_size: tuple[int, ...]
  width: int
  depth: int
  block: BlockConfig
  stem: tuple[int, ...] = ()
  position: str = "learned"
  position_offset: float = 0.1
  position_antialias: bool = False
  cls_token: bool = True
  cls_position: bool = False
  registers: int = 0
  mask_token: bool = False
  mix_embedding: bool = False
  drop_path: float | tuple[float, float] = 0.0
  readout: tuple[int, ...] = ()
  fc_norm: bool = False
  remat: bool | str = False
  scan: bool = False
  readout_fusion: str = "mean"
  readout_depth: int = 2
  rope: Rope | None = None
  map_head: bool = False

  @nn.nowrap
  def grid(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers of patches along each axis: rows and columns of an image `[..., H, W, C]`.

    Raises:
      ValueError: the patch size does not divide the image.
    """
    return patch_grid(image_shape, self.patch_size)

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    *,
    mask: jax.Array | None = None,
    ids_keep: jax.Array | None = None,
    mix: jax.Array | None = None,
    length: jax.Array | None = None,
    valid: jax.Array | None = None,
    keys: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Features of images, or of what else the network was made for.

    Args:
      images: `[batch, *sides, C]`, `[batch, H, W, C]` for one; of any size that the patch size divides.
      mask: bool `[batch, patches]`; where True the learned mask token replaces the patch embedding, before positions
        are added. Needs `mask_token=True`.
      ids_keep: int `[batch, kept]`: the patches that the blocks see, in this order. Positions are added before.
      mix: bool `[batch, patches]`, True where a patch is another image's; without it all are the image's own. Needs
        `mix_embedding=True`.
      length: int `[batch]`, how many entries of the first axis (time) hold data. What comes after is padding: nothing that
        holds data depends on it, and it comes out as zeros.
      valid: bool `[batch, patches]`, in its place, True where a patch holds data.
      keys: `[batch]` typed keys for stochastic depth and for what moves rotary positions; None switches both off.
      train: accepted and ignored: no part of this model depends on it.

    Returns:
      `(features, out)`. `features [batch, dim]` is the class token, or the mean of the patch tokens where there is
      none or with `fc_norm`, or what `map_head` pools. `out`, all float32, after the final LayerNorm except the blocks:

      - `tokens [batch, prefix + patches, dim]`, and its parts: `cls [batch, dim]` and `registers [batch, registers,
        dim]` where they exist, `patch_tokens [batch, patches, dim]`;
      - `register01 [batch, dim]`, ...: the registers one by one;
      - `mean [batch, dim]` of the patch tokens that hold data, after a LayerNorm of its own with `fc_norm`;
      - `pooled [batch, dim]` with `map_head`;
      - `readout_tokens [batch, prefix + patches, dim]` where asked for, and its part `readout [batch, patches, dim]`;
      - `block01 [batch, prefix + patches, dim]`, ...: the residual stream after each block.

    Raises:
      ValueError: the image has another number of axes, or is not divisible, or `mask` has another shape or nothing to put
        in its place, or patches are hidden from a network whose stem has seen them.
    """
    del train
    if images.ndim != len(self.patch_size) + 2:
      raise ValueError(
        f"image_size={self.image_size}, patch_size={self.patch_size} are for a {kind_of(len(self.patch_size))} "
        f"[batch, *sides, channels], which {list(images.shape)} is not: give a number for each of its sides"
      )
    if self.stem and (mask is not None or ids_keep is not None):
      raise ValueError("a stem of convolutions sees what its neighbours hide: corrupt the pixels, or use no stem")
    grid = self.grid(images.shape)
    valid = parts.validity(len(images), grid, self.patch_size[0], length=length, valid=valid)
    if length is not None:  # of a patch that is only begun
      images = without_padding(images, length)
    x = self._hide(self._embed(images), mask) + self._positions(grid) + self._origins(mix)
    if ids_keep is not None:
      x = jnp.take_along_axis(x, ids_keep[:, :, None], axis=1)
      valid = None if valid is None else jnp.take_along_axis(valid, ids_keep, axis=1)
    prefix = self._prefix(x.shape[0])
    x, blocks, readout = Transformer(
      self.depth,
      self.block,
      self.drop_path,
      self.readout,
      self.remat,
      self.scan,
      not self.fc_norm,
      self.readout_fusion,
      self.readout_depth,
      name="Transformer",
    )(
      jnp.concatenate([*prefix.values(), x], axis=1),
      bias=self._bias(grid, ids_keep),
      keys=keys,
      valid=valid,
      rotation=self._rotation(grid, ids_keep, keys),
    )

    out, start = dict(tokens=x), 0
    for name, tokens in prefix.items():
      out[name] = x[:, start : start + tokens.shape[1]]
      start += tokens.shape[1]
    out["patch_tokens"] = x[:, start:]
    out["mean"] = parts.mean_of_valid(out["patch_tokens"], valid)
    if self.fc_norm:
      out["mean"] = nn.LayerNorm(epsilon=self.block.layer_norm_eps, name="fc_norm")(out["mean"])
    out |= {f"register{i + 1:02d}": out["registers"][:, i] for i in range(self.registers)}
    if self.cls_token:
      out["cls"] = out["cls"][:, 0]
    if readout is not None:
      out |= dict(readout_tokens=readout, readout=readout[:, start:])
    out |= {f"block{i + 1:02d}": block for i, block in enumerate(blocks)}
    if self.map_head:
      seen = None if valid is None else jnp.pad(valid, ((0, 0), (start, 0)), constant_values=True)
      out["pooled"] = MapHead(self.block, name="MAPHead_0")(x, seen)
      return out["pooled"], out
    return out["cls"] if self.cls_token and not self.fc_norm else out["mean"], out

  def _embed(self, images):
    for i, channels in enumerate(self.stem, start=1):
      images = nn.Conv(channels, (3, 3), (2, 2), ((1, 1), (1, 1)), dtype=self.block.dtype, name=f"stem{i}")(images)
      images = LayerNorm(epsilon=self.block.layer_norm_eps, dtype=self.block.dtype, name=f"stem{i}_norm")(images)
      images = parts.gelu(images, self.block.gelu)
    # A convolution whose stride is its kernel is one matrix product of patches.
    patch = tuple(side // 2 ** len(self.stem) for side in self.patch_size)
    shape = (*patch, images.shape[-1])
    kernel, bias = parts.patch_embedding_init(self.block.init, math.prod(shape))
    embedding = parts.Projection(shape, (self.width,), kernel, bias_init=bias, dtype=self.block.dtype, name="embedding")
    patches = patchify(images, patch=patch)
    return embedding(patches.reshape(*patches.shape[:2], *shape)).astype(jnp.float32)

  def _hide(self, x, mask):
    token = (
      self.param("mask_token", parts.token_init(self.block.init, "mask_token"), (1, 1, self.width))
      if self.mask_token
      else None
    )
    return parts.hide_tokens(x, mask, token)

  def _positions(self, grid):
    if self.position == "learned":
      native = self.grid((*self.image_size, 1))
      shape = (1, math.prod(native), self.width)
      table = self.param("pos_embedding", parts.token_init(self.block.init, "pos_embedding"), shape)
      return positions.interpolate_positions(
        table, native, grid, offset=self.position_offset, antialias=self.position_antialias
      )
    return positions.sincos(grid, self.width)[None] if self.position in ("sincos", "sincos2d") else 0.0

  def _origins(self, mix):
    if not self.mix_embedding:
      if mix is not None:
        raise ValueError("a mixture needs a ViT with mix_embedding=True")
      return 0.0
    table = self.param("mix_embedding", nn.initializers.normal(0.02), (2, self.width))
    return table[0] if mix is None else table[mix.astype(int)]

  def _prefix(self, batch):
    sizes = dict(cls=int(self.cls_token), registers=self.registers)
    param = lambda name, size: self.param(name, parts.token_init(self.block.init, name), (1, size, self.width))
    tokens = {name: param(name, size) for name, size in sizes.items() if size}
    if self.cls_position:
      tokens["cls"] = tokens["cls"] + param("cls_position", 1)
    return {name: jnp.tile(token, (batch, 1, 1)) for name, token in tokens.items()}

  def _rotation(self, grid, ids_keep, keys):
    if self.rope is None:
      return None
    prefix = self.cls_token + self.registers
    turned = rotation(self.rope, grid, self.width // self.block.num_heads, prefix=prefix, keys=keys)
    return turned if ids_keep is None else kept(turned, ids_keep, prefix)

  def _bias(self, grid, ids_keep):
    if self.position not in ("relative_bias", "block_relative_bias"):
      return None
    native, prefix = self.grid((*self.image_size, 1)), self.cls_token + self.registers
    offsets = jnp.asarray(positions.relative_offsets(native, grid, prefix))[None]
    if ids_keep is not None:
      first = jnp.tile(jnp.arange(prefix), (ids_keep.shape[0], 1))
      kept = jnp.concatenate([first, ids_keep + prefix], axis=1)
      offsets = offsets[0][kept[:, :, None], kept[:, None, :]]
    if self.block.bias_rows:
      return offsets
    shape = (positions.relative_rows(native), self.block.num_heads)
    return relative_bias(self.param("relative_position_bias", nn.initializers.zeros, shape), offsets)
