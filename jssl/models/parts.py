"""Pieces that several models share: activations, initialisation, normalisation, stochastic depth, patches, masks."""

from collections.abc import Callable, Sequence
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import valid_tokens
from jssl.models.batch_norm import GroupedBatchNorm
from jssl.models.lora import Lora

Initializer = Callable[..., jax.Array]


def gelu(x: jax.Array, form: str = "exact") -> jax.Array:
  """GELU, `x * Phi(x)`: "exact" as torch has it, or the "tanh" approximation that Flax and big_vision use.

  The backward pass keeps x alone and computes the rest again, which costs less than to read it back.

  Raises:
    ValueError: another form.
  """
  if form not in ("exact", "tanh"):
    raise ValueError(f"gelu must be 'exact' or 'tanh', not {form!r}")
  return jax.checkpoint(nn.gelu if form == "tanh" else _exact_gelu)(x)


def _exact_gelu(x):
  # jax.nn.gelu takes erfc, which costs XLA on a CPU more than the two matrix products around it. 1 + erf cancels where
  # x is very negative, hence float32.
  wide = x.astype(jnp.float32)
  return (0.5 * wide * (1.0 + jax.lax.erf(wide * math.sqrt(0.5)))).astype(x.dtype)


REMAT_POLICIES = ("nothing_saveable", "dots_with_no_batch_dims_saveable", "dots_saveable", "everything_saveable")


def remat(block: Callable, how: bool | str, lift: Callable = nn.remat, **options) -> Callable:
  """Lets a block be recomputed in the backward pass instead of keeping what it computed.

  Args:
    block: a module's class, or what else `lift` takes.
    how: False: return `block` itself. True: recompute everything. A str, one of `REMAT_POLICIES`: recompute what the
      policy of that name in `jax.checkpoint_policies` does not keep. "dots_with_no_batch_dims_saveable" keeps the
      products with weights, "dots_saveable" those inside of attention too.
    lift: `nn.remat`, or `jax.checkpoint` for a function.
    **options: of `lift`.

  Raises:
    ValueError: another policy.
  """
  if not how:
    return block
  if how is not True and how not in REMAT_POLICIES:
    raise ValueError(f"remat must be True, False or one of {', '.join(REMAT_POLICIES)}, not {how!r}")
  return lift(block, policy=None if how is True else getattr(jax.checkpoint_policies, how), **options)


ACTIVATIONS = dict(relu=nn.relu, gelu=gelu, gelu_tanh=functools.partial(gelu, form="tanh"), silu=nn.silu, tanh=jnp.tanh)


def uniform_bound(fan: int) -> Initializer:
  """Uniform on `+-1 / sqrt(fan)`: what torch gives kernels and biases of Linear and Conv layers by default."""
  bound = 1.0 / math.sqrt(fan)
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


# Initialisation of convolutions and heads by whose code is followed; biases are 0. "mmcv": N(0, 2 / inputs), as DenseCL's.
# "keras": cut off at two deviations and of the variance 1 / inputs. "haiku": the same, without making up for what is cut
# off. "simclr": N(0, 0.01), of its head. torch's convolutions and linear layers have one each, see `resnet`, `mlp_head`.
CODE_INITS = dict(
  mmcv=nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
  keras=nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
  haiku=nn.initializers.variance_scaling(0.87962566103423978**2, "fan_in", "truncated_normal"),
  simclr=nn.initializers.normal(0.01),
  mae_classifier=nn.initializers.normal(2e-5),
)
# The names that `kernel_init` knows.
INITS = ("dino", "ibot", "dinov2", "mae", "moco_v3", "beit", "normal", "normal_rescaled", "msn", "maskfeat")
# N(0, 0.02) cut off at +-0.02, one standard deviation; what is left has a deviation of 0.0108.
_CUT = nn.initializers.truncated_normal(0.02, lower=-1.0, upper=1.0)


