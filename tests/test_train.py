"""The loop: stopping, phases, refresh, accumulation, warm starts."""

import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest

from jssl import checkpoint, logging, train
from jssl.config import to_json
from jssl.errors import ConfigError, NonFiniteError
from jssl.train import train_and_evaluate, Trainer
from tests import methods

ROOT = pathlib.Path(__file__).parents[1]


def run(config, workdir):
  """Trains on one device."""
  return train_and_evaluate(config, workdir, source=methods.source(), devices=jax.devices()[:1])


def assert_identical(a, b):
  for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=jax.tree_util.keystr(path))


def rows_without_speed(workdir):
  return [{k: v for k, v in row.items() if k != "examples_per_second"} for row in logging.read_metrics(workdir)]


def test_what_a_run_leaves_behind(tmp_path):
  config = methods.small("mae", total_steps=8, checkpoint_every_steps=2)
  config.checkpoint.keep_best = "loss"
  run(config, tmp_path)
  record = json.loads((tmp_path / "config.json").read_text())
  assert record["config"] == json.loads(to_json(config)) and record["versions"]["jax"] == jax.__version__
  rows = logging.read_metrics(tmp_path)
  assert all(np.isfinite(list(row.values())).all() for row in rows)
  best = min((row for row in rows if row["step"] % 2 == 0), key=lambda row: row["loss"])["step"]
  assert {int(p.name) for p in (tmp_path / "checkpoints").iterdir()} == {6, 8, best}
  assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pmap", "jit"])
def test_the_step_is_compiled_with_options(tmp_path, mode):
  config = methods.small("barlow_twins", batch_size=10, total_steps=3)
  config.parallel.update(dict(mode=mode, compiler_options=dict(xla_dump_to=str(tmp_path / "hlo"))))
  run(config, tmp_path / "run")
  texts = [path.read_text() for path in (tmp_path / "hlo").glob("*before_optimizations.txt")]
  assert any("convolution" in text or "dot(" in text for text in texts)
  assert len(logging.read_metrics(tmp_path / "run")) == 3


def test_options_that_xla_does_not_know():
  config = methods.small("mae", total_steps=2)
  config.parallel.compiler_options = dict(xla_cpu_no_such_option=True)
  with pytest.raises(ConfigError, match="config.parallel.compiler_options: .*xla_cpu_no_such_option"):
    Trainer(config, methods.source())


@pytest.mark.slow
def test_a_workdir_keeps_to_its_config(tmp_path):
  config = methods.small("mae", total_steps=2)
  run(config, tmp_path)
  config.log_every_steps = 2
  run(config, tmp_path)
  config.optim.lr = 0.123
  with pytest.raises(ConfigError, match=r"holds a run of another config \(1 keys differ: optim\.lr: .* there, 0\.123 now"):
    run(config, tmp_path)


def test_the_best_of_an_unknown_metric():
  config = methods.small("mae", depth=1)
  config.checkpoint.keep_best = "los"
  message = r"config\.checkpoint\.keep_best='los': the steps report no such metric; did you mean 'loss'"
  with pytest.raises(ConfigError, match=message):
    Trainer(config, methods.source(), devices=jax.devices()[:1])
  config.checkpoint.keep_best = None
  known = Trainer(config, methods.source(), devices=jax.devices()[:1]).metric_names()
  assert {"loss", "rec", "gradient_norm"} <= known and "examples_per_second" not in known


def test_speed_is_that_of_training_alone(monkeypatch):
  """The first interval holds the compiling of the step, here by far the longer part."""
  monkeypatch.setattr(logging, "_compiling", logging._CompileClock())
  progress = logging.Progress(0, 10, 8)
  clock = logging.time.monotonic()
  for event, start, duration in (("jaxpr_trace", 1, 1), ("jaxpr_trace", 0, 4), ("backend_compile", 4, 94)):
    monkeypatch.setattr(logging.time, "monotonic", lambda end=clock + start + duration: end)
    jax.monitoring.record_event_duration_secs(f"/jax/core/compile/{event}_duration", duration)
  monkeypatch.setattr(logging.time, "monotonic", lambda: clock + 100)
  assert progress.update(1) == pytest.approx(8 / 2, rel=0.01)
  monkeypatch.setattr(logging.time, "monotonic", lambda: clock + 110)
  assert progress.update(6) == pytest.approx(5 * 8 / 10, rel=0.01)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
  config = methods.small("mae", total_steps=12, checkpoint_every_steps=3, log_every_steps=6)
  config.losses.rec.fn = "tests.functions:exploding_loss"
  config.losses.rec.scale = dict(schedule="step", values=(0.0, 2.0), boundaries_steps=(4,))
  with pytest.raises(NonFiniteError, match="step 6: 2 update.* last good checkpoint: step 3"):
    run(config, tmp_path)
  assert checkpoint.load_variables(tmp_path, 3)


