"""ResNet with torchvision's architecture and parameter names that map onto its own one by one."""

from collections.abc import Callable
import functools

import flax.linen as nn
import jax

from jssl.models import parts
from jssl.models.batch_norm import check_group

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


INITS = dict(torch=nn.initializers.variance_scaling(2.0, "fan_out", "normal"), **parts.CODE_INITS)


def _conv(features: int, kernel: int, stride: int, init: str, dtype: str, name: str) -> nn.Conv:
  """Convolution without bias, padded on both sides by half its kernel as torch does ("SAME" differs at stride 2)."""
  pad = kernel // 2
  return nn.Conv(
    features,
    (kernel, kernel),
    (stride, stride),
    ((pad, pad), (pad, pad)),
    use_bias=False,
    dtype=dtype,
    kernel_init=INITS[init],
    name=name,
  )


class ResidualBlock(nn.Module):
  """Basic block (two 3x3 convolutions) or bottleneck (1x1, 3x3 with the stride, 1x1: "v1.5").

  Attributes:
    width: channels of the inner convolutions.
    stride: of the block.
    bottleneck: which of the two; a bottleneck has `4 * width` output channels.
    norm: `parts.batch_norm` with the network's options.
    zero_init: start the last BatchNorm's scale at 0.
    scheme: initialisation of the convolutions, a key of `INITS`.
    dtype: of the convolutions and of what flows between them.
  """

  width: int
  stride: int
  bottleneck: bool
  norm: Callable[..., nn.Module]
  zero_init: bool
  scheme: str
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[batch, h, w, C]` to `[batch, h / stride, w / stride, output channels]`."""
    out = self.width * (4 if self.bottleneck else 1)
    convolutions = (
      [(self.width, 1, 1), (self.width, 3, self.stride), (out, 1, 1)]
      if self.bottleneck
      else [(self.width, 3, self.stride), (out, 3, 1)]
    )
    y = x
    for i, (features, kernel, stride) in enumerate(convolutions, start=1):
      last = i == len(convolutions)
      y = _conv(features, kernel, stride, self.scheme, self.dtype, f"conv{i}")(y)
      y = self.norm(name=f"bn{i}", zero_init=last and self.zero_init)(y)
      y = y if last else nn.relu(y)
    if self.stride != 1 or x.shape[-1] != out:
      x = self.norm(name="downsample_1")(_conv(out, 1, self.stride, self.scheme, self.dtype, "downsample_0")(x))
    return nn.relu(x + y)


class ResNet(nn.Module):
  """ResNet; `resnet` builds it and explains the fields."""

  depth: int = 50
  stem: str = "imagenet"
  width: int = 64
  axis_name: str | None = None
  zero_init_residual: bool = True
  scheme: str = "torch"
  batch_norm_group: int | None = None
  batch_size: int | None = None
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
    parts.refuse_mask("ResNet", mask)
    imagenet = self.stem == "imagenet"
    norm = functools.partial(
      parts.batch_norm,
      train=train,
      axis_name=self.axis_name,
      group=self.batch_norm_group,
      batch_size=self.batch_size,
      dtype=self.dtype,
    )
    x = _conv(self.width, 7 if imagenet else 3, 2 if imagenet else 1, self.scheme, self.dtype, "conv1")(images)
    x = nn.relu(norm(name="bn1")(x))
    if imagenet:
      x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    out = {}
    for stage, blocks in enumerate(DEPTHS[self.depth]):
      for i in range(blocks):
        x = ResidualBlock(
          self.width * 2**stage,
          2 if stage and not i else 1,
          self.depth >= 50,
          norm,
          self.zero_init_residual,
          self.scheme,
          self.dtype,
          name=f"layer{stage + 1}_{i}",
        )(x)
      out[f"layer{stage + 1}"] = x
    pooled, last = parts.last_map(x)
    return pooled, out | last


def resnet(
  *,
  depth: int = 50,
  stem: str = "imagenet",
  width: int = 64,
  axis_name: str | None = None,
  zero_init_residual: bool = True,
  init: str = "torch",
  batch_norm_group: int | None = None,
  batch_size: int | None = None,
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
    init: of the convolutions: "torch" (N(0, 2 / outputs), as torchvision has it), or a key of `parts.CODE_INITS`.
    batch_norm_group: in training, BatchNorm takes its statistics over so many consecutive examples of the global batch
      at a time, whatever the devices; default all of it.
    batch_size: of the global batch, for the groups.
    dtype: of convolutions and feature maps. Parameters, BatchNorm's arithmetic and the pooled features are float32.

  Returns:
    a module; see `ResNet.__call__`.

  Raises:
    ValueError: another depth, stem or initialisation, or groups that do not divide the batch.

  References:
    He et al., Deep Residual Learning for Image Recognition, arXiv 1512.03385; Goyal et al., arXiv 1706.02677
    (zero_init_residual); pytorch/vision torchvision/models/resnet.py.
  """
  if depth not in DEPTHS:
    raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, not {depth}")
  if stem not in ("imagenet", "cifar"):
    raise ValueError(f"stem must be 'imagenet' or 'cifar', not {stem!r}")
  if init not in INITS:
    raise ValueError(f"init must be one of {', '.join(INITS)}, not {init!r}")
  check_group(batch_norm_group, batch_size)
  return ResNet(depth, stem, width, axis_name, zero_init_residual, init, batch_norm_group, batch_size, dtype)
