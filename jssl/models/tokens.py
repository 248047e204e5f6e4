"""A transformer on sequences of tokens: identifiers or vectors, with padding, causal or not."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models import parts, positions
from jssl.models.transformer import block_config, BlockConfig, causal_bias, Transformer


class TokenEncoder(nn.Module):
  """A transformer on sequences; `token_encoder` builds it and explains the fields."""

  vocab: int | None
  width_in: int | None
  width: int
  depth: int
  block: BlockConfig
  causal: bool = False
  position: str = "learned"
  max_length: int = 512
  mask_token: bool = False
  drop_path: float | tuple[float, float] = 0.0
  remat: bool | str = False
  scan: bool = False

  @nn.nowrap
  def grid(self, shape: tuple[int, ...]) -> tuple[int]:
    """The number of tokens of a sequence `[..., T]` of identifiers, or `[..., T, width_in]` of vectors."""
    return (shape[-1] if self.vocab else shape[-2],)

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    *,
    mask: jax.Array | None = None,
    length: jax.Array | None = None,
    valid: jax.Array | None = None,
    keys: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Features of sequences.

    Args:
      x: int `[batch, T]`, in [0, vocab); an identifier outside of it makes the token NaN. Or float `[batch, T, width_in]`.
      mask: bool `[batch, T]`; where True the learned mask token replaces the embedding, before positions are added. Needs
        `mask_token=True`.
      length: int `[batch]`, how many tokens hold data. What comes after is padding: nothing that holds data depends on it,
        and it comes out as zeros.
      valid: bool `[batch, T]`, in its place, True where a token holds data.
      keys: `[batch]` typed keys for stochastic depth; None switches it off.
      train: accepted and ignored: no part of this model depends on it.

    Returns:
      `(features, out)`. `features [batch, dim]` is the mean of the tokens that hold data, or the last of them if the
      network is causal. `out`, all float32, after the final LayerNorm except the blocks: `tokens [batch, T, dim]`,
      `mean [batch, dim]`, `last [batch, dim]`, and `block01 [batch, T, dim]`, ...: the residual stream after each block.

    Raises:
      ValueError: for other shapes and types, and for a sequence longer than the table of positions.
    """
    del train
    self._check(x)
    batch, count = x.shape[:2]
    valid = parts.validity(batch, (count,), 1, length=length, valid=valid)
    token = self.param("mask_token", self._init("mask_token"), (1, 1, self.width)) if self.mask_token else None
    x = parts.hide_tokens(self._embed(x), mask, token) + self._positions(count)
    x, blocks, _ = Transformer(self.depth, self.block, self.drop_path, remat=self.remat, scan=self.scan, name="Transformer")(
      x, bias=causal_bias(count) if self.causal else None, keys=keys, valid=valid
    )
    out = dict(tokens=x, mean=parts.mean_of_valid(x, valid), last=_last(x, valid))
    out |= {f"block{i + 1:02d}": block for i, block in enumerate(blocks)}
    return out["last"] if self.causal else out["mean"], out

  def _init(self, name):
    return parts.token_init(self.block.init, name)

  def _check(self, x):
    if self.vocab and not (x.ndim == 2 and jnp.issubdtype(x.dtype, jnp.integer)):
      raise ValueError(f"token_encoder with a vocab takes integers [batch, T], not {x.dtype} {list(x.shape)}")
    if self.width_in and not (x.ndim == 3 and x.shape[2] == self.width_in and jnp.issubdtype(x.dtype, jnp.floating)):
      raise ValueError(f"token_encoder takes floats [batch, T, {self.width_in}], not {x.dtype} {list(x.shape)}")

  def _embed(self, x):
    if self.width_in:
      init, bias = parts.kernel_init(self.block.init), parts.bias_init(self.block.init)
      return parts.Projection(
        (self.width_in,), (self.width,), init, bias_init=bias, dtype=self.block.dtype, name="embedding"
      )(x).astype(jnp.float32)
    # Unsigned, a negative identifier is outside too, where Embed gives NaN.
    return nn.Embed(self.vocab, self.width, embedding_init=self._init("embedding"), name="embedding")(x.astype(jnp.uint32))

  def _positions(self, count):
    if self.position == "learned":
      if count > self.max_length:
        raise ValueError(f"sequences of {count} tokens are longer than max_length={self.max_length}, the learned positions")
      return self.param("pos_embedding", self._init("pos_embedding"), (1, self.max_length, self.width))[:, :count]
    return positions.sincos((count,), self.width)[None] if self.position == "sincos" else 0.0


def _last(x, valid):
  """The last token that holds data, `[batch, dim]`."""
  if valid is None:
    return x[:, -1]
  last = jnp.max(jnp.where(valid, jnp.arange(valid.shape[1]), 0), axis=1)
  return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]


def token_encoder(
  *,
  vocab: int | None = None,
  width_in: int | None = None,
  width: int,
  depth: int,
  num_heads: int,
  mlp_ratio: float = 4.0,
  causal: bool = False,
  position: str = "learned",
  max_length: int = 512,
  mask_token: bool = False,
  drop_path: float | tuple[float, float] = 0.0,
  layer_scale: float | None = None,
  qkv_bias: bool = True,
  gelu: str = "exact",
  layer_norm_eps: float = 1e-6,
  init: str = "normal",
  attention: str = "xla",
  remat: bool | str = False,
  scan: bool = False,
  dtype: str = "float32",
) -> TokenEncoder:
  """A transformer on sequences of identifiers or of vectors, pre-norm as `vit` is.

  The defaults are GPT-2's and, in their place, BERT's, which is post-norm: embeddings and learned positions N(0, 0.02).
  Scores of the vocabulary are a `linear_head` on `tokens`, with weights of its own.

  Args:
    vocab: number of identifiers; or
    width_in: width of the vectors.
    width: of a token.
    depth: number of blocks.
    num_heads: heads of the attention; they divide the width.
    mlp_ratio: hidden width of the MLP over `width`.
    causal: let a token see those before it and itself alone.
    position: "learned" (a table of `max_length` rows), "sincos" (fixed, see `positions.sincos`) or "none".
    max_length: rows of the learned table: the longest sequence.
    mask_token: own the token that stands for hidden ones, where no identifier does.
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first; or both rates.
    layer_scale, qkv_bias, gelu, layer_norm_eps, init, attention, remat, scan, dtype: see `vit`.

  Returns:
    a module; see `TokenEncoder.__call__`.

  Raises:
    ValueError: unless there is exactly one of `vocab` and `width_in`; for an unknown position, and for numbers that do not
      divide each other.

  References:
    Devlin et al., BERT, arXiv 1810.04805; Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
  """
  if bool(vocab) == bool(width_in):
    raise ValueError("give exactly one of vocab (identifiers) and width_in (vectors)")
  if position not in ("learned", "sincos", "none"):
    raise ValueError(f"position must be one of learned, sincos, none, not {position!r}")
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
    dtype=dtype,
  )
  return TokenEncoder(vocab, width_in, width, depth, block, causal, position, max_length, mask_token, drop_path, remat, scan)
