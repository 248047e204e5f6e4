"""What the functions beside this module are made of: rows of a source, changes of examples, sources after each other.

All of them read when they are read, so that a streamed source stays one; of arrays in memory they make arrays in memory.
"""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Any
import zlib

import jax
import numpy as np

from jssl.data.encoded import EncodedImages
from jssl.data.sampling import raw_bits
from jssl.data.source import Source
from jssl.errors import ConfigError, nearest

# `change(numbers [m], {name: [m, ...]}) -> {name: [m, ...]}`, numbers being those of the examples in the new source.
Change = Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, np.ndarray]]
LABEL = jax.ShapeDtypeStruct((), np.int32)
_CHUNK = 4096  # examples of arrays in memory that are changed at a time


def title(source: Source, fn: str, **numbers) -> str:
  """The name of what a function made of a source; what is None or empty is left out."""
  shown = {key: value for key, value in numbers.items() if value is not None and value is not False and value != ()}
  return f"{source.name}.{fn}({', '.join(f'{key}={value}' for key, value in shown.items())})"


def numbers_of(source: Source, fn: str, name: str = "label") -> np.ndarray:
  """An array of one integer an example, of all examples `[n]`.

  Raises:
    ConfigError: if the source does not have it, or cannot be read at random.
  """
  if source.read is None:
    raise ConfigError(f"{fn}: {source.name} is an iterator, without random access; give arrays or a folder")
  if name not in source.element_spec:
    raise ConfigError(f"{fn}: {source.name} has no '{name}'; {nearest(name, source.element_spec)}")
  spec = source.element_spec[name]
  if spec.shape or np.dtype(spec.dtype).kind not in "iu":
    raise ConfigError(f"{fn}: '{name}' must be one integer an example; {source.name} has {spec.dtype} {list(spec.shape)}")
  return source.get(np.arange(len(source)), (name,))[name].astype(np.int64)


def draws(fn: str, seed: int, count: int) -> np.ndarray:
  """Random uint64 `[count]` of a function's own; a longer stream starts with the shorter one."""
  return raw_bits((seed, zlib.crc32(fn.encode())), count)


def rows(source: Source, name: str, indices: np.ndarray) -> Source:
  """The examples of these indices `[n]`, in their order.

  Raises:
    ConfigError: if there are none.
  """
  if not len(indices):
    raise ConfigError(f"{name} has no examples")
  return _derived(source, name, np.asarray(indices, np.int64), None, (), {})


def changed(
  source: Source, name: str, change: Change, *, needs: Sequence[str], writes: Mapping[str, jax.ShapeDtypeStruct], **fields
) -> Source:
  """The same examples with some arrays changed or added.

  Where the image is changed, views are cropped out of the changed image on its canvas, not out of files.

  Args:
    source: of the examples.
    name: of the new source.
    change: what is done to some examples at a time.
    needs: what it reads; names that the source does not have are left out.
    writes: the specs of what it writes.
    **fields: of the new source.
  """
  if source.read is None:
    raise ConfigError(f"{name}: {source.name} is an iterator, without random access; give arrays or a folder")
  needs = tuple(key for key in needs if key in source.element_spec)
  return dataclasses.replace(_derived(source, name, None, change, needs, writes), **fields)


