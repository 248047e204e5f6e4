"""The IDX format of MNIST and its relatives, and Fashion-MNIST's files in it, read with NumPy alone."""

import dataclasses
import functools
import gzip
import struct
import zlib

import numpy as np

from jssl.data.sampling import uniform
from jssl.data.source import DataError, from_arrays, Source
from jssl.errors import ConfigError, nearest
from jssl.files import user_path

SYSTEM_FOLDER = "/usr/share/datasets/fashion-mnist"  # of Debian's package dataset-fashion-mnist
FILES = {"train": "train", "test": "t10k"}
CLASSES = ("t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot")
_UBYTE = 0x08


def read_idx(path) -> np.ndarray:
  """Reads an IDX file of unsigned bytes, gzipped or not.

  The format: two zero bytes, the type (8: unsigned byte), the number of axes, each axis' length as a big-endian uint32,
  the values (Y. LeCun, "The MNIST database").

  Returns:
    uint8 array of the shape that the file states.

  Raises:
    DataError: if the file is missing, no IDX file of bytes, cut off, or longer than it says.
  """
  path = user_path(path)
  try:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
      data = gzip.decompress(data)
  except (OSError, EOFError, zlib.error) as error:
    raise DataError(f"{path} cannot be read: {error}") from error
  if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UBYTE:
    start = data[:4].hex() or "nothing"
    raise DataError(f"{path} is no IDX file of unsigned bytes: it starts with {start}, not 000008..")
  rank = data[3]
  start = 4 + 4 * rank
  if len(data) < start:
    raise DataError(f"{path} is cut off within its header")
  shape = struct.unpack(f">{rank}I", data[4:start])
  expected, found = int(np.prod(shape, dtype=np.int64)), len(data) - start
  if expected != found:
    raise DataError(f"{path} says {list(shape)}, {expected} bytes, but holds {found}: it is cut off or damaged")
  return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


@functools.lru_cache(maxsize=4)
def read_fashion_mnist(split: str, idx_dir: str = SYSTEM_FOLDER) -> tuple[np.ndarray, np.ndarray]:
  """Images uint8 `[n, 28, 28]` and labels uint8 `[n]` of "train" (60,000) or "test" (10,000), in the files' order.

  Raises:
    DataError: if the files are missing, damaged or do not fit together.
  """
  folder = user_path(idx_dir)
  arrays = []
  for kind in ("images-idx3", "labels-idx1"):
    names = [f"{FILES[split]}-{kind}-ubyte{suffix}" for suffix in (".gz", "")]
    paths = [folder / name for name in names if (folder / name).is_file()]
    if not paths:
      raise DataError(
        f"{folder} has no {names[0]}; Debian has it: apt-get install dataset-fashion-mnist, or name the "
        "folder of the four IDX files: fashion_mnist:/path"
      )
    arrays.append(read_idx(paths[0]))
  images, labels = arrays
  if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
    raise DataError(
      f"{folder}: not Fashion-MNIST: images {list(images.shape)}, labels {list(labels.shape)} up to {labels.max(initial=0)}"
    )
  return images, labels


def load_fashion_mnist(
  folder: str = "", *, split: str = "train", num_examples: int | None = None, canvas: int | None = None, seed: int = 0
) -> Source:
  """Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747) from its IDX files, in memory.

  Args:
    folder: of the four IDX files; by default where Debian's package dataset-fashion-mnist puts them.
    split: "train" or "test".
    num_examples: the first so many, whose classes come in no order; default all.
    canvas: side of a black square on which each image has a random place, the same whenever it is read; default none.
    seed: >= 0, of the places.

  Raises:
    ConfigError: for a split, a number or a canvas that there cannot be.
  """
  if split not in FILES:
    raise ConfigError(f"fashion_mnist has no split {split!r}; {nearest(split, FILES)}")
  images, labels = (array[:num_examples] for array in read_fashion_mnist(split, folder or SYSTEM_FOLDER))
  if num_examples is not None and len(images) != num_examples:
    raise ConfigError(f"fashion_mnist: num_examples is {num_examples}; there are {len(images)} at most, and one at least")
  if canvas is not None:
    images = _placed(images, canvas, (seed, list(FILES).index(split)))
  return dataclasses.replace(from_arrays(image=images[..., None], label=labels), name="fashion_mnist")


def _placed(images: np.ndarray, canvas: int, entropy: tuple[int, ...]) -> np.ndarray:
  """Images `[n, h, w]` on black squares `[n, canvas, canvas]`, each at a place of its own."""
  n, height, width = images.shape
  if canvas < max(height, width):
    raise ConfigError(f"fashion_mnist: canvas is {canvas}; the images of {height} x {width} do not fit into it")
  room = (canvas - height + 1, canvas - width + 1)
  top, left = (uniform(entropy, (n, 2)) * room).astype(np.int64).T
  placed = np.zeros((n, canvas, canvas), images.dtype)
  rows, columns = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
  placed[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]] = images
  return placed
