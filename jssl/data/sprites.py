"""Small grey objects that scenes are made of: scikit-learn's digits, or Fashion-MNIST. Splits share no sample."""

import functools
from typing import NamedTuple

import numpy as np

from jssl.data.idx import read_fashion_mnist, SYSTEM_FOLDER
from jssl.data.sampling import raw_bits
from jssl.errors import ConfigError, nearest

SILHOUETTE = 0.2  # where alpha is larger, the pixel belongs to the object
SPLITS = ("train", "calibration", "test")
_SHARES = {"train": (0.0, 0.6), "calibration": (0.6, 0.75), "test": (0.75, 1.0)}
_FASHION_TRAIN = 54000  # of the 60,000 training images; the others calibrate


class Sprites(NamedTuple):
  """Grey objects on nothing.

  Attributes:
    alpha: float32 `[n, size, size]` in [0, 1], 0 where there is nothing.
    label: int32 `[n]`, the class.
    sample: int64 `[n]`, the number of each in the data set that they come from.
  """

  alpha: np.ndarray
  label: np.ndarray
  sample: np.ndarray


def check_split(name: str, split: str) -> None:
  if split not in SPLITS:
    raise ConfigError(f"{name} has no split {split!r}; {nearest(split, SPLITS)}")


@functools.cache
def digit_sprites(split: str) -> Sprites:
  """The 1,797 handwritten digits of `sklearn.datasets.load_digits`, 8 x 8.

  Of every class 60 % of the samples, drawn once and for all, are for training, 15 % for calibration, 25 % for tests.

  Args:
    split: "train", "calibration" or "test".
  """
  from sklearn import datasets  # pylint: disable=g-import-not-at-top  # 60 MiB, for those who train on these data

  check_split("digits", split)
  digits = datasets.load_digits()
  order = np.argsort(raw_bits((0, len(digits.target)), len(digits.target)), kind="stable")
  first, last = _SHARES[split]
  parts = []
  for digit in range(10):
    samples = order[digits.target[order] == digit]
    parts.append(samples[round(first * len(samples)) : round(last * len(samples))])
  sample = np.sort(np.concatenate(parts))
  return Sprites(digits.images[sample].astype(np.float32) / 16, digits.target[sample].astype(np.int32), sample)


@functools.cache
def fashion_sprites(split: str, idx_dir: str = SYSTEM_FOLDER) -> Sprites:
  """Fashion-MNIST's items, 28 x 28.

  Of its training items 54,000 are for training and the other 6,000 for calibration. Items that fill less than an eighth
  of the square are left out.

  Args:
    split: "train", "calibration" or "test".
    idx_dir: folder of the four IDX files; by default where Debian's package dataset-fashion-mnist puts them.

  Raises:
    DataError: if the files are missing or damaged.
  """
  check_split("fashion_mnist", split)
  images, labels = read_fashion_mnist("test" if split == "test" else "train", idx_dir)
  part = {"train": slice(0, _FASHION_TRAIN), "calibration": slice(_FASHION_TRAIN, None), "test": slice(None)}[split]
  # Test items are numbered after the training items, so that no two splits share a number.
  first = 60000 if split == "test" else 0
  sample = np.arange(first, first + len(images))[part]
  alpha = images[part].astype(np.float32) / 255
  visible = (alpha > SILHOUETTE).mean((1, 2)) >= 0.125
  return Sprites(alpha[visible], labels[part][visible].astype(np.int32), sample[visible])


SPRITES = {"digits": digit_sprites, "fashion_mnist": fashion_sprites}


def load_sprites(spec: str, split: str) -> Sprites:
  """The sprites of a split: "digits", "fashion_mnist", or "fashion_mnist:/folder/of/the/IDX/files"."""
  name, _, folder = spec.partition(":")
  if name not in SPRITES or folder and name == "digits":
    raise ConfigError(f"there are no sprites {spec!r}; {nearest(name, SPRITES)}")
  return SPRITES[name](split, folder) if folder else SPRITES[name](split)


def resize(alpha: np.ndarray, size: np.ndarray, canvas: int, margin: int) -> np.ndarray:
  """Enlarges or shrinks each sprite smoothly to its own size.

  Cubic convolution (Keys 1981, a = -1/2) with zeros around the sprite, clipped to [0, 1]. Only sums and products of
  single numbers are used, so the result is the same on every machine.

  Args:
    alpha: float32 `[n, s, s]` in [0, 1].
    size: integers `[n]`, side in pixels.
    canvas: side of the result, at least size + 2 margin.
    margin: pixels around the sprite into which its edge fades.

  Returns:
    float32 `[n, canvas, canvas]` in [0, 1]: the sprite in the upper left corner, within its margin.
  """
  side, steps = alpha.shape[1], np.arange(canvas)
  centre = (steps - margin + 0.5) * side / size[:, None] - 0.5  # [n, canvas], in the sprite's pixels
  first = np.floor(centre).astype(np.int64)
  inside = steps < size[:, None] + 2 * margin
  position, weight = [], []
  for tap in range(-1, 3):
    at = first + tap
    distance = np.abs(centre - at)
    cubic = np.where(
      distance < 1, (1.5 * distance - 2.5) * distance * distance + 1, ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    )
    weight.append(np.where((at >= 0) & (at < side) & inside, cubic, 0).astype(np.float32))
    position.append(np.clip(at, 0, side - 1))
  rows = np.arange(len(alpha))[:, None]
  tall = sum(alpha[rows, p] * w[:, :, None] for p, w in zip(position, weight, strict=True))  # [n, canvas, s]
  wide = np.swapaxes(tall, 1, 2)
  both = sum(wide[rows, p] * w[:, :, None] for p, w in zip(position, weight, strict=True))  # [n, canvas, canvas]
  return np.clip(np.swapaxes(both, 1, 2), 0, 1)
