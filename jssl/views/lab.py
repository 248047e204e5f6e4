"""CIELAB: lightness and colour apart."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jssl.views import colour
from jssl.views.colour import Levels

Pixels = TypeVar("Pixels", jax.Array, np.ndarray)

# sRGB's primaries in XYZ, row by row over the white of D65: the numbers of scikit-image's `rgb2lab`.
_XYZ = (
  np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
  / np.array([[0.95047], [1.0], [1.08883]])
).tolist()


def rgb_to_lab(image: Pixels) -> Pixels:
  """sRGB in [0, 1] to CIELAB.

  Args:
    image: [..., 3] floats in [0, 1], an array of JAX or of NumPy; so is what is returned.

  Returns:
    [..., 3]: lightness L in [0, 100], a in [-86.2, 98.3] (green to red), b in [-107.9, 94.5] (blue to yellow).

  References:
    CIE 15:2004; scikit-image, skimage/color/colorconv.py (`rgb2lab`).

  Example:

    >>> [round(float(x)) for x in rgb_to_lab(jnp.array([1.0, 0.0, 0.0]))]
    [53, 80, 67]
  """
  xp, low, dark = image.__array_namespace__(), 0.04045, 0.008856
  linear = xp.where(image > low, ((image + 0.055) / 1.055) ** 2.4, image / 12.92)
  planes = [linear[..., i] for i in range(3)]
  roots = []
  for row in _XYZ:
    share = sum(weight * plane for weight, plane in zip(row, planes, strict=True))
    # cbrt has no finite gradient at 0, hence the inner `where`.
    roots.append(xp.where(share > dark, xp.cbrt(xp.where(share > dark, share, 1.0)), 7.787 * share + 16 / 116))
  x, y, z = roots
  return xp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def split_lab(
  rng: jax.Array, image: jax.Array, *, mean: Levels = colour.IMAGENET_MEAN, std: Levels = colour.IMAGENET_STD
) -> dict[str, jax.Array]:
  """A grey image to look at, and the colours that it lacks: the two sides of colorization.

  Args:
    rng: unused; here because views are called with a key.
    image: [height, width, 3] float32 in [0, 1]: a view that has not been normalised (`mean=0.0, std=1.0`).
    mean, std: of each channel, or scalars, to normalise the grey image by.

  Returns:
    A dict of `grey` [height, width, 3], the lightness L / 100 in all channels, normalised, and `ab` [height, width, 2]
    in CIELAB's units.
  """
  del rng
  lab = rgb_to_lab(image)
  grey = jnp.broadcast_to(lab[..., :1] / 100, image.shape)
  return dict(grey=colour.normalize(grey, mean, std), ab=lab[..., 1:])
