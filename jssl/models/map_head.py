"""Multi-head attention pooling (MAP), with big_vision's parameter names."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models import parts
from jssl.models.transformer import Attention, BlockConfig, LayerNorm, Mlp, valid_bias


class MapHead(nn.Module):
  """One vector of all tokens: `y = attention(probe, tokens); y + mlp(LN(y))`, the probe a learned query.

  Attributes:
    config: of its attention and MLP, that of the blocks before it.

  References:
    Zhai et al., Scaling Vision Transformers, arXiv 2106.04560; google-research/big_vision models/vit.py (MAPHead).
  """

  config: BlockConfig

  @nn.compact
  def __call__(self, tokens: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """`[batch, tokens, dim]`, of which `valid [batch, tokens]` hold data, to `[batch, dim]` float32."""
    config, dim = self.config, tokens.shape[-1]
    probe = self.param("probe", parts.token_init(config.init, "probe"), (1, 1, dim))
    bias = None if valid is None else valid_bias(valid)
    query = jnp.tile(probe, (len(tokens), 1, 1))
    y = Attention(config, 1, name="MultiHeadDotProductAttention_0")(query, bias, tokens).astype(jnp.float32)
    normed = LayerNorm(epsilon=config.layer_norm_eps, dtype=config.dtype, name="LayerNorm_0")(y)
    return (y + Mlp(config, 1, name="MlpBlock_0")(normed))[:, 0].astype(jnp.float32)
