"""Checkpoints: all that a run needs to go on, kept with orbax.

A workdir holds `checkpoints/<step>/state` (the trainer's whole state) and `checkpoints/<step>/metadata` (format
version, step, metrics), and in `checksums/<step>.json` the SHA-256 of every file of a checkpoint, written when that is
complete. Networks are read from them by name, for evaluation and for warm starts.
"""

import contextlib
import hashlib
import json
import math
import pathlib
import threading
from typing import Any

from flax import traverse_util
import jax
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as keeping

from jssl import logging
from jssl.errors import CheckpointError, ConfigError, nearest
from jssl.files import finite, user_path, write_whole

FORMAT_VERSION = 2
# Files without which a checkpoint cannot be read.
_NEEDED = ("_CHECKPOINT_METADATA", "metadata/metadata", "state/_METADATA", "state/manifest.ocdbt")
_NONE = -1


class Checkpoints:
  """The checkpoints of one workdir.

  Args:
    workdir: of the run.
    keep: how many of the newest stay.
    keep_best: name of a metric whose lowest value stays too, or None.
    keep_every: those of each step that is a multiple of it stay too, or None.
  """

  def __init__(
    self, workdir: str | pathlib.Path, *, keep: int = 2, keep_best: str | None = None, keep_every: int | None = None
  ):
    policies: list[Any] = [keeping.LatestN(keep)]
    if keep_every:
      policies.append(keeping.EveryNSteps(keep_every))

    def value(metrics):  # None where it was not finite
      found = metrics.get(keep_best)
      return math.inf if found is None else found

    if keep_best:
      policies.append(keeping.BestN(get_metric_fn=value, reverse=True, n=1, keep_checkpoints_without_metrics=False))
    self.directory = user_path(workdir).absolute() / "checkpoints"
    self._manager = ocp.CheckpointManager(
      self.directory,
      item_handlers=_handlers(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=keeping.AnyPreservationPolicy(policies),
        cleanup_tmp_directories=True,
        # Otherwise, where a folder cannot be made, other threads wait twenty minutes for it.
        async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
        best_fn=value if keep_best else None,
        best_mode="min",
      ),
    )
    self._writing = None
    self._failed = None

  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def save(self, step: int, state, metrics: dict[str, float]) -> None:
    """Starts writing; the state may be donated to the next step as soon as this returns.

    A checkpoint that cannot be written, on a full disk for one, is told in the log and does not stop the run: the next
    one may succeed, and those before it stay.
    """
    self.wait()
    if jax.process_index() == 0:
      checksums_path(self.directory, step).unlink(missing_ok=True)
    metrics = finite(metrics)
    metadata = dict(format_version=FORMAT_VERSION, step=step, metrics=metrics)
    try:
      self._manager.save(
        step,
        metrics=metrics,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(named_leaves(jax.tree.map(_single_copy, state))), metadata=ocp.args.JsonSave(metadata)
        ),
      )
    except Exception as error:  # pylint: disable=broad-except  # whatever the file system or orbax finds
      self._report(step, error)
      return
    self._writing = threading.Thread(target=self._complete, args=(step,), name="checkpoint")
    self._writing.start()

  def _complete(self, step: int) -> None:
    try:
      self._manager.wait_until_finished()
      if jax.process_index() == 0:
        write_checksums(self.directory, step)
      self._failed = None
    except Exception as error:  # pylint: disable=broad-except
      self._report(step, error)

  def _report(self, step: int, error: Exception) -> None:
    reason = " ".join(str(error).split())
    if len(reason) > 300:  # The reason itself comes last, after long paths.
      reason = f"{reason[:120]} ... {reason[-175:]}"
    self._failed = f"the checkpoint of step {step} could not be written: {reason}"
    logging.log.error("%s; last good checkpoint: step %s", self._failed, self.latest_step())

  def last_whole(self) -> int | None:
    """The step of the newest checkpoint that is whole, the same in every process; None if there is none at all.

    Damaged ones are named and moved to `damaged/` beside the folder of the checkpoints.

    Raises:
      ConfigError: if there are checkpoints and all are damaged.
    """
    self.wait()
    step = int(multihost_utils.broadcast_one_to_all(np.int32(self._put_aside() if jax.process_index() == 0 else 0)))
    self._manager.reload()
    return None if step == _NONE else step

  def _put_aside(self) -> int:
    """The step of the newest checkpoint that is whole, from whose way the damaged ones have been moved; or `_NONE`."""
    damaged = {}
    for step in reversed(known_steps(self.directory)):
      damage = find_damage(self.directory, step)
      if not damage:
        break
      damaged[step] = damage
      logging.log.error("%s; trying the one before", damage)
    else:
      if damaged:
        raise ConfigError(
          f"{self.directory}: no checkpoint is whole ({'; '.join(damaged.values())}); to begin anew, remove the folder"
        )
      return _NONE
    for bad in damaged:
      place = self.directory.parent / "damaged"
      place.mkdir(exist_ok=True)
      (self.directory / str(bad)).rename(place / f"{bad}-{len(list(place.iterdir()))}")
    return step

  def restore(self, spec, step: int):
    """Reads a checkpoint into the shapes, types and shardings of `spec`, a state of arrays or `jax.ShapeDtypeStruct`s.

    Raises:
      ConfigError: if it was written by another format, or for other arrays; says which.
    """
    metadata = self._metadata(step)
    if metadata["format_version"] != FORMAT_VERSION:
      raise ConfigError(f"{self.directory}/{step} has format {metadata['format_version']}, this jssl reads {FORMAT_VERSION}")
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), named_leaves(spec))
    saved = _saved_spec(self._manager, step)
    require_same(f"{self.directory}/{step}", saved, "this run", target)
    restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))).state
    return jax.tree.unflatten(jax.tree.structure(spec), [restored[name] for name in named_leaves(spec)])

  def metrics(self, step: int) -> dict[str, float]:
    """What was saved beside the state of a step; empty if there is no checkpoint of it."""
    if step not in self._manager.all_steps():
      return {}
    metadata = self._metadata(step)
    return {name: math.nan if value is None else value for name, value in metadata["metrics"].items()}

  def _metadata(self, step: int) -> dict[str, Any]:
    return self._manager.restore(step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore())).metadata

  def wait(self) -> None:
    """Returns when all that was saved is on disk, or has failed to get there."""
    if self._writing:
      self._writing.join()
      self._writing = None
      with contextlib.suppress(Exception):  # orbax raises an error in each thread; this one would not begin the next save
        self._manager.wait_until_finished()

  def finish(self) -> None:
    """The same, at the end of a run.

    Raises:
      CheckpointError: if the last checkpoint could not be written.
    """
    self.wait()
    if self._failed:
      raise CheckpointError(f"{self._failed}; last good checkpoint: step {self.latest_step()}")

  def close(self) -> None:
    self.wait()
    self._manager.close()


