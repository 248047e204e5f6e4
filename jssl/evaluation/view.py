"""The evaluation view: the one place where examples, as a source holds them, become what a network sees.

`read_batch` reads them on the host, and `View.__call__` makes of them what the network sees, on the device. Of images that
are files the view's crop is cut out of the file, at its full resolution, and is the array `shown` of the batch.
"""

from collections.abc import Mapping, Sequence
import functools
from typing import Any, NamedTuple

import jax
from jax.core import Tracer
import jax.numpy as jnp
import numpy as np

from jssl import pictures, views
from jssl.data.encoded import CHUNK
from jssl.data.source import Source
from jssl.errors import ConfigError
from jssl.host_crops import host_device
from jssl.views import geometry
from jssl.views.crops import extent_of

Number = float | tuple[float, ...]


_HALVES: Any = views.halves(views.resize_view)


@functools.partial(jax.jit, static_argnames=("size", "resize_to"))
def _boxes(extents, size, resize_to):
  return jax.vmap(lambda extent: jnp.stack(views.center_box((extent[0], extent[1]), size, resize_to)))(extents)


class View(NamedTuple):
  """The same view of every image, nothing of it random: shorter side resized, middle cut out, colours normalised.

  Attributes:
    size: its side in pixels, or its (height, width).
    mean, std: of each channel, or scalars.
    resize_to: pixels of the shorter side before the crop; None for the fewest that the crop fits into.
    interpolation: "bicubic" or "bilinear".
    grayscale: whether images are shown in grey, in all 3 channels.
    channels: that the network sees, or None for those that an image has. A grey image is repeated in as many.
  """

  size: int | tuple[int, int]
  mean: Number = 0.0
  std: Number = 1.0
  resize_to: int | None = None
  interpolation: str = "bicubic"
  grayscale: bool = False
  channels: int | None = None

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width."""
    return geometry.to_pair(self.size)

  def __call__(self, batch: Mapping[str, Any]) -> jax.Array:
    """What the network sees: `image [n, H, W, C]` and, if it is there, `extent [n, 2]`, or the crops that are `shown`.

    Traced on the device.

    Returns:
      float32 `[n, *size, channels]`.
    """

    def show(image, extent):
      if self.channels and image.shape[-1] == 1:
        image = jnp.repeat(image, self.channels, -1)
      if "shown" not in batch:
        image = self.crop(extent_of(image, extent)).cut(image, extent)
      return _HALVES.finish(None, image, grayscale=self.grayscale, mean=self.mean, std=self.std)

    images = pictures.as_float("image", batch["shown" if "shown" in batch else "image"])
    if "shown" in batch or "extent" not in batch:
      return jax.vmap(lambda image: show(image, None))(images)
    return jax.vmap(show)(images, batch["extent"])

  def crop(self, extent) -> views.Crop:
    """The part of an image of `extent` (height, width) that it shows."""
    return _HALVES.crop(None, extent, size=self.size, resize_to=self.resize_to, interpolation=self.interpolation)

  def crops(self, extents: np.ndarray) -> views.Crop:
    """The parts of images of `extents [n, 2]`, with `box [n, 4]` as NumPy array."""
    padding = ((0, -len(extents) % CHUNK), (0, 0))  # few shapes, so that little is compiled
    with jax.default_device(host_device()):
      boxes = _boxes(np.pad(np.asarray(extents, np.int32), padding, constant_values=1), self.size, self.resize_to)
    crop = self.crop((1, 1))
    return views.Crop(np.asarray(boxes, np.float64)[: len(extents)], crop.size, crop.method, crop.around)

  def segments(self, segments: np.ndarray, extent: np.ndarray | None = None) -> np.ndarray:
    """The part of `segments [n, H, W]` that the view shows, at its size: the nearest pixel's number, `[n, *size]`."""
    n, *size = segments.shape
    extent = np.tile(np.asarray(size, np.int32), (n, 1)) if extent is None else np.asarray(extent)
    shown = np.empty((n, *self.shape), segments.dtype)
    for place, scene, box, valid in zip(shown, segments, self.crops(extent).box, extent, strict=True):
      rows, columns = (
        np.clip(np.floor(box[axis] + (np.arange(out) + 0.5) * box[axis + 2] / out), 0, valid[axis] - 1).astype(int)
        for axis, out in enumerate(self.shape)
      )
      place[:] = scene[np.ix_(rows, columns)]
    return shown

  def parameters(self) -> dict[str, Any]:
    """Its numbers by name, as results carry them."""
    height, width = self.shape
    resize_to = "as small as the crop" if self.resize_to is None else self.resize_to
    found = dict(resize_to=resize_to, crop=f"{height} x {width}", filter=self.interpolation, mean=self.mean, std=self.std)
    return found | (dict(grayscale=True) if self.grayscale else {})


