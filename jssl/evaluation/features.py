"""What the raw-pixel baseline knows of an image, as functions of arrays, and its channels' statistics."""

import numpy as np


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation `[C]` of `images [n, H, W, C]` uint8, in units of [0, 1]."""
  # Over the 256 values instead of the pixels: exact, and no float copy of the data set.
  counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
  share, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255.0
  mean = share @ values
  std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
  return mean.astype(np.float32), std.astype(np.float32)


def raw_pixels(images: np.ndarray, *, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
  """Pixels `[n, H, W, C]` in [0, 1], standardised by channel with a data set's `mean` and `std [C]`: `[n, H * W * C]`."""
  return ((images - mean) / np.maximum(std, 1e-6)).reshape(len(images), -1).astype(np.float32)


def raw_pixel_patches(images: np.ndarray, grid: tuple[int, int], *, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
  """Patch vectors of standardised pixels: `[n, h * w, pixels of a patch * C]` float32, patches and pixels row-major.

  Standardised as by `raw_pixels`; a patch's own mean stays in, since colour is what raw pixels have to say about objects.

  Args:
    images: `[n, H, W, C]` in [0, 1].
    grid: patches (h, w).
    mean, std: of the data set, `[C]`.

  Raises:
    ValueError: if the grid does not tile the image.
  """
  n, height, width, channels = images.shape
  rows, columns = grid
  if height % rows or width % columns:
    raise ValueError(f"A grid of {rows} x {columns} patches does not tile an image of {height} x {width}.")
  shape = (n, rows, height // rows, columns, width // columns, channels)
  pixels = raw_pixels(images, mean=mean, std=std).reshape(shape)
  return pixels.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * columns, -1)
