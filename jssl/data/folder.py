"""A folder of image files of any kind."""

from collections.abc import Sequence
import logging
import os
import pathlib

import jax
import numpy as np

from jssl.data import images
from jssl.data.encoded import EncodedImages
from jssl.data.source import DataError, Source
from jssl.errors import ConfigError, nearest
from jssl.files import user_path

SUFFIXES = (
  ".jpg",
  ".jpeg",
  ".png",
  ".webp",
  ".bmp",
  ".gif",
  ".tif",
  ".tiff",
  ".ppm",
  ".pgm",
  ".pbm",
  ".jp2",
  ".avif",
  ".jfif",
)
# What folders of splits are called, in any letters.
_SPLITS = dict(
  train=("train", "training"), val=("val", "valid", "validation", "eval", "evaluation", "dev"), test=("test", "testing")
)
_SPLIT_OF = {alias: split for split, aliases in _SPLITS.items() for alias in aliases}
# Folders that systems and programs leave behind; so is whatever begins with a dot.
_LEFT_BEHIND = ("__MACOSX", "__pycache__", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")

_log = logging.getLogger("jssl")


def load_folder(
  path: str,
  *,
  split: str = "train",
  canvas: int = 256,
  channels: int = 3,
  labels: bool | None = None,
  white: int | None = None,
) -> Source:
  """The images below a folder, decoded as they are read.

  A subfolder of the split's name, or of another name for it ("training", "Validation", "valid", "eval", ...), is the
  split. Where there is none, "train" is the whole folder without the subfolders that are other splits. With labels,
  subfolders are classes, and an image belongs to the one at the top of its path. All splits of a folder share one table
  of classes: the sorted names of the subfolders of all of them. A class of which this split has no image keeps its number.

  Hidden files and folders (`.ipynb_checkpoints`) are passed over, links are followed, suffixes may have capitals.

  Images that cannot be read are named in the source's `unreadable`, logged once, and replaced by the next readable one
  in the order of the paths, together with its label.

  Args:
    path: the folder.
    split: "train", or the name of a subfolder.
    canvas: side of the square array `image` in pixels. A larger image is shrunk to fit; none is enlarged. `extent` is the
      valid part in the upper left corner. Views that begin with a crop are cut out of the files, see `jssl.host_crops`.
    channels: 3 (RGB) or 1 (grey).
    labels: whether subfolders are classes. By default they are if every image lies directly in one of them, and there
      are several, in this split or in the others.
    white: the value that is white in grey images of more than 8 bits, 4095 for 12 bits in 16-bit files. By default what
      some of the files suggest: the largest value of 8, 10, 12, 14, 16, 24 or 32 bits that holds all of theirs.

  Raises:
    ConfigError: for a split that the folder does not have, or a wrong option.
    DataError: if there is no such folder or no image in it; while reading, if more than 10 % of at least 100 images
      are unreadable, or all of them.
  """
  images.check_canvas(canvas, channels)
  images.check_white(white)
  root, left_out, table = _find_split(user_path(path), split)
  name = f"folder:{root}"
  parts = _image_paths(root, left_out)
  if not parts:
    raise DataError(f"{root} has no images; looked for {' '.join(SUFFIXES)} in it and below")
  files = [root.joinpath(*p) for p in parts]
  classes, label = _classes(root, parts, _subfolders(root, left_out), table, labels)
  white = images.find_white(name, files) if white is None else white
  spec = {
    "image": jax.ShapeDtypeStruct((canvas, canvas, channels), np.uint8),
    "extent": jax.ShapeDtypeStruct((2,), np.int32),
  }
  if classes:
    spec["label"] = jax.ShapeDtypeStruct((), np.int32)
  encoded = EncodedImages(
    name,
    len(files),
    lambda i: (files[i], {} if label is None else dict(label=label[i])),
    lambda i: str(files[i]),
    canvas=(canvas, canvas),
    channels=channels,
    white=white,
  )

  def read(indices, keys):
    if "image" not in keys and "extent" not in keys:  # labels alone cost no decoding, so unreadable images keep theirs
      return {key: label[indices] for key in keys}
    return encoded.read(indices, keys)

  return Source(
    name=name,
    num_examples=len(files),
    element_spec=spec,
    read=read,
    num_classes=len(classes) or None,
    unreadable=encoded.unreadable,
    encoded=encoded,
  )


def _find_split(path: pathlib.Path, split: str) -> tuple[pathlib.Path, tuple[str, ...], list[str] | None]:
  """The split's folder, the subfolders of it that are other splits, and the classes of all splits if there are more."""
  if not path.is_dir():
    raise DataError(f"there is no folder {path}; name one that holds images, or a folder of them for each class")
  folders = _subfolders(path)
  splits = [name for name in folders if name.lower() in _SPLIT_OF]
  others = [name for name in folders if name not in splits]
  has_train = any(_SPLIT_OF[name.lower()] == "train" for name in splits)
  chosen = _named(path, split, folders)
  train = [] if has_train or chosen in others else [others]
  table = _table([*train, *(_subfolders(path / name) for name in splits)]) if splits else None
  if chosen:
    unused = [name for name in others if _holds_images(path / name)]
    if unused and _SPLIT_OF.get(chosen.lower()) == "train":
      _log.warning("%s: '%s' is the split; %s beside it is no part of it", path, chosen, _quoted(unused))
    return path / chosen, (), table
  if _SPLIT_OF.get(split.lower()) != "train":
    raise ConfigError(f"{path} has no subfolder for the split {split!r}; {nearest(split, ['train', *folders])}")
  if splits:
    if not others and not _holds_images(path):
      raise ConfigError(f"{path} has no split 'train', only {_quoted(splits)}; set the split")
    _log.warning("%s: %s is taken for another split and left out of '%s'", path, _quoted(splits), split)
    return path, tuple(splits), table
  return path, (), _table_beside(pathlib.Path(os.path.abspath(path)), folders)


def _named(path: pathlib.Path, split: str, folders: Sequence[str]) -> str | None:
  """The subfolder of a split: the one of its name, else in other letters, else of another name for it."""
  if split in folders:
    return split
  meaning = _SPLIT_OF.get(split.lower())
  for same in (lambda name: name.lower() == split.lower(), lambda name: meaning and _SPLIT_OF.get(name.lower()) == meaning):
    found = [name for name in folders if same(name)]
    if len(found) > 1:
      raise ConfigError(f"{path}: the split {split!r} may be any of {_quoted(found)}; name one of them")
    if found:
      return found[0]
  return None


def _table(splits: Sequence[Sequence[str]]) -> list[str]:
  """The sorted names of all classes; a split's only folder that no other one has ("images") is none."""
  several = any(len(names) > 1 for names in splits)
  classes: set[str] = set()
  for i, names in enumerate(splits):
    elsewhere = {name for j, other in enumerate(splits) if j != i for name in other}
    if len(names) > 1 or not several or set(names) <= elsewhere:
      classes |= set(names)
  return sorted(classes)


def _table_beside(path: pathlib.Path, folders: Sequence[str]) -> list[str] | None:
  """For a folder that is itself called like a split: its classes and those of the splits beside it that share some."""
  if path.name.lower() not in _SPLIT_OF:
    return None
  beside = [_subfolders(path.parent / n) for n in _subfolders(path.parent) if n.lower() in _SPLIT_OF and n != path.name]
  shared = [names for names in beside if set(names) & set(folders)]
  return sorted(set(folders).union(*shared)) if shared else None


def _visible(name: str) -> bool:
  return not name.startswith(".") and name not in _LEFT_BEHIND


def _subfolders(path: pathlib.Path, left_out: Sequence[str] = ()) -> list[str]:
  with os.scandir(path) as entries:
    return sorted(e.name for e in entries if e.is_dir() and _visible(e.name) and e.name not in left_out)


def _holds_images(path: pathlib.Path) -> bool:
  """Whether images lie directly in a folder."""
  with os.scandir(path) as entries:
    return any(_is_image(entry) for entry in entries)


def _is_image(entry: os.DirEntry) -> bool:
  return _visible(entry.name) and pathlib.PurePath(entry.name).suffix.lower() in SUFFIXES and entry.is_file()


def _image_paths(root: pathlib.Path, left_out: Sequence[str]) -> list[tuple[str, ...]]:
  """The parts of the paths, below `root`, of all images, sorted. Links that lead nowhere or in a circle are logged."""
  found: list[tuple[str, ...]] = []
  lost: list[str] = []

  def look(parts, above):
    place = root.joinpath(*parts)
    real = os.path.realpath(place)
    if real in above:
      lost.append(f"{place} (leads back to {real})")
      return
    try:
      with os.scandir(place) as scanned:
        entries = list(scanned)
    except OSError as error:
      raise DataError(f"cannot list {place}: {error.strerror}") from error
    for entry in entries:
      if not _visible(entry.name) or (not parts and entry.name in left_out):
        continue
      if entry.is_dir():
        look((*parts, entry.name), {*above, real})
      elif _is_image(entry):
        found.append((*parts, entry.name))
      elif entry.is_symlink() and not os.path.exists(entry.path):
        lost.append(f"{entry.path} (leads nowhere)")

  look((), set())
  if lost:
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    _log.warning("%s: cannot follow the link %s%s", root, lost[0], more)
  return sorted(found)


def _classes(root, parts, folders, table, labels) -> tuple[list[str], np.ndarray | None]:
  """The classes' names and each file's number, or none."""
  if labels is None:
    labels = _have_labels(root, parts, folders, table)
  if not labels:
    return [], None
  loose = next((p for p in parts if len(p) == 1), None)
  if loose:
    raise DataError(f"{root}/{loose[0]} lies in no class folder; move it into one, or set labels=False")
  # A class that no other split has comes last, so that it does not move the others' numbers.
  classes = [*(table or []), *sorted(set(folders) - set(table or []))]
  letters: dict[str, str] = {}
  for name in classes:
    if letters.setdefault(name.lower(), name) != name:
      _log.warning("%s: the classes '%s' and '%s' differ in capital letters alone", root, letters[name.lower()], name)
  empty = sorted(set(classes) - {p[0] for p in parts})
  if empty:
    _log.warning("%s: no image of %d of its %d classes: %s", root, len(empty), len(classes), _quoted(empty))
  number = {name: i for i, name in enumerate(classes)}
  return classes, np.asarray([number[p[0]] for p in parts], np.int32)


def _have_labels(root, parts, folders, table) -> bool:
  """Whether subfolders are classes; says so where they are not and might be meant to be."""
  apart = next((p for p in parts if len(p) != 2), None)
  top = {p[0] for p in parts if len(p) > 1}
  reason = None
  if apart and top:
    where = "deeper than in a class folder" if len(apart) > 2 else "beside the subfolders"
    reason = f"{'/'.join(apart)} lies {where}" + ("; labels=True takes the uppermost folders" if len(apart) > 2 else "")
  elif len(top) == 1 and not (table and top < set(table)):
    reason = f"they lie in one subfolder, '{min(top)}'; labels=True makes it a class"
  if reason:
    _log.warning("%s: its images have no labels, since %s", root, reason)
  return not reason and bool(top)


def _quoted(names: Sequence[str]) -> str:
  shown = ", ".join(f"'{name}'" for name in names[:5])
  return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