def checksums_path(directory: pathlib.Path, step: int) -> pathlib.Path:
  return directory.parent / "checksums" / f"{step}.json"


def write_checksums(directory: pathlib.Path, step: int) -> None:
  """Keeps the SHA-256 of every file of a complete checkpoint, and forgets those of checkpoints that are gone.

  Args:
    directory: of the checkpoints.
    step: of the checkpoint.
  """
  path = checksums_path(directory, step)
  path.parent.mkdir(exist_ok=True)
  write_whole(path, json.dumps(_checksums(directory / str(step))))
  for kept in path.parent.glob("*.json"):
    if not (directory / kept.stem).exists():
      kept.unlink()


def known_steps(directory: pathlib.Path) -> list[int]:
  """The steps of the checkpoints in a folder, whole or not, the newest last; none if there is no such folder."""
  found = directory.iterdir() if directory.is_dir() else ()
  return sorted(int(path.name) for path in found if path.name.isdigit() and path.is_dir())


def find_damage(directory: pathlib.Path, step: int) -> str:
  """What differs in a checkpoint from what was written, in one line; "" if nothing does.

  A process that was killed in the moment between has left a complete checkpoint without checksums, and a copy may lack
  them: such a checkpoint passes if it can be read.
  """
  record = checksums_path(directory, step)
  if not record.exists():
    return _find_missing(directory, step)
  try:
    expected, found = json.loads(record.read_text()), _checksums(directory / str(step))
    if not isinstance(expected, dict):
      raise ValueError(f"{record.name} is not a table of checksums")
  except (OSError, ValueError, RecursionError) as error:
    return f"the checkpoint of step {step} cannot be checked: {error}"
  names = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
  if not names:
    return ""
  what = "is missing" if names[0] not in found else "is not as it was written"
  return (
    f"the checkpoint of step {step} is damaged: {names[0]} {what}{f' ({len(names)} files in all)' if len(names) > 1 else ''}"
  )


