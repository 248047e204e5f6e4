"""Heads: what turns features into embeddings, pixels and classes.

Every head is called as `head(x, *, keys=None, train=False)`; `keys` is accepted and ignored by all of them, `train` by
those without BatchNorm. Outputs are float32.
"""

from collections.abc import Sequence
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import PatchSize, per_axis
from jssl.models import parts
from jssl.models.batch_norm import check_group


class MLPHead(nn.Module):
  """Linear layers with optional BatchNorm and activation between; `mlp_head` builds it and explains the fields."""

  widths: tuple[int | None, ...]  # None: as wide as what comes in
  activations: tuple[str, ...]
  batch_norm: bool = True
  last_batch_norm: str = "none"
  bias: bool = True
  last_bias: bool = True
  scheme: str = "torch"
  axis_name: str | None = None
  batch_norm_group: int | None = None
  batch_size: int | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, *x: jax.Array, keys: jax.Array | None = None, train: bool = False) -> jax.Array:
    """`[..., dim]` to `[..., output]`, float32; BatchNorm takes its statistics over all axes but the last.

    Of several arrays the last axes are joined.
    """
    del keys
    x = x[0] if len(x) == 1 else jnp.concatenate(x, axis=-1)
    for i, width in enumerate(self.widths):
      last, fan = i == len(self.widths) - 1, x.shape[-1]
      width = fan if width is None else width
      torch = self.scheme == "torch"
      x = parts.Projection(
        (fan,),
        (width,),
        parts.uniform_bound(fan) if torch else parts.CODE_INITS.get(self.scheme) or parts.kernel_init(self.scheme),
        self.last_bias if last else self.bias,
        parts.uniform_bound(fan) if torch else nn.initializers.zeros,
        self.dtype,
        name=f"dense_{i}",
      )(x)
      if (self.last_batch_norm != "none") if last else self.batch_norm:
        x = parts.batch_norm(
          train=train,
          axis_name=self.axis_name,
          affine=not last or self.last_batch_norm == "affine",
          group=self.batch_norm_group,
          batch_size=self.batch_size,
          dtype=jnp.promote_types(self.dtype, jnp.float32).name if last else self.dtype,
          name=f"batch_norm_{i}",
        )(x)
      if not last:
        x = parts.ACTIVATIONS[self.activations[i]](x)
    return x.astype(jnp.float32)


