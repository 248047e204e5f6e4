"""Decoders: transformers that turn the tokens of an encoder back into pixels, or ask them."""

from collections.abc import Sequence
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import by, PatchSize, per_axis
from jssl.models import parts, positions
from jssl.models.transformer import block_config, BlockConfig, Transformer


class MAEDecoder(nn.Module):
  """Decoder of MAE; `mae_decoder` builds it and explains the fields."""

  width: int
  depth: int
  block: BlockConfig
  patch_size: tuple[int, ...]
  channels: int = 3
  prefix: int = 1
  grid: tuple[int, ...] | None = None
  remat: bool | str = False
  scan: bool = False
  output: int | None = None

  @nn.compact
  def __call__(
    self,
    tokens: jax.Array,
    ids_restore: jax.Array | None = None,
    *,
    mask: jax.Array | None = None,
    valid: jax.Array | None = None,
    keys: jax.Array | None = None,
    train: bool = False,
  ) -> dict[str, jax.Array]:
    """Predicts every patch from those that the encoder saw.

    Args:
      tokens: `[batch, prefix + kept, dim]`, the encoder's `tokens`.
      ids_restore: int `[batch, patches]`: for each patch its place in (kept patches, hidden patches). Without it the
        tokens are those of all patches, in order.
      mask: bool `[batch, patches]`, in the place of `ids_restore`: True where a token is not to be seen.
      valid: bool `[batch, patches]`, False where a patch is padding: the others do not see it, and its tokens are zeros.
      keys: accepted and ignored: there is no stochastic depth here.
      train: accepted and ignored.

    Returns:
      `pixels [batch, patches, P * P * channels]` (in a patch in the order of its axes: row, column, channel; or
      `[batch, patches, output]`), their `mean [batch, ...]` over the patches that hold data, and `tokens [batch, patches,
      width]`, the patch tokens after the final LayerNorm; all float32.

    Raises:
      ValueError: the number of patches is no square (cube) and no grid was given, or differs from the grid's.
    """
    del keys, train
    patches = tokens.shape[1] - self.prefix if ids_restore is None else ids_restore.shape[1]
    axes = len(self.patch_size)
    grid = self.grid or (round(patches ** (1 / axes)),) * axes
    if math.prod(grid) != patches:
      raise ValueError(f"{patches} patches do not fill a grid of {by(grid)}: give mae_decoder its grid")
    valid = parts.validity(len(tokens), grid, 1, valid=valid)
    init = parts.kernel_init(self.block.init)
    x = parts.Projection((tokens.shape[-1],), (self.width,), init, dtype=self.block.dtype, name="embedding")(tokens)
    x = x.astype(jnp.float32)
    prefix, x = jnp.split(x, [self.prefix], axis=1)
    x = self._hide(x, ids_restore, mask) + positions.sincos(grid, self.width)
    x, _, _ = Transformer(self.depth, self.block, remat=self.remat, scan=self.scan, name="Transformer")(
      jnp.concatenate([prefix, x], axis=1), valid=valid
    )
    x = x[:, self.prefix :]
    output = self.output or math.prod(self.patch_size) * self.channels
    pixels = parts.Projection((self.width,), (output,), init, dtype=self.block.dtype, name="head")(x).astype(jnp.float32)
    return dict(pixels=pixels, mean=parts.mean_of_valid(pixels, valid), tokens=x)

  def _hide(self, x, ids_restore, mask):
    """The tokens of all patches, with the mask token where there is none or where it may not be seen."""
    if ids_restore is None and mask is None:
      return x
    mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.width))
    if ids_restore is None:
      return jnp.where(mask[:, :, None], mask_token, x)
    hidden = jnp.tile(mask_token, (x.shape[0], ids_restore.shape[1] - x.shape[1], 1))
    return jnp.take_along_axis(jnp.concatenate([x, hidden], axis=1), ids_restore[:, :, None], axis=1)


