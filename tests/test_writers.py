"""What `config.writers` names: TensorBoard, and Weights & Biases, which a module in its place stands for."""

import collections
import contextlib
import math
import struct
import sys
import types

import jax
import pytest

from jssl import logging
from jssl.config import default_config, override
from jssl.errors import ConfigError
from jssl.train import train_and_evaluate
from tests import methods


class Killed(BaseException):
  """As SIGKILL: nothing comes after it."""


class Error(Exception):
  """W&B's own."""


class Server(types.ModuleType):
  """A `wandb` that keeps what it is sent, and like W&B's server what it has of each run."""

  def __init__(self, kill_after: int | None = None, error: Exception | None = None):
    super().__init__("wandb")
    self.Error, self.kill_after, self.error = Error, kill_after, error
    self.begun, self.finished, self.rows = [], [], collections.defaultdict(list)

  def init(self, *, project=None, mode=None, dir=None, id=None, resume=None, config=None, allow_val_change=None):  # noqa: A002
    if self.error:
      raise self.error
    self.begun.append(dict(project=project, mode=mode, dir=dir, id=id, resume=resume, config=config))
    return Run(self, id)


class Run:
  def __init__(self, server, name):
    self.server, self.name = server, name

  @property
  def step(self):
    rows = self.server.rows[self.name]
    return rows[-1][0] + 1 if rows else 0

  def log(self, row, step):
    assert step >= self.step, "W&B drops a step that it has"
    if row.get("refused"):
      raise ConnectionError("no way")
    self.server.rows[self.name].append((step, dict(row)))
    if step == self.server.kill_after:
      self.server.kill_after = None
      raise Killed

  def finish(self):
    self.server.finished.append(self.name)


@pytest.fixture
def server(monkeypatch):
  found = Server()
  monkeypatch.setitem(sys.modules, "wandb", found)
  return found


def config_of(**settings):
  config = default_config()
  config.writers.wandb = settings
  return config


def assert_the_same_rows(server, workdir, steps):
  """What W&B has of the run is what `metrics.jsonl` has of it: no gap, and no step twice."""
  name = (workdir / "wandb_id").read_text().strip()
  assert [one["id"] for one in server.begun] == [name, name] and server.finished == [name, name]
  kept = logging.read_metrics(workdir)
  without = lambda row: {key: x for key, x in row.items() if key not in ("step", "examples_per_second")}
  assert [(row["step"], without(row)) for row in kept] == [(step, without(row)) for step, row in server.rows[name]]
  assert [row["step"] for row in kept] == steps


def test_a_run_that_was_killed_goes_on_as_the_same(server, tmp_path):
  server.kill_after = 3  # with checkpoint 2
  writer = logging.MetricsWriter(tmp_path, 0, config_of(project="mine", mode="offline"))
  with pytest.raises(Killed), contextlib.closing(writer):
    for step in (1, 2, 3):
      writer.write(step, dict(loss=1 / step))
  with contextlib.closing(logging.MetricsWriter(tmp_path, 2, config_of(project="another"))) as writer:
    for step in (3, 4, 5):
      writer.write(step, dict(loss=1 / step))
  assert_the_same_rows(server, tmp_path, [1, 2, 3, 4, 5])
  first, second = server.begun
  assert (first["project"], first["mode"], first["resume"]) == ("mine", "offline", "allow") and second[
    "project"
  ] == "another"
  assert first["dir"] == str(tmp_path) and first["config"]["optim"]["name"] == default_config().optim.name


@pytest.mark.slow
def test_training_goes_on_as_the_same(server, tmp_path):
  config = methods.small("mae", total_steps=5, checkpoint_every_steps=2)
  config.writers.update(dict(tensorboard=False, wandb=dict(project="mine")))
  server.kill_after = 3
  train = lambda: train_and_evaluate(config, tmp_path, source=methods.source(), devices=jax.devices()[:1])
  with pytest.raises(Killed):
    train()
  config.writers.wandb.project = "another"  # what is free to change
  train()
  assert_the_same_rows(server, tmp_path, [1, 2, 3, 4, 5])
  assert not (tmp_path / "tensorboard").exists()