def kernel_init(init: str, *, joint: int = 1, layer: int | None = None) -> Initializer:
  """Initialisation of a linear kernel `[inputs, outputs]` of a transformer.

  Args:
    init: whose code is followed; see `vit` for the other parameters.
      "dino", "ibot", "dinov2", "normal", "msn", "maskfeat": N(0, 0.02), which is what its truncation at +-2 (not at two
      standard deviations) amounts to. "normal_rescaled": the same, and residual outputs divided by `sqrt(2 * layer)`.
      "mae": Xavier uniform. "moco_v3": the same, query, key and value each by itself.
      "beit": N(0, 0.02) cut off at +-0.02, and residual outputs divided by `sqrt(2 * layer)` (BEiT, SimMIM, data2vec).
    joint: number of equal kernels that the official code keeps as one matrix, which Xavier's fan counts: 3 for query,
      key and value.
    layer: 1-based number of the block, for the two kernels that write to the residual stream.

  Raises:
    ValueError: another `init`.

  References:
    facebookresearch/dino vision_transformer.py, facebookresearch/mae models_mae.py, facebookresearch/moco-v3 vits.py,
    microsoft/unilm beit/modeling_pretrain.py and microsoft/SimMIM models/vision_transformer.py (trunc_normal_,
    fix_init_weight).
  """
  if init in ("dino", "ibot", "dinov2", "normal", "msn", "maskfeat"):
    return nn.initializers.normal(0.02)
  if init == "normal_rescaled":
    return nn.initializers.normal(0.02 / math.sqrt(2 * layer) if layer else 0.02)
  if init == "mae":
    return nn.initializers.variance_scaling(2.0 / (1 + joint), "fan_avg", "uniform")
  if init == "moco_v3":
    return nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
  if init == "beit":
    factor = 1 / math.sqrt(2 * layer) if layer else 1.0
    return lambda *args: factor * _CUT(*args)
  raise ValueError(f"init must be one of {', '.join(INITS)}, not {init!r}")


def bias_init(init: str) -> Initializer:
  """Initialisation of biases of linear layers and of LayerNorms in a transformer: 0, and 0.02 in MaskFeat's code."""
  return nn.initializers.constant(0.02) if init == "maskfeat" else nn.initializers.zeros


def patch_embedding_init(init: str, fan: int) -> tuple[Initializer, Initializer]:
  """Initialisation of kernel and bias of a patch embedding.

  Args:
    init: as in `kernel_init`.
    fan: number of inputs, `P * P * channels`.

  References:
    as `kernel_init`; facebookresearch/ijepa src/models/vision_transformer.py ("normal"), facebookresearch/msn src/deit.py,
    facebookresearch/SlowFast slowfast/models/video_model_builder.py ("maskfeat").
  """
  torch = uniform_bound(fan)  # DINO leaves the convolution at torch's default, MAE and MaskFeat its bias alone
  if init in ("dino", "ibot", "dinov2"):
    return torch, torch
  if init == "msn":
    return nn.initializers.normal(math.sqrt(2 / fan)), nn.initializers.zeros
  return kernel_init(init), torch if init in ("mae", "maskfeat") else nn.initializers.zeros


def token_init(init: str, name: str) -> Initializer:
  """Initialisation of a learned token or position: N(0, 0.02), for "beit" cut off as kernels are.

  Args:
    init: as in `kernel_init`.
    name: "cls", "registers", "mask_token" or another. iBOT's and DINOv2's mask tokens start at 0, the class token and
      registers of DINOv2 and MoCo v3 as N(0, 1e-6).

  References:
    as `kernel_init`; bytedance/ibot models/vision_transformer.py, facebookresearch/dinov2 models/vision_transformer.py.
  """
  if init in ("ibot", "dinov2") and name == "mask_token":
    return nn.initializers.zeros
  if init in ("dinov2", "moco_v3") and name in ("cls", "registers"):
    return nn.initializers.normal(1e-6)
  return _CUT if init == "beit" else nn.initializers.normal(0.02)


