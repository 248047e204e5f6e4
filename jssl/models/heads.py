"""Heads: what turns features into embeddings, prototype scores and pixels.

Every head is called as `head(x, *, keys=None, train=False)`; `keys` is accepted and ignored by all of them, `train` by
those without BatchNorm. Outputs are float32.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
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
          dtype="float32" if last else self.dtype,
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


class Prototypes(nn.Module):
  """Linear layer without bias whose columns have a norm of their own: `x @ (gain * direction / ||direction||)`.

  Attributes:
    count: number of prototypes.
    trainable_gain: whether the norms are parameters; otherwise they are 1 and there is no parameter `gain`, so that
      neither weight decay nor an average can move them.
    dtype: of the matrix product's operands; its result is float32.
  """

  count: int
  trainable_gain: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[..., dim]` to float32 `[..., count]`."""
    dim = x.shape[-1]
    kernel = l2_normalize(self.param("direction", parts.uniform_bound(dim), (dim, self.count)), axis=0, eps=1e-16)
    if self.trainable_gain:
      kernel = kernel * self.param("gain", nn.initializers.ones, (self.count,))
    return jnp.matmul(x.astype(self.dtype), kernel.astype(self.dtype), preferred_element_type=jnp.float32)


class CosinePrototypes(nn.Module):
  """Cosines of embeddings with prototypes; `prototypes` builds it."""

  prototypes: Prototypes

  def __call__(self, x: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> dict[str, jax.Array]:
    """`[..., dim]` to `logits [..., prototypes]`, float32."""
    del keys, train
    return dict(logits=self.prototypes(l2_normalize(x, eps=1e-16)))


def prototypes(*, prototypes: int = 1024, dtype: str = "float32") -> CosinePrototypes:
  """Prototypes as a network of their own: where student and teacher are compared with the same ones (MSN).

  In a head they would follow the student with the teacher's delay. SwAV, which has no teacher, keeps them apart to
  freeze them at first.

  Args:
    prototypes: their number.
    dtype: of the matrix product.

  Returns:
    a module, `[..., dim]` to `logits [..., prototypes]`: float32 cosines. Its parameter is
    `prototypes/direction [dim, prototypes]`, uniform as torch's Linear.

  References:
    Assran et al., Masked Siamese Networks for Label-Efficient Learning, arXiv 2204.07141; facebookresearch/msn
    src/msn_train.py.
  """
  return CosinePrototypes(Prototypes(prototypes, dtype=dtype))


class DINOHead(nn.Module):
  """MLP, L2 normalisation, prototypes; `dino_head` builds it and explains the fields."""

  mlp: MLPHead
  prototypes: Prototypes

  def __call__(self, x: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> jax.Array:
    """`[..., dim]` to logits `[..., prototypes]`, float32."""
    return self.prototypes(l2_normalize(self.mlp(x, keys=keys, train=train), eps=1e-16))


def dino_head(
  *,
  hidden: int = 2048,
  bottleneck: int = 256,
  prototypes: int = 65536,
  layers: int = 3,
  norm_last_layer: bool = True,
  batch_norm: bool = False,
  activation: str = "gelu",
  init: str = "dino",
  axis_name: str | None = None,
  dtype: str = "float32",
) -> DINOHead:
  """DINO's projection head: an MLP to a bottleneck, which is L2-normalised and compared with prototypes.

  With `batch_norm=True, layers=2, bottleneck=128, activation="relu"` it is SwAV's (prototypes kept at unit norm), with
  `batch_norm=True, prototypes=1024` MSN's. Logits are cosines where the gain is fixed.

  Args:
    hidden: width of the MLP's layers between.
    bottleneck: width of the embedding.
    prototypes: number of outputs.
    layers: number of the MLP's Linear layers.
    norm_last_layer: keep the norms of the prototypes at 1; otherwise they are trained, from 1.
    batch_norm: BatchNorm before each activation.
    activation: see `mlp_head`.
    init: of the MLP, see `mlp_head`. N(0, 0.02) is made for the paper's widths; at widths of 128 three such layers
      shrink what they are given a hundredfold.
    axis_name: the mapped axis over which BatchNorm is synchronised.
    dtype: of matrix products.

  Returns:
    a module, `[..., dim]` to float32 logits `[..., prototypes]`. Parameters: `mlp/dense_{i}`,
    `prototypes/direction [bottleneck, prototypes]` as torch's Linear, and `prototypes/gain` if trained.

  References:
    Caron et al., Emerging Properties in Self-Supervised Vision Transformers, arXiv 2104.14294; facebookresearch/dino
    vision_transformer.py (DINOHead).
  """
  mlp = mlp_head(
    hidden=hidden,
    output=bottleneck,
    layers=layers,
    batch_norm=batch_norm,
    activation=activation,
    init=init,
    axis_name=axis_name,
    dtype=dtype,
  )
  return DINOHead(mlp, Prototypes(prototypes, not norm_last_layer, dtype))


class SharedTrunkHead(nn.Module):
  """One MLP for class and patch tokens; `shared_trunk_head` builds it and explains the fields."""

  mlp: MLPHead
  patch_prototypes: Prototypes
  cls_prototypes: Prototypes | None = None
  share_prototypes: bool = False

  def __call__(
    self, cls: jax.Array, patch_tokens: jax.Array, *, keys: jax.Array | None = None, train: bool = False
  ) -> dict[str, jax.Array]:
    """`cls [batch, dim]`, `patch_tokens [batch, patches, dim]` to the arrays that `shared_trunk_head` names."""
    tokens = jnp.concatenate([cls[:, None], patch_tokens], axis=1)
    embedding = l2_normalize(self.mlp(tokens, keys=keys, train=train), eps=1e-16)
    cls, patch = embedding[:, 0], embedding[:, 1:]
    out = dict(cls=cls, patch=patch, patch_logits=self.patch_prototypes(patch))
    if self.share_prototypes:
      out["cls_logits"] = self.patch_prototypes(cls)
    elif self.cls_prototypes is not None:
      out["cls_logits"] = self.cls_prototypes(cls)
    return out


def shared_trunk_head(
  *,
  hidden: int = 2048,
  bottleneck: int = 256,
  prototypes: int = 8192,
  cls_prototypes: int = 0,
  share_prototypes: bool = False,
  layers: int = 3,
  norm_last_layer: bool = True,
  batch_norm: bool = False,
  activation: str = "gelu",
  init: str = "dino",
  axis_name: str | None = None,
  dtype: str = "float32",
) -> SharedTrunkHead:
  """Head of MC-SSL, MMC and iBOT: class and patch tokens go through one MLP, so that what one learns reaches the other.

  Args:
    hidden: width of the MLP's layers between.
    bottleneck: width of the embeddings.
    prototypes: number of patch prototypes.
    cls_prototypes: number of prototypes of the class token; 0 for none (MMC contrasts its embedding instead).
    share_prototypes: compare the class token with the patch prototypes (iBOT).
    layers: number of the MLP's Linear layers.
    norm_last_layer: keep the norms of the prototypes at 1; otherwise they are trained, from 1.
    batch_norm: BatchNorm before each activation, over class and patch tokens together.
    activation: see `mlp_head`.
    init: of the MLP, see `dino_head`.
    axis_name: the mapped axis over which BatchNorm is synchronised.
    dtype: of matrix products.

  Returns:
    a module called with `cls [batch, dim]` and `patch_tokens [batch, patches, dim]`. It returns the L2-normalised
    embeddings `cls [batch, bottleneck]` and `patch [batch, patches, bottleneck]`, `patch_logits [batch, patches,
    prototypes]`, and `cls_logits` where there are prototypes for them; all float32.

  Raises:
    ValueError: both `cls_prototypes` and `share_prototypes`.

  References:
    Atito et al., MC-SSL0.0, arXiv 2111.15340 and Sara-Ahmed/MCSSL; Wu et al., arXiv 2308.11448; Zhou et al., iBOT,
    arXiv 2111.07832 and bytedance/ibot models/head.py.
  """
  if cls_prototypes and share_prototypes:
    raise ValueError("cls_prototypes and share_prototypes exclude each other")
  mlp = mlp_head(
    hidden=hidden,
    output=bottleneck,
    layers=layers,
    batch_norm=batch_norm,
    activation=activation,
    init=init,
    axis_name=axis_name,
    dtype=dtype,
  )
  trainable = not norm_last_layer
  cls_layer = Prototypes(cls_prototypes, trainable, dtype) if cls_prototypes else None
  return SharedTrunkHead(mlp, Prototypes(prototypes, trainable, dtype), cls_layer, share_prototypes)


class ReconstructionHead(nn.Module):
  """Pixels of each patch from its token; `reconstruction_head` builds it and explains the fields."""

  layers: int
  patch_size: int
  channels: int = 3
  scheme: str = "zero_bias"
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> jax.Array:
    """`[batch, patches, dim]` to float32 `[batch, patches, P * P * channels]`."""
    del keys, train
    dim, pixels = x.shape[-1], self.patch_size**2 * self.channels
    for i in range(self.layers):
      x = parts.gelu(parts.Projection((dim,), (dim,), parts.kernel_init("dino"), dtype=self.dtype, name=f"dense_{i}")(x))
    # torch takes a transposed convolution's outputs for its fan-in.
    kernel = parts.uniform_bound(dim if self.scheme == "convolution" else pixels)
    bias = nn.initializers.zeros if self.scheme == "zero_bias" else kernel
    return parts.Projection((dim,), (pixels,), kernel, bias_init=bias, dtype=self.dtype, name="pixels")(x).astype(
      jnp.float32
    )


def reconstruction_head(
  *, patch_size: int, layers: int = 3, channels: int = 3, init: str = "zero_bias", dtype: str = "float32"
) -> ReconstructionHead:
  """Light decoder of GMML, SiT and MC-SSL: a few Linear-GELU layers on each patch token, then its pixels.

  The transposed convolution with kernel = stride = patch of the official code is a linear layer on each token; this
  one has a bias for each pixel of the patch where that has one for each channel. `layers=0` is SimMIM's head.

  Args:
    patch_size: side of a patch in pixels.
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
  return ReconstructionHead(layers, patch_size, channels, init, dtype)


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
  return ReconstructionHead(layers, patch_size // stride, bins, dtype=dtype)


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
