"""A config, its data and its devices, ready to step."""

from collections.abc import Mapping
import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from jssl import config as configs
from jssl import data, durations, logging, optim, phases, tables, warm_start
from jssl.environment import run_key
from jssl.errors import ConfigError, nearest
from jssl.host_crops import HostCrops
from jssl.inputs import load_inputs
from jssl.method import Method, Variables
from jssl.parallel import Parallel
from jssl.schedules import Horizon
from jssl.step import make_train_step, TrainState


class Trainer:
  """What `jssl.train.train_and_evaluate` drives, and tools may take apart.

  Args:
    config: as `get_config` of a config returns it.
    source: the data; by default what `config.data` names.
    also: other data by name, in the place of what `config.data.also` names or beside it.
    devices: default all.

  Raises:
    ConfigError: for whatever cannot work, before a step is run.
  """

  def __init__(
    self, config, source: data.Source | None = None, *, also: Mapping[str, data.Source] | None = None, devices=None
  ):
    configs.check_config(config)
    self.config = config
    self.parallel = Parallel(
      config.parallel.mode,
      config.batch_size,
      shard_state=config.parallel.shard_state,
      compiler_options=config.parallel.compiler_options,
      devices=devices,
    )
    self.inputs = load_inputs(config, source, also)
    self.source = source = self.inputs[0].source
    self.whole = {name: array for one in self.inputs for name, array in one.whole.items()}
    if len(source) < config.batch_size:
      raise ConfigError(f"config.batch_size={config.batch_size}: {source.name} has only {len(source)} examples")
    self.horizon = Horizon(configs.total_steps(config, len(source)), len(source) // config.batch_size, config.batch_size)
    self.phases = phases.split(config, self.horizon)
    self.crops_on_host = source.encoded is not None and config.data.full_resolution
    self.arrays = {}
    self.phase = None
    self._check_phases()
    for message in durations.unreachable(config, self.horizon) if jax.process_index() == 0 else ():
      logging.log.warning(message)
    if cropping := self.cropping():
      logging.log.info("%s", cropping)

  def cropping(self) -> str:
    """Where the views of images that are files are cropped, in a line for each source of files; empty without any."""
    lines = []
    for one in self.inputs:
      if one.source.encoded is None:
        continue
      height, width = one.source.encoded.canvas
      shrunk = f"on the device, out of images shrunk into {width} x {height} pixels"
      if one.name or not self.method.cropped:
        lines.append(f"views {f'of {one.prefix}image ' if one.name else ''}are cropped {shrunk}")
        continue
      others = f"; others {shrunk}" if "image" in self.method.batch_names else ""
      cropped = ", ".join(self.method.cropped)
      lines.append(f"views cropped on the host, out of the files at full resolution: {cropped}{others}")
    return "\n".join(lines)

  def _check_phases(self) -> None:
    """Starts every phase, the first one last, so that what cannot work at step 400,000 is told before step 1."""
    later = expected = None
    read: set[str] = set()
    for phase in reversed(self.phases):
      self.start_phase(phase.start)
      read |= {*self.method.batch_names, *self.method.whole_names}
      tables.check_refresh(self.method, self.horizon, self.source, self.parallel.process_count)
      if len(self.phases) > 1:
        found, _ = self.step_spec()
        if later is not None:
          phases.check_same_state(phase, found, later, expected)
        later, expected = phase, found
      best = self.config.checkpoint.keep_best
      if best and not tables.is_reported(best, self.method) and best not in (known := self.metric_names()):
        raise ConfigError(
          f"config.checkpoint.keep_best='{best}': the steps report no such metric; {nearest(str(best), known)}"
        )

    for one in self.inputs[1:]:
      if read.isdisjoint((*one.names, *one.whole)):
        raise ConfigError(f"config.data.also.{one.name}: nothing reads an array of it, such as '{one.names[0]}'")

  def metric_names(self) -> set[str]:
    """What a step of this phase reports."""
    parallel = Parallel("jit", self.config.batch_size, devices=jax.local_devices()[:1])
    state, batch = self.step_spec()
    return set(jax.eval_shape(self.make_step(self.single_method, parallel), state, {}, batch)[1])

  def start_phase(self, step: int) -> None:
    """Builds what the phase of `step` trains, unless it is there; its step is compiled at its first call."""
    phase = phases.at(self.phases, step)
    if phase is self.phase:
      return
    self.phase = phase
    self.method = self.make_method(self.parallel.axis_name)
    self.single_method = self.make_method(None)  # without a mapped axis: for initialising and looking
    channels = self.source.encoded.channels if self.crops_on_host else 0
    self.crops = HostCrops(self.method.cropped, seed=self.config.seed, channels=channels)
    size = self.config.batch_size
    self.spec = {n: x for one in self.inputs for n, x in one.spec(size).items()} | self.crops.specs(size)
    self.abstract = jax.eval_shape(self._init_variables)
    self.optimizer, self.optim_info = optim.make_optimizer(
      phase.config.optim, self.abstract.params, **self.horizon._asdict()
    )
    self._check_accumulation()
    self._check_lookahead()
    self._load_arrays()

  def make_method(self, axis_name: str | None) -> Method:
    return Method(
      self.phase.config,
      num_examples=len(self.source),
      horizon=self.horizon,
      axis_name=axis_name,
      crops_on_host=self.crops_on_host,
      whole=self.whole,
      watched=self.config.monitor.every_steps is not None,
    )

  def _check_accumulation(self) -> None:
    reasons = self.method.coupled(self.abstract)
    if self.config.accumulate > 1 and reasons:
      raise ConfigError(f"config.accumulate={self.config.accumulate} would change the loss: {reasons[0]}")
    if self.parallel.local_batch_size % self.config.accumulate:
      raise ConfigError(
        f"config.accumulate={self.config.accumulate} does not divide the {self.parallel.local_batch_size} "
        "examples of a device"
      )

  def _check_lookahead(self) -> None:
    ahead = self.config.lookahead
    if ahead.steps and not any(network.ema_of for network in self.method.networks.values()):
      raise ConfigError(f"config.lookahead.steps={ahead.steps}: no network follows another, so nobody looks ahead")
    parts = (ahead.steps + 1) * self.config.accumulate
    if ahead.steps and ahead.mode == "wide" and self.parallel.local_batch_size % parts:
      raise ConfigError(
        f"config.lookahead.steps={ahead.steps}: {parts} parts do not divide the {self.parallel.local_batch_size} examples "
        "of a device"
      )

  def _load_arrays(self) -> None:
    """Puts what the method reads of small data sets on the devices, and what is whole."""
    wanted = {name: self.whole[name] for name in self.method.whole_names}
    for one in self.inputs:
      one.settle(self.method.batch_names, self.config.data.device_bytes)
      wanted |= {one.prefix + key: array for key, array in (one.resident or {}).items()}
    if set(self.arrays) != set(wanted):
      self.arrays = self.parallel.put_replicated(wanted)

  def init_state(self) -> TrainState:
    """The state before the first step, warm starts included."""
    variables = warm_start.load_networks(self.single_method.networks, self._init_variables())
    return self.parallel.put_state(TrainState(jnp.int32(0), variables, self.optimizer.init(variables.params)))

  def _init_variables(self) -> Variables:
    variables = self.single_method.init(run_key(self.config.seed), self.spec)
    return variables.replace(tables=tables.initial_tables(self.single_method, self.spec, self.config.seed))

  def make_step(self, method: Method, parallel: Parallel):
    """The update of this phase, see `make_train_step`."""
    config = self.config
    skip = config.nonfinite.policy == "skip"
    return make_train_step(
      method,
      self.optimizer,
      parallel,
      seed=config.seed,
      accumulate=config.accumulate,
      skip=skip,
      lookahead=config.lookahead.to_dict(),
      watched=config.monitor.every_steps is not None,
    )

  def compile_step(self, state: TrainState):
    step = self.make_step(self.method, self.parallel)
    return self.parallel.compile(step, donate=True, state=state if self.parallel.shard_state else None)

  def lower_single(self):
    """The step on one device, traced for the global batch but not compiled: for costs."""
    parallel = Parallel("jit", self.config.batch_size, devices=jax.local_devices()[:1])
    state, batch = self.step_spec()
    return jax.jit(self.make_step(self.single_method, parallel), donate_argnums=0).lower(state, {}, batch)

  def step_spec(self):
    """The shapes of a step's state and of its global batch."""
    state = jax.eval_shape(lambda v: TrainState(jnp.int32(0), v, self.optimizer.init(v.params)), self.abstract)
    read = (*self.method.batch_names, *self.method.whole_names, "index")
    return state, {name: spec for name, spec in self.spec.items() if name in read}

  def read(self, index: np.ndarray, *, step: int, positions: np.ndarray) -> dict[str, np.ndarray]:
    """What the method reads of the examples `index [n]`, which draw their crops as those at `positions [n]` of a step."""
    return self.source.get(index, self.inputs[0].keys, self.crops.at(step, positions)) | {"index": index}

  def batches(self, start: int, stop: int, *, rollbacks: int = 0):
    """Global batches of steps `start` to `stop`, on the devices; only indices of what lives there already.

    Each of `rollbacks` brings the examples into another order.
    """
    config = self.config
    with contextlib.ExitStack() as stack:
      parts = []
      for one in self.inputs:
        part = one.batches(
          start,
          stop,
          seed=config.seed + (rollbacks << 32),
          batch_size=config.batch_size,
          parallel=self.parallel,
          crops=None if one.name else self.crops.at,
          threads=config.data.threads,
          prefetch=config.data.prefetch,
        )
        parts.append(stack.enter_context(contextlib.closing(part)))
      for batch in zip(*parts, strict=True):
        yield self.parallel.put_batch({name: array for part in batch for name, array in part.items()})
