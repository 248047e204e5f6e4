"""The pre-norm transformer of ViT and of MAE's decoder, with big_vision's parameter names."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl.models import parts
from jssl.models.inner import is_asked, tell
from jssl.models.lora import Lora
from jssl.models.rope import rotate, Rotation

# For the backward pass Flax's LayerNorm keeps three arrays of its input's size, this one the input.
LayerNorm = nn.remat(nn.LayerNorm)
MLPS = ("gelu", "swiglu")


@dataclasses.dataclass(frozen=True)
class BlockConfig:
  """What all blocks of a transformer share.

  Attributes:
    num_heads: heads of the attention; they divide the width.
    mlp_dim: hidden width of the MLP.
    qkv_bias: biases on query, key and value.
    key_bias: one on the key, if there are biases.
    mlp: "gelu" or "swiglu", see `Mlp`.
    gelu: "exact" or "tanh".
    layer_norm_eps: epsilon of every LayerNorm.
    layer_scale: initial value of a learned factor for each channel of each residual branch; None for no factor.
    init: see `parts.kernel_init`.
    attention: "xla", or "cudnn" (flash attention: a GPU, and dtype bfloat16 or float16).
    bias_rows: rows of each block's own table of relative position biases; 0 where the blocks have none.
    lora: adapters of the attention, see `jssl.models.lora`; None for none.
    dtype: of matrix products and attention. Softmax, LayerNorm and the residual stream are float32.
  """

  num_heads: int
  mlp_dim: int
  qkv_bias: bool = True
  gelu: str = "exact"
  layer_norm_eps: float = 1e-6
  layer_scale: float | None = None
  init: str = "dino"
  attention: str = "xla"
  bias_rows: int = 0
  lora: Lora | None = None
  dtype: str = "float32"
  key_bias: bool = True
  mlp: str = "gelu"


def block_config(width: int, num_heads: int, mlp_ratio: float, **numbers) -> BlockConfig:
  """What the blocks of a transformer of this width share; `numbers` are the other attributes.

  Raises:
    ValueError: `width` is not divisible by `num_heads`, or there is no such MLP.
  """
  if width % num_heads:
    raise ValueError(f"width {width} is not divisible by num_heads {num_heads}")
  if numbers.get("mlp", "gelu") not in MLPS:
    raise ValueError(f"mlp must be one of {', '.join(MLPS)}, not {numbers['mlp']!r}")
  return BlockConfig(num_heads, int(width * mlp_ratio), **numbers)


def relative_bias(table: jax.Array, offsets: jax.Array) -> jax.Array:
  """Looks up a table of relative position biases.

  Args:
    table: `[rows, heads]`.
    offsets: int `[batch or 1, tokens, tokens]`, a row for each pair; see `positions.relative_offsets`.

  Returns:
    `[batch or 1, heads, tokens, tokens]`, to be added to the logits of an attention.
  """
  return jnp.moveaxis(table[offsets], -1, 1)


# What is added to the logits of keys that are not to be seen. Their weights are exactly 0 then, and finite where a query may
# see none, whose output means nothing.
_UNSEEN = -1e30


def valid_bias(valid: jax.Array) -> jax.Array:
  """For `valid [batch, keys]`, True where a key may be seen, what is added to the logits: `[batch, 1, 1, keys]`."""
  return jnp.where(valid, 0.0, _UNSEEN)[:, None, None]


def causal_bias(tokens: int) -> jax.Array:
  """What is added to the logits where a token sees those up to itself alone: `[1, 1, tokens, tokens]`."""
  return jnp.where(jnp.tri(tokens, dtype=bool), 0.0, _UNSEEN)[None, None]


def attention_weights(query: jax.Array, key: jax.Array, bias: jax.Array | None = None) -> jax.Array:
  """`softmax(query key^T / sqrt(head_dim) + bias)` for each head, to be looked at: `[batch, heads, tokens, keys]` float32.

  Arguments as `attend`, which computes the same on its way and keeps none of it.
  """
  logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32) / math.sqrt(query.shape[-1])
  return nn.softmax(logits if bias is None else logits + bias)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None = None) -> jax.Array:
  """`softmax(query key^T / sqrt(head_dim) + bias) value` for each head; the softmax is float32.

  The rows of a head are brought together first: where they lie apart, a product takes XLA on a CPU three times as long.
  The softmax is divided by its sum after the product with the values, so that no second array of weights is kept.

  Args:
    query: `[batch, tokens, heads, head_dim]`.
    key, value: `[batch, keys, heads, head_dim]`.
    bias: broadcasts to `[batch, heads, tokens, keys]`.

  Returns:
    `[batch, tokens, heads, head_dim]` of the dtype of `value`.
  """
  query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
  logits = jnp.einsum("bhqd,bhkd->bhqk", query, key, preferred_element_type=jnp.float32) / math.sqrt(query.shape[-1])
  if bias is not None:
    logits = logits + bias
  weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
  y = jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value)
  return jnp.swapaxes(y / jnp.sum(weights, axis=-1, keepdims=True), 1, 2).astype(value.dtype)


class Attention(nn.Module):
  """Multi-head attention; it tells those who ask its `weights [batch, heads, tokens, keys]`, whatever computes it."""

  config: BlockConfig
  layer: int

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    bias: jax.Array | None,
    context: jax.Array | None = None,
    gate: jax.Array | None = None,
    rotation: Rotation | None = None,
  ) -> jax.Array:
    """Attends to itself, or to a context.

    Args:
      x: `[batch, tokens, dim]`, which asks.
      bias: on the logits, broadcasts to `[batch, heads, tokens, keys]`.
      context: `[batch, keys, context_dim]`, which answers; None for `x` itself.
      gate: `[batch, keys]`, by which the weights of the keys are multiplied after the softmax; they are not normalised
        again.
      rotation: by which queries and keys are turned, `[batch or 1, tokens, head_dim / 2]`, of a network that attends to
        itself, see `jssl.models.rope`.

    Returns:
      `x`'s shape.
    """
    config, dim = self.config, x.shape[-1]
    heads = (config.num_heads, dim // config.num_heads)
    lora = lambda product: config.lora and config.lora.of(product)

    def project(name, x):
      init = parts.kernel_init(config.init, joint=3)
      bias = parts.bias_init(config.init)
      has_bias = config.qkv_bias and (config.key_bias or name != "key")
      return parts.Projection(x.shape[-1:], heads, init, has_bias, bias, config.dtype, lora(name), name=name)(x)

    context = x if context is None else context
    query, key, value = project("query", x), project("key", context), project("value", context)
    if rotation is not None:
      query, key = rotate(query, rotation), rotate(key, rotation)
    tell(self, "weights", lambda: attention_weights(query, key, bias))
    if gate is not None:
      value = value * gate[:, :, None, None].astype(value.dtype)
    if config.attention == "xla":
      y = attend(query, key, value, bias)
    else:
      if bias is not None:
        bias = jnp.broadcast_to(bias, (*bias.shape[:2], x.shape[1], context.shape[1]))
      y = jax.nn.dot_product_attention(query, key, value, bias, implementation=config.attention)
    init = parts.kernel_init(config.init, layer=self.layer)
    bias = parts.bias_init(config.init)
    return parts.Projection(heads, (dim,), init, bias_init=bias, dtype=config.dtype, lora=lora("out"), name="out")(y)


class Mlp(nn.Module):
  """Linear, GELU, Linear; with "swiglu" `Linear(silu(gate(x)) * Linear(x))` (Shazeer, arXiv 2002.05202)."""

  config: BlockConfig
  layer: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[batch, tokens, dim]` to the same shape."""
    config, dim = self.config, x.shape[-1]
    into = parts.kernel_init(config.init)
    back = parts.kernel_init(config.init, layer=self.layer)
    common = dict(bias_init=parts.bias_init(config.init), dtype=config.dtype)
    wide = lambda name: parts.Projection((dim,), (config.mlp_dim,), into, **common, name=name)
    x = (
      nn.silu(wide("gate")(x)) * wide("Dense_0")(x)
      if config.mlp == "swiglu"
      else parts.gelu(wide("Dense_0")(x), config.gelu)
    )
    return parts.Projection((config.mlp_dim,), (dim,), back, **common, name="Dense_1")(x)


