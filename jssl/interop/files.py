"""Files of weights as named arrays: safetensors, npz and torch's, none of which runs code.

The safetensors format is read here: eight bytes with the length of a JSON table of dtypes, shapes and places, the table, the
arrays (https://github.com/huggingface/safetensors). torch's files need torch (`pip install "jssl[torch]"`), which reads
them with `weights_only=True`.
"""

import argparse
from collections.abc import Mapping
import json
import math
import pathlib
import re
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jssl.errors import ConfigError
from jssl.files import dump_json, user_path, whole_file

TORCH = (".pth", ".pt", ".bin", ".tar", ".ckpt")
_DTYPES: dict[str, Any] = dict(
  F64=np.float64,
  F32=np.float32,
  F16=np.float16,
  BF16=jnp.bfloat16,
  I64=np.int64,
  I32=np.int32,
  I16=np.int16,
  I8=np.int8,
  U8=np.uint8,
  BOOL=np.bool_,
)
_LONGEST_TABLE = 100_000_000  # bytes, the limit of the official reader


class Contents(NamedTuple):
  """What a file, or a folder of the Hugging Face hub, holds.

  Attributes:
    weights: names to arrays; what is nested is joined by dots: `{"teacher": {"head.weight": x}}` as "teacher.head.weight".
    config, preprocessor: `config.json` and `preprocessor_config.json` beside them, empty without.
  """

  weights: dict[str, np.ndarray]
  config: Mapping[str, Any]
  preprocessor: Mapping[str, Any]


def read(path: str | pathlib.Path) -> Contents:
  """Reads a file (`.safetensors`, `.npz`, or torch's), or a folder with `model.safetensors`, its parts, or `model.npz`.

  Raises:
    ConfigError: there is no such file, it is of another kind or damaged, or it wants to run code.
  """
  path = user_path(path)
  if path.is_dir():
    folder, weights = path, _read_folder(path)
  elif path.is_file():
    folder, weights = path.parent, flatten(_read_file(path))
  else:
    raise ConfigError(f"{path}: there is no such file or folder")
  return Contents(weights, _read_json(folder / "config.json"), _read_json(folder / "preprocessor_config.json"))


def flatten(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, np.ndarray]:
  """The arrays of nested dicts by names that are joined by dots; what is no array (epochs, arguments) is left out."""
  found: dict[str, np.ndarray] = {}
  for key, value in tree.items():
    if isinstance(value, Mapping):
      found |= flatten(value, f"{prefix}{key}.")
    elif hasattr(value, "shape") and hasattr(value, "dtype"):
      found[f"{prefix}{key}"] = np.asarray(value)
  return found


def write(path: pathlib.Path, weights: Mapping[str, np.ndarray]) -> None:
  """Writes named arrays to a file that `read` reads: `.safetensors`, as torch's codes want it, or `.npz`."""
  with whole_file(path) as partial, partial.open("wb") as file:
    if path.suffix == ".npz":
      np.savez(file, **weights)
      return
    kinds = {np.dtype(kind): name for name, kind in _DTYPES.items()}
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, array in weights.items():
      place = [start, start := start + array.nbytes]
      table[name] = dict(dtype=kinds[array.dtype], shape=list(array.shape), data_offsets=place)
    text = dump_json(table).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for array in weights.values():
      file.write(np.ascontiguousarray(array).tobytes())


def _read_folder(folder: pathlib.Path) -> dict[str, np.ndarray]:
  index = folder / "model.safetensors.index.json"
  if not index.exists():
    for name in ("model.safetensors", "model.npz"):
      if (folder / name).is_file():
        return flatten(_read_file(folder / name))
    raise ConfigError(f"{folder}: there is no model.safetensors")
  weights = {}
  for name in sorted(set(_read_json(index).get("weight_map", {}).values())):
    if pathlib.Path(name).name != name:
      raise ConfigError(f"{index}: '{name}' lies in another folder")
    weights |= _read_safetensors(folder / name)
  return weights


def _read_file(path: pathlib.Path) -> Mapping[str, Any]:
  if path.suffix == ".safetensors":
    return _read_safetensors(path)
  if path.suffix == ".npz":
    try:
      with np.load(path, allow_pickle=False) as file:
        return dict(file)
    except Exception as error:  # pylint: disable=broad-except  # of a damaged zip file, or an array of objects
      raise ConfigError(f"{path} cannot be read: {error}") from error
  if path.suffix in TORCH:
    return _read_torch(path)
  raise ConfigError(
    f"{path}: weights are read from .safetensors, .npz and {', '.join(TORCH)}, or a folder with a config.json"
  )


def _read_torch(path: pathlib.Path) -> Mapping[str, Any]:
  try:
    import torch
  except ImportError as error:
    raise ConfigError(f"{path} is torch's: `pip install 'jssl[torch]'`, or convert it to safetensors") from error
  try:
    # Many codes keep their arguments beside the weights; a namespace is a dict with dots.
    with torch.serialization.safe_globals([argparse.Namespace]):
      tree = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # pylint: disable=broad-except  # whatever torch makes of a damaged file
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    reason = f"it wants to run {wanted[1]}" if wanted else " ".join(str(error).split())[:200]
    raise ConfigError(f"{path} is refused: {reason}") from error
  if not isinstance(tree, Mapping):
    raise ConfigError(f"{path} holds a {type(tree).__name__}, not named arrays")

  def to_numpy(value):
    if isinstance(value, Mapping):
      return {key: to_numpy(inner) for key, inner in value.items()}
    if isinstance(value, torch.Tensor):
      return (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
    return value

  return to_numpy(tree)


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with path.open("rb") as file:
      length = int.from_bytes(file.read(8), "little")
      if length > min(_LONGEST_TABLE, path.stat().st_size - 8):
        raise ValueError("the table is longer than the file")
      table = json.loads(file.read(length))
      data = np.fromfile(file, np.uint8)
    table.pop("__metadata__", None)
    return {name: _array(data, **entry) for name, entry in table.items()}
  except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
    raise ConfigError(f"{path} cannot be read: {error}") from error


def _array(data: np.ndarray, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
  start, stop = data_offsets
  kind = np.dtype(_DTYPES[dtype])
  if not 0 <= start <= stop <= len(data) or stop - start != math.prod(shape) * kind.itemsize:
    raise ValueError(f"{shape} {dtype} does not lie at bytes {start} to {stop} of {len(data)}")
  return np.frombuffer(data[start:stop].tobytes(), kind).reshape(shape)


def _read_json(path: pathlib.Path) -> Mapping[str, Any]:
  if not path.is_file():
    return {}
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError, RecursionError) as error:
    raise ConfigError(f"{path} cannot be read: {error}") from error
  if not isinstance(found, dict):
    raise ConfigError(f"{path} is no table of names")
  return found
