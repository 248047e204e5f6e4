"""What tells images that a network made from others."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.models import parts

# N(0, 0.02), as the authors' `weights_init`; their BatchNorms' scales are N(1, 0.02), ours 1.
_INIT = nn.initializers.normal(0.02)


class Discriminator(nn.Module):
  """Discriminator of DCGAN; `discriminator` builds it and explains the fields."""

  width: int
  depth: int
  axis_name: str | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, images: jax.Array, *, keys: jax.Array | None = None, train: bool = False) -> dict[str, jax.Array]:
    """Judges images.

    Args:
      images: `[batch, H, W, C]`, whose sides can be halved `depth` times.
      keys: accepted and ignored: nothing here is random.
      train: whether BatchNorm normalises by the batch.

    Returns:
      `logits [batch]` float32, high for what looks real.

    Raises:
      ValueError: the images are too small.
    """
    del keys
    if any(side % 2**self.depth for side in images.shape[1:3]):
      raise ValueError(
        f"a discriminator of depth={self.depth} halves sides {self.depth} times, which {images.shape} have not"
      )
    x = images
    for i in range(self.depth):
      first, width = i == 0, self.width * 2 ** min(i, 3)
      convolution = nn.Conv(
        width, (4, 4), (2, 2), ((1, 1), (1, 1)), use_bias=first, dtype=self.dtype, kernel_init=_INIT, name=f"conv{i + 1}"
      )
      x = convolution(x)
      norm = parts.batch_norm(train=train, axis_name=self.axis_name, dtype=self.dtype, name=f"bn{i + 1}")
      x = nn.leaky_relu(x if first else norm(x), 0.2)
    x = x.reshape(len(x), math.prod(x.shape[1:]))
    return dict(logits=parts.Projection(x.shape[1:], (), _INIT, dtype=self.dtype, name="head")(x).astype(jnp.float32))


def discriminator(*, width: int = 64, depth: int = 4, axis_name: str | None = None, dtype: str = "float32") -> Discriminator:
  """Discriminator of DCGAN and of context encoders: convolutions that halve an image, and one logit of all that is left.

  The kernels are 4 x 4; each layer has twice the channels of the one before, up to eight times the first's. BatchNorm stands
  after all of them but the first, then a leaky ReLU (0.2).

  Args:
    width: channels of the first convolution.
    depth: number of convolutions; 4 for the authors' 64 px.
    axis_name: the mapped axis over which BatchNorm is synchronised.
    dtype: of convolutions and products; logits are float32.

  Returns:
    a module, `[batch, H, W, C]` to `logits [batch]`.

  References:
    Radford, Metz, Chintala 2016, arXiv 1511.06434; Pathak et al. 2016, arXiv 1604.07379; pathak22/context-encoder,
    train.lua (netD).
  """
  return Discriminator(width, depth, axis_name, dtype)
