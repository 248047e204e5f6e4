"""A source of examples: named arrays by random access. Everything that jssl reads is turned into one of these."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import re
import types
from typing import TYPE_CHECKING

import jax
import numpy as np

from jssl.data.fingerprint import digest
from jssl.errors import ConfigError, nearest
from jssl.pictures import is_picture

if TYPE_CHECKING:
  from jssl.data.encoded import EncodedImages


class DataError(ConfigError):
  """Data that are missing or unreadable. The message is one line and says what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """Examples as named arrays.

  An example of images holds `image` uint8 [height, width, channels] and `extent` int32 [2], the valid height and width
  in the canvas; it may hold `label` int32 and any other array. An example of another kind (a waveform, the fields of a
  table) holds whatever names it has.

  Arrays in `whole` are not of an example: every example sees them whole, as it sees tables (the edges of a graph, a store
  of trajectories, the prompts of all classes). They lie on every device, whatever their size, and reach functions as they
  are, pictures in uint8 too.

  Attributes:
    name: for messages.
    num_examples: also `len(source)`.
    element_spec: name -> `jax.ShapeDtypeStruct` of one example.
    read: `read(indices [n], keys) -> {key: array [n, ...]}`, thread-safe. Callers use `get`.
    arrays: name -> array `[num_examples, ...]` if everything is in memory, None if it is streamed.
    num_classes: number of labels, or None.
    unreadable: path or index -> reason, for every image that could not be read so far; it grows while reading.
    make_iterator: for sources that can only be read in order (`from_iterator`); `read` is None then.
    first_batch: of such a source, the hash of its first batch if that was drawn.
    encoded: of sources that are streamed from image files, the files, out of which views may be cut at their full
      resolution.
    whole: name -> array of any shape.
  """

  name: str
  num_examples: int
  element_spec: Mapping[str, jax.ShapeDtypeStruct]
  read: Callable[[np.ndarray, tuple[str, ...]], dict[str, np.ndarray]] | None
  arrays: Mapping[str, np.ndarray] | None = None
  num_classes: int | None = None
  unreadable: Mapping[str, str] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))
  make_iterator: Callable[[int], Iterator[Mapping[str, np.ndarray]]] | None = None
  first_batch: str | None = None
  encoded: "EncodedImages | None" = None
  whole: Mapping[str, np.ndarray] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))

  def __post_init__(self):
    if twice := sorted(set(self.whole) & {*self.element_spec, "index"}):
      raise ValueError(f"{self.name}: '{twice[0]}' is an array of the examples already; give the whole array another name")

  def __len__(self) -> int:
    return self.num_examples

  def get(self, indices: np.ndarray, keys=None, draw=None, pool=None) -> dict[str, np.ndarray]:
    """The examples of these indices: name -> array `[len(indices), ...]`.

    Args:
      indices: integers in [0, len(source)), `[n]`.
      keys: the names to read; all by default.
      draw, pool: of sources with `encoded` images, see `EncodedImages.read`: the crops to cut out of them, and threads.

    Raises:
      ValueError: if a key is unknown, or the source can only be read in order.
      IndexError: if an index lies outside the data set.
      DataError: if too much of the data is unreadable.
    """
    if self.read is None:
      raise ValueError(f"{self.name} is an iterator: it has no random access and is read through jssl.data.batches")
    keys = self.check_keys(keys)
    indices = np.asarray(indices, np.int64)
    if indices.size and (indices.min() < 0 or indices.max() >= self.num_examples):
      raise IndexError(
        f"{self.name} has the examples 0 to {self.num_examples - 1}; asked for {indices.min()} to {indices.max()}"
      )
    if draw is None and pool is None:
      return self.read(indices, keys)
    if self.encoded is None:
      raise ValueError(f"{self.name} has no image files to cut crops out of")
    return self.encoded.read(indices, keys, draw, pool)

  def check_keys(self, keys) -> tuple[str, ...]:
    """The names to read: all if None; ValueError for one that the source does not have."""
    if keys is None:
      return tuple(self.element_spec)
    for key in keys:
      if key not in self.element_spec:
        raise ValueError(f"{self.name} has no array {key!r}; {nearest(key, self.element_spec)}")
    return tuple(keys)


