"""The corruption of SiT in 2021: blocks of an image lose their colour, their sharpness, or all content.

Atito, Awais, Kittler, arXiv 2104.03602; Sara-Ahmed/SiT at its commits of April to July 2021, engine.py
(`distortImages`). Nothing says where: the network restores the whole image. The later form is in `jssl.masking.gmml`.
"""

import jax
import jax.numpy as jnp

from jssl.batch_axis import gather, positions
from jssl.checks import check_arrays, check_values, Number, Range
from jssl.masking.gmml import draw_blocks, first_cover
from jssl.views.colour import gaussian_blur

SMALLEST = 0.05  # of a block's sides, as a share of the image's


def distort(
  rng: jax.Array,
  image: jax.Array,
  *,
  area: Number = 0.3,
  block_max: float = 0.25,
  blur_sigma: Range = (0.1, 5.1),
  blur_radius: int = 7,
  max_blocks: int = 64,
) -> jax.Array:
  """Makes one block grey, blurs another, and puts noise into more of them.

  Sides of the first two are 5 to 100 % of the image's, cut at its border; those of the noisy ones 5 % to `block_max`,
  as many as it takes for the sum of their areas to reach U(0, area) of the image, what overlaps counting twice.

  Args:
    rng: a key.
    image: [height, width, channels], the NORMALISED view.
    area: largest share of the image that turns to noise, N(0, 1) for each pixel and channel.
    block_max: largest side of a noisy block.
    blur_sigma: range of the blur's standard deviation in pixels.
    blur_radius: where the blur is cut, in pixels; the authors draw it too, from 1 to 7, and blur a block without what
      surrounds it.
    max_blocks: number of candidate blocks.

  Returns:
    [height, width, channels].
  """
  check_arrays("distort", image=(image, "float [height, width, channels]"))
  check_values("distort", blur_sigma=(blur_sigma, "range (0, inf)"), blur_radius=(blur_radius, "int [0, inf)"))
  _check_blocks("distort", area, block_max, max_blocks)
  grey_key, blur_key, sigma_key, noise_key, block_key = jax.random.split(rng, 5)
  mean = jnp.broadcast_to(jnp.mean(image, axis=-1, keepdims=True), image.shape)
  image = jnp.where(_one_block(grey_key, image.shape), mean, image)
  low, high = blur_sigma
  blurred = gaussian_blur(image, low + (high - low) * jax.random.uniform(sigma_key), radius=blur_radius)
  image = jnp.where(_one_block(blur_key, image.shape), blurred, image)
  noise = jax.random.normal(noise_key, image.shape, image.dtype)
  return jnp.where(_blocks(block_key, image.shape, area, block_max, max_blocks), noise, image)


def alien_blocks(
  rng: jax.Array,
  image: jax.Array,
  distorted: jax.Array,
  *,
  area: Number = 0.3,
  block_max: float = 0.25,
  max_blocks: int = 64,
  axis_name: str | None = None,
) -> jax.Array:
  """Pastes blocks of another image of the batch into each distorted one (scope="batch").

  Blocks are drawn as the noisy ones of `distort`; what they show is the same place of an image drawn uniformly from the
  global batch, and nothing changes where that is the image itself. The authors go through the batch in order, so that
  half of what they paste comes from images that are distorted already; here all of it is clean.

  Args:
    rng: one key, the same on all devices.
    image: [batch, height, width, channels], the clean normalised views; the local part of the batch.
    distorted: the same shape, from `distort`.
    area, block_max, max_blocks: as in `distort`.
    axis_name: None, or the mapped axis over which the global batch is split.

  Returns:
    [batch, height, width, channels].
  """
  check_arrays(
    "alien_blocks",
    image=(image, "float [batch, height, width, channels]"),
    distorted=(distorted, "float [batch, height, width, channels]"),
  )
  _check_blocks("alien_blocks", area, block_max, max_blocks)
  gathered = gather(image, axis_name)

  def paste(position: jax.Array, distorted: jax.Array) -> jax.Array:
    partner_key, block_key = jax.random.split(jax.random.fold_in(rng, position))
    partner = jax.random.randint(partner_key, (), 0, gathered.shape[0])
    covered = _blocks(block_key, distorted.shape, area, block_max, max_blocks)
    return jnp.where(covered & (partner != position), gathered[partner], distorted)

  return jax.vmap(paste)(positions(len(image), axis_name), distorted)


def _check_blocks(function: str, area: Number, block_max: float, max_blocks: int) -> None:
  check_values(
    function, area=(area, "[0, 1]"), block_max=(block_max, f"({SMALLEST}, 1]"), max_blocks=(max_blocks, "int [1, inf)")
  )


def _one_block(rng: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  blocks = draw_blocks(rng, shape[:2], block_min=SMALLEST, block_max=1.0, max_blocks=1)
  return (first_cover(blocks, shape[:2]) < 1)[..., None]


def _blocks(rng: jax.Array, shape: tuple[int, ...], area: Number, block_max: float, max_blocks: int) -> jax.Array:
  """Blocks until the sum of their areas reaches U(0, area) of the image: [height, width, 1] bool."""
  area_key, block_key = jax.random.split(rng)
  blocks = draw_blocks(block_key, shape[:2], block_min=SMALLEST, block_max=block_max, max_blocks=max_blocks)
  pixels = area * jax.random.uniform(area_key) * shape[0] * shape[1]
  total = jnp.cumsum(blocks[2] * blocks[3])
  number = jnp.sum(total - blocks[2] * blocks[3] < pixels)
  return (first_cover(blocks, shape[:2]) < number)[..., None]
