"""What a run reads: every kind of data as a `Source` of named arrays, and its batches by step."""

from collections.abc import Callable, Mapping, Sequence
import inspect
from typing import Any

from jssl import nodes
from jssl.data import algebra, scenes
from jssl.data.fingerprint import fingerprint
from jssl.data.folder import load_folder
from jssl.data.idx import load_fashion_mnist, read_idx
from jssl.data.moving_scenes import moving_scenes
from jssl.data.pipeline import batches
from jssl.data.sampling import batch_indices, epoch_permutation, steps_per_epoch, wrapped_indices
from jssl.data.source import DataError, from_arrays, from_iterator, nothing, Source
from jssl.data.sprites import digit_sprites, fashion_sprites
from jssl.data.tfds import load_tfds
from jssl.data.worlds import load_glyphs
from jssl.errors import check_boolean, ConfigError, is_boolean, nearest

__all__ = [
  "DataError",
  "Source",
  "algebra",
  "batch_indices",
  "batches",
  "derived",
  "digit_sprites",
  "epoch_permutation",
  "fashion_sprites",
  "fingerprint",
  "from_arrays",
  "from_iterator",
  "load",
  "load_fashion_mnist",
  "load_folder",
  "load_glyphs",
  "load_tfds",
  "nothing",
  "read_idx",
  "steps_per_epoch",
  "wrapped_indices",
]


def derived(*, split: str = "train", of: Mapping[str, Any], by: Sequence[Mapping[str, Any]] = ()) -> Source:
  """What functions of `jssl.data.algebra` make of other data.

  Args:
    split: of data that do not name one themselves.
    of: the data, `dict(name=..., split=..., options=...)`, of which the last two may be left out.
    by: the functions in their order, `dict(fn="long_tail", factor=100)` each, or of a module of your own "module:name".

  Raises:
    ConfigError: for a function or a number that there is not; as `load`, and as the functions.

  Example:
    >>> source = derived(of=dict(name="objects", options=dict(num_examples=64)), by=(dict(fn="fraction", share=0.5),))
    >>> source.name, len(source) < 64
    ('objects/train.fraction(share=0.5, seed=0)', True)
  """
  source = _load_named("derived: of", of, split)
  for i, step in enumerate(by):
    where, numbers = f"derived: by[{i}]", dict(step)
    if "fn" not in numbers:
      raise ConfigError(f"{where}: 'fn' is missing; {nearest('', algebra.__all__)}")
    fn = nodes.resolve(where, numbers.pop("fn"), "data.algebra")
    nodes.check_numbers(where, fn, numbers)
    if "others" in numbers:
      numbers["others"] = [_load_named(f"{where}: others", other, split) for other in numbers["others"]]
    source = fn(source, **numbers)
  return source


def _load_named(where: str, entry: Mapping[str, Any], split: str) -> Source:
  entry = dict(entry)
  for key in entry:
    if key not in ("name", "split", "options"):
      raise ConfigError(f"{where}: unknown key '{key}'; {nearest(key, ('name', 'split', 'options'))}")
  if "name" not in entry:
    raise ConfigError(f"{where}: 'name' is missing")
  return load(entry["name"], split=entry.get("split", split), **entry.get("options", {}))


_EMBEDDED: dict[str, Callable[..., Source]] = {
  "scenes": scenes.scenes,
  "objects": scenes.objects,
  "moving_scenes": moving_scenes,
  "nothing": nothing,
  "derived": derived,
}
_AT: dict[str, Callable[..., Source]] = {
  "fashion_mnist": load_fashion_mnist,
  "folder": load_folder,
  "glyphs": load_glyphs,
  "tfds": load_tfds,
}
_WITHOUT_PLACE = ("fashion_mnist", "glyphs")  # what is found where the system keeps it


def load(spec: str | Source, *, split: str = "train", **options) -> Source:
  """Loads data by its name.

  Args:
    spec: "scenes", "objects" or "moving_scenes" (embedded), "nothing" (examples that have a number only), "derived" (made
      of other data), "fashion_mnist" or "fashion_mnist:/path" (IDX files), "glyphs" or "glyphs:/path" (of fonts),
      "tfds:<name>", "folder:/path"; a Source is returned as it is.
    split: as the kind of data has them.
    **options: of `scenes.scenes`, `scenes.objects`, `moving_scenes`, `nothing`, `derived`, `load_fashion_mnist`,
      `load_glyphs`, `load_tfds` or `load_folder`.

  Raises:
    ValueError: (a ConfigError) for a wrong name, split or option, with the nearest valid ones.
    DataError: for data that are not there, with what to do.

  Example:
    >>> source = load("objects", split="test", num_examples=8)
    >>> source.get([3, 5])["image"].shape
    (2, 64, 64, 3)
  """
  if isinstance(spec, Source):
    if options:
      raise ConfigError(f"{spec.name} is loaded already; it takes no options, got {', '.join(options)}")
    return spec
  kind, _, place = str(spec).partition(":")
  if kind in _EMBEDDED and not place:
    function, where = _EMBEDDED[kind], []
  elif kind in _AT and (place or kind in _WITHOUT_PLACE):
    function, where = _AT[kind], [place]
  else:
    known = [*_EMBEDDED, *_WITHOUT_PLACE, "tfds:<name>", "folder:/path"]
    raise ConfigError(f"there is no data {spec!r}; {nearest(str(spec), known)}")
  valid = {name: p for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
  for name, value in options.items():
    if name not in valid:
      raise ConfigError(f"{spec} has no option {name!r}; {nearest(name, valid.keys() - {'split'})}")
    if is_boolean(valid[name]):
      check_boolean(f"{spec}: option {name}", value)
  for name, parameter in valid.items():
    if parameter.default is parameter.empty and name not in options and name != "split":
      raise ConfigError(f"{spec}: option {name!r} is missing")
  return function(*where, split=split, **options)
