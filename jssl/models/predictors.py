"""Predictors: from the tokens of what was seen to those of what was not."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models import parts, positions
from jssl.models.transformer import block_config, BlockConfig, Transformer


class JEPAPredictor(nn.Module):
  """Predictor of I-JEPA; `jepa_predictor` builds it and explains the fields."""

  grid: tuple[int, ...]
  width: int
  depth: int
  block: BlockConfig
  remat: bool | str = False
  scan: bool = False

  @nn.compact
  def __call__(
    self, tokens: jax.Array, context: jax.Array, target: jax.Array, *, keys: jax.Array | None = None, train: bool = False
  ) -> dict[str, jax.Array]:
    """Predicts the tokens of each target block from those of the context, one block at a time.

    Args:
      tokens: `[batch, kept, dim]`, an encoder's tokens of the context.
      context: int `[batch, kept]`, their patches.
      target: int `[batch, blocks, size]`, the patches of each block.
      keys: accepted and ignored: there is no stochastic depth here.
      train: accepted and ignored.

    Returns:
      `tokens [batch, blocks, size, dim]`, float32.
    """
    del keys, train
    dim, init = tokens.shape[-1], parts.kernel_init(self.block.init)
    table = jnp.asarray(positions.sincos(self.grid, self.width))
    seen = parts.Projection((dim,), (self.width,), init, dtype=self.block.dtype, name="embedding")(tokens)
    seen = seen.astype(jnp.float32) + table[context]
    hidden = self.param("mask_token", nn.initializers.normal(0.02), (self.width,)) + table[target]
    batch, blocks, size = target.shape
    x = jnp.concatenate([jnp.repeat(seen[:, None], blocks, axis=1), hidden], axis=2)
    x, _, _ = Transformer(self.depth, self.block, remat=self.remat, scan=self.scan, name="Transformer")(
      x.reshape(batch * blocks, -1, self.width)
    )
    x = parts.Projection((self.width,), (dim,), init, dtype=self.block.dtype, name="head")(x[:, -size:])
    return dict(tokens=x.astype(jnp.float32).reshape(batch, blocks, size, dim))


def jepa_predictor(
  *,
  grid: Sequence[int],
  width: int = 384,
  depth: int = 12,
  num_heads: int = 16,
  mlp_ratio: float = 4.0,
  gelu: str = "exact",
  layer_norm_eps: float = 1e-6,
  init: str = "normal",
  attention: str = "xla",
  remat: bool | str = False,
  scan: bool = False,
  dtype: str = "float32",
) -> JEPAPredictor:
  """Predictor of I-JEPA: a narrow transformer on context tokens and one mask token for each patch of a block.

  Positions are fixed sines and cosines of the patches' places, added to context and mask tokens. Blocks do not see
  each other.

  Args:
    grid: rows and columns of patches of the whole image, or the number along each axis of a signal, a clip or a volume.
    width: of a token inside; divisible by 4 and by `num_heads`. What comes out is as wide as what goes in.
    depth: number of blocks: 6 for ViT-B, 12 for L and H in the paper.
    num_heads: heads of the attention: the encoder's number in the official code.
    mlp_ratio: hidden width of the MLP over `width`.
    gelu: "exact" or "tanh".
    layer_norm_eps: epsilon of every LayerNorm.
    init: of linear kernels, see `vit`.
    attention: "xla" or "cudnn", see `vit`.
    remat: recompute blocks in the backward pass, for less memory: True, or a policy that says what is kept; see
      `parts.remat`.
    scan: run the blocks as one loop, see `vit`.
    dtype: of matrix products; outputs are float32.

  Returns:
    a module; see `JEPAPredictor.__call__`.

  Raises:
    ValueError: `width` is not divisible by `num_heads`.

  References:
    Assran et al., Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture, arXiv
    2301.08243; facebookresearch/ijepa src/models/vision_transformer.py (VisionTransformerPredictor).
  """
  block = block_config(
    width, num_heads, mlp_ratio, gelu=gelu, layer_norm_eps=layer_norm_eps, init=init, attention=attention, dtype=dtype
  )
  return JEPAPredictor(tuple(grid), width, depth, block, remat, scan)
