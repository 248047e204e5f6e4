"""Sweeps: which runs they are, that they go on, and the script for SLURM."""

import os
import pathlib
import shlex
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from jssl import logging, study, sweep
from jssl.config import load_config
from jssl.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = f"{ROOT}/tests/small_run.py:mae:steps=20"
SMALL = [
  "--config.evaluation.protocols=('rankme',)",
  *(f"--config.evaluation.{split}.options={{'num_examples': 32}}" for split in ("train", "test")),
]


def get_hyper(hyper):
  """A sweep, as `--sweep tests.test_sweep:get_hyper` finds it."""
  pairs = hyper.zipit([hyper.sweep("config.optim.lr", [0.1, 0.2]), hyper.sweep("config.batch_size", [16, 32])])
  return hyper.product([hyper.chainit([pairs, hyper.fixed("config.dtype", "bfloat16")]), hyper.sweep("config.seed", [4, 2])])


def test_each_value_with_each_other():
  made = sweep.plan("simclr:demo", ["config.optim.lr=1e-3,3e-3", "--config.views.a.scale=(0.2, 1.0),(0.5,1.0)"])
  assert [*made.arms] == [
    f"optim.lr={lr}, views.a.scale={scale}" for lr in (0.001, 0.003) for scale in ((0.2, 1.0), (0.5, 1.0))
  ]
  assert made.seeds == (0,)
  config = made.arms["optim.lr=0.003, views.a.scale=(0.5, 1.0)"]
  assert config.optim.lr == 0.003 and config.views.a.scale == (0.5, 1.0)
  plain = load_config("simclr:demo")
  assert config.views.b == plain.views.b and config.losses == plain.losses


def test_seeds_alone_and_overrides_of_all():
  made = sweep.plan("simclr:demo", ["config.seed=3,1"], ["--config.optim.lr=0.5"])
  assert [*made.arms] == ["simclr:demo"] and made.seeds == (3, 1) and made.arms["simclr:demo"].optim.lr == 0.5
  assert made.tasks() == [("simclr:demo", 3), ("simclr:demo", 1)]


def test_a_function_in_the_manner_of_big_vision(tmp_path):
  made = sweep.plan("simclr:demo", ["tests.test_sweep:get_hyper"])
  assert [*made.arms] == ["optim.lr=0.1, batch_size=16", "optim.lr=0.2, batch_size=32", "dtype=bfloat16"]
  assert made.seeds == (4, 2) and made.arms["dtype=bfloat16"].dtype == "bfloat16"
  assert sweep.plan("simclr:demo", ["tests.test_sweep:get_hyper", "config.accumulate=1,2"]).tasks()[-1] == (
    "dtype=bfloat16, accumulate=2",
    2,
  )
  file = tmp_path / "own.py"
  file.write_text(
    textwrap.dedent("""\
      from jssl.configs.images import simclr

      get_config = simclr.get_config

      def get_hyper(hyper):
        return hyper.sweep("config.optim.name", ["sgd", "adamw"])
      """)
  )
  assert [*sweep.plan(f"{file}:demo").arms] == ["optim.name=sgd", "optim.name=adamw"]
  assert sweep.Hyper().product([]) == [{}]


def test_data_of_the_command_line_are_evaluated_too():
  made = sweep.plan("simclr:demo", ["config.seed=0,1"], ["--config.data.name=folder:/photos"])
  assert {config.evaluation.train.name for config in made.arms.values()} == {"folder:/photos"}


@pytest.mark.parametrize(
  "sweeps, message",
  [
    ([], "--sweep config.key=value,value is missing, and the config simclr has no function get_hyper"),
    (["config.optim.lf=1,2"], r"config\.optim\.lf: unknown key; did you mean 'lr'"),
    (["optim.lr=1,2"], r"--sweep optim\.lr=1,2: write config\.key=value,value or module:function"),
    (["get_hyper"], "--sweep get_hyper: write config"),
    (["tests.test_sweep:get_hypr"], "tests.test_sweep has no 'get_hypr'; did you mean 'get_hyper'"),
    (["config.seed=0,1", "config.seed=2"], r"config\.seed is swept twice"),
    (["config.seed=0,0"], r"config\.seed: each run that is swept must have the same seeds, once: 0"),
    (["config.seed=a"], r"config\.seed='a': it must be a whole number"),
    (["tests.test_sweep:seeds_of_one_arm"], r"config\.seed: each run that is swept must have the same seeds"),
    (["tests.test_sweep:unlike"], "hyper.zipit: sweeps of different lengths, 1, 2"),
  ],
)
def test_sweeps_that_cannot_be(sweeps, message):
  with pytest.raises(ConfigError, match=message):
    sweep.plan("simclr:demo", sweeps)


def seeds_of_one_arm(hyper):
  return hyper.zipit([hyper.sweep("config.optim.lr", [1.0, 2.0]), hyper.sweep("config.seed", [1, 2])])


