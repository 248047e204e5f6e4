"""Swin Transformer: attention within windows that shift from block to block, on maps that shrink by the stage."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import patch_grid, patchify, unpatchify
from jssl.models import parts, positions
from jssl.models.transformer import Attention, BlockConfig, LayerNorm, Mlp, relative_bias

VARIANTS = dict(  # width, depths, heads
  T=(96, (2, 2, 6, 2), (3, 6, 12, 24)),
  S=(96, (2, 2, 18, 2), (3, 6, 12, 24)),
  B=(128, (2, 2, 18, 2), (4, 8, 16, 32)),
  L=(192, (2, 2, 18, 2), (6, 12, 24, 48)),
)

# Added to the logits between places that the shift has made neighbours; the number of the authors.
FAR = -100.0


def to_windows(x: jax.Array, window: int) -> jax.Array:
  """`[batch, rows, columns, dim]` to `[batch * windows, window * window, dim]`, windows of an image row by row."""
  return patchify(x, patch=window).reshape(-1, window * window, x.shape[-1])


def from_windows(windows: jax.Array, shape: tuple[int, ...], window: int) -> jax.Array:
  """Undoes `to_windows`; `shape` is that of its argument."""
  batch, rows, columns, _ = shape
  patches = windows.reshape(batch, (rows // window) * (columns // window), -1)
  return unpatchify(patches, grid=(rows // window, columns // window), patch=window)


def shift_bias(rows: int, columns: int, window: int, shift: int) -> np.ndarray:
  """`[windows, 1, T, T]`, T = window squared: `FAR` between places of a window that lie apart in the unshifted map."""
  regions = [(np.arange(n) >= n - window).astype(int) + (np.arange(n) >= n - shift) for n in (rows, columns)]
  region = to_windows((3 * regions[0][:, None] + regions[1])[None, :, :, None], window)
  return np.where(region != region.transpose(0, 2, 1), np.float32(FAR), np.float32(0))[:, None]


class PatchMerging(nn.Module):
  """Halves a map: each square of 2 x 2 places, normalised, becomes one of twice the width."""

  eps: float
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[batch, rows, columns, dim]` to float32 `[batch, ceil(rows / 2), ceil(columns / 2), 2 * dim]`."""
    batch, rows, columns, dim = x.shape
    x = jnp.pad(x, ((0, 0), (0, rows % 2), (0, columns % 2), (0, 0)))
    x = x.reshape(batch, -(-rows // 2), 2, -(-columns // 2), 2, dim)
    x = x.transpose(0, 1, 3, 4, 2, 5).reshape(*x.shape[:2], x.shape[3], 4 * dim)  # the authors take columns first
    x = LayerNorm(epsilon=self.eps, dtype=self.dtype, name="norm")(x)
    reduction = parts.Projection(
      (4 * dim,), (2 * dim,), parts.kernel_init("dino"), use_bias=False, dtype=self.dtype, name="reduction"
    )
    return reduction(x).astype(jnp.float32)


class SwinBlock(nn.Module):
  """One pre-norm block: `x += attention within windows (LN(x)); x += mlp(LN(x))`.

  Attributes:
    config: of attention and MLP.
    layer: 1-based number of the block in the network.
    window: side of a window.
    shifted: whether the windows lie half a window further than those of the block before.
    merge: whether to halve the map first, as in the first block of every stage but the first.
    drop_path: rate of stochastic depth.
  """

  config: BlockConfig
  layer: int
  window: int
  shifted: bool
  merge: bool
  drop_path: float

  @nn.compact
  def __call__(self, x: jax.Array, keys: jax.Array | None) -> jax.Array:
    """`x [batch, rows, columns, dim]` float32, `keys [batch]` for stochastic depth."""
    eps, dtype = self.config.layer_norm_eps, self.config.dtype
    if self.merge:
      x = PatchMerging(eps, dtype, name="merge")(x)
    for i, branch in enumerate((self._attend, Mlp(self.config, self.layer, name="MlpBlock_0"))):
      y = branch(LayerNorm(epsilon=eps, dtype=dtype, name=f"LayerNorm_{i}")(x))
      x = x + parts.drop_path(y, keys, rate=self.drop_path, number=2 * self.layer + i)
    return x

  def _attend(self, x):
    batch, rows, columns, _ = x.shape
    window = min(self.window, rows, columns)
    shift = window // 2 if self.shifted and min(rows, columns) > self.window else 0
    # What is added at the end takes part as keys without content, as in the authors' detection code.
    x = jnp.pad(x, ((0, 0), (0, -rows % window), (0, -columns % window), (0, 0)))
    x = jnp.roll(x, (-shift, -shift), axis=(1, 2))
    offsets = positions.relative_offsets((self.window, self.window), (window, window), prefix=0)
    shape = (2 * self.window - 1) ** 2, self.config.num_heads
    table = self.param("relative_position_bias", nn.initializers.normal(0.02), shape)
    bias = relative_bias(table, jnp.asarray(offsets)[None])
    if shift:
      bias = jnp.tile(bias + shift_bias(*x.shape[1:3], window, shift), (batch, 1, 1, 1))
    y = Attention(self.config, self.layer, name="MultiHeadDotProductAttention_0")(to_windows(x, window), bias)
    y = jnp.roll(from_windows(y, x.shape, window), (shift, shift), axis=(1, 2))
    return y[:, :rows, :columns]


class Swin(nn.Module):
  """Swin Transformer; `swin` builds it and explains the fields."""

  patch_size: int
  width: int
  depths: tuple[int, ...]
  blocks: tuple[BlockConfig, ...]
  window: int = 7
  mask_token: bool = False
  drop_path: float = 0.0
  remat: bool | str = False

  @nn.nowrap
  def grid(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the last map for an image `[..., H, W, C]`; every merging rounds up.

    Raises:
      ValueError: the patch size does not divide the image.
    """
    rows, columns = patch_grid(image_shape, self.patch_size)
    merged = 2 ** (len(self.depths) - 1)
    return -(-rows // merged), -(-columns // merged)

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    *,
    mask: jax.Array | None = None,
    ids_keep: jax.Array | None = None,
    keys: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Features of images.

    Args:
      images: `[batch, H, W, C]`, of any size that the patch size divides.
      mask: bool `[batch, cells]` on the module's `grid`; where True the learned mask token replaces the embeddings of
        all patches that end up in the cell (SimMIM, whose cells of 32 px are those of the last map). Or `[batch,
        patches]`, for each patch. Needs `mask_token=True`.
      ids_keep: refused: windows need whole grids.
      keys: `[batch]` typed keys for stochastic depth; None switches it off.
      train: accepted and ignored: no part of this model depends on it.

    Returns:
      `(features, out)`. `features [batch, dim]` is the mean of the patch tokens, `dim = 2 ** (stages - 1) * width`.
      `out`, all float32:

      - `patch_tokens [batch, cells, dim]`, the last map after the final LayerNorm; `feature_map [batch, rows, columns,
        dim]`, the same in its layout; `mean [batch, dim]`, its mean;
      - `stage1`, `stage2`, ...: the maps `[batch, rows, columns, width of the stage]` after each stage's last block.

    Raises:
      ValueError: the image is not divisible, `mask` has another shape or nothing to put in its place, or there are
        `ids_keep`.
    """
    del train
    parts.refuse_dropped_tokens("Swin", ids_keep)
    self.grid(images.shape)
    token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.width)) if self.mask_token else None
    x = parts.hide_cells(self._embed(images), mask, token, cell=2 ** (len(self.depths) - 1))
    rates = np.linspace(0.0, self.drop_path, sum(self.depths))
    block, layer, out = parts.remat(SwinBlock, self.remat), 0, {}
    for stage, depth in enumerate(self.depths):
      for i in range(depth):
        x = block(
          self.blocks[stage],
          layer + 1,
          self.window,
          i % 2 == 1,
          stage > 0 and i == 0,
          float(rates[layer]),
          name=f"encoderblock_{layer}",
        )(x, keys)
        layer += 1
      out[f"stage{stage + 1}"] = x
    x = nn.LayerNorm(epsilon=self.blocks[0].layer_norm_eps, name="norm")(x)
    patches = x.reshape(x.shape[0], -1, x.shape[-1])
    mean = patches.mean(axis=1)
    return mean, out | dict(feature_map=x, patch_tokens=patches, mean=mean)

  def _embed(self, images):
    batch, height, width, channels = images.shape
    shape, block = (self.patch_size, self.patch_size, channels), self.blocks[0]
    init = parts.uniform_bound(self.patch_size**2 * channels)  # the authors leave the convolution at torch's default
    embedding = parts.Projection(shape, (self.width,), init, bias_init=init, dtype=block.dtype, name="embedding")
    x = embedding(patchify(images, patch=self.patch_size).reshape(batch, -1, *shape))
    x = nn.LayerNorm(epsilon=block.layer_norm_eps, name="embedding_norm")(x.astype(jnp.float32))
    return x.reshape(batch, height // self.patch_size, width // self.patch_size, self.width)


def swin(
  *,
  variant: str | None = None,
  patch_size: int = 4,
  window: int = 7,
  width: int | None = None,
  depths: tuple[int, ...] | None = None,
  num_heads: tuple[int, ...] | None = None,
  mlp_ratio: float = 4.0,
  mask_token: bool = False,
  drop_path: float = 0.0,
  qkv_bias: bool = True,
  gelu: str = "exact",
  layer_norm_eps: float = 1e-5,
  remat: bool | str = False,
  dtype: str = "float32",
) -> Swin:
  """Swin Transformer without the classifier.

  It has a mask token but cannot drop patches, so it serves SimMIM and not MAE; and no class token, so heads read
  `features`. SimMIM's Swin-B is `variant="B", window=6, mask_token=True` on 192 px, with `cell_mask(cell=1)` on its
  grid and targets and head of patch 32, the stride of its last map. For 32 px, `patch_size=2, window=4` and three
  stages give a last map of 4 x 4.

  A map that windows do not fill is padded with zeros for the attention and cut again; one no larger than a window is a
  single window, unshifted, whose biases are the inner part of the table.

  Args:
    variant: "T", "S", "B" or "L". `width`, `depths` and `num_heads` override it, or stand in its place.
    patch_size: side of a patch in pixels.
    window: side of a window in patches of the stage.
    width: of the first stage; it doubles from stage to stage.
    depths: numbers of blocks of the stages; every second block is shifted.
    num_heads: heads of each stage; they divide its width.
    mlp_ratio: hidden width of the MLPs over the stage's width.
    mask_token: own the token that stands for hidden patches.
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
    qkv_bias: biases on query, key and value.
    gelu: "exact" or "tanh".
    layer_norm_eps: epsilon of every LayerNorm.
    remat: recompute blocks in the backward pass, for less memory: True, or a policy that says what is kept; see
      `parts.remat`.
    dtype: of matrix products. Parameters, softmax, LayerNorm, the residual stream and all outputs are float32.

  Returns:
    a module; see `Swin.__call__`. Blocks are numbered through all stages, `encoderblock_0`, ..., with the names of
    `vit` inside, a table `relative_position_bias`, and `merge` where a stage begins.

  Raises:
    ValueError: an unknown variant, a missing number, or numbers that do not fit each other.

  References:
    Liu et al., Swin Transformer, arXiv 2103.14030; microsoft/Swin-Transformer models/swin_transformer.py. Xie et al.,
    SimMIM, arXiv 2111.09886; microsoft/SimMIM models/simmim.py.
  """
  if variant is not None:
    if variant not in VARIANTS:
      raise ValueError(f"unknown variant {variant!r}: one of {', '.join(VARIANTS)}")
    width, depths, num_heads = (
      k if g is None else g for g, k in zip((width, depths, num_heads), VARIANTS[variant], strict=True)
    )
  if None in (width, depths, num_heads):
    raise ValueError("without a variant, swin needs width, depths and num_heads")
  depths, num_heads = tuple(depths), tuple(num_heads)
  if len(depths) != len(num_heads):
    raise ValueError(f"depths {depths} and num_heads {num_heads} count different stages")
  widths = [width * 2**stage for stage in range(len(depths))]
  if any(w % heads for w, heads in zip(widths, num_heads, strict=True)):
    raise ValueError(f"widths {widths} are not divisible by num_heads {list(num_heads)}")
  blocks = tuple(
    BlockConfig(
      num_heads=heads, mlp_dim=int(w * mlp_ratio), qkv_bias=qkv_bias, gelu=gelu, layer_norm_eps=layer_norm_eps, dtype=dtype
    )
    for w, heads in zip(widths, num_heads, strict=True)
  )
  return Swin(patch_size, width, depths, blocks, window, mask_token, drop_path, remat)