def mlp_head(
  *,
  hidden: int = 2048,
  output: int = 256,
  layers: int = 3,
  batch_norm: bool = True,
  last_batch_norm: str = "none",
  activation: str | Sequence[str] = "relu",
  bias: bool = True,
  last_bias: bool = True,
  init: str = "torch",
  axis_name: str | None = None,
  batch_norm_group: int | None = None,
  batch_size: int | None = None,
  dtype: str = "float32",
) -> MLPHead:
  """Projector or predictor: `layers - 1` times Linear, BatchNorm, activation, then Linear (and BatchNorm).

  | method | numbers |
  |---|---|
  | Barlow Twins | hidden 8192, output 8192, bias False, last_bias False |
  | VICReg | hidden 8192, output 8192, last_bias False |
  | BYOL, both | hidden 4096, output 256, layers 2, last_bias False, init "haiku" |
  | MoCo v2, DenseCL, SupCon, SimCLR's equation | hidden 2048, output 128, layers 2, batch_norm False |
  | SimCLR's code | the same with BatchNorm: bias False, last_bias False, last_batch_norm "plain" |
  | SimSiam projector | hidden 2048, output 2048, bias False, last_bias False, last_batch_norm "plain" |
  | SimSiam predictor | hidden 512, output 2048, layers 2, bias False |
  | MoCo v3 projector (ViT) | hidden 4096, output 256, bias False, last_bias False, last_batch_norm "plain" |
  | MoCo v3 predictor (ViT) | the same with layers 2 |
  | SiT's contrastive head | hidden 4096, output 256, activation ("relu", "gelu"), last_batch_norm "plain" |

  SimSiam's code keeps a bias before the projector's last BatchNorm, frozen; BatchNorm removes it, so it is left out.

  Args:
    hidden: width of the layers between.
    output: width of the last.
    layers: number of Linear layers, at least 1.
    batch_norm: BatchNorm after every Linear but the last.
    last_batch_norm: after the last Linear: "none", "affine", or "plain" (without scale and bias).
    activation: "relu", "gelu", "gelu_tanh", "silu" or "tanh"; or one name for each of the `layers - 1` places.
    bias: of every Linear but the last.
    last_bias: of the last Linear.
    init: "torch" (uniform within +-1 / sqrt(inputs), biases too, as torch's Linear), or a name that `parts.kernel_init`
      knows, as "dino" (N(0, 0.02)) and "mae" (Xavier), or `parts.CODE_INITS` has, with biases 0.
    axis_name: the mapped axis over which BatchNorm is synchronised.
    batch_norm_group, batch_size: as in `resnet`.
    dtype: of matrix products. BatchNorm's arithmetic and the output are float32.

  Returns:
    a module, `[..., dim]` to `[..., output]`.

  Raises:
    ValueError: an unknown option, another number of activations than `layers - 1`, or groups that do not divide the
      batch.

  References:
    facebookresearch/barlowtwins main.py, facebookresearch/vicreg main_vicreg.py, facebookresearch/simsiam
    simsiam/builder.py, facebookresearch/moco-v3 moco/builder.py, Sara-Ahmed/SiT.
  """
  activations = (activation,) * (layers - 1) if isinstance(activation, str) else tuple(activation)
  if len(activations) != layers - 1:
    raise ValueError(f"{layers} layers have {layers - 1} activations between them, not {len(activations)}")
  _check_options(activations, last_batch_norm)
  check_group(batch_norm_group, batch_size)
  if init != "torch" and init not in parts.CODE_INITS:
    parts.kernel_init(init)  # knows the name, or says which there are
  widths = (hidden,) * (layers - 1) + (output,)
  norms = (batch_norm, last_batch_norm)
  return MLPHead(widths, activations, *norms, bias, last_bias, init, axis_name, batch_norm_group, batch_size, dtype)


def _check_options(activations: tuple[str, ...], last_batch_norm: str) -> None:
  """Raises ValueError for names that `mlp_head` does not know."""
  for name in activations:
    if name not in parts.ACTIVATIONS:
      raise ValueError(f"activation must be one of {', '.join(parts.ACTIVATIONS)}, not {name!r}")
  if last_batch_norm not in ("none", "affine", "plain"):
    raise ValueError(f"last_batch_norm must be 'none', 'affine' or 'plain', not {last_batch_norm!r}")


class ReconstructionHead(nn.Module):
  """Pixels of each patch from its token; `reconstruction_head` builds it and explains the fields."""

  layers: int
  patch_size: tuple[int, ...]
  channels: int = 3
  scheme: str = "zero_bias"
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> jax.Array:
    """`[batch, patches, dim]` to float32 `[batch, patches, P * P * channels]`."""
    del keys, train
    dim, pixels = x.shape[-1], math.prod(self.patch_size) * self.channels
    for i in range(self.layers):
      x = parts.gelu(parts.Projection((dim,), (dim,), parts.kernel_init("dino"), dtype=self.dtype, name=f"dense_{i}")(x))
    # torch takes a transposed convolution's outputs for its fan-in.
    kernel = parts.uniform_bound(dim if self.scheme == "convolution" else pixels)
    bias = nn.initializers.zeros if self.scheme == "zero_bias" else kernel
    return parts.Projection((dim,), (pixels,), kernel, bias_init=bias, dtype=self.dtype, name="pixels")(x).astype(
      jnp.float32
    )


