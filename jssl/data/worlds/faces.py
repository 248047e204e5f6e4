"""Faces of fonts as masks of their characters, split by family."""

from collections.abc import Iterator
import functools
import hashlib
import pathlib
import re
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jssl.data.source import DataError
from jssl.files import user_path

SYSTEM_FOLDER = "/usr/share/fonts"
SIDE = 64  # of a mask
CAPITAL = 36  # pixels of the height of most characters in it
CLONE = 0.95  # cosine of two faces' masks above which they are drawn alike
_TEST_SHARE = 0.25  # of the families
_LARGEST = 60  # side of a character's box, so that some of the mask around it is free
_NOWHERE = "\U0010fffe"  # a character that no font has: what is drawn for it stands for missing ones
_NO_LETTERS = re.compile(
  "math|symbol|emoji|icon|dingbat|braille|ornament|extension|initials|keyboard|cmsy|cmex|msam|wasy|stmary|esint|"
  "ubuntu-title|aenigma|ecolier|humor|beteckna.*lowercase",
  re.IGNORECASE,
)
# Styles that hardly differ from the regular and the bold one of their family.
_BETWEEN = re.compile(
  "condensed|thin|hairline|extralight|ultralight|medium|semi|demi|oblique|slanted|caption|display|swash|small ?cap|smcp|sc$",
  re.IGNORECASE,
)


class Faces(NamedTuple):
  """Faces, sorted by family.

  Attributes:
    masks: uint8 `[faces, characters, 64, 64]`, the ink of each character in the middle, most characters 36 pixels high.
    family: int32 `[faces]`, its number; families of both splits are numbered together.
    names: of the faces, family and style.
  """

  masks: np.ndarray
  family: np.ndarray
  names: tuple[str, ...]


def family_of(name: str) -> str:
  """The first word of a face's name: a maker's sans, serif and mono are one family here, for their letters are alike."""
  return re.split(r"[\s\-_]", name)[0].lower()


def in_test(family: str) -> bool:
  """Whether a family is a test family: by a hash of its name, so that a font that is installed later moves no other."""
  return int(hashlib.md5(family.encode()).hexdigest(), 16) % 1000 < 1000 * _TEST_SHARE


@functools.lru_cache(maxsize=4)
def load_faces(split: str, characters: str, folder: str = SYSTEM_FOLDER) -> Faces:
  """The faces of a split that are in a folder and below it.

  Left out are faces without all of the characters, faces that draw two of them alike (a box for what they do not have),
  symbols, styles between regular and bold, and test faces that are drawn like a training face under another name.

  Args:
    split: "train" or "test", which share no family.
    characters: all different.
    folder: of .ttf and .otf files.

  Raises:
    DataError: if there are fewer than two families, with what to install.
  """
  faces, families = _read_all(characters, folder)
  test = np.array([in_test(name) for name in families])[faces.family]
  kept = np.flatnonzero(test == (split == "test"))
  if split == "test" and len(kept):
    kept = kept[~clones(faces.masks[kept], faces.masks[~test])]
  if len(np.unique(faces.family[kept])) < 2:
    raise DataError(
      f"{folder} has fewer than two families of fonts with {characters!r} for {split}; Debian has hundreds (apt-get install "
      "fonts-freefont-ttf fonts-urw-base35 fonts-croscore fonts-noto-core ...), or name a folder: glyphs:/path"
    )
  return Faces(faces.masks[kept], faces.family[kept], tuple(faces.names[face] for face in kept))


def clones(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Which faces `[n, ...]` have a cosine above `CLONE` with one of the others `[m, ...]`: bool `[n]`."""
  flat = lambda x: x.reshape(len(x), -1).astype(np.float32)
  unit = lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
  return ((unit(flat(masks)) @ unit(flat(others)).T) > CLONE).any(1) if len(others) else np.zeros(len(masks), bool)


@functools.lru_cache(maxsize=2)
def _read_all(characters: str, folder: str) -> tuple[Faces, list[str]]:
  """The faces of both splits, and the names of their families."""
  found, seen = {}, set()
  for name, masks in _readable(characters, user_path(folder)):
    digest = hashlib.md5(masks.tobytes()).digest()
    if digest not in seen:  # the same face in another format or under another name
      seen.add(digest)
      found.setdefault(name, masks)
  names = sorted(found, key=lambda name: (family_of(name), name))
  families = sorted({family_of(name) for name in names})
  masks = np.stack([found[name] for name in names]) if names else np.zeros((0, len(characters), SIDE, SIDE), np.uint8)
  return Faces(masks, np.array([families.index(family_of(n)) for n in names], np.int32), tuple(names)), families


def _readable(characters: str, folder: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
  """Name and masks of every face that has the characters, in the order of the files' names."""
  files = (path for path in folder.rglob("*") if path.suffix.lower() in (".ttf", ".otf"))
  for path in sorted(files, key=lambda path: (path.name, str(path))):
    try:
      font = ImageFont.truetype(str(path), SIDE)
      family, style = (part or "" for part in font.getname())
      name = f"{family or path.stem} {style}".strip()
      if _NO_LETTERS.search(f"{name} {path.name} {path.parent.name}") or _BETWEEN.search(style):
        continue
      masks = draw_characters(font, characters)
    except (OSError, ValueError):  # what FreeType or Pillow cannot read
      continue
    if masks is not None:
      yield name, masks


def draw_characters(font: ImageFont.FreeTypeFont, characters: str) -> np.ndarray | None:
  """Masks uint8 `[characters, 64, 64]` of a face; None if it lacks one of them, or draws two alike."""
  drawn = [_ink(font, character) for character in characters]
  missing = _ink(font, _NOWHERE)
  looks = {ink.tobytes() for ink in drawn if ink is not None}
  if len(looks) < len(characters) or missing is not None and missing.tobytes() in looks:
    return None
  scale = CAPITAL / np.median([ink.height for ink in drawn])
  masks = np.zeros((len(characters), SIDE, SIDE), np.uint8)
  for mask, ink in zip(masks, drawn, strict=True):
    fit = min(scale, _LARGEST / ink.width, _LARGEST / ink.height)
    width, height = (max(1, round(side * fit)) for side in ink.size)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    small = ink.resize((width, height), Image.Resampling.BOX if fit < 1 else Image.Resampling.BILINEAR)
    mask[top : top + height, left : left + width] = np.asarray(small)
  return masks


def _ink(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
  """A character as it is drawn, cut out at its box; None if there is no ink."""
  canvas = Image.new("L", (4 * SIDE, 4 * SIDE))
  ImageDraw.Draw(canvas).text((2 * SIDE, 2 * SIDE), character, font=font, fill=255, anchor="mm")
  box = canvas.getbbox()
  return canvas.crop(box) if box else None