@pytest.mark.slow
def test_nothing_is_fetched_between_log_steps(tmp_path, monkeypatch):
  fetched = []
  device_get = jax.device_get
  monkeypatch.setattr(train.jax, "device_get", lambda x: fetched.append(1) or device_get(x))
  config = methods.small("mae", total_steps=12, log_every_steps=6, checkpoint_every_steps=12)
  run(config, tmp_path)
  assert len(fetched) == 3  # logged after steps 1, 6 and 12; saved after 12


@pytest.mark.slow
def test_phases_change_static_numbers(tmp_path):
  config = methods.small("simmim", total_steps=6)
  config.phases = dict(
    late=dict(start_fraction=0.5, override=dict(views=dict(v=dict(size=32)), masking=dict(m=dict(ratio=0.25))))
  )
  state = run(config, tmp_path)
  hidden = [row["rec/hidden"] for row in logging.read_metrics(tmp_path)]
  np.testing.assert_allclose(hidden[:3], 0.75)  # three of four cells
  np.testing.assert_allclose(hidden[3:], 0.25)
  assert state.variables.params["encoder"]["backbone"]["pos_embedding"].shape[1] == 16
  config.phases.late.override.views.v.sise = 3
  with pytest.raises(ConfigError, match=r"config\.phases\.late\.override\.views\.v: no key 'sise'"):
    Trainer(config, methods.source())


def with_clusters():
  config = methods.small("barlow_twins", total_steps=10)
  config.refresh = dict(clusters=dict(fn="tests.functions:nearest_center", reads=("s_a/features",), count=4, every_epochs=1))
  config.targets = dict(
    which=dict(fn="tests.functions:rows", reads=("clusters/assignments", "index")),
    center=dict(fn="tests.functions:rows", reads=("clusters/centers", "which")),
  )
  config.losses = dict(c=dict(fn="tests.functions:classify_loss", reads=("s_b/features", "center")))
  return config


def test_what_cannot_work_in_a_later_phase_is_told_at_the_start():
  config = methods.small("mae")
  config.phases.late = dict(start_fraction=0.5, override=dict(networks=dict(encoder=dict(width=32))))
  with pytest.raises(ConfigError, match="the state before 'late' does not fit the one after"):
    Trainer(config, methods.source(), devices=jax.devices()[:1])
  config.phases.late.override = dict(masking=dict(m=dict(ratio=1.5)))
  with pytest.raises(ConfigError, match="config.masking.m"):
    Trainer(config, methods.source(), devices=jax.devices()[:1])


@pytest.mark.slow
def test_refresh_writes_tables_between_epochs(tmp_path, monkeypatch):
  seen = []
  refresh = train.tables.refresh

  def watched(trainer, state, step):
    state, metrics = refresh(trainer, state, step)
    seen.append(np.asarray(state.variables.tables["clusters/centers"]))
    return state, metrics

  monkeypatch.setattr(train.tables, "refresh", watched)
  run(with_clusters(), tmp_path)
  changes = [not np.array_equal(a, b) for a, b in itertools.pairwise(seen)]
  assert changes == [False] * 3 + [True] + [False] * 3 + [True] + [False]  # 4 steps an epoch
  assert np.ptp(seen[0], axis=0).max() > 0


