"""One hole in an image: what a context encoder fills."""

import jax
import jax.numpy as jnp

from jssl.arrays import unpatchify
from jssl.checks import check_arrays, check_values


def hole(rng: jax.Array, image: jax.Array, *, side: float = 0.5, place: str = "random") -> dict[str, jax.Array]:
  """Removes one rectangle from an image.

  Context encoders (Pathak, Krahenbuhl, Donahue, Darrell, Efros, arXiv 1604.07379; pathak22/context-encoder, train.lua)
  remove the middle quarter of the area and put the mean colour there.

  Args:
    rng: a key, unused where the hole is in the middle.
    image: [height, width, channels], the NORMALISED view.
    side: share of the image's sides: int(side * height) by int(side * width) pixels.
    place: "center", or "random": uniform among the places where it fits.

  Returns:
    A dict of `image` [height, width, channels] with zeros, the mean colour, in the hole, and `mask` [height, width]
    bool, True there.

  Raises:
    ValueError: for another place, or a hole that hides nothing or everything.
  """
  check_arrays("hole", image=(image, "float [height, width, channels]"))
  height, width, _ = image.shape
  sides = jnp.array(_sides("hole", side, height, width))
  if place not in ("center", "random"):
    raise ValueError(f"hole: place must be 'center' or 'random', not {place!r}")
  free = jnp.array([height, width]) - sides
  share = 0.5 if place == "center" else jax.random.uniform(rng, (2,))
  top, left = jnp.floor(share * (free if place == "center" else free + 1)).astype(jnp.int32)
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
  mask = (rows >= top) & (rows < top + sides[0]) & (columns >= left) & (columns < left + sides[1])
  return dict(image=jnp.where(mask[..., None], 0, image), mask=mask)


def in_hole(rng: jax.Array | None, patches: jax.Array, mask: jax.Array, *, patch: int, side: float = 0.5) -> jax.Array:
  """What stands in the hole of `hole`: of a prediction, or of the image. Gradients go back to the patches.

  Args:
    rng: unused.
    patches: [patches, patch * patch * channels], of the whole image.
    mask: [height, width] bool, of `hole`.
    patch: side of a patch.
    side: as given to `hole`.

  Returns:
    [int(side * height), int(side * width), channels].

  Raises:
    ValueError: the patches do not fill the mask, or there is no hole of this side.

  Example:

    >>> in_hole(None, jnp.arange(4.0)[:, None], jnp.array([[False, False], [False, True]]), patch=1).tolist()
    [[[3.0]]]
  """
  del rng
  check_arrays("in_hole", patches=(patches, "float [patches, pixels]"), mask=(mask, "bool [height, width]"))
  check_values("in_hole", patch=(patch, "int [1, inf)"))
  height, width = mask.shape
  grid = height // patch, width // patch
  if height % patch or width % patch or len(patches) != grid[0] * grid[1] or patches.shape[1] % patch**2:
    raise ValueError(f"in_hole: patches {list(patches.shape)} of patch={patch} do not fill a mask of {height} x {width}")
  sides, image = _sides("in_hole", side, height, width), unpatchify(patches[None], grid=grid, patch=patch)[0]
  corner = jnp.argmax(jnp.any(mask, axis=1)), jnp.argmax(jnp.any(mask, axis=0)), 0
  return jax.lax.dynamic_slice(image, corner, (*sides, image.shape[-1]))


def _sides(function: str, side: float, height: int, width: int) -> tuple[int, int]:
  """Height and width of a hole; raises ValueError where it hides nothing or everything."""
  check_values(function, side=(side, "(0, 1)"))
  sides = int(side * height), int(side * width)
  if min(sides) < 1:
    raise ValueError(f"{function}: side={side} of {height} x {width} pixels hides nothing")
  return sides
