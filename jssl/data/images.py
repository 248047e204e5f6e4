"""Image files of any kind to uint8 arrays on a canvas, and what to do with those that cannot be read."""

from collections.abc import Sequence
import io
import logging
import threading
import types

import numpy as np
from PIL import Image, ImageOps

from jssl.data.source import DataError
from jssl.errors import ConfigError

_MODES = {1: "L", 3: "RGB"}
_BITS = (8, 10, 12, 14, 16, 24, 32)  # of pictures of more than 8 bits, which files call 16 or 32
_SHRINKS = (1, 2, 4, 8)  # of JPEGs as they are decoded
_ORIENTATION = 0x0112  # in EXIF: 1 is upright, 5 to 8 lie on a side
_LOOKED_AT = 32  # images, to see what is white in a set
_MAX_UNREADABLE = 0.1  # of the images read so far ...
_JUDGED_AFTER = 100  # ... once there are so many

_log = logging.getLogger("jssl")


def check_canvas(canvas: int, channels: int) -> None:
  """Raises ConfigError unless the options make a canvas."""
  if not isinstance(canvas, int) or not 1 <= canvas <= 2**14:
    raise ConfigError(f"canvas is {canvas!r}; it must be an integer from 1 to {2**14}, the arrays' side in pixels")
  if channels not in _MODES:
    raise ConfigError(f"channels is {channels!r}; it must be 1 (grey) or 3 (RGB)")


def check_white(white: int | None) -> None:
  """Raises ConfigError unless it is None or a value that can be white."""
  if white is not None and (isinstance(white, bool) or not isinstance(white, int) or not 1 <= white < 2**32):
    raise ConfigError(f"white is {white!r}; it must be an integer from 1 to {2**32 - 1}, 4095 for pictures of 12 bits")


def find_white(name: str, files: Sequence) -> int | None:
  """What is white in the grey images of more than 8 bits among `files`, by a look at some; None where none is seen.

  One value for all: a dark picture then stays darker than a bright one of the same camera. It is logged, being a guess,
  unless it is that of all 16 bits. Of colours Pillow reads the upper 8 of 16 bits; where they use few of these, it is
  logged too.
  """
  largest, upper = [], []
  for i in sorted({round(i) for i in np.linspace(0, len(files) - 1, _LOOKED_AT)}):
    try:
      with Image.open(_opened(files[i])) as image:
        if image.mode.startswith("I"):
          largest.append(int(np.asarray(image).max()))
        elif ";16" in str(image.tile):
          upper.append(int(np.asarray(image).max()))
        elif len(files) > _LOOKED_AT and i > len(files) // 4 and not largest + upper:
          return None
    except Exception:  # Who reads it will name it.
      continue
  if upper and max(upper) < 64:
    _log.warning(
      "%s: its colour pictures of 16 bits use %d of the 256 values that are read; store them with 8 bits",
      name,
      max(upper) + 1,
    )
  if not largest:
    return None
  white = _white_of(max(largest))
  if white != 2**16 - 1:
    _log.warning(
      "%s: its grey pictures of more than 8 bits hold values up to %d, so %d is taken for white; the option white sets it",
      name,
      max(largest),
      white,
    )
  return white