@pytest.mark.slow
def test_accumulation_where_it_is_exact_and_only_there():
  results = []
  for parts in (1, 4):
    config = methods.small("mae", accumulate=parts)
    config.optim.update(dict(name="sgd", lr=0.1, lr_scale=None))
    trainer = Trainer(config, methods.source(), devices=jax.devices()[:2])
    state = trainer.init_state()
    step = trainer.compile_step(state)
    for batch in trainer.batches(0, 2):
      state, metrics = step(state, trainer.arrays, batch)
    results.append((state.variables.params, metrics["loss"]))
  for x, y in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
  for name, reason in (
    ("dino", "targets.y keeps state"),
    ("barlow_twins", "BatchNorm"),
    ("gmml", "looks at the whole batch"),
  ):
    with pytest.raises(ConfigError, match=f"accumulate=2 would change the loss: .*{reason}"):
      Trainer(methods.small(name, accumulate=2), methods.source())


@pytest.mark.slow
def test_a_run_that_goes_on_does_not_need_what_it_started_from(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  config = methods.small("mae", depth=1, total_steps=2)
  run(config, "~/first")
  config.networks.encoder.load = "~/first:encoder"
  config.seed = 1
  state = run(config, "~/second")
  shutil.rmtree(tmp_path / "first")
  assert_identical(run(config, "~/second"), state)
  with pytest.raises(ConfigError, match="first holds no checkpoint"):
    run(config, "~/third")
  assert {path.name for path in tmp_path.iterdir()} == {"second", "third"}  # and no folder "~"


@pytest.mark.slow
def test_warm_start_is_strict(tmp_path):
  config = methods.small("mae", total_steps=2)
  before = run(config, tmp_path / "first")
  config.networks.encoder.load = f"{tmp_path / 'first'}:encoder"
  config.seed = 1
  state = Trainer(config, methods.source()).init_state()
  assert_identical(state.variables.params["encoder"], before.variables.params["encoder"])
  with pytest.raises(AssertionError):
    assert_identical(state.variables.params["decoder"], before.variables.params["decoder"])
  config.networks.encoder.width = 24
  config.networks.encoder.registers = 1
  with pytest.raises(ConfigError) as error:
    Trainer(config, methods.source()).init_state()
  assert "only in this config: backbone/registers" in str(error.value)
  assert "backbone/Transformer/encoder_norm/bias: (16,) float32 in" in str(error.value)
  assert "(24,) float32 in this config" in str(error.value)
  config.networks.encoder.load = f"{tmp_path / 'first'}:encodr"
  with pytest.raises(ConfigError, match="no network 'encodr'; did you mean 'encoder'"):
    Trainer(config, methods.source()).init_state()


def test_loss_and_config_from_elsewhere(tmp_path, monkeypatch, capsys):
  (tmp_path / "my_module.py").write_text(
    textwrap.dedent("""
      import jax.numpy as jnp
      from tests import methods

      def my_loss(prediction, target, mask, *, power=2.0):
        return jnp.mean(mask[..., None] * jnp.abs(prediction - target) ** power), {}

      def get_config(preset="demo"):
        config = methods.small("mae", total_steps=2)
        config.data.options = dict(num_examples=64, image_size=24)
        config.losses.rec.fn = "my_module:my_loss"
        config.losses.rec.power = 1.5
        return config
  """)
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  assert train.main(["--config", str(tmp_path / "my_module.py"), "--workdir", str(tmp_path / "run")]) == 0
  assert logging.read_metrics(tmp_path / "run")[-1]["step"] == 2


@pytest.mark.slow
def test_streamed_or_on_the_device_is_the_same(tmp_path):
  config = methods.small("mae", total_steps=4)
  config.data.device_bytes = 0
  streamed = run(config, tmp_path / "streamed")
  config.data.device_bytes = 1 << 30
  assert_identical(streamed, run(config, tmp_path / "resident"))


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--config.optim.lrr=1"], "unknown key; did you mean 'lr'"),
    (["--config.losses.rec.fn=mae_los"], "did you mean 'mae_loss'"),
    (["--config.views.v.size=30"], "image size 30x30 is not divisible by the patch size 4"),
    (["--config.masking.m.ratio=1.0"], "config.masking.m: "),
    (["--config.batch_size=12"], "batch_size=12 is not divisible by the 8 devices"),
    (["--config.data.name=tfds:cifar10"], "python -m jssl.data.prepare cifar10"),
    (["--config.data.name=folder:{empty}"], "no images"),
    (["--config.data.name=scene"], "did you mean 'scenes'"),
    (["--config.data.split=trian"], "did you mean 'train'"),
    (["--config.total_epochs=2", "--config.total_steps=None"], "exactly one"),
    (["--config.nonfinite.policy=skp"], "did you mean 'skip'"),
    (["--distributed=10.0.0.1:1234"], "write HOST:PORT,COUNT,INDEX"),
  ],
)
def test_bad_input_is_one_line_and_an_exit_code(arguments, message, tmp_path, capsys):
  arguments = [argument.format(empty=tmp_path / "empty") for argument in arguments]
  (tmp_path / "empty").mkdir()
  code = train.main(["--config", "mae:demo", "--workdir", str(tmp_path / "run"), *arguments])
  lines = capsys.readouterr().err.strip().splitlines()
  # Of data that a command line names it is told first that they are evaluated, too.
  error = [line for line in lines if not line.startswith("evaluated on ")]
  assert code == 2 and len(error) == 1 and message in error[0], lines
  assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_view_that_no_loss_reads(tmp_path, capsys):
  config = methods.small("mae")
  config.views.spare = dict(fn="augment", reads=("image",), size=16)
  with pytest.raises(ConfigError, match="config.views.spare: no loss reads 'spare'"):
    train_and_evaluate(config, tmp_path / "run", source=methods.source())
  assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_explain(capsys):
  assert (
    train.main(
      [
        "--config",
        "mmc:demo",
        "--explain",
        "--config.batch_size=8",
        "--config.networks.student.depth=1",
        "--config.data.options.num_examples=64",
      ]
    )
    == 0
  )
  text = capsys.readouterr().out
  for part in (
    "student",
    "EMA of student",
    "alien_replace",
    "hidden_a/image float32[8,32,32,3]",
    "weight 1",
    "GFLOPs",
    "temporaries",
    "s_a/trunk/patch_logits float32[8,64,256]",
  ):
    assert part in text, part