def in_memory(name: str, arrays: Mapping[str, np.ndarray], num_classes: int | None = None, **fields) -> Source:
  """A Source of arrays `[num_examples, ...]` that are used as they are; `from_arrays` checks them first."""
  spec = {key: jax.ShapeDtypeStruct(value.shape[1:], value.dtype) for key, value in arrays.items()}
  return Source(
    name=name,
    num_examples=len(next(iter(arrays.values()))),
    element_spec=spec,
    num_classes=num_classes,
    arrays=types.MappingProxyType(dict(arrays)),
    read=lambda indices, keys: {key: arrays[key][indices] for key in keys},
    **fields,
  )


def from_arrays(image=None, label=None, *, whole: Mapping[str, np.ndarray] | None = None, **more) -> Source:
  """A Source of arrays in memory.

  Args:
    image: uint8 `[n, height, width, channels]` in [0, 255], any number of channels. Without it there is no `extent`.
    label: integers `[n]` in [0, classes); the number of classes is the largest label + 1.
    whole: arrays that every example sees whole, by name, of any shape; see `Source`.
    **more: any other arrays `[n, ...]`, by name (`waveform`, `tokens`, `fields`, `segments`). float64 becomes float32 and
      int64 int32, JAX's own types. Of uint8 arrays those become float32 in [0, 1] on the device that are pictures:
      `[n, height, width, channels]` and more axes, or `[n, height, width]` with `image` in the name; of int16 arrays
      those become float32 in [-1, 1) that have `waveform` in the name (see `jssl.pictures`). Labels, tokens and fields
      stay integers.

  Padding: examples of different size lie at the beginning of arrays of one size. `extent` `[n, 2]` is the valid height and
  width of each image, and `length` `[n]` how many entries of the first axis after the example's are valid, of a sequence
  `[n, time, ...]`. Where several sequences differ, `<name>_length` is that of one of them. A function that is handed the
  extent or the length looks at nothing beyond it.

  Raises:
    ValueError: if a length, type, rank or range is wrong; the message names the array.

  Example:
    >>> source = from_arrays(image=np.zeros([8, 32, 32, 3], np.uint8), label=[0, 1] * 4)
    >>> len(source), source.num_classes, sorted(source.arrays)
    (8, 2, ['extent', 'image', 'label'])
  """
  given = {"image": image, "label": label, **more}
  arrays = _canonical_arrays({key: value for key, value in given.items() if value is not None})
  if not arrays:
    raise ValueError("from_arrays needs at least one array")
  if "index" in arrays:
    raise ValueError("'index' is the number of the example, which the pipeline adds; give the array another name")
  lengths = {key: len(value) for key, value in arrays.items()}
  if len(set(lengths.values())) > 1 or not min(lengths.values()):
    raise ValueError(f"all arrays need the same number of examples, at least one; got {lengths}")
  _complete_images(arrays)
  _check_sequences(arrays)
  if "label" in arrays:
    labels = arrays["label"]
    if labels.ndim != 1 or labels.dtype != np.int32 or labels.min() < 0:
      raise ValueError(
        f"label must hold integers >= 0 of shape [n]; got {labels.dtype} {list(labels.shape)} with minimum {labels.min()}"
      )
  shared = {key: _canonical(key, np.asarray(value)) for key, value in (whole or {}).items()}
  num_classes = int(arrays["label"].max()) + 1 if "label" in arrays else None
  return in_memory("arrays", arrays, num_classes=num_classes, whole=types.MappingProxyType(shared))


