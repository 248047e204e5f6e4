"""A folder of image files of any kind."""

import pathlib

import jax
import numpy as np

from jssl.data import images
from jssl.data.source import DataError, Source
from jssl.errors import ConfigError, nearest

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2", ".avif")


def load_folder(
  path: str, *, split: str = "train", canvas: int = 256, channels: int = 3, labels: bool | None = None
) -> Source:
  """The images below a folder, decoded as they are read.

  Where the folder has a subfolder of the split's name, that is the split; otherwise the whole folder is "train". With
  labels, the names of the subfolders, sorted, are the classes; an image belongs to the one at the top of its path.

  Images that cannot be read are named in the source's `unreadable`, logged once, and replaced by the next readable one
  in the order of the paths, together with its label.

  Args:
    path: the folder.
    split: "train", or the name of a subfolder.
    canvas: side of the square array in pixels. A larger image is shrunk to fit; none is enlarged. `extent` is the valid
      part in the upper left corner.
    channels: 3 (RGB) or 1 (grey).
    labels: whether subfolders are classes. By default they are if there are several and every image lies directly in
      one of them.

  Raises:
    ConfigError: for a split that the folder does not have, or a wrong option.
    DataError: if there is no such folder or no image in it; while reading, if more than 10 % of at least 100 images
      are unreadable, or all of them.
  """
  images.check_canvas(canvas, channels)
  root = _split_folder(pathlib.Path(path).expanduser(), split)
  files = sorted(
    (p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()),
    key=lambda p: p.relative_to(root).parts,
  )
  if not files:
    raise DataError(f"{root} has no images; looked for {' '.join(SUFFIXES)} in it and below")
  classes, label = _classes(root, files, labels)
  name = f"folder:{root}"
  spec = {
    "image": jax.ShapeDtypeStruct((canvas, canvas, channels), np.uint8),
    "extent": jax.ShapeDtypeStruct((2,), np.int32),
  }
  if classes:
    spec["label"] = jax.ShapeDtypeStruct((), np.int32)
  reader = images.TolerantReader(
    name, len(files), lambda i: images.decode(files[i], (canvas, canvas), channels), lambda i: str(files[i])
  )

  def read(indices, keys):
    if "image" not in keys and "extent" not in keys:  # labels alone cost no decoding, so unreadable images keep theirs
      return {key: label[indices] for key in keys}
    found = [reader.get(int(i)) for i in indices]
    batch = {
      "image": lambda: np.stack([image for _, (image, _) in found]),
      "extent": lambda: np.asarray([extent for _, (_, extent) in found], np.int32),
      "label": lambda: label[[i for i, _ in found]],
    }
    return {key: batch[key]() for key in keys}

  return Source(
    name=name,
    num_examples=len(files),
    element_spec=spec,
    read=read,
    num_classes=len(classes) or None,
    unreadable=reader.unreadable,
  )


def _split_folder(path: pathlib.Path, split: str) -> pathlib.Path:
  if not path.is_dir():
    raise DataError(f"there is no folder {path}; name one that holds images, or a folder of them for each class")
  if (path / split).is_dir() and split not in ("", ".", ".."):
    return path / split
  if split != "train":
    raise ConfigError(
      f"{path} has no subfolder for the split {split!r}; "
      f"{nearest(split, ['train', *(p.name for p in path.iterdir() if p.is_dir())])}"
    )
  return path


def _classes(root, files, labels) -> tuple[list[str], np.ndarray | None]:
  """The classes' names and each file's number, or none."""
  parts = [file.relative_to(root).parts for file in files]
  if labels is None:
    labels = all(len(p) == 2 for p in parts) and len({p[0] for p in parts}) > 1
  if not labels:
    return [], None
  loose = next((p for p in parts if len(p) == 1), None)
  if loose:
    raise DataError(f"{root}/{loose[0]} lies in no class folder; move it into one, or set labels=False")
  classes = sorted({p[0] for p in parts})
  number = {name: i for i, name in enumerate(classes)}
  return classes, np.asarray([number[p[0]] for p in parts], np.int32)
