"""Files of the IDX format, as Fashion-MNIST's are: unsigned bytes behind a header with their shape."""

import gzip
import pathlib
import struct

import numpy as np


def idx(array: np.ndarray) -> bytes:
  """What a file holds of an array of numbers from 0 to 255."""
  header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
  return header + array.astype(np.uint8).tobytes()


def write_fashion(
  folder: pathlib.Path, split: str, images: np.ndarray, labels: np.ndarray, endings: tuple[str, str] = (".gz", ".gz")
) -> None:
  """Writes the two files of a split, "train" or "t10k"; one that ends with ".gz" is compressed."""
  for kind, array, ending in zip(("images-idx3", "labels-idx1"), (images, labels), endings, strict=True):
    content = gzip.compress(idx(array)) if ending == ".gz" else idx(array)
    (folder / f"{split}-{kind}-ubyte{ending}").write_bytes(content)