def _derived(source: Source, name: str, indices: np.ndarray | None, change: Change | None, needs, writes) -> Source:
  spec = {**source.element_spec, **writes}
  encoded = None if source.encoded is None or "image" in writes else _files(source, name, indices, change, needs)
  of_files = ("image", "extent") if encoded is not None else ()

  def read(numbers: np.ndarray, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    if encoded is not None and not set(of_files).isdisjoint(keys):
      return encoded.read(numbers, keys)
    written = not set(writes).isdisjoint(keys)
    kept = [key for key in keys if key not in writes]
    wanted = tuple(dict.fromkeys([*kept, *(needs if written else ())]))
    found = source.read(numbers if indices is None else indices[numbers], wanted) if wanted else {}
    if written:
      found = {**found, **change(numbers, {key: found[key] for key in needs})}
    return {key: found[key] for key in keys}

  arrays = None
  if source.arrays is not None:
    arrays = dict(source.arrays) if indices is None else {key: x[indices] for key, x in source.arrays.items()}
    if change:
      arrays = arrays | _change_all(change, {key: arrays[key] for key in needs}, len(source), writes)
  found = dataclasses.replace(
    source,
    name=name,
    num_examples=len(source) if indices is None else len(indices),
    element_spec=spec,
    read=read if arrays is None else lambda numbers, keys: {key: arrays[key][numbers] for key in keys},
    arrays=arrays,
    encoded=encoded,
  )
  return found if encoded is None else dataclasses.replace(found, unreadable=encoded.unreadable)


def _files(source: Source, name: str, indices: np.ndarray | None, change: Change | None, needs) -> EncodedImages:
  """The files of some of a source's examples; one that cannot be read is replaced by one of them."""
  before = source.encoded
  at = (lambda i: i) if indices is None else lambda i: int(indices[i])

  def open_one(i: int):
    picture, more = before.open(at(i))
    if change:
      found = change(np.array([i]), {key: np.asarray(more[key])[None] for key in needs})
      more = {**more, **{key: x[0] for key, x in found.items()}}
    return picture, more

  count = len(source) if indices is None else len(indices)
  return EncodedImages(
    name, count, open_one, lambda i: before.name_of(at(i)), canvas=before.canvas, channels=before.channels
  )


def _change_all(change: Change, arrays: Mapping[str, np.ndarray], count: int, writes) -> dict[str, np.ndarray]:
  """What a change writes for all examples, some thousands at a time."""
  found = {key: np.empty((count, *spec.shape), spec.dtype) for key, spec in writes.items()}
  for start in range(0, count, _CHUNK):
    part = slice(start, start + _CHUNK)
    written = change(np.arange(count)[part], {key: x[part] for key, x in arrays.items()})
    for key, whole in found.items():
      whole[part] = written[key]
  return found


def joined(sources: Sequence[Source], name: str, num_classes: int | None) -> Source:
  """The examples of several sources, one after the other, with the arrays that all of them have.

  Images lie on the largest of the canvases, grey ones among coloured ones in three channels.

  Raises:
    ConfigError: for arrays of different shapes or types, and for whole arrays of one name.
  """
  spec = _common_spec(sources)
  ends = np.cumsum([len(source) for source in sources])
  starts = ends - [len(source) for source in sources]
  place = lambda numbers: np.searchsorted(ends, numbers, side="right")

  def read(numbers: np.ndarray, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    found = {key: np.zeros((len(numbers), *spec[key].shape), spec[key].dtype) for key in keys}
    for part in np.unique(place(numbers)):
      own = place(numbers) == part
      for key, value in sources[part].read(numbers[own] - starts[part], keys).items():
        found[key][own] = _on_canvas(value, spec[key].shape) if key == "image" else value
    return found

  everything = tuple(spec)
  in_memory = all(source.arrays is not None for source in sources)
  arrays = read(np.arange(ends[-1]), everything) if in_memory else None
  encoded = _joined_files(sources, name, spec, starts, place)
  whole: dict[str, np.ndarray] = {}
  for source in sources:
    for key, value in source.whole.items():
      if key in whole and whole[key] is not value:
        raise ConfigError(f"{name}: several sources have a whole array '{key}'")
      whole[key] = value
  unreadable = encoded.unreadable if encoded else collections.ChainMap(*[source.unreadable for source in sources])
  if encoded:
    read_rest = read
    read = lambda numbers, keys: (encoded.read if {"image", "extent"} & set(keys) else read_rest)(numbers, keys)
  elif arrays is not None:
    read = lambda numbers, keys: {key: arrays[key][numbers] for key in keys}
  return Source(name, int(ends[-1]), spec, read, arrays, num_classes, unreadable=unreadable, encoded=encoded, whole=whole)


def _common_spec(sources: Sequence[Source]) -> dict[str, Any]:
  spec = {}
  for key, first in sources[0].element_spec.items():
    found = [source.element_spec[key] for source in sources if key in source.element_spec]
    if len(found) < len(sources):
      continue
    if key == "image" and len({x.dtype for x in found}) == 1 and {x.shape[2] for x in found} <= {1, 3}:
      shape = tuple(max(x.shape[axis] for x in found) for axis in range(3))
      first = jax.ShapeDtypeStruct(shape, first.dtype)
    elif any(x.shape != first.shape or np.dtype(x.dtype) != np.dtype(first.dtype) for x in found):
      listed = "; ".join(f"{source.name}: {x.dtype}{list(x.shape)}" for source, x in zip(sources, found, strict=True))
      raise ConfigError(f"concatenate: '{key}' is not the same in all: {listed}")
    spec[key] = first
  return spec


def _on_canvas(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Images `[m, h, w, c]` in the upper left corner of a canvas."""
  if image.shape[1:] == shape:
    return image
  found = np.zeros((len(image), *shape), image.dtype)
  found[:, : image.shape[1], : image.shape[2]] = image  # one channel becomes three
  return found


def _joined_files(sources, name, spec, starts, place) -> EncodedImages | None:
  """The files of all sources, if all have some, of as many channels."""
  files = [source.encoded for source in sources]
  if None in files or len({file.channels for file in files}) > 1:
    return None

  def find(i: int):
    part = int(place(i))
    return files[part], i - int(starts[part])

  def open_one(i: int):
    file, own = find(i)
    return file.open(own)

  def name_of(i: int) -> str:
    file, own = find(i)
    return file.name_of(own)

  count = sum(len(source) for source in sources)
  return EncodedImages(name, count, open_one, name_of, canvas=spec["image"].shape[:2], channels=spec["image"].shape[2])


def distinct(where: str, classes: Sequence[int]) -> tuple[int, ...]:
  """Different labels as integers; raises `ConfigError` for what they are not."""
  if isinstance(classes, (str, int)) or len({*classes}) != len(classes) or not len(classes) or min(classes) < 0:
    raise ConfigError(f"{where}={classes!r}: give different labels, such as (0, 3)")
  return tuple(int(c) for c in classes)


def check_classes(where: str, classes: Sequence[int], labels: np.ndarray) -> None:
  """Raises `ConfigError` for a class without an example."""
  for c in classes:
    if not (labels == c).any():
      raise ConfigError(f"{where}: there is no example of class {c}; there are {sorted(set(labels.tolist()))}")


def table_of(classes: Sequence[int], new: Iterable[int]) -> np.ndarray:
  """New labels by old ones, int32."""
  table = np.zeros(max(classes) + 1, np.int32)
  table[list(classes)] = list(new)
  return table
