"""The embedded data: small objects on pieces of photographs, made on the spot from what scikit-learn ships.

`scenes` have several objects and the mask of each; `objects` have one, and its class. A split shares neither a sprite
nor a pixel of a photograph with another. Example i depends on (kind, split, seed, sprites, image_size, i) only. Only
integers and sums and products of single numbers are used, so the images are the same on every machine.
"""

import concurrent.futures
import functools
import os
from typing import NamedTuple

import numpy as np

from jssl.data.sampling import uniform
from jssl.data.source import in_memory, Source
from jssl.data.sprites import check_split, load_sprites, resize, SILHOUETTE, SPLITS, Sprites
from jssl.errors import ConfigError

MAX_OVERLAP = 0.1  # of the smaller silhouette
# Columns of the two 427 x 640 photographs.
REGIONS = {"train": (0, 384), "calibration": (384, 480), "test": (480, 640)}


class Kind(NamedTuple):
  """What sets the kinds of embedded images apart: numbers of objects, their sides as shares of the canvas."""

  number: int
  counts: tuple[int, int]
  sides: tuple[float, float]
  sizes: dict[str, int]


SCENES = Kind(0, (2, 4), (20 / 64, 28 / 64), {"train": 4096, "calibration": 256, "test": 512})
OBJECTS = Kind(1, (1, 1), (36 / 64, 52 / 64), {"train": 2048, "calibration": 256, "test": 1024})

_CHUNK = 128  # images made at a time, so that the work stays in the cache
_TRIES = 24  # places tried for an object before it is left out
_TINTS = 6  # colours tried for an object before the farthest from its background is taken
_EDGE = 0.1  # alpha at which an object starts to cover what is behind it
_CONTRAST = 90  # least distance of the colour from the mean of the background behind it, in levels of RGB
_CROP = (40, 96)  # side of a background's piece of a photograph, in pixels


class Plan(NamedTuple):
  """All that is drawn for n images with up to k objects, before anything is painted.

  Attributes:
    count: objects that are tried `[n]`.
    sprite: row of the split's sprites `[n, k]`.
    side: of each object in pixels `[n, k]`.
    place: upper left corners that are tried `[n, k, tries, 2]`, in [0, 1) of the free room.
    tint: colours that are tried `[n, k, tints, 3]`, uint8.
    photo: 0 or 1 `[n]`.
    crop: y, x, side of the background in the photograph `[n, 3]`.
    flip: whether it is mirrored `[n]`.
  """

  count: np.ndarray
  sprite: np.ndarray
  side: np.ndarray
  place: np.ndarray
  tint: np.ndarray
  photo: np.ndarray
  crop: np.ndarray
  flip: np.ndarray


def scenes(
  *, split: str = "train", num_examples: int | None = None, image_size: int = 64, sprites: str = "digits", seed: int = 0
) -> Source:
  """Scenes of two to four objects on a photograph, with the instance mask of each.

  Objects measure 20 to 28 of 64 pixels, later ones lie in front, and the silhouettes of any two overlap by less than
  10 % of the smaller. An object for which no place is found is left out: about one in eight of the fourth.

  Args:
    split: "train", "calibration" or "test"; they share neither sprites nor pixels of the photographs.
    num_examples: 4,096, 256 and 512 by default.
    image_size: side of the square image in pixels, 16 to 512; the objects grow with it.
    sprites: "digits", "fashion_mnist" or "fashion_mnist:/folder/of/the/IDX/files".
    seed: >= 0, of everything that is drawn.

  Returns:
    A Source in memory: `image` uint8 `[size, size, 3]`, `extent`, `segments` uint8 `[size, size]` (0 background, 1 to 4
    the objects from back to front), `segment_label` int32 `[4]` (the class of each object, -1 if there is none).
  """
  return _make("scenes", split, num_examples, image_size, sprites, seed)


def objects(
  *,
  split: str = "train",
  num_examples: int | None = None,
  image_size: int = 64,
  sprites: str = "digits",
  plain: bool = False,
  seed: int = 0,
) -> Source:
  """Images of one object of 36 to 52 of 64 pixels on a photograph, with its class as `label`.

  Args:
    split, image_size, sprites, seed: as for `scenes`.
    num_examples: 2,048, 256 and 1,024 by default.
    plain: white on black, at the same places, in the place of colours on photographs.

  Returns:
    A Source in memory: `image`, `extent`, `segments` (1 is the object) and `label` int32, the digit or the item.
  """
  return _make("objects", split, num_examples, image_size, sprites, seed, plain)


