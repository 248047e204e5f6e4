"""Random erasing: a rectangle of an image becomes noise."""

import jax
import jax.numpy as jnp

from jssl.checks import Range

ATTEMPTS = 10  # at a rectangle that fits, as in timm


def random_erasing(
  rng: jax.Array, image: jax.Array, *, prob: float = 0.25, area: Range = (0.02, 1 / 3), aspect: Range = (0.3, 1 / 0.3)
) -> jax.Array:
  """Fills a random rectangle with noise N(0, 1) of each pixel and channel: timm's `RandomErasing`, mode "pixel".

  Area and the logarithm of the aspect ratio are uniform; sides are rounded, and a rectangle that is as high or as wide as
  the image is drawn again, up to ten times, after which the image stays as it is.

  Args:
    rng: the image's key.
    image: [height, width, channels] floats, normalised, so that the noise is of the image's own mean and deviation.
    prob: probability with which an image is erased at all.
    area: smallest and largest share of the image's pixels.
    aspect: smallest and largest height over width.

  Returns:
    the same shape and type.

  References:
    Zhong, Zheng, Kang, Li, Yang 2017, arXiv 1708.04896; huggingface/pytorch-image-models, timm/data/random_erasing.py,
    with the numbers of DeiT's, BEiT's and MAE's fine-tuning.
  """
  height, width = image.shape[:2]
  draw_key, shape_key, place_key, noise_key = jax.random.split(rng, 4)
  share_key, aspect_key = jax.random.split(shape_key)
  share = jax.random.uniform(share_key, (ATTEMPTS,), minval=area[0], maxval=area[1])
  ratio = jnp.exp(jax.random.uniform(aspect_key, (ATTEMPTS,), minval=jnp.log(aspect[0]), maxval=jnp.log(aspect[1])))
  sides = jnp.stack([jnp.sqrt(share * height * width * ratio), jnp.sqrt(share * height * width / ratio)], -1)
  sides = jnp.round(sides).astype(jnp.int32)
  fits = (sides < jnp.array([height, width])).all(-1)
  side = sides[jnp.argmax(fits)]
  first = jnp.floor(jax.random.uniform(place_key, (2,)) * (jnp.array([height, width]) - side + 1)).astype(jnp.int32)
  inside = lambda n, axis: (jnp.arange(n) >= first[axis]) & (jnp.arange(n) < first[axis] + side[axis])
  erased = inside(height, 0)[:, None] & inside(width, 1) & fits.any() & jax.random.bernoulli(draw_key, prob)
  return jnp.where(erased[..., None], jax.random.normal(noise_key, image.shape, image.dtype), image)