class Picture:
  """An image file that is open and not yet decoded.

  Turned upright by its EXIF orientation; the first frame of an animation; what is transparent becomes white.

  Attributes:
    size: (height, width), upright.

  Raises:
    Whatever Pillow raises for what it cannot read; ValueError for more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
  """

  def __init__(self, file, channels: int, *, white: int | None = None):
    """Reads no more than the size.

    Args:
      file: path or bytes.
      channels: 1 or 3, of what it is decoded to.
      white: the value that becomes 255 in grey images of more than 8 bits and of floats. An image with larger ones, and
        any if it is None, takes the largest value of 8, 10, 12, 14, 16, 24 or 32 bits that holds its own; for floats in
        [0, 1] it is 1.
    """
    self._image = Image.open(_opened(file))
    self._mode, self._white = _MODES[channels], white
    width, height = self._image.size
    limit = Image.MAX_IMAGE_PIXELS
    if limit and width * height > limit:
      raise ValueError(f"{width} x {height} pixels are more than PIL.Image.MAX_IMAGE_PIXELS, {limit}")
    self._turned = self._image.getexif().get(_ORIENTATION, 1) != 1
    lies = self._turned and self._image.getexif()[_ORIENTATION] >= 5
    self.size = (width, height) if lies else (height, width)

  def decode(self, shrink: int = 1) -> tuple[Image.Image, int]:
    """The image in 8 bits and upright, and by how much its sides are smaller; once only.

    Args:
      shrink: 1, 2, 4 or 8: a JPEG is decoded at this fraction of its size, which is cheaper; others are not.
    """
    with self._image as image:
      drawn = image.draft(None, (max(1, image.width // shrink), max(1, image.height // shrink))) if shrink > 1 else None
      upright = _to_mode(ImageOps.exif_transpose(image) if self._turned else image, self._mode, self._white)
    return upright, shrink if drawn else 1


def shrink_to(size: tuple[int, int], canvas: tuple[int, int]) -> int:
  """By how much a JPEG may be shrunk for a canvas as it is decoded: to at least twice of what is kept."""
  return largest_shrink(min(size) / (2 * max(canvas)))


def largest_shrink(most: float) -> int:
  """The largest of the shrinks of a JPEG that is at most `most`."""
  return max((s for s in _SHRINKS if s <= most), default=1)


def on_canvas(image: Image.Image, canvas: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
  """Puts an image into the upper left corner of a canvas (height, width).

  A larger image is shrunk to fit, with its aspect kept (Lanczos); a smaller one is left as it is.

  Returns:
    The canvas, uint8 `[height, width, channels]`, zeros outside of the image; the image's (height, width) in it.
  """
  width, height = _fit(image.size, canvas)
  if (width, height) != image.size:
    image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
  array = np.zeros((*canvas, len(image.getbands())), np.uint8)
  array[:height, :width] = np.asarray(image).reshape(height, width, -1)
  return array, (height, width)


def _fit(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
  """The largest (width, height) of the same aspect within the canvas (height, width) that does not enlarge."""
  scale = min(1.0, canvas[1] / size[0], canvas[0] / size[1])
  return tuple(max(1, round(side * scale)) for side in size)


def _opened(file):
  return io.BytesIO(file) if isinstance(file, bytes) else file


def _white_of(largest: float) -> int:
  return next((2**bits - 1 for bits in _BITS if largest < 2**bits), 2 ** _BITS[-1] - 1)


def _to_mode(image: Image.Image, mode: str, white: int | None) -> Image.Image:
  """The image as 8 bit grey or RGB; Pillow's own conversion cuts 16 bit off at 255 and uncovers what is transparent."""
  if image.mode.startswith("I") or image.mode == "F":
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    if image.mode == "F" and 0 <= values.min() and values.max() <= 1:
      white = 1
    elif white is None or values.max() > white:
      white = _white_of(values.max())
    image = Image.fromarray(np.rint(np.clip(values / white * 255, 0, 255)).astype(np.uint8))
  if image.has_transparency_data:
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
  image.load()  # of a damaged file, here and not after its end
  return image if image.mode == mode else image.convert(mode)


class TolerantReader:
  """Reads examples one by one and puts the next readable one in the place of one that is not. Thread-safe.

  Attributes:
    unreadable: name -> reason, for all that could not be read so far.
  """

  def __init__(self, name: str, num_examples: int, read_one, name_of):
    """Reads by `read_one(index)`, which may raise anything; `name_of(index)` names an example in messages."""
    self._name, self._num_examples, self._read_one, self._name_of = name, num_examples, read_one, name_of
    self._lock = threading.Lock()
    self._seen: set[int] = set()
    self._bad: set[int] = set()
    self._reasons: dict[str, str] = {}
    self.unreadable = types.MappingProxyType(self._reasons)

  def get(self, index: int):
    """(index that was read, what `read_one` gave): the first readable one from `index` on, around the end."""
    for offset in range(self._num_examples):
      candidate = (index + offset) % self._num_examples
      if candidate in self._bad:
        continue
      try:
        example = self._read_one(candidate)
      except Exception as error:  # Pillow's decoders raise whatever they like on damaged files.
        self._note(candidate, f"{type(error).__name__}: {error}")
        continue
      with self._lock:
        self._seen.add(candidate)
      return candidate, example
    raise DataError(f"{self._name}: none of its {self._num_examples} images can be read; {self._first()}")

  def get_after(self, index: int, error: Exception):
    """Notes that `index` could be opened but not read, and gets the next readable one."""
    self._note(index, f"{type(error).__name__}: {error}")
    return self.get(index)

  def _note(self, index: int, reason: str) -> None:
    with self._lock:
      if index in self._bad:
        return
      self._seen.add(index)
      self._bad.add(index)
      name = self._name_of(index)
      self._reasons[name] = reason
      bad, seen = len(self._bad), len(self._seen)
    _log.warning("cannot read %s: %s", name, reason)
    if seen >= _JUDGED_AFTER and bad > _MAX_UNREADABLE * seen:
      raise DataError(f"{self._name}: {bad} of the {seen} images read so far cannot be read; {self._first()}")

  def _first(self) -> str:
    name, reason = next(iter(self._reasons.items()))
    return f"the first is {name} ({reason})"
