"""Views of volumes."""

import jax
import jax.numpy as jnp

from jssl.arrays import per_axis
from jssl.checks import check_arrays, check_values


def random_box(rng: jax.Array, volume: jax.Array, *, size: int | tuple[int, int, int], flip: float = 0.5) -> jax.Array:
  """A random box of a volume, at the volume's own resolution, mirrored at random along each axis.

  Args:
    rng: the example's key.
    volume: `[depth, height, width, channels]`.
    size: sides of the box, one number or three.
    flip: probability to mirror it, for each axis by itself.

  Returns:
    `[*size, channels]`.

  Raises:
    ValueError: if the box is larger than the volume.
  """
  check_arrays("random_box", volume=(volume, "any [depth, height, width, channels]"))
  check_values("random_box", flip=(flip, "[0, 1]"))
  wanted, sides = per_axis("random_box", size, 3, "size"), volume.shape[:3]
  if any(want > have for want, have in zip(wanted, sides, strict=True)):
    raise ValueError(f"random_box: size={wanted} is larger than the volume {list(sides)}")
  place_key, flip_key = jax.random.split(rng)
  free = jnp.array([have - want for want, have in zip(wanted, sides, strict=True)])
  corner = jnp.floor(jax.random.uniform(place_key, (3,)) * (free + 1)).astype(jnp.int32)
  box = jax.lax.dynamic_slice(volume, (*corner, 0), (*wanted, volume.shape[3]))
  for axis, draw in enumerate(jax.random.uniform(flip_key, (3,))):
    box = jnp.where(draw < flip, jnp.flip(box, axis), box)
  return box
