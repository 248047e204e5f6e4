"""Vision Transformer."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import by, kind_of, patch_grid, patchify, PatchSize, per_axis, without_padding
from jssl.models import parts, positions
from jssl.models.lora import lora
from jssl.models.transformer import block_config, BlockConfig, LayerNorm, relative_bias, Transformer
from jssl.models.vit_checks import check, check_axes

VARIANTS = dict(  # width, depth, heads
  Ti=(192, 12, 3), S=(384, 12, 6), B=(768, 12, 12), L=(1024, 24, 16), H=(1280, 32, 16)
)


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
      keys: `[batch]` typed keys for stochastic depth; None switches it off.
      train: accepted and ignored: no part of this model depends on it.

    Returns:
      `(features, out)`. `features [batch, dim]` is the class token, or the mean of the patch tokens where there is
      none or with `fc_norm`. `out`, all float32, after the final LayerNorm except the blocks:

      - `tokens [batch, prefix + patches, dim]`, and its parts: `cls [batch, dim]` and `registers [batch, registers,
        dim]` where they exist, `patch_tokens [batch, patches, dim]`;
      - `register01 [batch, dim]`, ...: the registers one by one;
      - `mean [batch, dim]` of the patch tokens that hold data, after a LayerNorm of its own with `fc_norm`;
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
    )(jnp.concatenate([*prefix.values(), x], axis=1), bias=self._bias(grid, ids_keep), keys=keys, valid=valid)

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


def vit(
  *,
  variant: str | None = None,
  image_size: int | tuple[int, ...] = 224,
  width: int | None = None,
  depth: int | None = None,
  num_heads: int | None = None,
  mlp_ratio: float = 4.0,
  patch_size: PatchSize | None = None,
  stem: tuple[int, ...] = (),
  position: str = "learned",
  position_offset: float = 0.1,
  position_antialias: bool = False,
  cls_token: bool = True,
  cls_position: bool = False,
  registers: int = 0,
  mask_token: bool = False,
  mix_embedding: bool = False,
  drop_path: float | tuple[float, float] = 0.0,
  layer_scale: float | None = None,
  qkv_bias: bool = True,
  gelu: str = "exact",
  layer_norm_eps: float = 1e-6,
  readout: tuple[int, ...] = (),
  readout_fusion: str = "mean",
  readout_depth: int = 2,
  fc_norm: bool = False,
  init: str = "dino",
  attention: str = "xla",
  lora_rank: int | None = None,
  lora_alpha: float | None = None,
  lora_targets: tuple[str, ...] = ("query", "value"),
  remat: bool | str = False,
  scan: bool = False,
  dtype: str = "float32",
) -> ViT:
  """Vision Transformer, pre-norm, with the parameter names of big_vision; also for signals, clips and volumes.

  The defaults give the ViT of DINO and DeiT. Positions belong to patches: the class token and the registers, which
  follow it, have none (a checkpoint's position of the class token is added to the token when it is loaded), unless
  `cls_position` gives the class token one.

  Args:
    variant: "Ti", "S", "B", "L" or "H", a slash and the patch size: "S/16". `width`, `depth`, `num_heads` and
      `patch_size` override it, or stand in its place.
    image_size: in pixels, one number or (height, width); or a number for each axis of what takes the image's place:
      `(4000,)` for signals `[T, C]`, `(16, 224, 224)` for clips `[T, H, W, C]`, as many for volumes. It sets the size of the
      learned tables; images of other sizes are accepted.
    width: of a token.
    depth: number of blocks.
    num_heads: heads of the attention; they divide the width.
    mlp_ratio: hidden width of the MLP over `width`.
    patch_size: side of a patch in pixels, or a number for each axis, such as `(2, 16, 16)`.
    stem: channels of 3x3 convolutions before the patch embedding, each of which halves the image's sides, with a
      LayerNorm over channels (the paper: BatchNorm) and a GELU (ReLU); the patch embedding takes what is left of the
      patch. Neighbouring patches overlap then, so that neither `mask` nor `ids_keep` may hide one: corrupt pixels
      instead (Xiao et al., Early Convolutions Help Transformers See Better, arXiv 2106.14881). For images alone.
    position: "learned" (a table, interpolated for other grids), "sincos" (fixed, MAE's; of images also called "sincos2d"),
      for images alone "relative_bias" (BEiT's and
      SimMIM's: a learned bias for each offset and head on the attention's logits, shared by all blocks, starting at 0;
      for grids up to that of `image_size`), "block_relative_bias" (the same with a table for each block, as BEiT and
      data2vec are fine-tuned) or "none".
    position_offset: added to the new size when learned positions are interpolated; see `interpolate_positions`.
    position_antialias: widen the kernel when learned positions shrink (DINOv2 with registers).
    cls_token: put a class token before the patches.
    cls_position: give it a learned position, which is added to it: for the same function another training, in which the
      sum of the two moves twice as far as the token would alone. DINO's, DeiT's and most codes have it as row 0 of
      their table.
    registers: number of learned tokens between the class token and the patches (Darcet et al., arXiv 2309.16588).
    mask_token: own the token that stands for hidden patches.
    mix_embedding: own two vectors, one of which is added to each patch embedding: by whether the patch is the image's
      own or another's (MixMIM, arXiv 2205.13137).
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first; or both rates, such as
      DINOv2's (0.3, 0.3).
    layer_scale: initial value of a learned factor on each residual branch; None for no factor.
    qkv_bias: biases on query, key and value.
    gelu: "exact" or "tanh".
    layer_norm_eps: epsilon of every LayerNorm.
    readout: 1-based numbers of blocks; `out["readout_tokens"]` is the final LayerNorm of their tokens together, and
      `out["readout"]` its patches (GMML, arXiv 2205.14986: 6, 8, 10, 12; MFF, arXiv 2308.00261: 1, 3, 5, 7, 9, 12).
    readout_fusion: what they are together. "mean": GMML's. "learned": MFF's, `sum_i softmax(w)_i P_i(block_i)`, w = 1 at
      first, P_i linear but for the last named block, which is added as it is. "class_token": BEiT v2's, of one block, its
      patches and the last block's class token after `readout_depth` blocks more.
    fc_norm: have no final LayerNorm on the tokens, but one on the mean of the patch tokens, which is then the features
      (MAE and BEiT are fine-tuned so).
    init: whose code the parameters start as in. Where nothing else is said, linear kernels, tokens and learned
      positions are N(0, 0.02) and biases 0; "torch" is uniform within +-1 / sqrt(inputs).

      | init | kernels and tokens | patch embedding, its bias |
      |---|---|---|
      | "dino" | | torch, torch |
      | "ibot" | the mask token 0 | torch, torch |
      | "dinov2" | the mask token 0, class token and registers N(0, 1e-6) | torch, torch |
      | "mae" | Xavier uniform | Xavier uniform, torch |
      | "moco_v3" | Xavier uniform, query, key and value apart; class token N(0, 1e-6) | Xavier uniform, 0 |
      | "beit" | all cut off at +-0.02; outputs of block i into the residual stream / sqrt(2i) | cut off as well, 0 |
      | "normal" (I-JEPA) | | N(0, 0.02), 0 |
      | "normal_rescaled" | outputs of block i into the residual stream / sqrt(2i) | N(0, 0.02), 0 |
      | "msn" | | N(0, sqrt(2 / inputs)), 0 |
      | "maskfeat" | linear biases and those of the blocks' LayerNorms 0.02 | N(0, 0.02), torch |
    attention: "xla", or "cudnn" for flash attention on a GPU in half precision.
    lora_rank: of adapters beside products of the attention, which alone are trained, see `jssl.models.lora`; None for none.
    lora_alpha: times which, over the rank, they count; None for the rank.
    lora_targets: which products have one: "query", "key", "value", "out".
    remat: recompute blocks in the backward pass, for less memory: True, or a policy that says what is kept; see
      `parts.remat`.
    scan: run the blocks as one loop, whose parameters keep their names and are stacked in each step. With `remat` this
      holds the memory of one block, also on a CPU, where XLA may recompute unrolled blocks early and keep them.
    dtype: of matrix products. Parameters, softmax, LayerNorm, the residual stream and all outputs are float32.

  Returns:
    a module; see `ViT.__call__`.

  Raises:
    ValueError: an unknown variant or option, a missing number, or numbers that do not divide each other.

  References:
    Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv 2010.11929; google-research/big_vision models/vit.py;
    facebookresearch/dino vision_transformer.py.
  """
  if variant is not None:
    size, slash, patch = variant.partition("/")
    if size not in VARIANTS or not slash or not patch.isdigit():
      raise ValueError(f"unknown variant {variant!r}: one of {', '.join(VARIANTS)}, a slash and the patch size")
    given = (width, depth, num_heads, patch_size)
    known = (*VARIANTS[size], int(patch))
    width, depth, num_heads, patch_size = (k if g is None else g for g, k in zip(given, known, strict=True))
  if None in (width, depth, num_heads, patch_size):
    raise ValueError("without a variant, vit needs width, depth, num_heads and patch_size")
  given = [len(sides) for sides in (image_size, patch_size) if not isinstance(sides, int)]
  axes = given[0] if given else 2
  image_size = per_axis("vit", image_size, axes, "image_size")
  patch_size = per_axis("vit", patch_size, axes, "patch_size")
  check(depth, position, tuple(readout), readout_fusion)
  if readout_fusion == "class_token" and not (cls_token and len(readout) == 1 and readout_depth > 0):
    raise ValueError("readout_fusion='class_token' needs cls_token=True, a readout of one block and readout_depth > 0")
  check_axes(axes, position, stem)
  if cls_position and not cls_token:
    raise ValueError("cls_position=True needs a class token, cls_token=True")
  if any(side % 2 ** len(stem) for side in patch_size):
    raise ValueError(f"patch_size {by(patch_size)} is not divisible by the stem's stride {2 ** len(stem)}")
  block = block_config(
    width,
    num_heads,
    mlp_ratio,
    qkv_bias=qkv_bias,
    gelu=gelu,
    layer_norm_eps=layer_norm_eps,
    layer_scale=layer_scale,
    init=init,
    attention=attention,
    lora=lora(lora_rank, lora_alpha, lora_targets),
    dtype=dtype,
    bias_rows=positions.relative_rows(patch_grid((*image_size, 1), patch_size)) if position == "block_relative_bias" else 0,
  )
  module = ViT(
    image_size,
    patch_size,
    width,
    depth,
    block,
    tuple(stem),
    position,
    position_offset,
    position_antialias,
    cls_token,
    cls_position,
    registers,
    mask_token,
    mix_embedding,
    drop_path,
    tuple(readout),
    fc_norm,
    remat,
    scan,
    readout_fusion,
    readout_depth,
  )
  module.grid((*image_size, 1))
  return module