class Projection(nn.Module):
  """Linear map from the last axes of an array to new axes; `kernel [*inputs, *outputs]`, `bias [*outputs]`.

  It multiplies two matrices whatever the number of axes: XLA on a CPU runs that a tenth faster than a contraction that
  writes `[batch, tokens, heads, head_dim]` directly.
  """

  inputs: tuple[int, ...]
  outputs: tuple[int, ...]
  kernel_init: Initializer
  use_bias: bool = True
  bias_init: Initializer = nn.initializers.zeros
  dtype: str = "float32"
  lora: Lora | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[..., *inputs]` to `[..., *outputs]`, in `dtype`."""
    flat = (math.prod(self.inputs), math.prod(self.outputs))
    shape = (*self.inputs, *self.outputs)
    kernel = self.param("kernel", lambda key: self.kernel_init(key, flat, jnp.float32).reshape(shape))
    lead = x.shape[: x.ndim - len(self.inputs)]
    x = x.astype(self.dtype).reshape(-1, flat[0])
    y = x @ kernel.astype(self.dtype).reshape(flat)
    if self.use_bias:
      y = y + self.param("bias", self.bias_init, self.outputs, jnp.float32).astype(self.dtype).reshape(-1)
    if self.lora is not None:
      y = y + self._adapted(x, self.lora.rank) * (self.lora.alpha / self.lora.rank)
    return y.reshape(*lead, *self.outputs)

  def _adapted(self, x: jax.Array, rank: int) -> jax.Array:
    start = lambda key: uniform_bound(x.shape[-1])(key, (x.shape[-1], rank)).reshape(*self.inputs, rank)
    narrow = x @ self.param("lora_a", start).astype(self.dtype).reshape(-1, rank)
    b = self.param("lora_b", nn.initializers.zeros, (rank, *self.outputs), jnp.float32)
    return narrow @ b.astype(self.dtype).reshape(rank, -1)


def batch_norm(
  *,
  train: bool,
  axis_name: str | None,
  name: str | None = None,
  affine: bool = True,
  zero_init: bool = False,
  group: int | None = None,
  batch_size: int | None = None,
  dtype: str = "float32",
) -> nn.Module:
  """BatchNorm over all axes but the last, with torch's numbers: momentum 0.1 (Flax counts it as 0.9), epsilon 1e-5.

  Statistics and arithmetic are float32; the result has `dtype`. With `axis_name` the statistics are those of the global
  batch (SyncBatchNorm), the variance being taken around the global mean. The running variance is the biased one, where
  torch keeps `n / (n - 1)` of it.

  Args:
    train: normalise by the batch and update `batch_stats`; otherwise normalise by `batch_stats`.
    axis_name: the mapped axis over which the batch is split, or None.
    name: of the submodule.
    affine: learn scale and bias.
    zero_init: start the scale at 0.
    group: take the statistics over so many consecutive examples of the global batch at a time; default all of it.
    batch_size: of the global batch, where there are groups.
    dtype: of the result.
  """
  if group is not None:
    return GroupedBatchNorm(group, batch_size, train, axis_name, affine, zero_init, dtype=dtype, name=name)
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=1e-5,
    dtype=dtype,
    use_scale=affine,
    use_bias=affine,
    scale_init=nn.initializers.zeros if zero_init else nn.initializers.ones,
    axis_name=axis_name,
    use_fast_variance=False,
    name=name,
  )


def drop_path(
  branch: jax.Array, keys: jax.Array | None, *, rate: jax.typing.ArrayLike, number: jax.typing.ArrayLike
) -> jax.Array:
  """Stochastic depth: an example keeps its residual branch with probability `1 - rate`, scaled by `1 / (1 - rate)`.

  Args:
    branch: `[batch, ...]`.
    keys: one typed key an example, `[batch]`; None keeps every branch, unscaled. What an example draws depends on its
      own key alone, so a batch may be split at will.
    rate: probability to drop, in [0, 1); may be traced.
    number: of the branch in the network, folded into the keys; may be traced.

  References:
    Huang et al., Deep Networks with Stochastic Depth, arXiv 1603.09382; timm's DropPath.
  """
  if keys is None or isinstance(rate, float) and rate == 0.0:
    return branch
  draw = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, number)))(keys)
  scale = jnp.where(draw < 1.0 - rate, 1.0 / (1.0 - rate), 0.0).astype(branch.dtype)
  return branch * scale.reshape(-1, *[1] * (branch.ndim - 1))


def refuse_dropped_tokens(model: str, ids_keep: jax.Array | None) -> None:
  """Raises ValueError if there are `ids_keep`, for models whose patches lie on a grid throughout."""
  if ids_keep is not None:
    raise ValueError(f"a {model} works on whole grids and cannot drop patches (ids_keep); a ViT can")


def refuse_mask(model: str, mask: jax.Array | None) -> None:
  """Raises ValueError if there is a mask, for models without a token that could stand for what is hidden."""
  if mask is not None:
    raise ValueError(f"a {model} has no mask token: hide pixels in the view, or use a ViT, Swin or ConvNeXt")


def last_map(x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
  """What a convolutional network says by its last map `[batch, rows, columns, dim]`.

  Returns:
    Its mean `[batch, dim]`, float32; and by name the same (`pooled`, `mean`), the map (`feature_map`), and its places
    (`patch_tokens [batch, rows * columns, dim]`, float32).
  """
  patches = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[-1])
  pooled = patches.mean(axis=1)
  return pooled, dict(feature_map=x, patch_tokens=patches, mean=pooled, pooled=pooled)


def hide_tokens(x: jax.Array, mask: jax.Array | None, token: jax.Array | None) -> jax.Array:
  """Puts the mask token in the place of hidden tokens.

  Args:
    x: `[batch, tokens, dim]`.
    mask: bool `[batch, tokens]`, True where one is hidden; None hides nothing.
    token: broadcasts to `x`; None for a model without one.

  Raises:
    ValueError: the mask has another shape, or there is no token.
  """
  if mask is None:
    return x
  if token is None:
    raise ValueError("a mask needs a network with mask_token=True")
  if mask.shape != x.shape[:2]:
    raise ValueError(f"mask must have the shape [batch, tokens] = {x.shape[:2]}, not {mask.shape}")
  return jnp.where(mask[:, :, None], token, x)


def validity(
  batch: int, grid: Sequence[int], patch: int, *, length: jax.Array | None = None, valid: jax.Array | None = None
) -> jax.Array | None:
  """Which tokens hold data, as a network is told it.

  Args:
    batch: number of examples.
    grid: numbers of patches along each axis.
    patch: entries of the first axis in a patch.
    length: int `[batch]`, how many entries of the first axis hold data, see `jssl.arrays.valid_tokens`.
    valid: bool `[batch, tokens]`, in its place.

  Returns:
    bool `[batch, tokens]`, or None if all do.

  Raises:
    ValueError: for both, and for other shapes.
  """
  if length is not None and valid is not None:
    raise ValueError("length and valid say the same: give one of them")
  shape = (batch, math.prod(grid)) if length is None else (batch,)
  given = valid if length is None else length
  if given is not None and given.shape != shape:
    name = "valid must have the shape [batch, tokens]" if length is None else "length must have the shape [batch]"
    raise ValueError(f"{name} = {shape}, not {given.shape}")
  return valid if length is None else valid_tokens(length, grid=grid, patch=patch)


def mean_of_valid(x: jax.Array, valid: jax.Array | None = None) -> jax.Array:
  """Mean of `x [batch, tokens, dim]` over the tokens where `valid [batch, tokens]`; zeros where none is."""
  if valid is None:
    return x.mean(axis=1)
  weights = valid[:, :, None].astype(x.dtype)
  return jnp.sum(x * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1)


def hide_cells(x: jax.Array, mask: jax.Array | None, token: jax.Array | None, *, cell: int) -> jax.Array:
  """Puts the mask token in the place of hidden squares of a map.

  Args:
    x: `[batch, rows, columns, dim]`.
    mask: bool `[batch, cells]`, True where a square of `cell x cell` entries is hidden, row by row (the last ones may
      be cut off); or `[batch, rows * columns]`. None hides nothing.
    token: broadcasts to `x`; None for a model without one.
    cell: side of a cell in entries of the map.

  Raises:
    ValueError: the mask has another shape, or there is no token.
  """
  if mask is None:
    return x
  if token is None:
    raise ValueError("a mask needs a network with mask_token=True")
  batch, rows, columns, _ = x.shape
  grid = -(-rows // cell), -(-columns // cell)
  if mask.shape == (batch, rows * columns):
    grid, cell = (rows, columns), 1
  cells = grid[0] * grid[1]
  if mask.shape != (batch, cells):
    raise ValueError(f"mask must have the shape {(batch, cells)} or {(batch, rows * columns)}, not {mask.shape}")
  hidden = mask.reshape(batch, *grid).repeat(cell, axis=1).repeat(cell, axis=2)[:, :rows, :columns]
  return jnp.where(hidden[..., None], token, x)
