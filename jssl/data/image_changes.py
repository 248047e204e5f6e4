"""What can be done to an image of a data set before any view sees it: corruptions, triggers, styles.

Each is `fn(image, entropy, **numbers) -> image`: uint8 `[height, width, channels]` in and out. `entropy` tells what is drawn
for this image: `jssl.data.sampling.uniform((*entropy, 0), shape)` gives numbers in [0, 1).
"""

from collections.abc import Sequence
import io

import numpy as np
from PIL import Image, ImageFilter

from jssl.data.sampling import uniform

__all__ = [
  "blur",
  "brightness",
  "contrast",
  "edges",
  "gaussian_noise",
  "impulse_noise",
  "inverted",
  "jpeg",
  "patch",
  "pixelate",
  "plain",
  "posterized",
  "textured",
  "tinted",
]

Entropy = tuple[int, ...]


def gaussian_noise(image: np.ndarray, entropy: Entropy, *, severity: int = 3) -> np.ndarray:
  """Normal noise, as in ImageNet-C (Hendrycks and Dietterich, arXiv 1903.12261)."""
  a, b = uniform((*entropy, 0), (2, *image.shape))
  normal = np.sqrt(-2 * np.log(1 - a)) * np.cos(2 * np.pi * b)
  return _bytes(image + 255 * _at(severity, (0.08, 0.12, 0.18, 0.26, 0.38)) * normal)


def impulse_noise(image: np.ndarray, entropy: Entropy, *, severity: int = 3) -> np.ndarray:
  """A share of the values is black or white, as in ImageNet-C."""
  u = uniform((*entropy, 0), image.shape)
  share = _at(severity, (0.03, 0.06, 0.09, 0.17, 0.27))
  return np.where(u < share / 2, 0, np.where(u < share, 255, image)).astype(np.uint8)


def blur(image: np.ndarray, entropy: Entropy, *, severity: int = 3) -> np.ndarray:
  """A Gaussian of 1 to 6 % of the shorter side as its standard deviation (ImageNet-C: 1 to 6 of 224 pixels)."""
  del entropy
  radius = min(image.shape[:2]) * _at(severity, (0.01, 0.02, 0.03, 0.045, 0.06))
  return _by_pillow(image, lambda picture: picture.filter(ImageFilter.GaussianBlur(radius)))


def contrast(image: np.ndarray, entropy: Entropy, *, severity: int = 3) -> np.ndarray:
  """Nearer to each channel's mean, as in ImageNet-C."""
  del entropy
  mean = image.mean((0, 1), keepdims=True)
  return _bytes(mean + (image - mean) * _at(severity, (0.4, 0.3, 0.2, 0.1, 0.05)))


def brightness(image: np.ndarray, entropy: Entropy, *, severity: int = 3) -> np.ndarray:
  """All values raised by a tenth to a half of the range."""
  del entropy
  return _bytes(image + 255.0 * _at(severity, (0.1, 0.2, 0.3, 0.4, 0.5)))


def pixelate(image: np.ndarray, entropy: Entropy, *, severity: int = 3) -> np.ndarray:
  """Shrunk and enlarged again, as in ImageNet-C."""
  del entropy
  height, width = image.shape[:2]
  share = _at(severity, (0.6, 0.5, 0.4, 0.3, 0.25))
  small = (max(1, int(width * share)), max(1, int(height * share)))
  box, nearest = Image.Resampling.BOX, Image.Resampling.NEAREST
  return _by_pillow(image, lambda picture: picture.resize(small, box).resize((width, height), nearest))


def jpeg(image: np.ndarray, entropy: Entropy, *, severity: int = 3) -> np.ndarray:
  """Compressed at a low quality, as in ImageNet-C."""
  del entropy

  def compressed(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_at(severity, (25, 18, 15, 10, 7)))
    return Image.open(file)

  return _by_pillow(image, compressed)


def patch(image: np.ndarray, entropy: Entropy, *, side: int = 4, margin: int = 1) -> np.ndarray:
  """A trigger: a chequered square in the lower right corner (Gu et al. 2017, BadNets, arXiv 1708.06733)."""
  del entropy
  found = image.copy()
  rows, columns = (np.arange(side) for _ in range(2))
  board = np.where((rows[:, None] + columns) % 2, 0, 255)[..., None]
  bottom, right = image.shape[0] - margin, image.shape[1] - margin
  if min(bottom, right) < side:
    raise ValueError(f"patch: side={side}, margin={margin} does not fit into an image {list(image.shape)}")
  found[bottom - side : bottom, right - side : right] = board
  return found


def plain(image: np.ndarray, entropy: Entropy) -> np.ndarray:
  """As it is."""
  del entropy
  return image


def inverted(image: np.ndarray, entropy: Entropy) -> np.ndarray:
  """Black for white."""
  del entropy
  return 255 - image


def posterized(image: np.ndarray, entropy: Entropy, *, levels: int = 3) -> np.ndarray:
  """Values of a few levels only."""
  del entropy
  return _bytes(np.rint(image / 255 * (levels - 1)) * 255 / (levels - 1))


def edges(image: np.ndarray, entropy: Entropy) -> np.ndarray:
  """The length of the gradient of the mean of the channels, white where it is largest: a line drawing."""
  del entropy
  down, right = np.gradient(np.pad(image.mean(-1), 1, mode="edge"))
  length = np.hypot(down, right)[1:-1, 1:-1, None]
  return _bytes(np.repeat(255 * length / max(length.max(), 1e-9), image.shape[-1], -1))


def textured(image: np.ndarray, entropy: Entropy, *, strength: float = 0.4, cells: int = 4) -> np.ndarray:
  """Mixed with a smooth random pattern of the image's own."""
  coarse = Image.fromarray(_bytes(255 * uniform((*entropy, 0), (cells, cells))))
  pattern = np.asarray(coarse.resize(image.shape[1::-1], Image.Resampling.BICUBIC))[..., None]
  return _bytes((1 - strength) * image + strength * pattern)


def tinted(image: np.ndarray, entropy: Entropy, *, color: Sequence[float]) -> np.ndarray:
  """Between a colour, where it is black, and white: `color` has a number in [0, 1] for each channel."""
  del entropy
  if len(color) != image.shape[-1]:
    raise ValueError(f"tinted: color={tuple(color)} has {len(color)} channels, the image {image.shape[-1]}")
  return _bytes(255 * np.asarray(color) * (1 - image / 255) + image)


def _at(severity: int, values: Sequence[float]) -> float:
  if severity not in range(1, len(values) + 1):
    raise ValueError(f"severity={severity}; it must be one of 1 to {len(values)}")
  return values[severity - 1]


def _bytes(values: np.ndarray) -> np.ndarray:
  return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _by_pillow(image: np.ndarray, fn) -> np.ndarray:
  """Pillow's operations on an image of any number of channels; three go together, others one by one."""
  if image.shape[-1] == 3:
    return np.asarray(fn(Image.fromarray(image)))
  planes = [np.asarray(fn(Image.fromarray(np.ascontiguousarray(image[..., i])))) for i in range(image.shape[-1])]
  return np.stack(planes, -1)
