"""From images to arrays of features: a frozen network over padded batches, and the raw-pixel baselines."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from jssl.evaluation.chunks import map_chunks


@jax.jit
def _apply(function, images):
  return function(images)


def extract_features(apply_fn: Callable, images: np.ndarray | Iterable[np.ndarray], *, batch_size: int = 256) -> Any:
  """Applies a frozen network to images in batches of one fixed size, compiled once.

  Args:
    apply_fn: `apply_fn(images uint8 [batch, H, W, C]) -> pytree of [batch, ...]`, pure, without a dependence between
      examples. Give parameters as `jax.tree_util.Partial(function, params)`: they are then arguments of the compiled
      program; parameters in a closure would be constants of it.
    images: `[n, H, W, C]` uint8, or an iterable of such arrays.
    batch_size: images a call; the last batch is padded.

  Returns:
    The pytree of NumPy arrays `[n, ...]`.

  Raises:
    ValueError: if there are no images.
  """
  function = apply_fn if isinstance(apply_fn, jax.tree_util.Partial) else jax.tree_util.Partial(apply_fn)
  if hasattr(images, "shape"):
    return map_chunks(lambda batch: _apply(function, batch), images, chunk=max(1, min(batch_size, len(images))))
  pieces = [map_chunks(lambda batch: _apply(function, batch), piece, chunk=batch_size) for piece in images]
  if not pieces:
    raise ValueError("There are no images to extract features from.")
  return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation `[C]` of `images [n, H, W, C]` uint8, in units of [0, 1]."""
  # Over the 256 values instead of the pixels: exact, and no float copy of the data set.
  counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
  share, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255.0
  mean = share @ values
  std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))
  return mean.astype(np.float32), std.astype(np.float32)


def raw_pixels(images: np.ndarray, *, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
  """Pixels in [0, 1], standardised by channel with a data set's `mean` and `std [C]`: `[n, H * W * C]` float32."""
  pixels = (images.astype(np.float32) / 255.0 - mean) / np.maximum(std, 1e-6)
  return pixels.reshape(len(images), -1)


def raw_pixel_patches(images: np.ndarray, patch: int, *, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
  """Patch vectors of standardised pixels: `[n, h * w, patch * patch * C]` float32, patches and pixels in row-major
  order.

  Pixels in [0, 1] are standardised by channel with the data set's `mean` and `std [C]`, as for `raw_pixels`; a patch's
  own mean stays in, since colour is what raw pixels have to say about objects.

  Raises:
    ValueError: if the patch does not divide the image.
  """
  n, height, width, channels = images.shape
  if height % patch or width % patch:
    raise ValueError(f"Patches of {patch} pixels do not tile an image of {height} x {width}.")
  pixels = raw_pixels(images, mean=mean, std=std).reshape(n, height // patch, patch, width // patch, patch, channels)
  return pixels.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, patch * patch * channels)
