"""The training loop: `python -m jssl.train --config mmc:demo --workdir runs/mmc [--config.optim.lr=1e-3] [--explain]`.

It knows steps, devices, checkpoints and logs; what is trained is the config's affair.
"""

import argparse
import contextlib
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jssl import checkpoint, data, durations, logging, optim, phases, processes, tables, warm_start, workdirs
from jssl import config as configs
from jssl.environment import run_key
from jssl.errors import CheckpointError, ConfigError, nearest, NonFiniteError
from jssl.files import user_path
from jssl.host_crops import HostCrops
from jssl.method import Method, Variables
from jssl.parallel import Parallel
from jssl.schedules import Horizon
from jssl.step import make_train_step, TrainState


class Trainer:
  """A config, its data and its devices, ready to step. `train_and_evaluate` drives it; tools may take it apart.

  Args:
    config: as `configs/*.py` return it.
    source: the data; by default what `config.data` names.
    devices: default all.

  Raises:
    ConfigError: for whatever cannot work, before a step is run.
  """

  def __init__(self, config, source: data.Source | None = None, *, devices=None):
    configs.check_config(config)
    self.config = config
    self.parallel = Parallel(
      config.parallel.mode,
      config.batch_size,
      shard_state=config.parallel.shard_state,
      compiler_options=config.parallel.compiler_options,
      devices=devices,
    )
    if source is None:
      source = data.load(config.data.name, split=config.data.split, **config.data.options)
    self.source = source
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
    if source.encoded is not None:
      logging.log.info("%s", self.cropping())

  def cropping(self) -> str:
    """Where the views of images that are files are cropped, in one line; empty for other data."""
    if self.source.encoded is None:
      return ""
    height, width = self.source.encoded.canvas
    shrunk = f"on the device, out of images shrunk into {width} x {height} pixels"
    if not self.method.cropped:
      return f"views are cropped {shrunk}"
    others = f"; others {shrunk}" if "image" in self.method.batch_names else ""
    return f"views cropped on the host, out of the files at full resolution: {', '.join(self.method.cropped)}{others}"

  def _check_phases(self) -> None:
    """Starts every phase, the first one last, so that what cannot work at step 400,000 is told before step 1."""
    later = expected = None
    for phase in reversed(self.phases):
      self.start_phase(phase.start)
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
    self.spec = {
      name: jax.ShapeDtypeStruct((self.config.batch_size, *x.shape), x.dtype)
      for name, x in {**self.source.element_spec, "index": np.int32(0)}.items()
    } | self.crops.specs(self.config.batch_size)
    self.abstract = jax.eval_shape(self._init_variables)
    self.optimizer, self.optim_info = optim.make_optimizer(
      phase.config.optim, self.abstract.params, **self.horizon._asdict()
    )
    self._check_accumulation()
    self._load_arrays()

  def make_method(self, axis_name: str | None) -> Method:
    return Method(
      self.phase.config,
      num_examples=len(self.source),
      horizon=self.horizon,
      axis_name=axis_name,
      crops_on_host=self.crops_on_host,
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

  def _load_arrays(self) -> None:
    """Puts what the method reads of a small data set on the device."""
    arrays = self.source.arrays
    names = [name for name in self.method.batch_names if name != "index"]
    self.resident = arrays is not None and sum(arrays[n].nbytes for n in names) <= self.config.data.device_bytes
    if self.resident and set(self.arrays) != set(names):
      self.arrays = self.parallel.put_replicated({name: arrays[name] for name in names})

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
    return make_train_step(method, self.optimizer, parallel, seed=config.seed, accumulate=config.accumulate, skip=skip)

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
    return state, {name: spec for name, spec in self.spec.items() if name in (*self.method.batch_names, "index")}

  def read(self, index: np.ndarray, *, step: int, positions: np.ndarray) -> dict[str, np.ndarray]:
    """What the method reads of the examples `index [n]`, which draw their crops as those at `positions [n]` of a step."""
    keys = [name for name in self.method.batch_names if name not in (*self.crops.names, "index")]
    return self.source.get(index, keys, self.crops.at(step, positions)) | {"index": index}

  def batches(self, start: int, stop: int, *, rollbacks: int = 0):
    """Global batches of steps `start` to `stop`, on the devices; only indices if the data lives there already.

    Each of `rollbacks` brings the examples into another order.
    """
    config, seed = self.config, self.config.seed + (rollbacks << 32)
    if self.resident:
      for step in range(start, stop):
        index = data.batch_indices(step, seed=seed, num_examples=len(self.source), batch_size=config.batch_size)
        yield self.parallel.put_batch({"index": index[self.parallel.part].astype(np.int32)})
    else:
      keys = tuple({*self.method.batch_names, "index"} - {*self.crops.names})
      for batch in data.batches(
        self.source,
        batch_size=config.batch_size,
        seed=seed,
        start_step=start,
        stop_step=stop,
        keys=keys,
        crops=self.crops.at,
        threads=config.data.threads,
        prefetch=config.data.prefetch,
        process_index=self.parallel.process_index,
        process_count=self.parallel.process_count,
      ):
        yield self.parallel.put_batch(batch)


def train_and_evaluate(config, workdir, *, source: data.Source | None = None, devices=None) -> TrainState:
  """Trains `config` to its end in `workdir`, from its last checkpoint if there is one.

  Args:
    config: as `configs/*.py` return it.
    workdir: for `config.json`, `metrics.jsonl`, TensorBoard events and checkpoints.
    source: data instead of what `config.data` names, as `data.from_arrays` or `data.from_iterator` make it.
    devices: default all.

  Returns:
    The final state; the state so far if SIGTERM stopped the run.

  Raises:
    ConfigError: before any training, for what cannot work.
    NonFiniteError: when the loss or a gradient stops being finite; the last good checkpoint stays.
    CheckpointError: when the last checkpoint cannot be written.
  """
  workdir = user_path(workdir)
  configs.to_json(config)  # what a workdir cannot keep is told before anything is loaded
  trainer = Trainer(config, source, devices=devices)
  with workdirs.claimed(workdir, config, trainer.source, given=source is not None):
    saved = checkpoint.Checkpoints(workdir, keep=config.checkpoint.keep, keep_best=config.checkpoint.keep_best)
    logging.log.info(trainer.optim_info["summary"])
    with processes.Interrupt() as interrupt, contextlib.closing(saved):
      state = _restored(trainer, saved)
      rollbacks = int(state.rollbacks)
      while True:
        try:
          with contextlib.closing(logging.MetricsWriter(workdir, int(state.step))) as writer:
            return _loop(trainer, state, saved, writer, interrupt)
        except NonFiniteError as error:
          rollbacks += 1
          state = _roll_back(trainer, saved, error, rollbacks)


def _restored(trainer: Trainer, saved) -> TrainState:
  """The state of the last checkpoint, or the first one, for which alone warm starts are read."""
  step = saved.last_whole()
  if step is None:
    if lost := logging.read_metrics(saved.directory.parent):
      logging.log.warning("no checkpoint there: begins anew, though metrics.jsonl goes up to step %d", lost[-1]["step"])
    return trainer.parallel.as_local(trainer.parallel.as_global(trainer.init_state()))
  state = trainer.parallel.as_local(saved.restore(trainer.parallel.layout(trainer.step_spec()[0]), step))
  logging.log.info("going on from step %d", step)
  return state


def _roll_back(trainer: Trainer, saved, error: NonFiniteError, rollbacks: int) -> TrainState:
  """The state of the last checkpoint, from which the examples come in another order; or the error again."""
  policy = trainer.config.nonfinite
  if policy.policy != "roll_back" or rollbacks > policy.limit:
    raise error
  state = _restored(trainer, saved)
  logging.log.warning(
    "%s; going on from step %d with the examples in another order (%d of %d times)",
    error,
    int(state.step),
    rollbacks,
    policy.limit,
  )
  return state.replace(rollbacks=trainer.parallel.put_replicated(np.int32(rollbacks)))


def _loop(trainer: Trainer, state: TrainState, saved, writer, interrupt) -> TrainState:
  config, total = trainer.config, trainer.horizon.total_steps
  step, rollbacks = int(state.step), int(state.rollbacks)
  progress = logging.Progress(step, total, config.batch_size)
  watch = logging.CollapseWatch(first_step=total // 10)
  left_out = int(state.nonfinite)
  # What `refresh` functions reported last, also before the checkpoint from which the run goes on.
  reported = {name: x for name, x in saved.metrics(step).items() if tables.is_reported(name, trainer.method)}
  while step < total:
    trainer.start_phase(step)
    train_step = trainer.compile_step(state)
    start = step
    for batch in trainer.batches(step, min(trainer.phase.stop, total), rollbacks=rollbacks):
      state, found = tables.refresh(trainer, state, step)
      reported |= found
      state, metrics = train_step(state, trainer.arrays, batch)
      step += 1
      if step == start + 1:
        processes.trim_memory()  # of compiling
      logged = step == 1 or step % config.log_every_steps == 0 or step == total
      # Processes agree on when to stop where they wait for the device anyway.
      stop = trainer.parallel.any(interrupt.requested) if logged or trainer.parallel.process_count == 1 else False
      due = step % config.checkpoint_every_steps == 0 or step == total or stop
      if logged or due:
        metrics = reported | _fetch(step, metrics, saved, config.nonfinite, left_out)
        left_out = int(metrics["nonfinite"])
      if logged:
        watch.look(step, metrics)
        _log(step, metrics, writer, progress, trainer.source)
      if due:
        _save(step, state, metrics, saved, trainer.parallel)
      if stop:
        saved.finish()
        logging.log.info("stopped by a signal at step %d; the same command goes on from there", step)
        return state
  saved.finish()
  return state


def _fetch(step, metrics, saved, policy, left_out: int) -> dict[str, float]:
  """The metrics as numbers: the only place where the loop waits for the device. Warns of more updates than `left_out`.

  Raises:
    NonFiniteError: if more updates than the policy allows were not finite.
  """
  metrics = {name: float(value) for name, value in jax.device_get(metrics).items()}
  count = int(metrics["nonfinite"])
  if count > (policy.limit if policy.policy == "skip" else 0):
    saved.wait()
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    raise NonFiniteError(
      f"step {step}: {count} update(s) with a loss or gradient that is not finite"
      f"{' (now: ' + ', '.join(bad) + ')' if bad else ''}; last good checkpoint: step {saved.latest_step()}"
    )
  if count > left_out:
    logging.log.warning(
      "step %d: %d of at most %d updates left out, their loss or gradient not finite", step, count, policy.limit
    )
  return metrics


def _log(step, metrics, writer, progress, source) -> None:
  speed = progress.update(step)
  row = metrics | {"images_per_second": speed}
  if source.unreadable:
    row["unreadable"] = len(source.unreadable)
  writer.write(step, row)
  logging.log.info(progress.line(step, metrics["loss"], speed))


def _save(step, state, metrics, saved, parallel) -> None:
  difference = parallel.replica_difference(state.variables)
  if difference:
    logging.log.warning("step %d: the devices' copies of the state differ by %g", step, difference)
  saved.save(step, parallel.as_global(state), metrics)


def main(argv: list[str] | None = None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m jssl.train",
    description=__doc__.splitlines()[0],
    epilog="--config.key=value changes any key of the config",
  )
  parser.add_argument("--config", required=True, help="file.py[:arg], or the name of one of jssl's, such as mmc:demo")
  parser.add_argument("--workdir", help="where the run is kept; a run that is there is continued")
  parser.add_argument("--explain", action="store_true", help="print the expanded method and its cost, and stop")
  parser.add_argument(
    "--distributed",
    nargs="?",
    const="",
    metavar="HOST:PORT,COUNT,INDEX",
    help="one of several processes that train together: the first one's address, their number, which "
    "one this is; without a value as SLURM, MPI or a TPU pod tell it",
  )
  arguments, overrides = parser.parse_known_args(argv)
  logging.setup()
  # Where JAX_COMPILATION_CACHE_DIR names a folder, a start that has been made before compiles nothing.
  least = os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", 0)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", float(least))
  try:
    if arguments.distributed is not None:
      processes.join(arguments.distributed)
    config = configs.override(configs.load_config(arguments.config), overrides)
    if arguments.explain:
      from jssl import explain  # pylint: disable=g-import-not-at-top

      print(explain.explain(Trainer(config)))
    elif not arguments.workdir:
      raise ConfigError("--workdir is missing")
    else:
      train_and_evaluate(config, arguments.workdir)
  except (CheckpointError, ConfigError, NonFiniteError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
