"""One device or many, in one process or several: the only file that knows devices.

Two modes compile the same functions and give the same results:

- `pmap`: a named axis over the devices, no leading replica axis; losses that couple examples gather or average by it.
- `jit`: one program over the global batch, which XLA splits; it can also shard the state over the devices.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from jssl import batch_axis, xla
from jssl.data.sampling import process_part
from jssl.errors import ConfigError

AXIS = "batch"
MODES = ("pmap", "jit")


class Parallel:
  """Compiles functions of `(state, arrays, batch)` for a set of devices.

  Args:
    mode: "pmap" or "jit".
    batch_size: of the global batch.
    shard_state: in jit mode, split every large array of the state over the devices.
    compiler_options: of XLA, by their names in XLA_FLAGS, for what is compiled with `donate`: the step.
    devices: default all.

  Raises:
    ConfigError: if the devices do not divide the batch, or a mode or XLA does not know an option.

  Attributes:
    process_index, process_count: of this process, among those that own a device; each holds an equal, contiguous part of
      every batch.
  """

  def __init__(self, mode: str, batch_size: int, *, shard_state: bool = False, compiler_options=None, devices=None):
    self.devices = list(devices or jax.devices())
    if mode not in MODES:
      raise ConfigError(f"config.parallel.mode='{mode}': known: {', '.join(MODES)}")
    if batch_size % len(self.devices):
      raise ConfigError(f"config.batch_size={batch_size} is not divisible by the {len(self.devices)} devices")
    if shard_state and mode != "jit":
      raise ConfigError("config.parallel.shard_state needs config.parallel.mode='jit'")
    self.mode = mode
    self.shard_state = shard_state
    self.compiler_options = dict(compiler_options or {})
    self._check_compiler_options()
    self.batch_size = batch_size
    self.axis_name = AXIS if mode == "pmap" else None
    processes = sorted({device.process_index for device in self.devices})
    self.process_index, self.process_count = processes.index(jax.process_index()), len(processes)
    self._local_devices = [device for device in self.devices if device.process_index == jax.process_index()]
    if self._local_devices:
      xla.warn_of_wrong_sums(self._local_devices[0])
    self.mesh = Mesh(np.array(self.devices), (AXIS,))
    # A pmapped function's arrays belong to a process, those of one program to all.
    self._replicated = NamedSharding(
      Mesh(np.array(self._local_devices), (AXIS,)) if self.axis_name else self.mesh, PartitionSpec()
    )

  @property
  def local_batch_size(self) -> int:
    """Examples that one traced function sees: a device's share under pmap, the global batch under jit."""
    return self.batch_size // len(self.devices) if self.axis_name else self.batch_size

  def positions(self) -> jax.Array:
    """Inside a compiled function: the places in the global batch of the examples that it sees."""
    return batch_axis.positions(self.local_batch_size, self.axis_name)

  def mean(self, tree):
    """Inside a compiled function: the mean over devices of per-device means."""
    return jax.lax.pmean(tree, AXIS) if self.axis_name else tree

  def value_and_grad(self, loss: Callable) -> Callable:
    """Differentiates `loss(params, variables, ...) -> (value, (carry, metrics))` and averages over devices.

    Arrays of the state that are split are put together for the loss: left to itself, XLA may rather split its products
    and move activations, which are many times as large.

    What a loss computes through `psum` or `all_gather` is the same on every device; since the transpose of a sum over
    devices is that same sum, the mean of the devices' gradients is the gradient of the global loss in that case too.
    """

    def gathered(params, variables, *args, **kwargs):
      if self.shard_state:
        params, variables = jax.lax.with_sharding_constraint((params, variables), self._replicated)
      return loss(params, variables, *args, **kwargs)

    def averaged(params, *args, **kwargs):
      (value, (carry, metrics)), gradients = jax.value_and_grad(gathered, has_aux=True)(params, *args, **kwargs)
      value, metrics, gradients = self.mean((value, metrics, gradients))
      return (value, (carry, metrics)), gradients

    return averaged

  def _check_compiler_options(self) -> None:
    if not self.compiler_options:
      return
    try:
      jax.jit(lambda: 0).lower().compile(self.compiler_options)
    except jax.errors.JaxRuntimeError as error:
      raise ConfigError(f"config.parallel.compiler_options: {str(error).splitlines()[0]}") from error

  def compile(self, fn: Callable, *, donate: bool = False, gather: bool = False, state=None) -> Callable:
    """Compiles `fn(state, arrays, batch) -> output`.

    Args:
      fn: `state` and `arrays` are whole on every device, `batch` is split along its first axis.
      donate: whether the memory of `state` may be reused for the output. It marks the step, which alone takes
        `compiler_options`.
      gather: whether the output is a tree of arrays `[batch, ...]`, to be put together again; otherwise it is the same
        on every device.
      state: with `shard_state`, the state whose layout input and output keep.
    """
    donated, options = ((0,), self.compiler_options) if donate else ((), {})
    if self.axis_name:
      mapped = jax.pmap(
        fn,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=0 if gather else None,
        devices=self.devices,
        donate_argnums=donated,
      )
      if gather:
        return lambda *args: jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), mapped(*args))
      return _compiled_at_first_call(mapped, options) if options else mapped
    if gather:
      return jax.jit(fn)
    layout = None if state is None else (jax.tree.map(lambda x: x.sharding, state), self._replicated)
    return jax.jit(fn, donate_argnums=donated, out_shardings=layout, compiler_options=options or None)

  @property
  def part(self) -> slice:
    """This process's examples of a global batch."""
    return process_part(self.batch_size, self.process_index, self.process_count)

  def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Sends this process's part of a global batch to its devices, split along its first axis."""
    if self.axis_name:
      return {k: v.reshape(len(self._local_devices), -1, *v.shape[1:]) for k, v in batch.items()}
    sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
    return {k: jax.make_array_from_process_local_data(sharding, np.asarray(v)) for k, v in batch.items()}

  def put_replicated(self, tree):
    """Sends arrays whole to every device; every process has the same ones."""
    return jax.tree.map(lambda x: jax.device_put(self._on_host(x), self._replicated), tree)

  def single_copy(self, tree):
    """The state's arrays on one device, where a function may mix them with others.

    In several processes all must ask for what is split over them.
    """
    whole = np.asarray if self.process_count == 1 else lambda x: multihost_utils.process_allgather(x, tiled=True)
    return jax.tree.map(lambda x: x.addressable_data(0) if x.is_fully_replicated else whole(x), tree)

  def put_state(self, state):
    """Sends the state to the devices: whole, or split where `shard_state` asks for it."""
    return jax.tree.map(lambda x: jax.device_put(self._on_host(x), self.state_sharding(x)), state)

  def _on_host(self, x):
    return x if self.process_count == 1 else np.asarray(x)  # An array on one device cannot go to those of other processes.

  def gather(self, tree):
    """The global batch, on every process, of what a function compiled with `gather` has put out, as NumPy arrays."""
    if self.process_count == 1:
      return jax.tree.map(np.asarray, tree)
    return multihost_utils.process_allgather(tree, tiled=True)

  def as_global(self, state):
    """The state as arrays of all processes, which is what checkpoints hold; the same memory."""
    return self._with_sharding(state, NamedSharding(self.mesh, PartitionSpec()))

  def layout(self, spec):
    """The shapes of a state with the shardings that `as_global` gives it: what a checkpoint is read into."""
    of_all = NamedSharding(self.mesh, PartitionSpec())
    sharding = (lambda x: of_all) if self.process_count > 1 and self.axis_name else self.state_sharding
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding(x)), spec)

  def as_local(self, state):
    """The inverse of `as_global`."""
    return self._with_sharding(state, self._replicated)

  def _with_sharding(self, state, sharding):
    if self.process_count == 1 or not self.axis_name:
      return state
    view = lambda x: jax.make_array_from_single_device_arrays(x.shape, sharding, [s.data for s in x.addressable_shards])
    return jax.tree.map(view, state)

  def any(self, flag: bool) -> bool:
    """Whether it is true in any process; all of them must ask, and wait for each other."""
    return flag if self.process_count == 1 else bool(multihost_utils.process_allgather(np.array(flag)).any())

  def state_sharding(self, x) -> NamedSharding:
    """The layout of one array of the state: its largest axis that the devices divide is split, if it is large."""
    axes = [i for i, n in enumerate(x.shape) if n % len(self.devices) == 0]
    if not self.shard_state or not axes or x.size < 4096:
      return self._replicated
    axis = max(axes, key=lambda i: x.shape[i])
    return NamedSharding(self.mesh, PartitionSpec(*[AXIS if i == axis else None for i in range(x.ndim)]))

  def replica_difference(self, tree) -> float:
    """The largest difference of one device's copy of `tree` from another's: pmapped outputs show the first copy only."""
    worst = 0.0
    for leaf in jax.tree.leaves(tree):
      if not leaf.is_fully_replicated or len(leaf.addressable_shards) == 1:
        continue
      first, *others = [np.asarray(shard.data) for shard in leaf.addressable_shards]
      for other in others:
        same = np.array_equal(first, other, equal_nan=np.issubdtype(first.dtype, np.inexact))
        worst = max(worst, 0.0 if same else float(np.max(np.abs(first.astype(np.float64) - other))))
    return worst


def _compiled_at_first_call(mapped: Callable, compiler_options: dict[str, Any]) -> Callable:
  """What `jax.pmap` returned, compiled with options, which only its ahead-of-time form takes."""
  compiled = None

  def call(*args):
    nonlocal compiled
    if compiled is None:
      compiled = mapped.lower(*args).compile(compiler_options)
    return compiled(*args)

  return call