class EncoderBlock(nn.Module):
  """One pre-norm block: `x += attention(LN(x)); x += mlp(LN(x))`.

  With a context there is `x += attention(LN(x), context)` between the two.

  Attributes:
    config: what all blocks share.
    layer: 1-based number of the block; for those that run in a loop, any.
    drop_path: rate of stochastic depth.
  """

  config: BlockConfig
  layer: int
  drop_path: float = 0.0

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    bias: jax.Array | None,
    keys: jax.Array | None,
    traced: tuple[jax.Array, jax.Array] | None = None,
    context: tuple[jax.Array, jax.Array | None] | None = None,
    gate: jax.Array | None = None,
    rotation: Rotation | None = None,
  ) -> jax.Array:
    """One block.

    Args:
      x: `[batch, tokens, dim]` float32.
      bias: as in `Transformer`.
      keys: `[batch]`, for stochastic depth.
      traced: the layer and the rate of a block that runs in a loop.
      context: what is attended to between the two, and the bias of its logits.
      gate, rotation: of the attention to `x` itself, see `Attention`.
    """
    config = self.config
    layer, rate = traced or (self.layer, self.drop_path)
    if config.bias_rows:
      shape = (config.bias_rows, config.num_heads)
      bias = relative_bias(self.param("relative_position_bias", nn.initializers.zeros, shape), bias)
    attention = lambda number: Attention(config, self.layer, name=f"MultiHeadDotProductAttention_{number}")
    branches = [lambda y: attention(0)(y, bias, gate=gate, rotation=rotation), Mlp(config, self.layer, name="MlpBlock_0")]
    if context is not None:
      branches.insert(1, lambda y: attention(1)(y, context[1], context[0]))
    norm = dict(epsilon=config.layer_norm_eps, dtype=config.dtype, bias_init=parts.bias_init(config.init))
    for i, branch in enumerate(branches):
      y = branch(LayerNorm(**norm, name=f"LayerNorm_{i}")(x))
      if config.layer_scale is not None:
        y = y * self.param(f"layer_scale_{i}", nn.initializers.constant(config.layer_scale), x.shape[-1:])
      x = x + parts.drop_path(y, keys, rate=rate, number=len(branches) * layer + i)
    return x


