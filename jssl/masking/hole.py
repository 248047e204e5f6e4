"""One hole in an image: what a context encoder fills."""

import jax
import jax.numpy as jnp

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
  check_values("hole", side=(side, "(0, 1)"))
  height, width, _ = image.shape
  sides = jnp.array([int(side * height), int(side * width)])
  if place not in ("center", "random"):
    raise ValueError(f"hole: place must be 'center' or 'random', not {place!r}")
  if int(side * min(height, width)) < 1:
    raise ValueError(f"hole: side={side} of {height} x {width} pixels hides nothing")
  free = jnp.array([height, width]) - sides
  share = 0.5 if place == "center" else jax.random.uniform(rng, (2,))
  top, left = jnp.floor(share * (free if place == "center" else free + 1)).astype(jnp.int32)
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
  mask = (rows >= top) & (rows < top + sides[0]) & (columns >= left) & (columns < left + sides[1])
  return dict(image=jnp.where(mask[..., None], 0, image), mask=mask)
