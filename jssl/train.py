"""The training loop: `python -m jssl.train --config mmc:demo --workdir runs/mmc [--config.optim.lr=1e-3] [--explain]`.

It knows steps, devices, checkpoints and logs; what is trained is the config's affair.
"""

import argparse
from collections.abc import Mapping
import contextlib
import os
import pathlib
import sys

import jax
import numpy as np

from jssl import checkpoint, collapse, data, logging, origin, processes, tables, workdirs
from jssl import config as configs
from jssl.errors import CheckpointError, ConfigError, NonFiniteError, Stopped
from jssl.evaluation.own_data import evaluate_own_data
from jssl.files import user_path
from jssl.monitor import Monitor
from jssl.step import TrainState
from jssl.trainer import Trainer


def train_and_evaluate(
  config, workdir, *, source: data.Source | None = None, also: Mapping[str, data.Source] | None = None, devices=None
) -> TrainState:
  """Trains `config` to its end in `workdir`, from its last checkpoint if there is one.

  Args:
    config: as `get_config` of a config returns it.
    workdir: for `config.json`, `metrics.jsonl`, what `config.writers` names and checkpoints.
    source: data instead of what `config.data` names, as `data.from_arrays` or `data.from_iterator` make it.
    also: the same for other data by name, instead of what `config.data.also` names, or beside it: the arrays of
      `{"target": source}` are read as `target/image`, `target/index`, ...
    devices: default all.

  Returns:
    The final state; the state so far if SIGTERM stopped the run.

  Raises:
    ConfigError: before any training, for what cannot work.
    NonFiniteError: when the loss or a gradient stops being finite, with where it did; the last good checkpoint stays.
    CheckpointError: when the last checkpoint cannot be written.
  """
  workdir = user_path(workdir)
  configs.to_json(config)  # what a workdir cannot keep is told before anything is loaded
  trainer = Trainer(config, source, also=also, devices=devices)
  logging.check_writers(config)
  others = {one.name: one.source for one in trainer.inputs[1:]}
  monitor = Monitor(trainer, given=source is not None)
  with workdirs.claimed(workdir, config, trainer.source, others, given=source is not None):
    saved = checkpoint.Checkpoints(workdir, **config.checkpoint)
    logging.log.info(trainer.optim_info["summary"])
    with processes.Interrupt() as interrupt, contextlib.closing(saved):
      state = _restored(trainer, saved)
      rollbacks = int(state.rollbacks)
      while True:
        try:
          with contextlib.closing(logging.MetricsWriter(workdir, int(state.step), config)) as writer:
            return _loop(trainer, state, saved, writer, interrupt, monitor)
        except NonFiniteError as error:
          rollbacks += 1
          state = _roll_back(trainer, saved, error, rollbacks, interrupt)


def train_to_its_end(config, workdir: str | pathlib.Path, **arguments) -> TrainState:
  """`train_and_evaluate`, for what is to be done with the trained network and not with the state of a run that was stopped.

  Raises:
    Stopped: if SIGTERM or Ctrl-C stopped the run before its last step; the same call goes on.
  """
  state = train_and_evaluate(config, workdir, **arguments)
  if int(state.step) < configs.total_steps(config, workdirs.read_record(workdir)["data"]["examples"]):
    raise Stopped(f"{workdir}: stopped at step {int(state.step)}; the same command goes on from there")
  return state


def _restored(trainer: Trainer, saved) -> TrainState:
  """The state of the last checkpoint, or the first one, for which alone warm starts are read."""
  step = saved.last_whole()
  state = _state_at(trainer, saved, step)
  if step is not None:
    logging.log.info("going on from step %d", step)
  elif lost := logging.read_metrics(saved.directory.parent):
    logging.log.warning("no checkpoint there: begins anew, though metrics.jsonl goes up to step %d", lost[-1]["step"])
  return state


def _state_at(trainer: Trainer, saved, step: int | None, rollbacks: int | None = None) -> TrainState:
  """The state of a step's checkpoint, or the first one; with another number of rollbacks."""
  parallel = trainer.parallel
  if step is None:
    state = parallel.as_local(parallel.as_global(trainer.init_state()))
  else:
    state = parallel.as_local(saved.restore(parallel.layout(trainer.step_spec()[0]), step))
  return state if rollbacks is None else state.replace(rollbacks=parallel.put_replicated(np.int32(rollbacks)))


def _roll_back(trainer: Trainer, saved, error: NonFiniteError, rollbacks: int, interrupt) -> TrainState:
  """The state of the last checkpoint, from which the examples come in another order; or the error, with its origin."""
  policy = trainer.config.nonfinite
  if policy.policy != "roll_back" or rollbacks > policy.limit:
    last = lambda: _state_at(trainer, saved, saved.last_whole(), rollbacks - 1)
    raise origin.told(trainer, last, error, lambda: trainer.parallel.any(interrupt.requested)) from error
  state = _state_at(trainer, saved, saved.last_whole(), rollbacks)
  logging.log.warning(
    "%s; going on from step %d with the examples in another order (%d of %d times)",
    error,
    int(state.step),
    rollbacks,
    policy.limit,
  )
  return state


def _loop(trainer: Trainer, state: TrainState, saved, writer, interrupt, monitor: Monitor) -> TrainState:
  config, total = trainer.config, trainer.horizon.total_steps
  step, rollbacks = int(state.step), int(state.rollbacks)
  progress = logging.Progress(step, total, config.batch_size)
  watch = collapse.CollapseWatch(total, config.log_every_steps, collapse.still_teachers(trainer.method.graph))
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
        speed = progress.update(step)
        metrics |= monitor.look(step, state)
        progress.go_on()
        watch.look(step, metrics)
        _log(step, metrics, writer, progress, speed, [one.source for one in trainer.inputs])
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
      f"{' (now: ' + ', '.join(bad) + ')' if bad else ''}; last good checkpoint: step {saved.latest_step()}",
      step,
    )
  if count > left_out:
    logging.log.warning(
      "step %d: %d of at most %d updates left out, their loss or gradient not finite", step, count, policy.limit
    )
  return metrics


def _log(step, metrics, writer, progress, speed: float, sources) -> None:
  row = metrics | {"examples_per_second": speed}
  if unreadable := sum(len(source.unreadable) for source in sources):
    row["unreadable"] = unreadable
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
    evaluate_own_data(config, overrides)
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
