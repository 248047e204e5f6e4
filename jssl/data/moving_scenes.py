"""Clips of the embedded scenes: objects that move, and grow or shrink a little, over a piece of a photograph that stays.

Made on the spot, like `jssl.data.scenes`, of the same sprites and photographs by split; example i depends on (split, seed,
sprites, image_size, frames, i) only, and is the same on every machine.
"""

import concurrent.futures
import functools
import os
from typing import NamedTuple

import numpy as np

from jssl.data.sampling import uniform
from jssl.data.scenes import (
  backgrounds,
  blend,
  check_integers,
  choose_tint,
  draw_plan,
  find_place,
  integers,
  Kind,
  Plan,
  shift,
)
from jssl.data.source import in_memory, Source
from jssl.data.sprites import check_split, load_sprites, resize, SILHOUETTE, SPLITS, Sprites

MOVING = Kind(2, (2, 3), (20 / 64, 28 / 64), {"train": 256, "calibration": 64, "test": 64})
_CHUNK = 32  # clips made at a time
_TRIES = 8  # ends tried for a path before the farthest is taken
_PATH = 16 / 64  # the least length of a path, as a share of the image's side
_GROWTH = (80, 125)  # an object's last side in percent of its first


class Motion(NamedTuple):
  """What n clips with up to k objects have beside the plan of their first frame.

  Attributes:
    growth: each object's last side in percent of its first `[n, k]`.
    end: upper left corners that are tried for the last frame `[n, k, tries, 2]`, in [0, 1) of the free room.
  """

  growth: np.ndarray
  end: np.ndarray


def moving_scenes(
  *,
  split: str = "train",
  num_examples: int | None = None,
  image_size: int = 64,
  frames: int = 12,
  sprites: str = "digits",
  seed: int = 0,
) -> Source:
  """Clips of two or three objects, each on a straight path over a photograph that stays, with the masks of all frames.

  The first frame is a scene: silhouettes overlap by less than 10 % of the smaller one. Later, objects in front hide those
  behind. A path is a quarter of the image's side long, or longer; the last side of an object is 80 to 125 % of its first.

  Args:
    split: "train", "calibration" or "test"; they share neither sprites nor pixels of the photographs.
    num_examples: 256, 64 and 64 by default.
    image_size: side of the square frames in pixels, 16 to 512; the objects grow with it.
    frames: of a clip, 2 to 1,000.
    sprites: "digits", "fashion_mnist" or "fashion_mnist:/folder/of/the/IDX/files".
    seed: >= 0, of everything that is drawn.

  Returns:
    A Source in memory: `clip` uint8 `[frames, size, size, 3]`, `segments` int32 `[frames, size, size]` (0 background, the
    objects from back to front), `segment_label` int32 `[3]` (the class of each object, -1 if there is none).
  """
  return _make(split, num_examples, image_size, frames, sprites, seed)


@functools.lru_cache(maxsize=4)
def _make(split: str, num_examples: int | None, image_size: int, frames: int, sprites: str, seed: int) -> Source:
  check_split("moving_scenes", split)
  count = MOVING.sizes[split] if num_examples is None else num_examples
  check_integers(
    "moving_scenes",
    num_examples=(count, 1, 2**20),
    image_size=(image_size, 16, 512),
    frames=(frames, 2, 1000),
    seed=(seed, 0, 2**63),
  )
  chosen = load_sprites(sprites, split)
  plan = draw_plan(MOVING, split, count, image_size, len(chosen.label), seed)
  motion = _draw_motion(split, count, seed)
  parts = [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
  piece = lambda fields, part: type(fields)(*(field[part] for field in fields))
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    made = pool.map(lambda part: _paint(piece(plan, part), piece(motion, part), chosen, image_size, frames), parts)
    clip, segments, label = (np.concatenate(part) for part in zip(*made, strict=True))
  arrays = dict(clip=clip, segments=segments, segment_label=label)
  for array in arrays.values():
    array.setflags(write=False)
  return in_memory(f"moving_scenes/{split}", arrays)


def _draw_motion(split: str, count: int, seed: int) -> Motion:
  k = MOVING.counts[1]
  # Another stream than the first frames', which the number of the kind of data alone begins.
  draws = uniform((seed, MOVING.number, SPLITS.index(split), 1), (count, k, 1 + 2 * _TRIES))
  return Motion(integers(draws[:, :, 0], *_GROWTH), draws[:, :, 1:].reshape(count, k, _TRIES, 2))


def _paint(plan: Plan, motion: Motion, sprites: Sprites, image_size: int, frames: int):
  """Carries out a plan: clips `[n, T, H, W, 3]`, segments `[n, T, H, W]`, labels `[n, k]`."""
  n, k = plan.sprite.shape
  clip = np.repeat(backgrounds(plan, image_size)[:, None], frames, 1)
  segments = np.zeros(clip.shape[:4], np.int32)
  silhouettes = np.zeros((n, k, image_size, image_size), bool)
  label, placed = np.full((n, k), -1, np.int32), np.zeros(n, np.int64)
  last = plan.side * motion.growth // 100
  largest = round(MOVING.sides[1] * image_size * _GROWTH[1] / 100)
  margin = -(-largest // 16)
  for slot in range(k):
    grey = sprites.alpha[plan.sprite[:, slot]]
    draw = lambda rows, side, grey=grey: resize(grey[rows], side, largest + 2 * margin, margin)
    first = draw(slice(None), plan.side[:, slot])
    start, found = find_place(first > SILHOUETTE, plan, slot, silhouettes[:, :slot], margin)
    rows = np.flatnonzero(found)
    start, side = start[rows], (plan.side[rows, slot], last[rows, slot])
    end = _ends(start, motion.end[rows, slot], image_size - side[1] - 2 * margin + 1, image_size)
    inside = shift(first[rows], start, image_size) > SILHOUETTE
    silhouettes[rows, placed[rows]] = inside
    tint = choose_tint(plan.tint[rows, slot], clip[rows, 0], inside)
    number = (placed[rows] + 1).astype(np.int32)[:, None, None]
    for t in range(frames):
      layer = shift(draw(rows, _between(*side, t, frames)), _between(start, end, t, frames), image_size)
      blend(clip[:, t], rows, layer, tint)
      segments[rows, t] = np.where(layer > SILHOUETTE, number, segments[rows, t])
    label[rows, placed[rows]] = sprites.label[plan.sprite[rows, slot]]
    placed[rows] += 1
  return clip, segments, label


def _between(first: np.ndarray, last: np.ndarray, t: int, frames: int) -> np.ndarray:
  """Integers on the straight way from the first to the last, rounded."""
  steps = frames - 1
  return (2 * (first * (steps - t) + last * t) + steps) // (2 * steps)


def _ends(start: np.ndarray, tried: np.ndarray, free: np.ndarray, image_size: int) -> np.ndarray:
  """The first of the tried corners `[n, tries, 2]` that is far enough from the start `[n, 2]`, else the farthest."""
  corner = (tried * free[:, None, None]).astype(np.int64)
  distance = ((corner - start[:, None]) ** 2).sum(2)
  far = distance >= round(_PATH * image_size) ** 2
  chosen = np.where(far.any(1), far.argmax(1), distance.argmax(1))
  return corner[np.arange(len(corner)), chosen]