@functools.lru_cache(maxsize=8)
def _make(
  name: str, split: str, num_examples: int | None, image_size: int, sprites: str, seed: int, plain: bool = False
) -> Source:
  kind = {"scenes": SCENES, "objects": OBJECTS}[name]
  check_split(name, split)
  count = kind.sizes[split] if num_examples is None else num_examples
  check_integers(name, num_examples=(count, 1, 2**24), image_size=(image_size, 16, 512), seed=(seed, 0, 2**63))
  chosen = load_sprites(sprites, split)
  plan = draw_plan(kind, split, count, image_size, len(chosen.label), seed)
  largest = round(kind.sides[1] * image_size)
  pieces = [Plan(*(field[start : start + _CHUNK] for field in plan)) for start in range(0, count, _CHUNK)]
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    parts = list(pool.map(lambda piece: paint(piece, chosen, image_size, largest, plain)[:3], pieces))
  image, segments, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
  arrays = dict(image=image, extent=np.full((count, 2), image_size, np.int32), segments=segments)
  arrays |= {"label": labels[:, 0]} if name == "objects" else {"segment_label": labels}
  for array in arrays.values():
    array.setflags(write=False)
  return in_memory(f"{name}/{split}", arrays, num_classes=10 if name == "objects" else None)


def check_integers(name: str, **ranges: tuple[int, int, int]) -> None:
  """Raises `ConfigError` for an option, `(value, low, high)`, that is no integer from low to high."""
  for key, (value, low, high) in ranges.items():
    if not isinstance(value, (int, np.integer)) or not low <= value <= high:
      raise ConfigError(f"{name}: {key} is {value!r}; it must be an integer from {low} to {high}")


def draw_plan(kind: Kind, split: str, count: int, image_size: int, num_sprites: int, seed: int) -> Plan:
  """Draws what `count` images show; the first ones stay the same when `count` grows."""
  k = kind.counts[1]
  per_object = 2 + 2 * _TRIES + 3 * _TINTS
  draws = uniform((seed, kind.number, SPLITS.index(split)), (count, 6 + k * per_object))
  image, each = draws[:, :6], draws[:, 6:].reshape(count, k, per_object)
  low, high = (round(side * image_size) for side in kind.sides)
  place, tint = np.split(each[:, :, 2:], [2 * _TRIES], axis=2)
  left, right = REGIONS[split]
  height = photographs().shape[1]
  side = integers(image[:, 2], *_CROP)
  crop = [
    (image[:, 3] * (height - side + 1)).astype(np.int64),
    left + (image[:, 4] * (right - left - side + 1)).astype(np.int64),
    side,
  ]
  return Plan(
    count=integers(image[:, 0], *kind.counts),
    sprite=integers(each[:, :, 0], 0, num_sprites - 1),
    side=integers(each[:, :, 1], low, high),
    place=place.reshape(count, k, _TRIES, 2),
    tint=integers(tint, 0, 255).astype(np.uint8).reshape(count, k, _TINTS, 3),
    photo=integers(image[:, 1], 0, 1),
    crop=np.stack(crop, 1),
    flip=image[:, 5] < 0.5,
  )


def integers(draws: np.ndarray, low: int, high: int) -> np.ndarray:
  """Integers from `low` to `high`, both included, from numbers in [0, 1)."""
  return low + (draws * (high - low + 1)).astype(np.int64)


@functools.cache
def photographs() -> np.ndarray:
  """The two photographs of `sklearn.datasets.load_sample_images`, uint8 `[2, 427, 640, 3]`."""
  from sklearn import datasets  # pylint: disable=g-import-not-at-top

  return np.stack(datasets.load_sample_images().images)


class Painted(NamedTuple):
  """n images with up to k objects.

  Attributes:
    image: uint8 `[n, size, size, 3]`.
    segments: uint8 `[n, size, size]`, 0 is the background, objects are numbered from back to front.
    label: int32 `[n, k]`, the classes of the objects; -1 where there is none.
    silhouettes: bool `[n, k, size, size]`, the whole objects, what others hide included.
  """

  image: np.ndarray
  segments: np.ndarray
  label: np.ndarray
  silhouettes: np.ndarray