def _find_missing(directory: pathlib.Path, step: int) -> str:
  """Like `find_damage` without checksums: whether what every checkpoint has is there, and the arrays can be read."""
  for name in _NEEDED:
    path = directory / str(step) / name
    if not path.is_file() or not path.stat().st_size:
      return f"the checkpoint of step {step} is damaged: {name} is {'empty' if path.is_file() else 'missing'}"
  if jax.process_count() > 1:  # where orbax reads with all processes at once
    return ""
  try:
    _read(directory, step)
  except Exception as error:  # pylint: disable=broad-except  # whatever orbax makes of a part of its files
    return f"the checkpoint of step {step} is damaged: {' '.join(str(error).split())[:200]}"
  return ""


def _checksums(folder: pathlib.Path) -> dict[str, str]:
  digests = {}
  for path in sorted(folder.rglob("*")):
    if path.is_file():
      with path.open("rb") as file:
        digests[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
  return digests


def _handlers() -> dict[str, ocp.CheckpointHandler]:
  return {"state": ocp.StandardCheckpointHandler(), "metadata": ocp.JsonCheckpointHandler()}


def named_leaves(state) -> dict[str, Any]:
  """Nested dicts by field name: what is on disk does not depend on the classes of the code."""
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)
  }


def _single_copy(x):
  """One of the copies of what all devices of one process hold; of an array with some, orbax saves slices, each compiled."""
  return x.addressable_data(0) if jax.process_count() == 1 and x.is_fully_replicated else x


def _saved_spec(manager, step: int):
  tree = manager.item_metadata(step)["state"]
  return {name: jax.ShapeDtypeStruct(tuple(m.shape), m.dtype) for name, m in dict(tree).items()}


def readable_step(workdir: str | pathlib.Path, step: int | None = None) -> int:
  """The step of the checkpoint that `load_variables` reads: the one that is asked for, or the newest.

  Raises:
    ConfigError: if the workdir holds no such checkpoint.
  """
  known = known_steps(user_path(workdir).absolute() / "checkpoints")
  if not known:
    raise ConfigError(f"{workdir} holds no checkpoint")
  if step is not None and step not in known:
    raise ConfigError(f"{workdir} holds no checkpoint of step {step}; known: {known}")
  return known[-1] if step is None else step


def load_variables(workdir: str | pathlib.Path, step: int | None = None) -> dict[str, np.ndarray]:
  """Reads the method's variables of a run as NumPy arrays: `{"params/student/backbone/cls": ..., ...}`.

  Raises:
    ConfigError: if the workdir holds no checkpoint, or a damaged one.
  """
  step = readable_step(workdir, step)
  directory = user_path(workdir).absolute() / "checkpoints"
  if damage := find_damage(directory, step):
    raise ConfigError(f"{workdir}: {damage}; known steps: {known_steps(directory)}")
  return {name: np.asarray(x) for name, x in _variables(_read(directory, step)).items()}


