"""The data of a run: its own, and others beside it, whose arrays are called `target/image`, `target/index`, ..."""

from collections.abc import Generator, Mapping, Sequence
import contextlib
import zlib

import jax
import numpy as np

from jssl import data
from jssl.errors import ConfigError, nearest


class Input:
  """One source of a run.

  Args:
    source: of the examples.
    name: of a source beside the run's own; "" for that one.

  Attributes:
    prefix: of the names of its arrays.
    names: of the arrays of its examples, by the run's names.
    keys: those that are read, by the source's.
    resident: those that live on the devices, or None; see `settle`.
    whole: its whole arrays, by the run's names.
  """

  def __init__(self, source: data.Source, name: str = ""):
    self.source, self.name = source, name
    self.prefix = f"{name}/" if name else ""
    self.resident: dict[str, np.ndarray] | None = None
    self.keys: tuple[str, ...] = ()
    self.names = tuple(self.prefix + key for key in (*source.element_spec, "index"))
    self.whole = {self.prefix + key: array for key, array in source.whole.items()}

  def spec(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a global batch, and of what is whole, by the run's names."""
    found = {**self.source.element_spec, "index": jax.ShapeDtypeStruct((), np.int32)}
    examples = {self.prefix + n: jax.ShapeDtypeStruct((batch_size, *x.shape), x.dtype) for n, x in found.items()}
    return examples | {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in self.whole.items()}

  def settle(self, names: Sequence[str], device_bytes: int) -> None:
    """Which arrays are read, of the run's names, and whether they live on the devices: if they have so few bytes."""
    self.keys = tuple(key for key in self.source.element_spec if self.prefix + key in names and key != "index")
    arrays = self.source.arrays
    fits = arrays is not None and sum(arrays[key].nbytes for key in self.keys) <= device_bytes
    self.resident = {key: arrays[key] for key in self.keys} if fits else None

  def batches(self, start: int, stop: int, *, seed: int, batch_size: int, parallel, crops=None, **reading) -> Generator:
    """This process's part of each step's batch by the run's names; of resident arrays the examples' numbers only."""
    order = data.batch_indices
    if self.name:
      order, seed = data.wrapped_indices, seed + (zlib.crc32(self.name.encode()) << 64)
    if self.resident is not None:
      for step in range(start, stop):
        index = order(step, seed=seed, num_examples=len(self.source), batch_size=batch_size)
        yield {f"{self.prefix}index": index[parallel.part].astype(np.int32)}
      return
    found = data.batches(
      self.source,
      batch_size=batch_size,
      seed=seed,
      start_step=start,
      stop_step=stop,
      keys=self.keys,
      crops=crops,
      order=order,
      process_index=parallel.process_index,
      process_count=parallel.process_count,
      **reading,
    )
    with contextlib.closing(found):
      for batch in found:
        yield {self.prefix + key: array for key, array in batch.items()}


def load_inputs(config, source: data.Source | None, also: Mapping[str, data.Source] | None) -> list[Input]:
  """The sources of a run, its own first; those that are not given are loaded.

  Raises:
    ConfigError: for an entry of `config.data.also` that names no data, and for a name that is in use.
  """
  if source is None:
    source = data.load(config.data.name, split=config.data.split, **config.data.options)
  found = [Input(source)]
  for name in sorted({*config.data.also, *(also or {})}):
    where, entry = f"config.data.also.{name}", config.data.also.get(name)
    stages = [stage for stage in ("views", "masking", "passes", "targets", "losses", "refresh") if name in config[stage]]
    if "/" in name or "=" in name or not name:
      raise ConfigError(f"{where}: its arrays are called '{name}/image', so its name cannot have '/' or '='")
    if stages:
      raise ConfigError(f"{where}: config.{stages[0]}.{name} is called '{name}' too")
    if taken := [key for key in (*source.element_spec, *source.whole) if key.startswith(f"{name}/")]:
      raise ConfigError(f"{where}: {source.name} has an array '{taken[0]}' too")
    if also and name in also:
      found.append(Input(also[name], name))
    else:
      found.append(Input(_load(where, entry), name))
  return found


def _load(where: str, entry) -> data.Source:
  known = ("name", "split", "options")
  if not hasattr(entry, "items") or "name" not in entry:
    raise ConfigError(f"{where}: write dict(name=..., split=..., options=...)")
  for key in entry:
    if key not in known:
      raise ConfigError(f"{where}.{key}: unknown key; {nearest(key, known)}")
  return data.load(entry["name"], split=entry.get("split", "train"), **entry.get("options", {}))


def examples_of(
  arrays: Mapping[str, jax.Array], batch: Mapping[str, jax.Array], whole: Sequence[str]
) -> dict[str, jax.Array]:
  """A batch completed by arrays that live on the devices: those at the batch's examples, and whole ones as they are.

  `target/image` is read at `target/index` where there is one, and all others at `index`.
  """

  def at(name: str) -> jax.Array:
    own = f"{name.partition('/')[0]}/index"
    return batch[own if own in batch else "index"]

  return {name: array if name in whole else array[at(name)] for name, array in arrays.items()} | dict(batch)
