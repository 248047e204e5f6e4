"""What a run writes for people and for tools: `metrics.jsonl`, TensorBoard events, a run of W&B, one progress line."""

import inspect
import json
import logging
import math
import pathlib
import secrets
import sys
import time

import jax

from jssl.errors import ConfigError, nearest
from jssl.files import dump_json, user_path, write_whole

log = logging.getLogger("jssl")


def setup(level=logging.INFO) -> None:
  """Sends jssl's messages to stderr, once. Those of orbax and absl are left out: what goes wrong is told by jssl."""
  if not log.handlers:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.propagate = False
  log.setLevel(level)
  for name in ("absl", "orbax"):
    logging.getLogger(name).setLevel(logging.CRITICAL)


class MetricsWriter:
  """Appends rows to `metrics.jsonl` and to what `config.writers` names; of several processes only the first does.

  Args:
    workdir: of the run.
    step: rows from this step on are removed first, so that a resumed run leaves neither gaps nor doubles.
    config: of the run; by default TensorBoard is the one writer beside `metrics.jsonl`.

  Raises:
    ConfigError: W&B has not begun.
  """

  def __init__(self, workdir: str | pathlib.Path, step: int = 0, config=None):
    self._silent = jax.process_index() > 0
    if self._silent:
      return
    workdir = user_path(workdir)
    self._path = workdir / "metrics.jsonl"
    kept = [row for row in read_metrics(workdir) if row["step"] <= step]
    write_whole(self._path, "".join(dump_json(row) + "\n" for row in kept))
    self._others = []
    if config is None or config.writers.tensorboard:
      self._others.append(_TensorBoard(workdir, step))
    if config is not None and config.writers.wandb:
      self._others.append(_WandB(workdir, config))
    self._file = self._path.open("a", buffering=1)

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Adds a row; a full disk costs the row, not the run."""
    if self._silent:
      return
    try:
      self._file.write(dump_json({"step": step, **metrics}) + "\n")
    except OSError as error:
      log.error("step %d: the metrics could not be written: %s", step, error.strerror)
    for other in self._others:
      other.write(step, metrics)

  def close(self) -> None:
    if self._silent:
      return
    self._file.close()
    for other in self._others:
      other.close()


class _TensorBoard:
  """Events in `workdir/tensorboard`."""

  def __init__(self, workdir: pathlib.Path, step: int):
    self._events = _summary_writer(str(workdir / "tensorboard"), purge_step=step + 1 if step else None)
    self.close = self._events.close

  def write(self, step: int, metrics: dict[str, float]) -> None:
    for name, value in metrics.items():
      self._events.add_scalar(name, value, step)


class _WandB:
  """A run of Weights & Biases, the same one when the run goes on: `workdir/wandb_id` keeps its name."""

  def __init__(self, workdir: pathlib.Path, config):
    wandb, path = _import_wandb(), workdir / "wandb_id"
    if not path.exists():
      write_whole(path, secrets.token_hex(4) + "\n")
    settings = dict(dir=str(workdir)) | config.writers.wandb.to_dict()
    settings |= dict(id=path.read_text().strip(), resume="allow", config=config.to_dict(), allow_val_change=True)
    try:
      self._run = wandb.init(**settings)
    except wandb.Error as error:
      raise ConfigError(f"config.writers.wandb: {' '.join(str(error).split())}") from error
    self.close = self._run.finish

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Adds a row, unless it is one that the run had before it was stopped: W&B takes no step twice."""
    if step < self._run.step:
      return
    try:
      self._run.log(metrics, step=step)
    except Exception as error:  # pylint: disable=broad-except  # it costs the row, not the run
      log.error("step %d: W&B has not taken the metrics: %s", step, error)


def check_writers(config) -> None:
  """Refuses a `config.writers.wandb` that cannot be.

  Raises:
    ConfigError: if wandb is not installed, or for what `wandb.init` does not take.
  """
  if given := config.writers.wandb.to_dict():
    own = {"id", "resume", "config", "allow_val_change"}
    known = inspect.signature(_import_wandb().init).parameters.keys() - own
    for name in given:
      if name in own:
        raise ConfigError(f"config.writers.wandb.{name}: a run sets it itself")
      if name not in known:
        raise ConfigError(f"config.writers.wandb.{name}: wandb.init takes no such argument; {nearest(name, known)}")


def _import_wandb():
  try:
    import wandb  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise ConfigError(f"config.writers.wandb: {error}; pip install 'jssl[wandb]', or leave it empty") from error
  return wandb


def _summary_writer(*args, **kwargs):
  """tensorboardX's, without torch, which it imports where it finds it: a second or two of every start, for nothing here."""
  hide = "torch" not in sys.modules
  if hide:
    sys.modules["torch"] = None
  try:
    from tensorboardX import SummaryWriter  # pylint: disable=g-import-not-at-top
  finally:
    if hide:
      del sys.modules["torch"]
  return SummaryWriter(*args, **kwargs)


def read_metrics(workdir: str | pathlib.Path) -> list[dict[str, float]]:
  """The rows of a run's `metrics.jsonl`.

  A line that a killed process or a full disk left half written is dropped. A number that was not finite is null in the
  file, since JSON has none, and NaN here.
  """
  path = user_path(workdir) / "metrics.jsonl"
  if not path.exists():
    return []
  rows = []
  for line in path.read_text().splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:
      continue
    if isinstance(row, dict) and isinstance(row.get("step"), int):
      rows.append({name: math.nan if value is None else value for name, value in row.items()})
  return rows


class _CompileClock:
  """The time that this process has spent tracing and compiling, as JAX tells it."""

  def __init__(self):
    self._spans: list[tuple[float, float]] = []
    jax.monitoring.register_event_duration_secs_listener(self._add)

  def _add(self, event: str, duration: float, **_) -> None:
    if event.startswith("/jax/core/compile/"):
      end = time.monotonic()
      while self._spans and self._spans[-1][0] >= end - duration:  # which was a part of this
        self._spans.pop()
      self._spans.append((end - duration, end))

  def since(self, moment: float) -> float:
    """Seconds of it after `moment`."""
    return sum(end - max(start, moment) for start, end in self._spans if end > moment)


_compiling = _CompileClock()


def compiling_since(moment: float) -> float:
  """Seconds that were spent on compiling after `moment` of `time.monotonic`."""
  return _compiling.since(moment)


class Progress:
  """Speed, without what was spent on compiling, and the time that is left, between log steps."""

  def __init__(self, step: int, total_steps: int, batch_size: int):
    self._total, self._batch = total_steps, batch_size
    self._step, self._time = step, time.monotonic()

  def update(self, step: int) -> float:
    """Examples per second since the last call."""
    now = time.monotonic()
    speed = (step - self._step) * self._batch / max(now - self._time - compiling_since(self._time), 1e-9)
    self._step, self._time = step, now
    return speed

  def go_on(self) -> None:
    """The time since the last update was not spent on training."""
    self._time = time.monotonic()

  def line(self, step: int, loss: float, examples_per_second: float) -> str:
    left = (self._total - step) * self._batch / max(examples_per_second, 1e-9)
    hours, rest = divmod(int(left), 3600)
    eta = f"{hours}h{rest // 60:02d}m" if hours else f"{rest // 60}m{rest % 60:02d}s"
    return f"step {step}/{self._total}  loss {loss:.4f}  {examples_per_second:.0f} examples/s  {eta} left"
