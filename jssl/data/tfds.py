"""Data sets of tensorflow-datasets, prepared as ArrayRecord files and read without TensorFlow."""

import importlib.util
import os
import pathlib
import re

import jax
import numpy as np

from jssl.data import images
from jssl.data.encoded import EncodedImages
from jssl.data.source import DataError, in_memory, Source
from jssl.errors import ConfigError, nearest
from jssl.files import user_path

_IN_MEMORY_BYTES = 1 << 30


def load_tfds(name: str, *, split: str = "train", data_dir: str | None = None, canvas: int = 256) -> Source:
  """A data set that `python -m jssl.data.prepare <name>` has prepared.

  `image` is decoded to grey or RGB, whichever the set says, and `label` kept; so are other features of numbers whose
  shape is fixed. Texts, sequences and further images are dropped. Images of equal size are held in memory if they take
  less than 1 GiB (50,000 of CIFAR-10 take some seconds to decode), all others are decoded as they are read.

  Args:
    name: `name` or `name/config:version`; without a version the newest that is prepared.
    split: as tensorflow-datasets writes it: "train", "test", "train[:10%]".
    data_dir: default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
    canvas: side of the square array for images of different sizes: a larger one is shrunk to fit, none is enlarged, and
      `extent` is the valid part. Views that begin with a crop are cut out of the files, see `jssl.host_crops`.

  Raises:
    ConfigError: for a split that the set does not have.
    DataError: if the set is not prepared, prepared in another format, or a package is missing.
  """
  images.check_canvas(canvas, 3)
  folder = _prepared_folder(name, data_dir)
  for module in ("tensorflow_datasets", "importlib_resources", "array_record"):
    if importlib.util.find_spec(module) is None:
      raise DataError(f"reading tfds:{name} needs {module}: pip install 'jssl[tfds]'")
  import tensorflow_datasets as tfds  # pylint: disable=g-import-not-at-top

  builder = tfds.builder_from_directory(folder)
  features = builder.info.features
  undecoded = {
    key: tfds.decode.SkipDecoding() for key, feature in features.items() if isinstance(feature, tfds.features.Image)
  }
  try:
    records = builder.as_data_source(split, decoders=undecoded)
  except NotImplementedError as error:
    raise DataError(f"{folder} is not in the ArrayRecord format; {_command(name)} --data_dir another folder") from error
  except ValueError as error:
    near = nearest(re.split(r"[^\w-]", split)[0], builder.info.splits)
    raise ConfigError(f"tfds:{name} has no split {split!r}; {near}") from error
  numbers = [key for key, feature in features.items() if key != "image" and _is_array(feature, tfds)]
  num_classes = next(
    (
      feature.num_classes
      for key, feature in features.items()
      if key == "label" and isinstance(feature, tfds.features.ClassLabel)
    ),
    None,
  )
  shape = features["image"].shape if "image" in undecoded else None
  return _source(f"tfds:{name}/{split}", records, numbers, features, shape, canvas, num_classes)


def _source(name, records, numbers, features, shape, canvas, num_classes) -> Source:
  """Numbers and images as a Source: in memory if it is small enough, else streamed."""
  spec = {key: jax.ShapeDtypeStruct(features[key].shape, _dtype(features[key].np_dtype)) for key in numbers}
  fixed = shape is None or None not in shape[:2]
  if shape is not None:
    size = tuple(shape[:2]) if fixed else (canvas, canvas)
    channels = shape[2] or 3
    if channels not in (1, 3) or features["image"].np_dtype != np.uint8:
      raise DataError(
        f"{name}: its images have {channels} channels of {np.dtype(features['image'].np_dtype)}; "
        "only uint8 images of 1 or 3 channels are read"
      )
    spec |= {"image": jax.ShapeDtypeStruct((*size, channels), np.uint8), "extent": jax.ShapeDtypeStruct((2,), np.int32)}

  def numbers_of(record) -> dict[str, np.ndarray]:
    return {key: np.asarray(record[key], spec[key].dtype).reshape(spec[key].shape) for key in numbers}

  if shape is None:
    stack = lambda found, keys: {key: np.stack([example[key] for example in found]) for key in keys}
    read = lambda indices, keys: stack([numbers_of(records[int(i)]) for i in indices], keys)
    encoded, unreadable = None, {}
  else:

    def open_one(index: int):
      record = records[index]
      return record["image"], numbers_of(record)

    encoded = EncodedImages(name, len(records), open_one, lambda i: f"{name}#{i}", canvas=size, channels=channels)
    read, unreadable = encoded.read, encoded.unreadable
  size_in_bytes = len(records) * sum(int(np.prod(s.shape)) * s.dtype.itemsize for s in spec.values())
  if fixed and size_in_bytes < _IN_MEMORY_BYTES:
    return in_memory(name, read(np.arange(len(records)), tuple(spec)), num_classes, unreadable=unreadable)
  return Source(
    name=name,
    num_examples=len(records),
    element_spec=spec,
    read=read,
    num_classes=num_classes,
    unreadable=unreadable,
    encoded=encoded,
  )


def _is_array(feature, tfds) -> bool:
  """Whether a feature is numbers of a fixed shape."""
  kinds = tfds.features
  return (
    isinstance(feature, kinds.Tensor)
    and not isinstance(feature, (kinds.Image, kinds.Text))
    and None not in feature.shape
    and np.dtype(feature.np_dtype).kind in "biuf"
  )


def _dtype(dtype) -> np.dtype:
  """The type that JAX keeps by default."""
  return np.dtype(
    {"int64": "int32", "uint64": "int32", "uint32": "int32", "float64": "float32"}.get(np.dtype(dtype).name, dtype)
  )


def _command(name: str) -> str:
  return f"python -m jssl.data.prepare {name}"


def _prepared_folder(name: str, data_dir: str | None) -> pathlib.Path:
  """The folder of the newest prepared version of `name[/config][:version]`."""
  root = user_path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
  path, _, version = name.partition(":")
  found = (
    [
      info.parent
      for pattern in ("*", "*/*")
      for info in root.glob(f"{path}/{pattern}/dataset_info.json")
      if version in ("", info.parent.name) and re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name)
    ]
    if path
    else []
  )
  configs = {folder.parent for folder in found}
  if not found:
    have = sorted(
      {info.relative_to(root).parts[0] for pattern in ("*/*", "*/*/*") for info in root.glob(f"{pattern}/dataset_info.json")}
    )
    there = f" (there are: {', '.join(have)})" if have else ""
    option = f" --data_dir {data_dir}" if data_dir else ""
    raise DataError(f"tfds:{name} is not prepared in {root}{there}; run: {_command(name)}{option}")
  if len(configs) > 1:
    names = ", ".join(sorted(f"tfds:{c.relative_to(root)}" for c in configs))
    raise ConfigError(f"tfds:{name} is prepared in several configs; name one of: {names}")
  return max(found, key=lambda folder: [int(part) for part in folder.name.split(".")])