def _canonical_arrays(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  for key, value in given.items():
    if np.ndim(value) == 0:
      raise ValueError(f"{key} must have the example as its first axis; got a scalar")
  return {key: _canonical(key, np.asarray(value)) for key, value in given.items()}


def _is_count(key: str) -> bool:
  return key in ("label", "extent", "length") or key.endswith("_length")


def _canonical(key: str, value: np.ndarray) -> np.ndarray:
  """The array in a type that JAX keeps by default."""
  if value.dtype.kind not in "biuf":
    raise ValueError(f"{key} has the type {value.dtype}; arrays must hold numbers")
  if value.dtype == np.float64:
    return value.astype(np.float32)
  if value.dtype in (np.int64, np.uint32, np.uint64) or _is_count(key) and value.dtype.kind in "iu":
    if value.size and (value.min() < -(2**31) or value.max() >= 2**31):
      raise ValueError(f"{key} holds integers outside of the range of int32")
    return value.astype(np.int32)
  return value


def _complete_images(arrays: dict[str, np.ndarray]) -> None:
  """Checks `image` and `extent`, if there are images, and adds the extent of images without padding."""
  if "image" not in arrays:
    return
  image = arrays["image"]
  if image.dtype.kind == "f":
    raise ValueError(
      f"image has the type {image.dtype}; images are uint8: if yours lie in [0, 1], give "
      "(image * 255).round().astype('uint8')"
    )
  if image.dtype != np.uint8:
    raise ValueError(f"image has the type {image.dtype}; images are uint8")
  if image.ndim != 4 or 0 in image.shape:
    hint = " (grey images need a last axis of 1: image[..., None])" if image.ndim == 3 else ""
    raise ValueError(f"image must be [n, height, width, channels], none of them 0; got {list(image.shape)}{hint}")
  if error := channels_first(image.shape):
    raise ValueError(f"image {error}")
  size = np.asarray(image.shape[1:3], np.int32)
  extent = arrays.setdefault("extent", np.tile(size, (len(image), 1)))
  if extent.shape != (len(image), 2) or extent.dtype != np.int32:
    raise ValueError(f"extent must hold integers [n, 2], height and width; got {extent.dtype} {list(extent.shape)}")
  if extent.min() < 1 or (extent > size).any():
    raise ValueError(f"extent must lie within 1 and the images' height and width {size.tolist()}")


_NO_PICTURES = {"token", "tokens", "id", "ids", "code", "codes", "label", "labels", "segments"}


def _check_sequences(arrays: Mapping[str, np.ndarray]) -> None:
  """Refuses lengths that no sequence has, waveforms of another scale, and what would be taken for pictures and is none."""
  sequences = {key: x.shape[1] for key, x in arrays.items() if x.ndim > 1 and key not in ("image", "extent")}
  for key, value in arrays.items():
    words = set(re.split(r"[^a-z]+", key.lower()))
    if key == "length" or key.endswith("_length"):
      of = key.removesuffix("_length") if key != "length" else None
      if of not in arrays if of else not sequences:  # a number of another meaning
        continue
      known = sequences if of is None else {of: sequences[of]} if of in sequences else {}
      if value.ndim != 1 or value.dtype != np.int32 or not known:
        raise ValueError(
          f"{key} must hold integers [n] beside an array [n, time, ...]; got {value.dtype} {list(value.shape)}"
        )
      if value.min() < 0 or value.max() > max(known.values()):
        raise ValueError(
          f"{key} must lie within 0 and {max(known.values())}, the entries of {', '.join(sorted(known))}; got "
          f"{value.min()} to {value.max()}"
        )
    elif value.ndim > 1 and not {"waveform", "waveforms"}.isdisjoint(words):
      if value.dtype.kind in "iu" and value.dtype != np.int16:
        raise ValueError(f"{key} has the type {value.dtype}; waveforms are int16, or floats in [-1, 1]")
      if value.dtype.kind == "f" and value.size and np.abs(value).max() > 100:
        raise ValueError(
          f"{key} has values up to {np.abs(value).max():g}; waveforms of floats lie in [-1, 1], others are int16"
        )
    elif is_picture(key, value) and not _NO_PICTURES.isdisjoint(words):
      raise ValueError(f"{key} is uint8 {list(value.shape)}, which is taken for pictures; give .astype('int32')")


def channels_first(shape: Sequence[int]) -> str:
  """What is wrong with images whose channels stand where torch has them, and what to write; "" if nothing is.

  Args:
    shape: `[n, height, width, channels]`, or that of `[n, channels, height, width]`: 1, 3 or 4 of what is first, and
      more of what is last than any image has channels.
  """
  if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] > 4 and shape[2] > 4:
    return f"looks like [n, channels, height, width], {list(shape)}; give image.transpose(0, 2, 3, 1)"
  return ""


