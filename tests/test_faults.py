"""What breaks from outside: killed processes, full disks, damaged files, numbers not finite, other people's runs."""

import json
import os
import random
import resource
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from jssl import checkpoint, data, evaluate, logging, train, workdirs
from jssl.errors import CheckpointError, ConfigError, NonFiniteError
from tests import methods
from tests.test_train import assert_identical, rows_without_speed, run, start, wait_for_step


def small(**changes):
  return methods.small("mae", **(dict(total_steps=8, checkpoint_every_steps=2) | changes))


def largest_file(workdir, step):
  return max(
    (path for path in (workdir / "checkpoints" / str(step)).rglob("*") if path.is_file()),
    key=lambda path: path.stat().st_size,
  )


def flip_a_bit(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 4
  path.write_bytes(content)


def truncate(path):
  os.truncate(path, path.stat().st_size // 2)


OTHERS = [pytest.param(damage, marks=pytest.mark.slow) for damage in (truncate, os.remove)]


@pytest.mark.parametrize("damage", [flip_a_bit, *OTHERS])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damage, tmp_path, caplog):
  config = small()
  whole = run(config, tmp_path)
  path = largest_file(tmp_path, 8)
  damage(path)
  with pytest.raises(ConfigError, match=r"checkpoint of step 8 is damaged: .*; known steps: \[6, 8\]"):
    checkpoint.load_variables(tmp_path)
  assert checkpoint.load_variables(tmp_path, 6)
  with caplog.at_level("INFO", logger="jssl"):
    assert_identical(whole, run(config, tmp_path))
  assert f"damaged: {path.relative_to(tmp_path / 'checkpoints' / '8')}" in caplog.text
  assert "going on from step 6" in caplog.text
  assert [p.name for p in (tmp_path / "damaged").iterdir()] == ["8-0"]
  assert checkpoint.load_variables(tmp_path).keys()
  assert [row["step"] for row in logging.read_metrics(tmp_path)] == list(range(1, 9))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A run with checkpoints of steps 1 and 2, of whose checksums a copy knows nothing."""
  workdir = tmp_path_factory.mktemp("finished")
  run(small(depth=1, total_steps=2, checkpoint_every_steps=1), workdir)
  shutil.rmtree(workdir / "checksums")
  return workdir


def empty(path):
  path.write_text("")


def lose_arrays(folder):
  for path in folder.rglob("d/*"):
    path.unlink()


@pytest.mark.parametrize(
  "damage, name",
  [
    (shutil.rmtree, "state"),
    (shutil.rmtree, "metadata"),
    (os.remove, "_CHECKPOINT_METADATA"),
    (os.remove, "state/_METADATA"),
    (empty, "state/_METADATA"),
    (empty, "metadata/metadata"),
    (os.remove, "state/manifest.ocdbt"),
    (lose_arrays, "state"),
    (shutil.rmtree, "state/ocdbt.process_0"),
  ],
)
def test_of_a_partly_copied_run_the_last_whole_checkpoint_is_used(damage, name, finished, tmp_path, caplog):
  workdir = shutil.copytree(finished, tmp_path / "copy")
  damage(workdir / "checkpoints" / "2" / name)
  with pytest.raises(ConfigError, match=r"the checkpoint of step 2 is damaged: .*; known steps: \[1, 2\]") as error:
    checkpoint.load_variables(workdir)
  assert "\n" not in str(error.value)
  assert checkpoint.load_variables(workdir, 1)
  saved = checkpoint.Checkpoints(workdir)
  assert saved.last_whole() == 1 and "step 2 is damaged" in caplog.text
  saved.close()
  assert [path.name for path in (workdir / "damaged").iterdir()] == ["2-0"]


def test_a_copy_without_checkpoints(finished, tmp_path):
  workdir = shutil.copytree(finished, tmp_path / "copy")
  for step in "12":
    shutil.rmtree(workdir / "checkpoints" / step)
  with pytest.raises(ConfigError, match="holds no checkpoint"):
    checkpoint.load_variables(workdir)
  shutil.rmtree(workdir / "checkpoints")
  with pytest.raises(ConfigError, match="holds no checkpoint"):
    checkpoint.load_variables(workdir)


def test_the_lowest_finite_value_is_the_best(tmp_path):
  saved = checkpoint.Checkpoints(tmp_path, keep=1, keep_best="loss")
  for step, loss in ((1, 3.0), (2, 2.0), (3, np.nan), (4, -np.inf), (5, 4.0)):
    saved.save(step, {"x": jax.numpy.ones(3)}, {"loss": loss})
  saved.finish()
  saved.close()
  assert checkpoint.known_steps(tmp_path / "checkpoints") == [2, 5]


def test_without_a_whole_checkpoint_nothing_is_begun_anew(tmp_path):
  run(small(), tmp_path)
  for step in (6, 8):
    truncate(largest_file(tmp_path, step))
  with pytest.raises(ConfigError, match="no checkpoint is whole .*step 8 is damaged.*step 6 is damaged"):
    run(small(), tmp_path)
  assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"6", "8"}


@pytest.mark.slow
def test_a_full_disk_costs_a_checkpoint_and_not_the_run(tmp_path, monkeypatch, caplog):
  """Files of more than 4 kB cannot be written from step 4 to step 6."""
  original, before = train._save, resource.getrlimit(resource.RLIMIT_FSIZE)

  def save(step, state, metrics, saved, parallel):
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if step == 4 else before[0], before[1]))
    original(step, state, metrics, saved, parallel)
    saved.wait()

  whole = run(small(), tmp_path / "whole")
  monkeypatch.setattr(train, "_save", save)
  try:
    with caplog.at_level("INFO", logger="jssl"):
      run(small(), tmp_path / "full")
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert "the checkpoint of step 4 could not be written" in caplog.text and "File too large" in caplog.text
  assert "last good checkpoint: step 2" in caplog.text and caplog.text.count("could not be written") == 1
  assert_identical(whole, run(small(), tmp_path / "full"))


def test_a_last_checkpoint_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
  """Something stands where the checkpoints should."""
  original = train._save

  def save(step, state, metrics, saved, parallel):
    if step == 8:
      saved.wait()
      (tmp_path / "checkpoints").rename(tmp_path / "elsewhere")
      (tmp_path / "checkpoints").write_text("")
    original(step, state, metrics, saved, parallel)

  with monkeypatch.context() as patch:
    patch.setattr(train, "_save", save)
    with pytest.raises(CheckpointError, match="step 8 could not be written"):
      run(small(), tmp_path)
  (tmp_path / "checkpoints").unlink()
  (tmp_path / "elsewhere").rename(tmp_path / "checkpoints")
  assert int(run(small(), tmp_path).step) == 8


def exploding(first, last, **changes):
  """Not finite from one step up to another."""
  config = small(log_every_steps=4, **changes)
  config.losses.rec.fn = "tests.functions:exploding_loss"
  config.losses.rec.scale = dict(schedule="step", values=(0.0, 2.0, 0.0), boundaries_steps=(first, last))
  return config


@pytest.mark.slow
def test_updates_that_are_not_finite_are_skipped_up_to_a_limit(tmp_path, caplog):
  config = exploding(3, 5)
  config.nonfinite.update(dict(policy="skip", limit=2))
  with caplog.at_level("INFO", logger="jssl"):
    state = run(config, tmp_path / "two")
  assert int(state.step) == 8 and int(state.nonfinite) == 2
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.variables.params))
  assert caplog.text.count("updates left out") == 2  # where there are more than before
  assert all(f"step {step}: {count} of at most 2 updates left out" in caplog.text for step, count in ((4, 1), (6, 2)))
  config.nonfinite.limit = 1
  with pytest.raises(NonFiniteError, match=r"2 update\(s\)"):
    run(config, tmp_path / "one")


def test_a_skipped_update_changes_nothing_but_the_counts():
  config = exploding(3, 4, depth=1)
  config.nonfinite.policy = "skip"
  config.networks.average = dict(ema="encoder", decay=0.9)
  config.evaluation.passes.a = dict(net="average", reads=("v",))
  trainer = train.Trainer(config, methods.source(), devices=jax.devices()[:1])
  state = trainer.init_state()
  step, states = trainer.compile_step(state), []
  for batch in trainer.batches(0, 4):
    state, _ = step(state, trainer.arrays, batch)
    states.append(checkpoint.named_leaves(jax.tree.map(np.array, state)))
  changed = lambda i: {name for name, value in states[i].items() if not np.array_equal(value, states[i - 1][name])}
  assert changed(3) == {"nonfinite", "opt_state/count", "step"}
  moved = changed(2)
  assert all(
    any(name.startswith(part) for name in moved) for part in ("variables/params/", "variables/teachers/", "opt_state/")
  )


def test_the_learning_rate_of_a_step_is_the_schedules_however_many_were_left_out():
  """The rate is 0 from step 5 on, and step 3 is left out; counted in updates made, step 5 would move the weights, too."""
  config = exploding(3, 4, depth=1)
  config.nonfinite.policy = "skip"
  config.optim.update(dict(name="sgd", lr_scale=None, weight_decay=None, momentum=0.0, warmup_fraction=None, end_lr=None))
  with config.optim.ignore_type():
    config.optim.lr = dict(schedule="step", values=(0.1, 0.0), boundaries_steps=(5,))
  trainer = train.Trainer(config, methods.source(), devices=jax.devices()[:1])
  state = trainer.init_state()
  step, weights = trainer.compile_step(state), []
  for batch in trainer.batches(0, 6):
    state, _ = step(state, trainer.arrays, batch)
    weights.append(np.array(state.variables.params["decoder"]["backbone"]["embedding"]["kernel"]))
  assert int(state.nonfinite) == 1 and int(state.opt_state.count) == int(state.step) == 6
  moved = [np.abs(after - before).max() > 0 for before, after in zip(weights, weights[1:], strict=False)]
  assert moved == [True, True, False, True, False]


@pytest.mark.slow
def test_a_run_rolls_back_and_takes_the_examples_in_another_order(tmp_path, caplog):
  config = small(log_every_steps=1)
  poison = tuple(data.batch_indices(5, seed=config.seed, num_examples=64, batch_size=config.batch_size)[:3].tolist())
  config.losses.rec.update(
    dict(fn="tests.functions:poisoned_loss", reads=(*config.losses.rec.reads, "index"), poison=poison)
  )
  config.nonfinite.update(dict(policy="roll_back", limit=2))
  with caplog.at_level("INFO", logger="jssl"):
    state = run(config, tmp_path / "once")
  assert "step 6: 1 update(s) with a loss or gradient that is not finite" in caplog.text
  assert "going on from step 4 with the examples in another order (1 of 2 times)" in caplog.text
  assert int(state.step) == 8 and int(state.rollbacks) == 1 and int(state.nonfinite) == 0
  rows = logging.read_metrics(tmp_path / "once")
  assert [row["step"] for row in rows] == list(range(1, 9)) and all(np.isfinite(row["loss"]) for row in rows)
  # What does not depend on the examples comes again.
  config = exploding(6, 8)
  config.nonfinite.update(dict(policy="roll_back", limit=2))
  with pytest.raises(NonFiniteError, match="step 8"):
    run(config, tmp_path / "again")


def test_a_policy_that_is_not_known(tmp_path):
  config = small()
  config.nonfinite.policy = "rollback"
  with pytest.raises(ConfigError, match="config.nonfinite.policy='rollback': did you mean 'roll_back'"):
    run(config, tmp_path)


def test_one_process_trains_in_a_workdir_and_others_may_read(tmp_path):
  config = small()
  run(config, tmp_path)
  config.total_steps = 8
  with workdirs.claimed(tmp_path, config):
    with pytest.raises(ConfigError, match=f"another process trains there .process {os.getpid()} on"):
      run(config, tmp_path)
    assert evaluate.load_frozen(tmp_path).module
  assert int(run(config, tmp_path).step) == 8


def test_a_run_from_elsewhere_imports_nothing_that_the_user_does_not_name(tmp_path, monkeypatch):
  (tmp_path / "intruder.py").write_text(f"open({str(tmp_path / 'was_here')!r}, 'w')\n")
  monkeypatch.syspath_prepend(tmp_path)
  workdir = tmp_path / "run"
  run(small(), workdir)
  record = json.loads((workdir / "config.json").read_text())
  record["config"]["networks"]["encoder"]["fn"] = "intruder:vit"
  (workdir / "config.json").write_text(json.dumps(record))
  for look in (lambda: evaluate.load_frozen(workdir), lambda: evaluate.evaluate(workdir, ["knn"])):
    with pytest.raises(ConfigError, match=r"config.networks.encoder.fn='intruder:vit': .* --modules=intruder"):
      look()
  assert not (tmp_path / "was_here").exists()
  with pytest.raises(ConfigError, match="intruder has no 'vit'"):
    evaluate.load_frozen(workdir, modules=("intruder",))
  assert (tmp_path / "was_here").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 3}', '{"config": {"a"', "[" * 100_000])
def test_a_damaged_config_is_one_line(text, tmp_path):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(ConfigError, match="config.json is damaged .*copy it again"):
    workdirs.read_config(tmp_path)


@pytest.mark.slow
def test_ten_kills_in_one_run(tmp_path):
  """SIGKILL at random moments, also while a checkpoint is being written: one is, most of the time."""
  arguments = ("mmc:steps=200", tmp_path / "cache")
  whole = start(tmp_path / "whole", *arguments)
  assert whole.wait(300) == 0, whole.stdout.read()
  rng = random.Random(0)
  for _ in range(10):
    process = start(tmp_path / "parts", *arguments)
    reached = max((row["step"] for row in logging.read_metrics(tmp_path / "parts")), default=0)
    wait_for_step(process, tmp_path / "parts", min(reached + rng.randrange(3, 18), 198))
    time.sleep(rng.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.wait(60)
  process = start(tmp_path / "parts", *arguments)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0 and "going on from step" in output, output
  one, other = (checkpoint.load_variables(tmp_path / name) for name in ("whole", "parts"))
  for name in one:
    np.testing.assert_array_equal(one[name], other[name], err_msg=name)
  assert rows_without_speed(tmp_path / "whole") == rows_without_speed(tmp_path / "parts")


@pytest.mark.slow
def test_control_c_saves_and_the_same_command_goes_on(tmp_path):
  process = start(tmp_path, "mae:steps=400", tmp_path / "cache")
  wait_for_step(process, tmp_path, 5)
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0 and "the same command goes on from there" in output, output
  step = logging.read_metrics(tmp_path)[-1]["step"]
  assert checkpoint.load_variables(tmp_path, step)