def start(workdir, method, cache, *options, devices=1):
  environment = dict(
    os.environ,
    JAX_COMPILATION_CACHE_DIR=str(cache),
    JAX_PLATFORMS="cpu",
    XLA_FLAGS=os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={devices}"),
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    PYTHONPATH=str(ROOT),
  )
  arguments = ["--config", f"tests/small_run.py:{method}", "--workdir", str(workdir), *options]
  return subprocess.Popen(
    [sys.executable, "-m", "jssl.train", *arguments],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def wait_for_step(process, workdir, step):
  while process.poll() is None and max((row["step"] for row in logging.read_metrics(workdir)), default=0) < step:
    time.sleep(0.02)
  assert process.poll() is None, process.stdout.read()


@pytest.mark.slow
def test_sigkill_and_sigterm(tmp_path):
  method = "dino"  # with a teacher and a center
  whole = start(tmp_path / "whole", method, tmp_path / "cache")
  assert whole.wait(300) == 0, whole.stdout.read()

  killed = start(tmp_path / "parts", method, tmp_path / "cache")
  wait_for_step(killed, tmp_path / "parts", 12)
  killed.send_signal(signal.SIGKILL)
  killed.wait(60)
  stopped = start(tmp_path / "parts", method, tmp_path / "cache")
  wait_for_step(stopped, tmp_path / "parts", 25)
  stopped.send_signal(signal.SIGTERM)
  output, _ = stopped.communicate(timeout=120)
  assert stopped.returncode == 0 and "the same command goes on from there" in output, output
  finished = start(tmp_path / "parts", method, tmp_path / "cache")
  output, _ = finished.communicate(timeout=300)
  assert finished.returncode == 0 and "going on from step" in output, output

  one, other = (checkpoint.load_variables(tmp_path / name) for name in ("whole", "parts"))
  assert one.keys() == other.keys()
  for name in one:
    np.testing.assert_array_equal(one[name], other[name], err_msg=name)
  assert rows_without_speed(tmp_path / "whole") == rows_without_speed(tmp_path / "parts")
