"""ConvNeXt, with parameter names that map onto the authors' own one by one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jssl.models import parts
from jssl.models.transformer import LayerNorm

VARIANTS = dict(  # width, depths; A to N and H are of version 2
  A=(40, (2, 2, 6, 2)),
  F=(48, (2, 2, 6, 2)),
  P=(64, (2, 2, 6, 2)),
  N=(80, (2, 2, 8, 2)),
  T=(96, (3, 3, 9, 3)),
  S=(96, (3, 3, 27, 3)),
  B=(128, (3, 3, 27, 3)),
  L=(192, (3, 3, 27, 3)),
  H=(352, (3, 3, 27, 3)),
)

INIT = nn.initializers.normal(0.02)


class GlobalResponseNorm(nn.Module):
  """`gamma * x * n + beta + x`, n being the norm of a channel over the map divided by the mean of all channels' norms.

  References:
    Woo et al., ConvNeXt V2, arXiv 2301.00808, section 3.2; facebookresearch/ConvNeXt-V2 models/utils.py (GRN).
  """

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[batch, rows, columns, dim]` to the same shape and dtype; computed in float32."""
    gamma, beta = (self.param(name, nn.initializers.zeros, x.shape[-1:]) for name in ("gamma", "beta"))
    y = x.astype(jnp.float32)
    norm = jnp.sqrt(jnp.sum(y * y, axis=(1, 2), keepdims=True) + 1e-12)
    return (gamma * y * (norm / (norm.mean(axis=-1, keepdims=True) + 1e-6)) + beta + y).astype(x.dtype)


class ConvNeXtBlock(nn.Module):
  """`x += gamma * MLP(LN(depthwise 7x7 convolution(x)))`.

  Attributes:
    number: of the block in the network, for stochastic depth.
    drop_path: its rate.
    layer_scale: initial value of gamma; None for no factor.
    grn: a global response normalisation between the two layers of the MLP.
    gelu, eps, dtype: as in `convnext`.
  """

  number: int
  drop_path: float
  layer_scale: float | None
  grn: bool
  gelu: str
  eps: float
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, keys: jax.Array | None) -> jax.Array:
    """`x [batch, rows, columns, dim]` float32, `keys [batch]` for stochastic depth."""
    dim = x.shape[-1]
    y = nn.Conv(dim, (7, 7), padding=3, feature_group_count=dim, dtype=self.dtype, kernel_init=INIT, name="dwconv")(x)
    y = LayerNorm(epsilon=self.eps, dtype=self.dtype, name="norm")(y)
    y = parts.Projection((dim,), (4 * dim,), INIT, dtype=self.dtype, name="pwconv1")(y)
    y = parts.gelu(y, self.gelu)
    if self.grn:
      y = GlobalResponseNorm(name="grn")(y)
    y = parts.Projection((4 * dim,), (dim,), INIT, dtype=self.dtype, name="pwconv2")(y)
    if self.layer_scale is not None:
      y = y * self.param("gamma", nn.initializers.constant(self.layer_scale), (dim,))
    return x + parts.drop_path(y, keys, rate=self.drop_path, number=self.number)


