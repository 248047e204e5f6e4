"""Heads that end in prototypes: embeddings are compared with directions that are learnt."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.models import parts
from jssl.models.heads import mlp_head, MLPHead


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