def mae_decoder(
  *,
  patch_size: PatchSize,
  width: int = 512,
  depth: int = 8,
  num_heads: int = 16,
  mlp_ratio: float = 4.0,
  channels: int = 3,
  output: int | None = None,
  prefix: int = 1,
  grid: Sequence[int] | None = None,
  gelu: str = "exact",
  layer_norm_eps: float = 1e-6,
  init: str = "mae",
  attention: str = "xla",
  remat: bool | str = False,
  scan: bool = False,
  dtype: str = "float32",
) -> MAEDecoder:
  """Decoder of a masked autoencoder: one mask token for every hidden patch, fixed positions, a small transformer.

  Args:
    patch_size: side of a patch in pixels, or a number for each axis.
    width: of a token; divisible by 4 and by `num_heads`.
    depth: number of blocks.
    num_heads: heads of the attention.
    mlp_ratio: hidden width of the MLP over `width`.
    channels: of the image.
    output: numbers that are predicted of each patch in the place of its pixels, such as the encoder's width for features.
    prefix: number of tokens before the patches (class token and registers of the encoder); they pass through the
      blocks without a position and are cut off.
    grid: rows and columns of patches, where they do not form a square; or the number of patches along each axis of a
      signal, a clip or a volume, if neither these are equal nor there is only one.
    gelu: "exact" or "tanh".
    layer_norm_eps: epsilon of every LayerNorm.
    init: of linear kernels, see `vit`.
    attention: "xla" or "cudnn", see `vit`.
    remat: recompute blocks in the backward pass, for less memory: True, or a policy that says what is kept; see
      `parts.remat`.
    scan: run the blocks as one loop, see `vit`.
    dtype: of matrix products; outputs are float32.

  Returns:
    a module; see `MAEDecoder.__call__`.

  Raises:
    ValueError: `width` is not divisible by `num_heads`, or `grid` and `patch_size` have different numbers of axes.

  References:
    He et al., Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377; facebookresearch/mae models_mae.py
    (forward_decoder).
  """
  block = block_config(
    width, num_heads, mlp_ratio, gelu=gelu, layer_norm_eps=layer_norm_eps, init=init, attention=attention, dtype=dtype
  )
  grid = None if grid is None else tuple(grid)
  axes = len(grid or (patch_size if isinstance(patch_size, (tuple, list)) else (patch_size,) * 2))
  patch_size = per_axis("mae_decoder", patch_size, axes, "patch_size")
  return MAEDecoder(width, depth, block, patch_size, channels, prefix, grid, remat, scan, output)


class QueryDecoder(nn.Module):
  """Learned queries on a context; `query_decoder` builds it and explains the fields."""

  queries: int
  width: int
  depth: int
  block: BlockConfig
  remat: bool | str = False
  scan: bool = False

  @nn.compact
  def __call__(
    self, context: jax.Array, *, valid: jax.Array | None = None, keys: jax.Array | None = None, train: bool = False
  ) -> dict[str, jax.Array]:
    """Lets every query attend to the other queries and to the context.

    Args:
      context: `[batch, tokens, dim]`, an encoder's.
      valid: bool `[batch, tokens]`, False where there is padding, which no query sees.
      keys: accepted and ignored: there is no stochastic depth here.
      train: accepted and ignored.

    Returns:
      `tokens [batch, queries, width]` after the final LayerNorm, float32.
    """
    del keys, train
    valid = parts.validity(len(context), context.shape[1:2], 1, valid=valid)
    queries = self.param("queries", nn.initializers.normal(0.02), (1, self.queries, self.width))
    x, _, _ = Transformer(self.depth, self.block, remat=self.remat, scan=self.scan, name="Transformer")(
      jnp.tile(queries, (len(context), 1, 1)), context=context, context_valid=valid
    )
    return dict(tokens=x)


def query_decoder(
  *,
  queries: int,
  width: int = 512,
  depth: int = 2,
  num_heads: int = 8,
  mlp_ratio: float = 4.0,
  gelu: str = "exact",
  layer_norm_eps: float = 1e-6,
  init: str = "normal",
  attention: str = "xla",
  remat: bool | str = False,
  scan: bool = False,
  dtype: str = "float32",
) -> QueryDecoder:
  """A fixed number of learned queries, each of which becomes what it finds in a context: objects, slots, a summary.

  Each block is attention among the queries, then to the context, then an MLP, pre-norm. DETR's (Carion et al., arXiv
  2005.12872) is post-norm and adds the queries anew in every block.

  Args:
    queries: how many.
    width: of a query; divisible by `num_heads`.
    depth: number of blocks.
    num_heads: heads of the attention.
    mlp_ratio: hidden width of the MLP over `width`.
    gelu, layer_norm_eps, init, attention, remat, scan, dtype: see `vit`.

  Returns:
    a module; see `QueryDecoder.__call__`.

  Raises:
    ValueError: `width` is not divisible by `num_heads`.
  """
  block = block_config(
    width, num_heads, mlp_ratio, gelu=gelu, layer_norm_eps=layer_norm_eps, init=init, attention=attention, dtype=dtype
  )
  return QueryDecoder(queries, width, depth, block, remat, scan)