class ConvNeXt(nn.Module):
  """ConvNeXt; `convnext` builds it and explains the fields."""

  width: int
  depths: tuple[int, ...]
  stem: str = "imagenet"
  mask_token: bool = False
  drop_path: float = 0.0
  layer_scale: float | None = 1e-6
  grn: bool = False
  gelu: str = "exact"
  layer_norm_eps: float = 1e-6
  remat: bool | str = False
  dtype: str = "float32"

  @nn.nowrap
  def grid(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the last map for an image `[..., H, W, C]`.

    Raises:
      ValueError: the stride of the last map does not divide the image, of which the authors' code loses the rest.
    """
    stride = (4 if self.stem == "imagenet" else 1) * 2 ** (len(self.depths) - 1)
    height, width = image_shape[-3:-1]
    if height % stride or width % stride:
      raise ValueError(f"image size {height}x{width} is not divisible by the stride {stride} of the last map")
    return height // stride, width // stride

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
      images: `[batch, H, W, C]`, of any size that the stride of the last map divides.
      mask: bool `[batch, cells]` on the module's `grid`; where True the learned mask token replaces what the stem says
        of the cell. Or `[batch, places]`, for each place of the stem's map. Needs `mask_token=True`.
      ids_keep: refused: convolutions need whole maps.
      keys: `[batch]` typed keys for stochastic depth; None switches it off.
      train: accepted and ignored: no part of this model depends on it.

    Returns:
      `(features, out)`. `features [batch, dim]` is the final LayerNorm of the mean over the last map, `dim =
      2 ** (stages - 1) * width`. `out`, all float32:

      - `patch_tokens [batch, cells, dim]`, that LayerNorm of every place of the last map (as DINOv3 has it);
        `feature_map [batch, rows, columns, dim]`, the same in its layout; `mean [batch, dim]`, its mean;
      - `stage1`, `stage2`, ...: the maps `[batch, rows, columns, width of the stage]` after each stage.

    Raises:
      ValueError: the image is not divisible, `mask` has another shape or nothing to put in its place, or there are
        `ids_keep`.
    """
    del train
    parts.refuse_dropped_tokens("ConvNeXt", ids_keep)
    self.grid(images.shape)
    token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, self.width)) if self.mask_token else None
    x = parts.hide_cells(self._stem(images), mask, token, cell=2 ** (len(self.depths) - 1))
    rates = np.linspace(0.0, self.drop_path, sum(self.depths))
    block, number, out = parts.remat(ConvNeXtBlock, self.remat), 0, {}
    for stage, depth in enumerate(self.depths):
      if stage:
        x = self._norm(f"downsample_layers_{stage}_0")(x)
        x = self._conv(stage, 2, 2, f"downsample_layers_{stage}_1")(x).astype(jnp.float32)
      for i in range(depth):
        x = block(
          number,
          float(rates[number]),
          self.layer_scale,
          self.grn,
          self.gelu,
          self.layer_norm_eps,
          self.dtype,
          name=f"stages_{stage}_{i}",
        )(x, keys)
        number += 1
      out[f"stage{stage + 1}"] = x
    norm = self._norm("norm")
    normed = norm(x)
    patches = normed.reshape(x.shape[0], -1, x.shape[-1])
    return norm(x.mean(axis=(1, 2))), out | dict(feature_map=normed, patch_tokens=patches, mean=patches.mean(axis=1))

  def _stem(self, images):
    imagenet = self.stem == "imagenet"
    x = self._conv(0, 4 if imagenet else 3, 4 if imagenet else 1, "downsample_layers_0_0")(images)
    return self._norm("downsample_layers_0_1")(x.astype(jnp.float32))

  def _conv(self, stage, kernel, stride, name):
    return nn.Conv(
      self.width * 2**stage,
      (kernel, kernel),
      (stride, stride),
      padding="VALID" if kernel == stride else "SAME",
      dtype=self.dtype,
      kernel_init=INIT,
      name=name,
    )

  def _norm(self, name):
    return nn.LayerNorm(epsilon=self.layer_norm_eps, name=name)


def convnext(
  *,
  variant: str | None = None,
  width: int | None = None,
  depths: tuple[int, ...] | None = None,
  stem: str = "imagenet",
  mask_token: bool = False,
  drop_path: float = 0.0,
  layer_scale: float | None = 1e-6,
  grn: bool = False,
  gelu: str = "exact",
  layer_norm_eps: float = 1e-6,
  remat: bool | str = False,
  dtype: str = "float32",
) -> ConvNeXt:
  """ConvNeXt without the classifier; version 2 is `grn=True, layer_scale=None`.

  It cannot drop patches, and has no class token: heads read `features`. A mask token after the stem serves methods such
  as SimMIM; the sparse convolutions of ConvNeXt V2's own pre-training are not here.

  Args:
    variant: "T", "S", "B", "L", or version 2's "A", "F", "P", "N", "H". `width` and `depths` override it, or stand in
      its place.
    width: channels of the first stage; they double from stage to stage.
    depths: numbers of blocks of the stages.
    stem: "imagenet" (4x4 convolution with stride 4) or "cifar" (3x3 with stride 1; our choice, after `resnet`'s).
    mask_token: own the token that stands for hidden places.
    drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
    layer_scale: initial value of a learned factor on each residual branch; None for no factor.
    grn: global response normalisation in every block.
    gelu: "exact" or "tanh".
    layer_norm_eps: epsilon of every LayerNorm.
    remat: recompute blocks in the backward pass, for less memory: True, or a policy that says what is kept; see
      `parts.remat`.
    dtype: of convolutions and matrix products. Parameters, LayerNorm, the residual stream and all outputs are float32.

  Returns:
    a module; see `ConvNeXt.__call__`.

  Raises:
    ValueError: an unknown variant or stem, or a missing number.

  References:
    Liu et al., A ConvNet for the 2020s, arXiv 2201.03545; facebookresearch/ConvNeXt models/convnext.py. Woo et al.,
    ConvNeXt V2, arXiv 2301.00808; facebookresearch/ConvNeXt-V2 models/convnextv2.py.
  """
  if variant is not None:
    if variant not in VARIANTS:
      raise ValueError(f"unknown variant {variant!r}: one of {', '.join(VARIANTS)}")
    width, depths = (k if g is None else g for g, k in zip((width, depths), VARIANTS[variant], strict=True))
  if None in (width, depths):
    raise ValueError("without a variant, convnext needs width and depths")
  if stem not in ("imagenet", "cifar"):
    raise ValueError(f"stem must be 'imagenet' or 'cifar', not {stem!r}")
  return ConvNeXt(width, tuple(depths), stem, mask_token, drop_path, layer_scale, grn, gelu, layer_norm_eps, remat, dtype)