def reconstruction_head(
  *, patch_size: PatchSize, layers: int = 3, channels: int = 3, init: str = "zero_bias", dtype: str = "float32"
) -> ReconstructionHead:
  """Light decoder of GMML, SiT and MC-SSL: a few Linear-GELU layers on each patch token, then its pixels.

  The transposed convolution with kernel = stride = patch of the official code is a linear layer on each token; this
  one has a bias for each pixel of the patch where that has one for each channel. `layers=0` is SimMIM's head.

  Args:
    patch_size: side of a patch in pixels, or a number for each axis, as in `vit`.
    layers: number of Linear-GELU layers, of the tokens' width.
    channels: of the image.
    init: of the last layer. "transposed": as torch's transposed convolution, kernel and bias uniform within
      +-1 / sqrt(outputs) (GMML, SiT, MC-SSL). "convolution": as its 1x1 convolution, both within +-1 / sqrt(inputs)
      (SimMIM). "zero_bias": a kernel as in "transposed", biases 0.
    dtype: of matrix products.

  Returns:
    a module, `[batch, patches, dim]` to float32 `[batch, patches, P * P * channels]`, in a patch: row, column, channel.

  Raises:
    ValueError: an unknown `init`.

  References:
    Atito et al., GMML is All you Need, arXiv 2205.14986 and Sara-Ahmed/GMML; Sara-Ahmed/SiT; microsoft/SimMIM.
  """
  if init not in ("transposed", "convolution", "zero_bias"):
    raise ValueError(f"init must be 'transposed', 'convolution' or 'zero_bias', not {init!r}")
  axes = len(patch_size) if isinstance(patch_size, (tuple, list)) else 2
  return ReconstructionHead(layers, per_axis("reconstruction_head", patch_size, axes, "patch_size"), channels, init, dtype)


def color_head(
  *, patch_size: int, stride: int = 4, bins: int = 262, layers: int = 0, dtype: str = "float32"
) -> ReconstructionHead:
  """Scores of colour classes for the places of each patch, what `jssl.losses.color_bins_loss` reads.

  Args:
    patch_size: side of a patch in pixels.
    stride: side of a place in pixels, a divisor of it.
    bins: number of classes, `len(jssl.targets.color_grid())`.
    layers: number of Linear-GELU layers before the last one.
    dtype: of matrix products.

  Returns:
    a module, `[batch, patches, dim]` to float32 `[batch, patches, (patch_size / stride)^2 * bins]`: place, class.
  """
  return ReconstructionHead(layers, (patch_size // stride,) * 2, bins, dtype=dtype)


class ProbeHead(nn.Module):
  """BatchNorm without parameters, then a linear classifier; `probe_head` builds it and explains the fields."""

  output: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> jax.Array:
    """`[..., dim]` to float32 `[..., output]`."""
    x = parts.batch_norm(train=train, axis_name=self.axis_name, affine=False, dtype="float32", name="batch_norm")(x)
    return MLPHead((self.output,), (), batch_norm=False, scheme="simclr", name="linear")(x, keys=keys, train=train)


def probe_head(*, output: int, axis_name: str | None = None) -> ProbeHead:
  """The classifier of MAE's linear probing: features standardised by BatchNorm, a linear layer that starts as N(0, 0.01).

  Args:
    output: number of classes.
    axis_name: the mapped axis over which BatchNorm is synchronised.

  Returns:
    a module, `[..., dim]` to float32 `[..., output]`.

  References:
    facebookresearch/mae, main_linprobe.py.
  """
  return ProbeHead(output, axis_name)


def linear_head(*, output: int | None = None, bias: bool = True, init: str = "dino", dtype: str = "float32") -> MLPHead:
  """One linear layer: a classifier, or a predictor of targets such as HOG, codes and features.

  Args:
    output: width of the output; None for that of the input, as in data2vec.
    bias: whether it has one.
    init: see `mlp_head`.
    dtype: of the matrix product.

  Returns:
    a module, `[..., dim]` to float32 `[..., output]`.
  """
  return mlp_head(output=output, layers=1, last_bias=bias, init=init, dtype=dtype)
