"""Examples whose images lie in files: opened, then decoded once for all that is read of them."""

from collections.abc import Callable, Mapping
import concurrent.futures
import threading
from typing import Any

import numpy as np
from PIL import Image

from jssl.data import images

CHUNK = 8  # examples whose crops are drawn together
# A JPEG is decoded at a fraction of its size where every crop has so many times the pixels that it is resized to.
_SPARE = 2.0
_FILTERS = dict(bicubic=Image.Resampling.BICUBIC, bilinear=Image.Resampling.BILINEAR)


class EncodedImages:
  """A source's images as files, and what is read of them.

  Args:
    name: for messages.
    num_examples: how many.
    open_one: `open_one(index) -> (path, bytes or an opened Picture, {name: the example's other array})`; may raise
      anything.
    name_of: `name_of(index)`, an example's name in messages.
    canvas: (height, width) of the array `image`.
    channels: 1 or 3.
    white: see `jssl.data.images.Picture`.

  Attributes:
    unreadable: name -> reason, for all that could not be read so far.
    name_of: as it was given.
  """

  def __init__(
    self,
    name: str,
    num_examples: int,
    open_one: Callable[[int], tuple[Any, Mapping[str, Any]]],
    name_of: Callable[[int], str],
    *,
    canvas: tuple[int, int],
    channels: int,
    white: int | None = None,
  ):
    self.canvas, self.channels, self._white, self._open_one = canvas, channels, white, open_one
    self.name_of = name_of
    self._reader = images.TolerantReader(name, num_examples, self.open, name_of)
    self.unreadable = self._reader.unreadable

  def read(
    self, indices: np.ndarray, keys, draw=None, pool: concurrent.futures.Executor | None = None
  ) -> dict[str, np.ndarray]:
    """Arrays of these examples: name -> `[n, ...]`. Thread-safe.

    An example that cannot be read is replaced by the next one in everything: its crops are drawn for the other's size.

    Args:
      indices: `[n]`.
      keys: names; `image` and `extent` are the image on the canvas and its (height, width) there.
      draw: `draw(places [m], extents [m, 2]) -> {name: jssl.views.Crop of m boxes}`: the crops of the examples at these
        places in `indices`, whose upright images have these (height, width); None for no crops. Each becomes an array of
        its name, uint8 `[n, height, width, channels]`.
      pool: of threads that share the work; by default the caller's thread does it.
    """
    arrays: dict[str, np.ndarray] = {}
    lock = threading.Lock()

    def write(row: dict[str, Any], place: int) -> None:
      with lock:
        if not arrays:
          arrays.update({k: np.empty((len(indices), *np.shape(v)), np.asarray(v).dtype) for k, v in row.items()})
      for key, value in row.items():
        arrays[key][place] = value

    starts = range(0, len(indices), CHUNK)
    chunk = lambda start: self._read_chunk(np.arange(start, min(start + CHUNK, len(indices))), indices, keys, draw, write)
    for _ in pool.map(chunk, starts) if pool else map(chunk, starts):
      pass
    return arrays

  def open(self, index: int) -> tuple[images.Picture, Mapping[str, Any]]:
    """An example's picture, not decoded yet, and its other arrays; may raise anything."""
    file, more = self._open_one(index)
    return file if isinstance(file, images.Picture) else images.Picture(file, self.channels, white=self._white), more

  def _read_chunk(self, places, indices, keys, draw, write) -> None:
    opened = [self._reader.get(int(i)) for i in indices[places]]
    missing = list(range(len(places)))
    while missing:
      crops = draw(places, np.asarray([picture.size for _, (picture, _) in opened], np.int32)) if draw else {}
      failed = []
      for i in missing:
        index, (picture, more) = opened[i]
        try:
          row = {key: more[key] for key in keys if key in more} | self._decode(picture, keys, crops, i)
        except Exception as error:  # Pillow's decoders raise whatever they like on damaged files.
          opened[i] = self._reader.get_after(index, error)
          failed.append(i)
        else:
          write(row, places[i])
      missing = failed

  def _decode(self, picture: images.Picture, keys, crops, i: int) -> dict[str, Any]:
    """What is read of one image: all of it if `keys` ask for it, and the crops' `i`-th boxes."""
    whole = "image" in keys or "extent" in keys
    if not whole and not crops:
      return {}
    boxes = {name: np.asarray(crop.box[i], np.float64) for name, crop in crops.items()}
    shrinks = [shrink_to(box, crops[name].size) for name, box in boxes.items()]
    if whole:
      shrinks.append(images.shrink_to(picture.size, self.canvas))
    shrink = min(shrinks, default=1)
    image, shrink = picture.decode(shrink)
    found: dict[str, Any] = {
      name: cut(image, box / shrink, crops[name].size, crops[name].method, crops[name].around) for name, box in boxes.items()
    }
    if whole:
      canvas, extent = images.on_canvas(image, self.canvas)
      on_canvas = dict(image=canvas, extent=np.asarray(extent, np.int32))
      found |= {key: on_canvas[key] for key in on_canvas if key in keys}
    return found


def shrink_to(box: np.ndarray, size: tuple[int, int]) -> int:
  """By how much a JPEG may be shrunk as it is decoded, for a box (top, left, height, width) that is resized to `size`."""
  return images.largest_shrink(min(side / out for side, out in zip(box[2:], size, strict=True)) / _SPARE)


def cut(image: Image.Image, box: np.ndarray, size: tuple[int, int], method: str, around: bool) -> np.ndarray:
  """Cuts a box (top, left, height, width) out of an image and resizes it by Pillow, see `jssl.views.Crop`.

  Returns:
    uint8 `[*size, channels]`.
  """
  top, left, height, width = box
  if not around:
    whole = (
      int(left),
      int(top),
      min(image.width, int(np.ceil(left + width))),
      min(image.height, int(np.ceil(top + height))),
    )
    image = image.crop(whole)
    left, top = left - whole[0], top - whole[1]
  area = (max(0.0, left), max(0.0, top), min(image.width, left + width), min(image.height, top + height))
  resized = image.resize((size[1], size[0]), _FILTERS[method], box=area)
  return np.asarray(resized).reshape(*size, -1)