class Transformer(nn.Module):
  """A stack of blocks and a final LayerNorm.

  Attributes:
    depth: number of blocks.
    config: what the blocks share.
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first; or both rates.
    readout: 1-based numbers of blocks, for a second output.
    readout_fusion: "mean" of these blocks, "learned" weights of learned projections of them, or "class_token", see `vit`.
    readout_depth: blocks behind the readout of a "class_token".
    remat: recompute each block in the backward pass instead of keeping its activations; see `parts.remat`.
    scan: run the blocks as a loop, `jax.lax.scan` over their parameters, which are stacked for it.
    final_norm: whether there is a LayerNorm after the last block.
  """

  depth: int
  config: BlockConfig
  drop_path: float | tuple[float, float] = 0.0
  readout: tuple[int, ...] = ()
  remat: bool | str = False
  scan: bool = False
  final_norm: bool = True
  readout_fusion: str = "mean"
  readout_depth: int = 2

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    *,
    bias: jax.Array | None = None,
    keys: jax.Array | None = None,
    valid: jax.Array | None = None,
    context: jax.Array | None = None,
    context_valid: jax.Array | None = None,
    rotation: Rotation | None = None,
  ) -> tuple[jax.Array, list[jax.Array], jax.Array | None]:
    """Runs the blocks.

    Args:
      x: `[batch, tokens, dim]`.
      bias: broadcasts to `[batch, heads, tokens, tokens]`, added to the logits of every block's attention; or the offsets
        `[batch or 1, tokens, tokens]` at which blocks with `bias_rows` look up their own.
      keys: `[batch]` typed keys for stochastic depth; None switches it off.
      valid: bool `[batch, tokens]`, False where there is padding: no other token sees what stands there, and it comes out
        as zeros. Where it is shorter, the tokens before are a prefix that holds data.
      context: `[batch, others, context_dim]`, to which every block attends too.
      context_valid: bool `[batch, others]`, as `valid`.
      rotation: of every block's attention to itself, see `Attention`.

    Returns:
      `(tokens, blocks, readout)`: the last block's output after the final LayerNorm, the output of every block before
      it, and that LayerNorm of what the `readout` blocks are together (None if there are none), all float32 of `x`'s shape.
      Without a final LayerNorm nothing stands in its place.

    Raises:
      ValueError: for `valid` with `bias_rows`.
    """
    if valid is not None:
      if self.config.bias_rows:
        raise ValueError("blocks with relative positions of their own take no padding (valid)")
      valid = jnp.pad(valid, ((0, 0), (x.shape[1] - valid.shape[1], 0)), constant_values=True)
      x = jnp.where(valid[:, :, None], x, 0.0)
      bias = valid_bias(valid) if bias is None else valid_bias(valid) + bias
    seen = None if context is None else (context, None if context_valid is None else valid_bias(context_valid))
    first, last = self.drop_path if isinstance(self.drop_path, tuple) else (0.0, self.drop_path)
    # What a loop's blocks tell does not come out of it.
    looped = self.scan and self.depth and not self.is_initializing() and not is_asked(self)
    run = self._loop if looped else self._unrolled
    x, blocks = run(x.astype(jnp.float32), bias, keys, np.linspace(first, last, self.depth), seen, rotation)
    norm = nn.LayerNorm(epsilon=self.config.layer_norm_eps, name="encoder_norm") if self.final_norm else lambda y: y
    chosen = [blocks[i - 1] for i in self.readout]
    if self.readout_fusion == "class_token":
      readout = norm(self._behind_class_token(chosen[0], x, bias, keys, rotation))
    else:
      readout = norm(self._fused(chosen)) if chosen else None
    for i, block in enumerate(blocks, start=1):
      tell(self, f"normed{i:02d}", lambda block=block: norm(block))
    outputs = norm(x), blocks, readout
    return outputs if valid is None else jax.tree.map(lambda y: jnp.where(valid[:, :, None], y, 0.0), outputs)

  def _fused(self, blocks):
    if self.readout_fusion == "mean":
      return sum(blocks) / len(blocks)
    shares = jax.nn.softmax(self.param("readout_weights", nn.initializers.ones, (len(blocks),)))
    width, init = blocks[-1].shape[-1], parts.kernel_init(self.config.init)
    project = lambda i: parts.Projection((width,), (width,), init, dtype=self.config.dtype, name=f"readout_{i}")
    projected = [project(i)(block).astype(jnp.float32) for i, block in zip(self.readout, blocks[:-1], strict=False)]
    return sum(share * block for share, block in zip(shares, [*projected, blocks[-1]], strict=True))

  def _behind_class_token(self, early, last, bias, keys, rotation):
    """More blocks, which see the patches as they were at an early block and of the late ones the class token alone."""
    start, block = self.readout[0], parts.remat(EncoderBlock, self.remat)
    first, rate = self.drop_path if isinstance(self.drop_path, tuple) else (0.0, self.drop_path)
    rates = np.linspace(first, rate, max(self.depth, start + self.readout_depth))
    x = jnp.concatenate([last[:, :1], early[:, 1:]], axis=1)
    for i in range(self.readout_depth):
      # Initialised as blocks after the early one; drawn for apart from those that are there.
      drawn = (self.depth + 1 + i, float(rates[start + i]))
      x = block(self.config, start + i + 1, name=f"readout_{i}")(x, bias, keys, drawn, rotation=rotation)
    return x

  def _unrolled(self, x, bias, keys, rates, context, rotation):
    block, blocks = parts.remat(EncoderBlock, self.remat), []
    for i, rate in enumerate(rates):
      x = block(self.config, i + 1, float(rate), name=f"encoderblock_{i}")(x, bias, keys, None, context, rotation=rotation)
      blocks.append(x)
    return x, blocks

  def _loop(self, x, bias, keys, rates, context, rotation):
    params = [self.variables["params"][f"encoderblock_{i}"] for i in range(self.depth)]
    block, keys = EncoderBlock(self.config, 1, parent=None), keys if rates.any() else None

    def step(x, params_and_traced):
      params, *traced = params_and_traced
      x = block.apply({"params": params}, x, bias, keys, tuple(traced), context, rotation=rotation)
      return x, x

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    layers = jnp.arange(1, self.depth + 1), jnp.asarray(rates, jnp.float32)
    # A loop keeps the order of the blocks, so that nothing has to keep XLA from computing one twice.
    step = parts.remat(step, self.remat, jax.checkpoint, prevent_cse=False)
    x, blocks = jax.lax.scan(step, x, (stacked, *layers))
    return x, list(blocks)