def variable_shapes(workdir: str | pathlib.Path, step: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and types of what `load_variables` reads, of which nothing is read.

  Raises:
    ConfigError: if the workdir holds no such checkpoint.
  """
  step = readable_step(workdir, step)
  with _reader(user_path(workdir).absolute() / "checkpoints") as manager:
    return _variables(_saved_spec(manager, step))


def _variables(leaves: dict[str, Any]) -> dict[str, Any]:
  """A method's variables among the leaves of a state."""
  prefix = "variables/"
  return {name[len(prefix) :]: leaf for name, leaf in leaves.items() if name.startswith(prefix)}


def _reader(directory: pathlib.Path) -> ocp.CheckpointManager:
  options = ocp.CheckpointManagerOptions(create=False, read_only=True)
  return ocp.CheckpointManager(directory, item_handlers=_handlers(), options=options)


def _read(directory: pathlib.Path, step: int) -> dict[str, Any]:
  """All arrays of a checkpoint."""
  with _reader(directory) as manager:
    target = {name: np.zeros(spec.shape, spec.dtype) for name, spec in _saved_spec(manager, step).items()}
    return dict(manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))).state)


def nested(arrays: dict[str, Any]) -> dict[str, Any]:
  """Flat names as nested dicts: the inverse of `named_leaves` for networks."""
  return traverse_util.unflatten_dict(arrays, sep="/")


def network_arrays(variables: dict[str, Any], network: str) -> tuple[dict, dict]:
  """Parameters and statistics of one network out of `load_variables` or `variable_shapes`, as flat dicts.

  Raises:
    ConfigError: if there is no such network.
  """
  parts = {}
  for kind in ("params", "teachers", "stats"):
    prefix = f"{kind}/{network}/"
    parts[kind] = {name[len(prefix) :]: x for name, x in variables.items() if name.startswith(prefix)}
  params = parts["params"] or parts["teachers"]
  if not params:
    known = {name.split("/")[1] for name in variables if name.split("/")[0] in ("params", "teachers")}
    raise ConfigError(f"the run has no network '{network}'; {nearest(network, known)}")
  return params, parts["stats"]


def fill(source: str, tree, found: dict[str, np.ndarray], place: str = "this config"):
  """A tree like `tree` (arrays or their shapes) with the values of `found`, by name; both must have the same names.

  Args:
    source: what `found` is called in errors.
    tree: which names there must be.
    found: their values.
    place: what `tree` is called.

  Raises:
    ConfigError: with what each side has and the other has not.
  """
  require_same(source, found, place, named_leaves(tree))
  leaves = [found[name] for name in named_leaves(tree)]
  return jax.tree.unflatten(jax.tree.structure(tree), [jax.numpy.asarray(x) for x in leaves])


def require_same(left_name: str, left: dict[str, Any], right_name: str, right: dict[str, Any]) -> None:
  """Raises `ConfigError` with a two-way difference unless both have the same names, shapes and dtypes."""
  lines = [f"  only in {left_name}: {name} {left[name].shape}" for name in sorted(left.keys() - right.keys())]
  lines += [f"  only in {right_name}: {name} {right[name].shape}" for name in sorted(right.keys() - left.keys())]
  for name in sorted(left.keys() & right.keys()):
    a, b = left[name], right[name]
    if tuple(a.shape) != tuple(b.shape) or a.dtype != b.dtype:
      lines.append(f"  {name}: {a.shape} {a.dtype} in {left_name}, {b.shape} {b.dtype} in {right_name}")
  if lines:
    more = [f"  ... and {len(lines) - 20} more"] if len(lines) > 20 else []
    raise ConfigError("\n".join([f"{left_name} does not fit {right_name}:", *lines[:20], *more]))
