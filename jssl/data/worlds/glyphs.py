"""Glyphs: one character of one of many fonts, in ink on paper. Training and test images share no family of fonts.

Example i depends on (split, seed, the fonts that are there, the options, i) only; where the fonts are others, so are the
images, and a run's fingerprint of its data says so.
"""

import functools
import string

import numpy as np
from PIL import Image

from jssl.data.sampling import uniform
from jssl.data.source import in_memory, Source
from jssl.data.worlds.faces import CAPITAL, Faces, load_faces, SIDE, SYSTEM_FOLDER
from jssl.errors import ConfigError, nearest

SIZES = {"train": 16384, "test": 4096}
INKS = ("dark", "any", "black")
_TRIES = 16  # pairs of colours tried before the one that differs most is taken
_GREY = np.array([0.299, 0.587, 0.114])


def load_glyphs(
  folder: str = "",
  *,
  split: str = "train",
  num_examples: int | None = None,
  image_size: int = 32,
  characters: str = string.ascii_uppercase,
  height: tuple[float, float] = (0.55, 0.85),
  angle: float = 8.0,
  ink: str = "dark",
  contrast: float = 60.0,
  seed: int = 0,
) -> Source:
  """Images of one character each, at a random place, size and angle, in two colours.

  Families are drawn alike, and the faces of a family; so are characters.

  Args:
    folder: of the fonts, and of those below it; default `/usr/share/fonts`.
    split: "train" or "test".
    num_examples: 16,384 and 4,096 by default; the first ones stay the same when it grows.
    image_size: side in pixels.
    characters: the classes, in the order of their labels.
    height: of most characters of a face, as a share of the side; drawn from this range.
    angle: the largest, in degrees.
    ink: "dark" ink is darker than its paper, "any" may be lighter, "black" is black on white.
    contrast: least difference of the grey levels of ink and paper, of 255.
    seed: >= 0, of everything that is drawn.

  Returns:
    A Source in memory: `image` uint8 `[size, size, 3]`, `extent`, `label` int32, `family` and `face` int32, the numbers of
    the font's family and of the face within the split.

  Raises:
    DataError: if there are too few fonts.
    ConfigError: for a split or an option that there is not.
  """
  if split not in SIZES:
    raise ConfigError(f"glyphs has no split {split!r}; {nearest(split, SIZES)}")
  if ink not in INKS:
    raise ConfigError(f"glyphs: ink is {ink!r}; {nearest(ink, INKS)}")
  count = SIZES[split] if num_examples is None else num_examples
  if min(count, image_size - 7) < 1 or len(set(characters)) < max(len(characters), 2) or not 0 < height[0] <= height[1] <= 1:
    raise ConfigError(
      f"glyphs: num_examples={count}, image_size={image_size}, height={height}, characters={characters!r}: at least one "
      "example of 8 pixels, heights in (0, 1], and two characters or more, all different"
    )
  return _make(folder or SYSTEM_FOLDER, split, count, image_size, characters, tuple(height), angle, ink, contrast, seed)


@functools.lru_cache(maxsize=8)
def _make(folder, split, count, size, characters, height, angle, ink, contrast, seed) -> Source:
  faces = load_faces(split, characters, folder)
  draws = uniform((seed, list(SIZES).index(split)), (count, 7 + 6 * _TRIES))
  face = _choose_faces(faces, draws[:, 0], draws[:, 1])
  label = (draws[:, 2] * len(characters)).astype(np.int32)
  scale = (height[0] + draws[:, 3] * (height[1] - height[0])) * size / CAPITAL
  turn = np.deg2rad((2 * draws[:, 4] - 1) * angle)
  alpha = np.empty((count, size, size), np.float32)
  for i in range(count):
    alpha[i] = place(faces.masks[face[i], label[i]], size, scale[i], turn[i], draws[i, 5:7])
  arrays = dict(
    image=paint(alpha, draws[:, 7:].reshape(count, _TRIES, 2, 3), ink, contrast),
    extent=np.full((count, 2), size, np.int32),
    label=label,
    family=faces.family[face],
    face=face,
  )
  for array in arrays.values():
    array.setflags(write=False)
  return in_memory(f"glyphs/{split}", arrays, num_classes=len(characters))


def _choose_faces(faces: Faces, family: np.ndarray, member: np.ndarray) -> np.ndarray:
  """Faces int32 `[n]`, by two numbers `[n]` in [0, 1): which family, and which of its faces."""
  _, first, size = np.unique(faces.family, return_index=True, return_counts=True)  # faces are sorted by family
  chosen = (family * len(first)).astype(np.int64)
  return (first[chosen] + (member * size[chosen]).astype(np.int64)).astype(np.int32)


def place(mask: np.ndarray, size: int, scale: float, turn: float, where: np.ndarray) -> np.ndarray:
  """A character on an empty canvas, float32 `[size, size]` in [0, 1].

  Args:
    mask: uint8 `[64, 64]`, its ink in the middle.
    size: of the canvas.
    scale: pixels of the canvas for one of the mask.
    turn: the angle, in radians.
    where: `[2]` in [0, 1], of the room that the turned box of the ink leaves; the middle where it leaves none.
  """
  canvas, scale = 2 * size, 2 * scale  # twice as large at first, for soft edges
  rows, columns = np.nonzero(mask > SIDE)
  half = np.array([np.ptp(columns) + 1, np.ptp(rows) + 1]) / 2 * scale
  cos, sin = np.cos(turn), np.sin(turn)
  reach = np.array([abs(cos) * half[0] + abs(sin) * half[1], abs(sin) * half[0] + abs(cos) * half[1]])
  x, y = canvas / 2 + (2 * where - 1) * np.maximum(canvas / 2 - reach, 0)
  cos, sin, middle = cos / scale, sin / scale, SIDE / 2
  matrix = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
  turned = Image.fromarray(mask).transform((canvas, canvas), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
  return np.asarray(turned.reduce(2), np.float32) / 255


def paint(alpha: np.ndarray, colours: np.ndarray, ink: str, contrast: float) -> np.ndarray:
  """Ink on paper, uint8 `[n, size, size, 3]`.

  Args:
    alpha: of the ink, `[n, size, size]` in [0, 1].
    colours: pairs of ink and paper, `[n, tries, 2, 3]` in [0, 1]; the first that differs enough is taken.
    ink, contrast: see `load_glyphs`.
  """
  difference = np.diff(255 * colours @ _GREY, axis=-1)[..., 0]  # [n, tries], paper less ink
  enough = np.abs(difference) >= contrast
  chosen = np.where(enough.any(1), enough.argmax(1), np.abs(difference).argmax(1))
  each = np.arange(len(alpha))
  pairs, lighter = 255 * colours[each, chosen], difference[each, chosen] < 0
  if ink == "dark":
    pairs[lighter] = pairs[lighter, ::-1]
  elif ink == "black":
    pairs[:, 0], pairs[:, 1] = 0, 255
  front, back = pairs[:, 0, None, None], pairs[:, 1, None, None]
  return np.rint(back * (1 - alpha[..., None]) + front * alpha[..., None]).astype(np.uint8)
