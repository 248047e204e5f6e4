"""ResNet with torchvision's architecture and parameter names that map onto its own one by one."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models import parts

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def _conv(features: int, kernel: int, stride: int, dtype: str, name: str) -> nn.Conv:
  """Convolution without bias, padded on both sides by half its kernel as torch does ("SAME" differs at stride 2)."""
  pad = kernel // 2
  return nn.Conv(
    features,
    (kernel, kernel),
    (stride, stride),
    ((pad, pad), (pad, pad)),
    use_bias=False,
    dtype=dtype,
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    name=name,
  )


class ResidualBlock(nn.Module):
  """Basic block (two 3x3 convolutions) or bottleneck (1x1, 3x3 with the stride, 1x1: "v1.5").

  Attributes:
    width: channels of the inner convolutions.
    stride: of the block.
    bottleneck: which of the two; a bottleneck has `4 * width` output channels.
    axis_name: over which BatchNorm is synchronised.
    zero_init: start the last BatchNorm's scale at 0.
    dtype: of the convolutions and of what flows between them.
  """

  width: int
  stride: int
  bottleneck: bool
  axis_name: str | None
  zero_init: bool
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[batch, h, w, C]` to `[batch, h / stride, w / stride, output channels]`."""

    def norm(name, zero_init=False):
      return parts.batch_norm(train=train, axis_name=self.axis_name, zero_init=zero_init, dtype=self.dtype, name=name)

    out = self.width * (4 if self.bottleneck else 1)
    convolutions = (
      [(self.width, 1, 1), (self.width, 3, self.stride), (out, 1, 1)]
      if self.bottleneck
      else [(self.width, 3, self.stride), (out, 3, 1)]
    )
    y = x
    for i, (features, kernel, stride) in enumerate(convolutions, start=1):
      last = i == len(convolutions)
      y = norm(f"bn{i}", last and self.zero_init)(_conv(features, kernel, stride, self.dtype, f"conv{i}")(y))
      y = y if last else nn.relu(y)
    if self.stride != 1 or x.shape[-1] != out:
      x = norm("downsample_1")(_conv(out, 1, self.stride, self.dtype, "downsample_0")(x))
    return nn.relu(x + y)


class ResNet(nn.Module):
  """ResNet; `resnet` builds it and explains the fields."""

  depth: int = 50
  stem: str = "imagenet"
  width: int = 64
  axis_name: str | None = None
  zero_init_residual: bool = True
  dtype: str = "float32"

  @nn.nowrap
  def grid(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the last feature map for an image `[..., H, W, C]`; every stride rounds up."""
    stride = 32 if self.stem == "imagenet" else 8
    return tuple(-(-side // stride) for side in image_shape[-3:-1])

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
      images: `[batch, H, W, C]`.
      mask: refused: a ResNet has no patches that a mask token could stand for.
      ids_keep: refused: it cannot drop patches.
      keys: accepted and ignored: nothing here is random.
      train: normalise by the batch and update `batch_stats`.

    Returns:
      `(features, out)`. `features [batch, dim]` float32 is the mean over the last feature map. `out` has it as
      `pooled` and `mean`, the map as `feature_map [batch, h, w, dim]` and, in float32, as `patch_tokens [batch, h * w,
      dim]`, and the maps after each stage as `layer1` .. `layer4`.

    Raises:
      ValueError: there are `mask` or `ids_keep`.
    """
    del keys
    parts.refuse_dropped_tokens("ResNet", ids_keep)
    if mask is not None:
      raise ValueError("a ResNet has no mask token: hide pixels in the view, or use a ViT, Swin or ConvNeXt")
    imagenet = self.stem == "imagenet"
    x = _conv(self.width, 7 if imagenet else 3, 2 if imagenet else 1, self.dtype, "conv1")(images)
    x = nn.relu(parts.batch_norm(train=train, axis_name=self.axis_name, dtype=self.dtype, name="bn1")(x))
    if imagenet:
      x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    out = {}
    for stage, blocks in enumerate(DEPTHS[self.depth]):
      for i in range(blocks):
        x = ResidualBlock(
          self.width * 2**stage,
          2 if stage and not i else 1,
          self.depth >= 50,
          self.axis_name,
          self.zero_init_residual,
          self.dtype,
          name=f"layer{stage + 1}_{i}",
        )(x, train=train)
      out[f"layer{stage + 1}"] = x
    patches = x.astype(jnp.float32).reshape(x.shape[0], -1, x.shape[-1])
    pooled = patches.mean(axis=1)
    return pooled, out | dict(feature_map=x, patch_tokens=patches, mean=pooled, pooled=pooled)


def resnet(
  *,
  depth: int = 50,
  stem: str = "imagenet",
  width: int = 64,
  axis_name: str | None = None,
  zero_init_residual: bool = True,
  dtype: str = "float32",
) -> ResNet:
  """ResNet v1.5 as torchvision has it, without the classifier.

  Args:
    depth: 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks).
    stem: "imagenet" (7x7 convolution with stride 2, max-pooling) or "cifar" (3x3 convolution with stride 1, no
      pooling).
    width: channels of the first stage; the features have `8 * width`, times 4 with bottlenecks.
    axis_name: the mapped axis over which BatchNorm is synchronised.
    zero_init_residual: start the last BatchNorm of every block at scale 0, so that blocks begin as the identity.
    dtype: of convolutions and feature maps. Parameters, BatchNorm's arithmetic and the pooled features are float32.

  Returns:
    a module; see `ResNet.__call__`.

  Raises:
    ValueError: another depth or stem.

  References:
    He et al., Deep Residual Learning for Image Recognition, arXiv 1512.03385; Goyal et al., arXiv 1706.02677
    (zero_init_residual); pytorch/vision torchvision/models/resnet.py.
  """
  if depth not in DEPTHS:
    raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, not {depth}")
  if stem not in ("imagenet", "cifar"):
    raise ValueError(f"stem must be 'imagenet' or 'cifar', not {stem!r}")
  return ResNet(depth, stem, width, axis_name, zero_init_residual, dtype)
