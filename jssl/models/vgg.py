"""VGG without BatchNorm, the convolutions alone, with torchvision's parameter names."""

import flax.linen as nn
import jax

from jssl.models import parts

# Convolutions of each stage, between which the map is halved.
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_WIDTHS = (1, 2, 4, 8, 8)  # of the stages, over that of the first


class VGG(nn.Module):
  """VGG; `vgg` builds it and explains the fields."""

  depth: int = 11
  width: int = 64
  dtype: str = "float32"

  @nn.nowrap
  def grid(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the last feature map for an image `[..., H, W, C]`; every stage rounds half of it down."""
    return tuple(side // 32 for side in image_shape[-3:-1])

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
      images: `[batch, H, W, C]` of at least 32 x 32 pixels.
      mask: refused: there is no mask token.
      ids_keep: refused: it cannot drop patches.
      keys: accepted and ignored: nothing here is random.
      train: accepted and ignored: it is the same network in training.

    Returns:
      `(features, out)`. `features [batch, 8 * width]` float32 is the mean over the last feature map. `out` has it as
      `pooled` and `mean`, the map as `feature_map [batch, h, w, dim]` and, in float32, as `patch_tokens [batch, h * w,
      dim]`, and the maps after each stage as `layer1` .. `layer5`.

    Raises:
      ValueError: there are `mask` or `ids_keep`, or an image has no pixel left after five halvings.
    """
    del keys, train
    parts.refuse_dropped_tokens("VGG", ids_keep)
    parts.refuse_mask("VGG", mask)
    if min(self.grid(images.shape)) < 1:
      raise ValueError(f"a VGG halves images five times: {list(images.shape[1:3])} pixels are too few; give 32 or more")
    x, out = images, {}
    for stage, (count, factor) in enumerate(zip(DEPTHS[self.depth], _WIDTHS, strict=True)):
      for i in range(count):
        conv = nn.Conv(
          self.width * factor,
          (3, 3),
          padding=1,
          dtype=self.dtype,
          kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
          name=f"conv{stage + 1}_{i + 1}",
        )
        x = nn.relu(conv(x))
      x = nn.max_pool(x, (2, 2), (2, 2))
      out[f"layer{stage + 1}"] = x
    pooled, last = parts.last_map(x)
    return pooled, out | last


def vgg(*, depth: int = 11, width: int = 64, dtype: str = "float32") -> VGG:
  """VGG without BatchNorm as torchvision has it, without its three fully connected layers.

  Nothing in it depends on the batch, so that two networks of the same weights are the same function in training, too.

  Args:
    depth: 11, 13, 16 or 19, the fully connected layers counted.
    width: channels of the first stage; the features have `8 * width`.
    dtype: of convolutions and feature maps. Parameters and the pooled features are float32.

  Returns:
    a module; see `VGG.__call__`.

  Raises:
    ValueError: another depth.

  References:
    Simonyan and Zisserman, arXiv 1409.1556; pytorch/vision torchvision/models/vgg.py (He's initialisation, fan_out).
  """
  if depth not in DEPTHS:
    raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, not {depth}")
  return VGG(depth, width, dtype)