def paint(plan: Plan, sprites: Sprites, image_size: int, largest: int, plain: bool = False) -> Painted:
  """Carries out a plan with objects of up to `largest` pixels; a plain one white on black."""
  n, k = plan.sprite.shape
  image = np.zeros((n, image_size, image_size, 3), np.uint8) if plain else backgrounds(plan, image_size)
  segments = np.zeros(image.shape[:3], np.uint8)
  silhouettes = np.zeros((n, k, image_size, image_size), bool)
  label = np.full((n, k), -1, np.int32)
  placed = np.zeros(n, np.int64)
  margin = -(-largest // 16)  # half a pixel of a digit
  for slot in range(k):
    alpha = resize(sprites.alpha[plan.sprite[:, slot]], plan.side[:, slot], largest + 2 * margin, margin)
    corner, found = find_place(alpha > SILHOUETTE, plan, slot, silhouettes[:, :slot], margin)
    rows = np.flatnonzero(found)
    layer = shift(alpha[rows], corner[rows], image_size)
    inside = layer > SILHOUETTE
    silhouettes[rows, placed[rows]] = inside
    tint = np.full((len(rows), 3), 255, np.uint8) if plain else choose_tint(plan.tint[rows, slot], image[rows], inside)
    blend(image, rows, layer, tint)
    segments[rows] = np.where(inside, (placed[rows] + 1).astype(np.uint8)[:, None, None], segments[rows])
    label[rows, placed[rows]] = sprites.label[plan.sprite[rows, slot]]
    placed[rows] += 1
  return Painted(image, segments, label, silhouettes)


def backgrounds(plan: Plan, image_size: int) -> np.ndarray:
  """The pieces of the photographs, scaled bilinearly to uint8 `[n, size, size, 3]`."""
  y, x, side = (plan.crop[:, i, None] for i in range(3))
  steps = np.arange(image_size)
  centre = np.clip((steps + 0.5) * side / image_size - 0.5, 0, side - 1)  # [n, size]
  first = np.minimum(centre.astype(np.int64), side - 2)
  weight = (centre - first).astype(np.float32)
  photo = photographs()
  index = plan.photo[:, None, None]

  def row(offset):
    top, left = (y + first + offset)[:, :, None], (x + first)[:, None, :]
    start, end = photo[index, top, left], photo[index, top, left + 1]
    w = weight[:, None, :, None]
    return start * (1 - w) + end * w

  w = weight[:, :, None, None]
  image = np.rint(row(0) * (1 - w) + row(1) * w).astype(np.uint8)
  return np.where(plan.flip[:, None, None, None], image[:, :, ::-1], image)


def find_place(silhouette, plan, slot, silhouettes, margin) -> tuple[np.ndarray, np.ndarray]:
  """The first tried corner at which an object overlaps none before it by too much, and whether there is one."""
  n, image_size = len(silhouette), silhouettes.shape[-1]
  corner, found = np.zeros((n, 2), np.int64), np.zeros(n, bool)
  waiting = np.flatnonzero(plan.count > slot)
  area = silhouette.sum((1, 2), dtype=np.int64)
  areas = silhouettes.sum((2, 3), dtype=np.int64)
  for attempt in range(_TRIES):
    free = image_size - plan.side[waiting, slot] - 2 * margin + 1
    tried = (plan.place[waiting, slot, attempt] * free[:, None]).astype(np.int64)
    layer = shift(silhouette[waiting], tried, image_size)
    overlap = (silhouettes[waiting] & layer[:, None]).sum((2, 3), dtype=np.int64)
    smaller = np.minimum(areas[waiting], area[waiting, None])
    # Slots that stayed empty have no area and cannot be overlapped.
    good = ((overlap < MAX_OVERLAP * smaller) | (smaller == 0)).all(1)
    corner[waiting[good]], found[waiting[good]] = tried[good], True
    waiting = waiting[~good]
    if not len(waiting):
      break
  return corner, found


def shift(patch: np.ndarray, corner: np.ndarray, image_size: int) -> np.ndarray:
  """Patches `[n, p, p]` on empty canvases `[n, size, size]`, each with its upper left pixel at its corner `[n, 2]`."""
  n, p = patch.shape[:2]
  canvas = np.zeros((n, image_size + p, image_size + p), patch.dtype)  # a patch's empty margin may stick out
  steps = np.arange(p)
  canvas[np.arange(n)[:, None, None], (corner[:, :1] + steps)[:, :, None], (corner[:, 1:] + steps)[:, None, :]] = patch
  return canvas[:, :image_size, :image_size]


def choose_tint(tints: np.ndarray, image: np.ndarray, inside: np.ndarray) -> np.ndarray:
  """The first colour that stands out from what is behind the object, else the farthest: `[n, tints, 3]` -> `[n, 3]`."""
  area = np.maximum(inside.sum((1, 2), dtype=np.int64), 1)
  behind = (image * inside[..., None]).sum((1, 2), dtype=np.int64) // area[:, None]
  distance = ((tints.astype(np.int64) - behind[:, None]) ** 2).sum(2)
  chosen = np.where((distance > _CONTRAST**2).any(1), (distance > _CONTRAST**2).argmax(1), distance.argmax(1))
  return tints[np.arange(len(tints)), chosen]


def blend(image: np.ndarray, rows: np.ndarray, alpha: np.ndarray, tint: np.ndarray) -> None:
  """Paints objects into the images `rows`: opaque inside of the silhouette, with a soft edge; alpha shades the tint."""
  which, y, x = np.nonzero(alpha > _EDGE)
  alpha = alpha[which, y, x, None]
  opacity = np.minimum((alpha - np.float32(_EDGE)) / np.float32(2 * (SILHOUETTE - _EDGE)), 1)
  shade = np.float32(0.4) + np.float32(0.6) * alpha
  behind = image[rows[which], y, x]
  image[rows[which], y, x] = np.rint(behind * (1 - opacity) + tint[which] * shade * opacity).astype(np.uint8)