def read_batch(
  source: Source, indices: np.ndarray, view: View | None = None, more: Sequence[str] = (), reads: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
  """The examples of these indices as `View.__call__` wants them; thread-safe.

  Args:
    source: of images.
    indices: `[n]`.
    view: through which they will be seen; None for what takes images as they are.
    more: names of other arrays to be read with the images.
    reads: names of all arrays to be read in the place of images; `index` is the number of each example. Whole arrays are
      not read here.

  Raises:
    ConfigError: if the images are none, see `check_images`; if one of `reads` is not there.
  """
  if reads is not None:
    for key in reads:
      if key not in ("index", *source.element_spec, *source.whole):
        there = sorted((*source.element_spec, *source.whole))
        raise ConfigError(f"{source.name} has no '{key}'; it has {', '.join(there) or 'nothing'}")
    names = tuple(key for key in dict.fromkeys((*reads, *more)) if key in source.element_spec)
    return source.get(indices, names) | {"index": np.asarray(indices, np.int32)}
  more = tuple(key for key in dict.fromkeys(more) if key in source.element_spec)
  if view and source.encoded and "segments" not in more:
    draw = lambda places, extents: {"shown": view.crops(extents)}
    batch = source.get(indices, tuple(key for key in more if key != "extent"), draw=draw)
  else:
    keys = (key for key in ("image", "extent", *more) if key in source.element_spec)
    batch = source.get(indices, tuple(dict.fromkeys(keys)))
  check_images(batch, view.channels if view else None, source.name)
  return batch


def as_batch(images: Any) -> dict[str, Any]:
  """Images `[n, H, W, C]` alone, or with other arrays by name, as a batch."""
  return dict(images) if isinstance(images, Mapping) else dict(image=images)


def length(batch: Mapping[str, Any]) -> int:
  """The number of examples of a batch."""
  return len(next(iter(batch.values())))


def check_images(batch: Mapping[str, Any], channels: int | None = None, name: str = "") -> None:
  """Refuses images that a view would show wrongly.

  Raises:
    ConfigError: unless `image` is `[n, H, W, C]`, uint8 or floats in [0, 1], with 1 channel or as many as are wanted.
  """
  where = f"{name}: " if name else ""
  image = batch.get("shown", batch.get("image"))
  if image is None:
    raise ConfigError(f"{where}there is no array 'image'; there are {', '.join(sorted(batch)) or 'none'}")
  shape, dtype = list(image.shape), np.dtype(image.dtype)
  if len(shape) != 4:
    raise ConfigError(f"{where}images must be [n, height, width, channels]; got {shape}")
  if dtype != np.uint8 and dtype.kind != "f":
    raise ConfigError(f"{where}images must be uint8, or floats in [0, 1]; got {dtype}")
  if dtype.kind == "f" and not isinstance(image, (jax.ShapeDtypeStruct, Tracer)):
    low, high = float(np.min(image)), float(np.max(image))
    if not -0.01 <= low <= high <= 1.01:
      raise ConfigError(f"{where}images of {dtype} must lie in [0, 1], these lie in [{low:g}, {high:g}]; give them as uint8")
  swapped = shape[1] in (1, 3) and shape[-1] > 4
  if swapped or shape[-1] not in (1, channels or shape[-1]):
    order = "; they seem to be [n, channels, height, width]: np.moveaxis(images, 1, -1)" if swapped else ""
    sees = f", the network sees {channels}" if channels else ""
    raise ConfigError(f"{where}the images {shape} have {shape[-1]} channels{sees}{order}")