def unlike(hyper):
  return hyper.zipit([hyper.sweep("config.optim.lr", [1.0]), hyper.sweep("config.seed", [1, 2])])


def test_the_table_has_the_loss_and_a_number_of_each_protocol():
  metrics = {
    "knn/k10": 0.1,
    "knn/k20": 0.2,
    "linear/accuracy": 0.5,
    "linear/seconds": 3.0,
    "train/loss": 2.0,
    "train/x": 1.0,
  }
  rows = [dict(arm="a", seed=0, metrics=metrics, seconds=1.0, mib=5), dict(arm="b", seed=0, error="no luck")]
  head, _, first, second = sweep.table(rows).splitlines()
  assert head == "| | seeds | loss | knn/k10 | knn/k20 | linear/accuracy | seconds | MiB |"
  assert first == "| a | 1 | 2.000 | 0.100 | 0.200 | 0.500 | 1 | 5 |" and second.startswith("| b | 0 (1 failed) | - |")


def command(workdir, *more):
  sweeps = ["--sweep", "config.optim.lr=1e-3,2e-3"]
  return [sys.executable, "-m", "jssl.sweep", "--config", CONFIG, *sweeps, "--workdir", str(workdir), *SMALL, *more]


def test_the_script_for_slurm(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  argv = ["--config", "simclr:demo", "--sweep", "config.optim.lr=1,2", "--sweep", "config.views.a.scale=(0.2, 1.0)"]
  assert sweep.main([*argv, "--workdir", "runs/it", "--slurm", "it.sh", "--config.total_steps=5"]) == 0
  assert capsys.readouterr().out == "2 tasks: sbatch it.sh\n"
  text = (tmp_path / "it.sh").read_text()
  lines = text.splitlines()
  assert lines[0] == "#!/bin/bash" and "#SBATCH --array=0-1" in lines and "#SBATCH --job-name=it" in lines
  assert f"#SBATCH --output={tmp_path}/runs/it/tasks/%a.out" in lines and (tmp_path / "runs/it/tasks").is_dir()
  assert lines[-2] == f"cd {shlex.quote(str(tmp_path))}"
  words = [sys.executable, "-m", "jssl.sweep", *argv, "--workdir", "runs/it", "--config.total_steps=5"]
  assert shlex.split(lines[-1]) == ["exec", *words, "--task", "$SLURM_ARRAY_TASK_ID"]
  assert shlex.split(lines[-3], comments=False)[1:] == words
  assert subprocess.run(["bash", "-n", "it.sh"]).returncode == 0
  assert sweep.main([*argv, "--workdir", "runs/it", "--task", "2"]) == 2
  assert "error: --task 2: the sweep has runs 0 to 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_that_was_stopped_goes_on(tmp_path):
  asked = command(tmp_path, "--config.total_steps=300", "--config.checkpoint_every_steps=100")
  first = tmp_path / "optim_lr_0_001_seed0"
  run = subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, text=True)
  while run.poll() is None and not any(row["step"] >= 10 for row in logging.read_metrics(first)):
    time.sleep(0.05)
  run.send_signal(signal.SIGTERM)
  shown, _ = run.communicate(timeout=200)
  stopped = logging.read_metrics(first)[-1]["step"]
  assert run.returncode == 0 and 10 <= stopped < 300 and "|" not in shown and not study.Ledger(tmp_path).rows()
  again = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
  assert f"going on from step {stopped}" in first.with_suffix(".log").read_text()
  rows = study.Ledger(tmp_path).rows()
  assert [(row["arm"], row["seed"]) for row in rows] == [("optim.lr=0.001", 0), ("optim.lr=0.002", 0)]
  assert all(row["metrics"]["train/step"] == 300 and row["metrics"]["rankme/rankme"] > 0 for row in rows)
  assert "| | seeds | loss | rankme/rankme |" in again.stdout and again.stdout.count("| optim.lr=") == 2


@pytest.mark.slow
def test_a_task_of_slurm_runs_and_its_row_is_taken(tmp_path):
  assert sweep.main([*command(tmp_path / "it", "--slurm", str(tmp_path / "it.sh"))[3:]]) == 0
  task = lambda number: subprocess.run(
    ["bash", tmp_path / "it.sh"],
    env=os.environ | dict(SLURM_ARRAY_TASK_ID=str(number), PYTHONPATH=str(ROOT)),
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  assert "| optim.lr=0.002 | 1 |" in task(1).stdout
  assert [row["arm"] for row in study.Ledger(tmp_path / "it" / "tasks" / "1").rows()] == ["optim.lr=0.002"]
  begun = (tmp_path / "it" / "optim_lr_0_002_seed0.log").read_text()
  assert "| optim.lr=0.002 | 1 |" in task(1).stdout  # which is done
  done = subprocess.run(command(tmp_path / "it"), cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout.count("| optim.lr=") == 2 and (tmp_path / "it" / "optim_lr_0_002_seed0.log").read_text() == begun