def nothing(*, split: str = "train", num_examples: int) -> Source:
  """A Source of examples that have a number and nothing else, for runs whose data are made by views or `refresh`.

  Args:
    split: whatever it is called.
    num_examples: how many examples make an epoch.

  Raises:
    ValueError: (a ConfigError) unless there is one at least.
  """
  if isinstance(num_examples, bool) or not isinstance(num_examples, int) or num_examples < 1:
    raise ConfigError(f"num_examples is {num_examples!r}; give an integer, at least 1")
  return Source(name="nothing", num_examples=num_examples, element_spec={}, read=lambda indices, keys: {}, arrays={})


def from_iterator(
  make_iterator, *, num_examples: int, num_classes: int | None = None, element_spec=None, name: str = "iterator"
) -> Source:
  """A Source over the user's own iterator of batches, which is read in order through `jssl.data.batches`.

  A run that resumes at step k calls `make_iterator(k)`: it is exact if and only if that iterator goes on with the batch
  that an unbroken run would have seen at step k. One that ignores the step starts its data again on every resume.

  Args:
    make_iterator: `make_iterator(start_step) -> iterator` of batches: dicts of arrays `[global batch, ...]`, the same
      names each time, `image` as uint8. Where several processes take part, each is given the global batch and takes its
      own slice. `extent` is added to images that come without. Without `index`, the number of each example in the data
      set, examples are numbered by their place in the stream, modulo `num_examples`: a method that keeps something per
      example needs the true numbers.
    num_examples: how many examples make an epoch.
    num_classes: number of labels, or None.
    element_spec: name -> `jax.ShapeDtypeStruct` of one example, without `index`. By default the first batch of
      `make_iterator(0)` is drawn once to see it.
    name: for messages.

  Raises:
    ValueError: if the first batch is no dict of arrays of one length, or the images are not uint8 of rank 4.
  """
  if num_examples < 1:
    raise ValueError(f"num_examples is {num_examples}; it must be at least 1")
  first_batch = None
  if element_spec is None:
    first = complete_batch(next(iter(make_iterator(0))), name)
    element_spec = {
      key: jax.ShapeDtypeStruct(value.shape[1:], value.dtype) for key, value in first.items() if key != "index"
    }
    first_batch = digest(first)
  return Source(
    name=name,
    num_examples=num_examples,
    element_spec=dict(element_spec),
    read=None,
    num_classes=num_classes,
    make_iterator=make_iterator,
    first_batch=first_batch,
  )


def complete_batch(batch: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
  """A user's batch, checked, in JAX's types and with `extent` where it has images."""
  if not isinstance(batch, Mapping) or not batch:
    raise ValueError(f"{name} must give batches that are dicts of arrays; got {type(batch).__name__}")
  arrays = _canonical_arrays(batch)
  lengths = {key: len(value) for key, value in arrays.items()}
  if len(set(lengths.values())) > 1:
    raise ValueError(f"{name} gave a batch whose arrays differ in length: {lengths}")
  _complete_images(arrays)
  return arrays
