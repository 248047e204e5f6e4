"""BatchNorm whose statistics are those of groups of examples, where the batch is larger than the authors let it see."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.batch_axis import gather, global_mean, global_size


class GroupedBatchNorm(nn.Module):
  """BatchNorm over groups of consecutive examples of the global batch, each with statistics of its own.

  Several views of the examples may be joined in one array, one view after the other; a group then holds all views of its
  examples. `batch_stats` hold the mean of all groups' statistics. Parameters and statistics are those of `nn.BatchNorm`.

  Attributes:
    group: number of examples of a group.
    batch_size: of the global batch, a multiple of `group`.
    train: normalise by the groups and update `batch_stats`; otherwise normalise by `batch_stats`.
    axis_name: the mapped axis over which the batch is split, or None. A device's share must be a multiple of the group,
      or the group a multiple of the share.
    affine: learn scale and bias.
    zero_init: start the scale at 0.
    momentum: of the running statistics, as Flax counts it.
    epsilon: added to the variances.
    dtype: of the result; statistics and arithmetic are float32.

  References:
    NVIDIA/apex, apex/parallel (`create_syncbn_process_group`), as facebookresearch/swav uses it.
  """

  group: int
  batch_size: int
  train: bool
  axis_name: str | None = None
  affine: bool = True
  zero_init: bool = False
  momentum: float = 0.9
  epsilon: float = 1e-5
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """`[views * examples, ..., dim]` of this device, to the same shape.

    Raises:
      ValueError: rows, devices and groups do not divide each other.
    """
    dim, shape = x.shape[-1], x.shape
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, dim, jnp.float32)
    running_var = self.variable("batch_stats", "var", jnp.ones, dim, jnp.float32)
    x = x.astype(jnp.float32)
    if not self.train:
      y = (x - running_mean.value) * jax.lax.rsqrt(running_var.value + self.epsilon)
    else:
      x, span = self._grouped(x)
      centered = x - self._mean(x, span)
      var = self._mean(centered * centered, span)
      y = (centered * jax.lax.rsqrt(var + self.epsilon)).reshape(shape)
      if not self.is_initializing():
        everywhere = lambda stat: global_mean(jnp.mean(stat.reshape(-1, dim), axis=0), self.axis_name)
        mean = everywhere(self._mean(x, span))
        running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
        running_var.value = self.momentum * running_var.value + (1 - self.momentum) * everywhere(var)
    if self.affine:
      start = nn.initializers.zeros if self.zero_init else nn.initializers.ones
      y = y * self.param("scale", start, (dim,), jnp.float32) + self.param(
        "bias", nn.initializers.zeros, (dim,), jnp.float32
      )
    return y.astype(self.dtype)

  def _grouped(self, x: jax.Array) -> tuple[jax.Array, int]:
    """`[views, groups, share, ..., dim]`: of each group this device's share; and over how many devices a group spreads."""
    devices = global_size(1, self.axis_name)
    examples = self.batch_size // devices
    if len(x) % examples:
      raise ValueError(
        f"batch_norm_group={self.group}: {len(x)} rows are no multiple of the {examples} examples of a device, which are "
        f"config.batch_size={self.batch_size} over {devices} devices"
      )
    share = min(self.group, examples)
    if examples % share or self.group % share:
      raise ValueError(
        f"batch_norm_group={self.group} is neither a divisor nor a multiple of the {examples} examples of a device"
      )
    return x.reshape(len(x) // examples, examples // share, share, *x.shape[1:]), self.group // share

  def _mean(self, x: jax.Array, span: int) -> jax.Array:
    """Mean of each group over all axes but its own and the last, which broadcasts to `x`."""
    axes = (0, *range(2, x.ndim - 1))
    mean = jnp.mean(x, axis=axes, keepdims=True)
    if span == 1:
      return mean
    everyone = gather(mean, self.axis_name).reshape(-1, span, *mean.shape)
    return jnp.mean(everyone, axis=1)[jax.lax.axis_index(self.axis_name) // span]


def check_group(group: int | None, batch_size: int | None) -> None:
  """Raises ValueError unless groups of so many examples fill the batch."""
  if group is not None and (batch_size is None or group < 1 or batch_size % group):
    raise ValueError(f"batch_norm_group={group} does not divide config.batch_size={batch_size}")