def test_two_workdirs_are_two_runs_and_a_plain_one_none(server, tmp_path):
  for name in "ab":
    (tmp_path / name).mkdir()
    logging.MetricsWriter(tmp_path / name, 0, config_of(project="p")).close()
  assert len({one["id"] for one in server.begun}) == 2
  logging.MetricsWriter(tmp_path, 0, default_config()).close()
  assert len(server.begun) == 2 and list((tmp_path / "tensorboard").glob("events*"))
  assert not (tmp_path / "wandb_id").exists()


def test_only_the_first_process_writes(server, tmp_path, monkeypatch):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  writer = logging.MetricsWriter(tmp_path, 0, config_of(project="p"))
  writer.write(1, dict(loss=1.0))
  writer.close()
  assert not server.begun and not [*tmp_path.iterdir()]


def test_a_row_that_is_not_taken_costs_no_run(server, tmp_path, caplog):
  writer = logging.MetricsWriter(tmp_path, 0, config_of(project="p"))
  writer.write(1, dict(refused=1.0))
  writer.write(2, dict(loss=math.nan))
  writer.close()
  assert "step 1: W&B has not taken the metrics: no way" in caplog.text
  assert [step for rows in server.rows.values() for step, _ in rows] == [2]
  assert [row["step"] for row in logging.read_metrics(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
  "settings, message",
  [
    (dict(projekt="p"), r"config\.writers\.wandb\.projekt: wandb\.init takes no such argument; did you mean 'project'"),
    (dict(project="p", id="x"), r"config\.writers\.wandb\.id: a run sets it itself"),
  ],
)
def test_settings_that_cannot_be(server, settings, message):
  with pytest.raises(ConfigError, match=message):
    logging.check_writers(config_of(**settings))


def test_what_wandb_refuses_is_one_line(server, tmp_path):
  server.error = Error("no API key configured.\nUse `wandb login`")
  with pytest.raises(ConfigError, match=r"config\.writers\.wandb: no API key configured\. Use `wandb login`$"):
    logging.MetricsWriter(tmp_path, 0, config_of(project="p"))


def test_without_wandb_a_run_that_asks_for_it_does_not_begin(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "wandb", None)
  config = methods.small("mae", total_steps=1)
  override(config, ["--config.writers.wandb.project=mine"])
  with pytest.raises(ConfigError, match=r"config\.writers\.wandb: .*pip install 'jssl\[wandb\]'"):
    train_and_evaluate(config, tmp_path / "run", source=methods.source())
  assert not (tmp_path / "run").exists()
  logging.check_writers(default_config())


@pytest.mark.slow
def test_the_real_one_writes_offline(tmp_path, monkeypatch):
  pytest.importorskip("wandb", reason="wandb is not installed: pip install 'jssl[wandb]'")
  for name, value in dict(MODE="offline", SILENT="true", ERROR_REPORTING="false", CONSOLE="off").items():
    monkeypatch.setenv(f"WANDB_{name}", value)
  config = methods.small("mae", total_steps=2)
  config.writers.wandb = dict(project="mine")
  train_and_evaluate(config, tmp_path, source=methods.source(), devices=jax.devices()[:1])
  with contextlib.closing(logging.MetricsWriter(tmp_path, 2, config)) as writer:
    writer.write(4, dict(loss=0.25))
  name = (tmp_path / "wandb_id").read_text().strip()
  files = sorted((tmp_path / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
  assert [step for file in files for step in steps_in(file)] == [1, 2, 4]


def steps_in(file):
  """The steps of the rows in a file of W&B's: records of protobuf in LevelDB's log format, behind seven bytes."""
  from wandb.proto import wandb_internal_pb2

  text, place, whole = file.read_bytes(), 7, b""
  while place + 7 <= len(text):
    if -place % 32768 < 7:  # what is left of a block holds no header
      place += -place % 32768
    length, kind = struct.unpack_from("<HB", text, place + 4)
    whole += text[place + 7 : place + 7 + length]
    place += 7 + length
    if kind in (1, 4):  # all of a record, or its last part
      record = wandb_internal_pb2.Record.FromString(whole)
      whole = b""
      if record.WhichOneof("record_type") == "history":
        yield record.history.step.num
