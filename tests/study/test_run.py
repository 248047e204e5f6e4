"""Studies as they run: rows, processes, budgets, registered claims, and the page."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from jssl import config as configs
from jssl import processes, study, workdirs
from jssl.errors import ConfigError
from jssl.study.runner import arm_hash
from tests import methods
from tests.study.measures_for_tests import score, sleeps

ARMS = dict(low=1.0, high=3.0)


def arguments(tmp_path, **changes):
  given = dict(arms=ARMS, seeds=(0, 1, 2), measure=score, workdir=tmp_path / "runs")
  return dict(folder=tmp_path / "study", **given | changes)


def test_baselines_are_measured_beside_the_arms_that_are_named():
  everywhere = study.Pretrained(baselines=("raw pixels",))
  once = study.Pretrained(baselines=("raw pixels",), beside=(arm_hash(ARMS["low"]),))
  assert [everywhere.controls(arm) for arm in ARMS.values()] == [("raw pixels",)] * 2
  assert [once.controls(arm) for arm in ARMS.values()] == [("raw pixels",), ()]


def test_every_arm_and_seed_becomes_a_row_once(tmp_path):
  claim = study.claim("high is higher", "high", "low", metric="score", at_least=1.5)
  ledger = study.run(**arguments(tmp_path, claims=(claim,), columns=dict(Score="score")))
  rows = ledger.rows()
  assert [(row["arm"], row["seed"]) for row in rows] == [(arm, seed) for seed in range(3) for arm in ARMS]
  assert [row["metrics"]["score"] for row in rows] == [1, 3, 2, 4, 3, 5]
  assert len({row["metrics"]["pid"] for row in rows} | {os.getpid()}) == 7
  assert all(row["config"] == arm_hash(ARMS[row["arm"]]) and row["versions"]["jax"] for row in rows)
  assert all(row["seconds"] > 0 and 10 < row["mib"] < 2000 and row["commit"] == workdirs.commit() for row in rows)
  ((registered, verdict),) = ledger.verdicts()
  assert verdict.word == "shown" and registered.seeds == (0, 1, 2) and registered.rows_before == 0

  page = (ledger.folder / "README.md").read_text()
  assert "| high | 3 | 4.000 +- 1.000 |" in page and "| +2.0000 [+2.0000, +2.0000] | 3 of 3 | shown |" in page
  (ledger.folder / "README.md").write_text(page.replace("# study", "# My words").replace("high is", "scribbled") + "More.\n")
  study.run(**arguments(tmp_path, measure=sleeps, claims=(claim,), columns=dict(Score="score")))  # nothing is left to do
  assert (ledger.folder / "README.md").read_text() == page.replace("# study", "# My words") + "More.\n"
  assert ledger.rows() == rows


def test_another_config_is_refused(tmp_path):
  study.run(**arguments(tmp_path, seeds=(0,), arms=dict(a=1.0)))
  with pytest.raises(ConfigError, match="arm 'a' has rows of another config .*another name, or begin another folder"):
    study.run(**arguments(tmp_path, seeds=(0, 1), arms=dict(a=2.0)))


def test_failures_are_rows_and_run_again_on_request(tmp_path):
  given = arguments(tmp_path, arms=dict(f="fails", d="dies", ok=1.0), seeds=(0, 1), at_once=3)
  ledger = study.run(**given)
  found = {(row["arm"], row["seed"]): row for row in ledger.rows()}
  assert found["f", 0]["error"] == "ValueError: no such luck" and found["d", 0]["error"] == "the process ended with SIGKILL"
  assert "metrics" not in found["d", 0] and found["d", 1]["metrics"]["score"] == 1.0 and "metrics" in found["ok", 0]
  assert "no such" in (tmp_path / "runs/f_seed0.log").read_text()
  assert "| f | 0 (2 failed) |" in (ledger.folder / "README.md").read_text()
  (tmp_path / "runs/mended").touch()
  assert sum("error" in row for row in study.run(**given).rows()) == 3 and len(ledger.rows()) == 6
  study.run(**given, retry=True, only=("f",))
  found = {(row["arm"], row["seed"]): row for row in ledger.rows()}
  assert "metrics" in found["f", 0] and "error" in found["d", 0] and len(found) == 6


def test_memory_is_that_of_the_run(tmp_path):
  ballast = np.ones(400 * 2**17)  # 400 MiB that this process holds, and its children do not
  ledger = study.run(**arguments(tmp_path, arms=dict(small=1.0, large="large"), seeds=(0,)))
  small, large = (row["mib"] for row in ledger.rows())
  assert ballast.all() and small < processes.peak_mib() - 200
  assert large - small == pytest.approx(300, abs=30)


@pytest.mark.slow
def test_a_budget_stops_runs_that_then_go_on(tmp_path, monkeypatch):
  given = arguments(tmp_path, measure=sleeps, seeds=(0,))
  begun = time.monotonic()
  ledger = study.run(**given, budget_minutes=0.1)
  assert time.monotonic() - begun < 60 and ledger.rows() == [] and (tmp_path / "runs/low_seed0/begun").exists()
  sitting = float((tmp_path / "runs/low_seed0.seconds").read_text())
  (tmp_path / "runs/high_seed0").mkdir()
  (tmp_path / "runs/high_seed0/begun").touch()
  rows = study.run(**given).rows()
  assert [row["metrics"]["score"] for row in rows] == [1.0, 1.0] and rows[0]["seconds"] > sitting > 1


@pytest.mark.slow
def test_sigterm_stops_the_study(tmp_path):
  threading.Timer(8, os.kill, (os.getpid(), signal.SIGTERM)).start()
  ledger = study.run(**arguments(tmp_path, measure=sleeps, seeds=(0,)))
  assert ledger.rows() == [] and not (tmp_path / "runs/high_seed0").exists()


@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="Linux's /proc")
def test_runs_do_not_outlive_a_study_that_is_killed(tmp_path):
  given = {name: str(x) if isinstance(x, pathlib.Path) else x for name, x in arguments(tmp_path, measure=None).items()}
  code = (
    "from jssl import study\nfrom tests.study.measures_for_tests import sleeps\n"
    f"if __name__ == '__main__':\n  study.run(**{given | dict(arms=dict(long=60.0), seeds=(0,))!r} | dict(measure=sleeps))\n"
  )
  (tmp_path / "program.py").write_text(code)
  root = pathlib.Path(__file__).parents[2]
  parent = subprocess.Popen([sys.executable, tmp_path / "program.py"], cwd=root, env=os.environ | dict(PYTHONPATH=str(root)))
  mark = tmp_path / "runs/long_seed0/begun"
  while not (mark.exists() and mark.read_text()):
    assert parent.poll() is None
    time.sleep(0.05)
  child = int(mark.read_text())
  assert is_running(child)
  parent.kill()
  parent.wait()
  deadline = time.monotonic() + 10
  while is_running(child) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not is_running(child)


def is_running(pid):
  try:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
  except FileNotFoundError:
    return False


def test_a_claim_may_not_change_after_rows(tmp_path):
  claim = study.claim("high is higher", "high", "low", metric="score")
  ledger = study.Ledger(tmp_path / "study")
  ledger.register([claim], (0, 1))
  ledger.register([claim._replace(at_least=1.0)], (0, 1, 2))  # nobody has seen a number
  assert [(entry.claim.at_least, entry.seeds) for entry in ledger.claims()] == [(1.0, (0, 1, 2))]
  ledger.append(dict(arm="high", seed=0, metrics=dict(score=1.0)))
  ledger.register([claim._replace(at_least=1.0)], (1,))
  assert ledger.claims()[0].seeds == (0, 1, 2)
  for changed, seeds in ((claim, (0, 1, 2)), (claim._replace(at_least=1.0), (0, 1, 2, 3))):
    with pytest.raises(ConfigError, match="'high is higher' has changed since it was registered, and there are 1 rows"):
      ledger.register([changed], seeds)
  late = claim._replace(sentence="high is much higher", at_least=9.0)
  ledger.register([late], (0, 1, 2))
  assert [entry.rows_before for entry in ledger.claims()] == [0, 1]  # the first one stays, though it is not asked for
  ledger.write_page("")
  assert "high is much higher (claimed when there were 1 rows)" in (ledger.folder / "README.md").read_text()


def test_a_regime_needs_head_room(tmp_path):
  regime = study.Ledger(tmp_path / "regime")
  numbers = {"knn": 0.5, "raw pixels/knn": 0.3, "random weights/knn": 0.1}
  claims = [
    study.claim(control, "c", "c", metric=("knn", f"{control}/knn"), at_least=0.15)
    for control in ("raw pixels", "random weights")
  ]
  regime.register(claims, (0, 1, 2))
  with pytest.raises(ConfigError, match="no measured head-room"):
    study.run(**arguments(tmp_path, regime=regime.folder))
  for seed in range(3):
    regime.append(dict(arm="c", seed=seed, metrics=numbers))
  assert regime.head_room() == ("knn",)
  study.run(**arguments(tmp_path, regime=regime.folder, arms=dict(a=1.0), seeds=(0,)))
  regime.append(dict(arm="c", seed=2, metrics=numbers | {"raw pixels/knn": 0.4}))
  assert regime.head_room() == ()


def test_mistakes_are_named(tmp_path):
  claim = study.claim("x", "hihg", "low", metric="score")
  with pytest.raises(ConfigError, match="no arm 'hihg'; did you mean 'high'"):
    study.run(**arguments(tmp_path, claims=(claim,)))
  with pytest.raises(ConfigError, match="top of a module"):
    study.run(**arguments(tmp_path, measure=lambda arm, seed, workdir: {}))
  with pytest.raises(ConfigError, match="different seeds"):
    study.run(**arguments(tmp_path, seeds=(0, 0)))
  with pytest.raises(ConfigError, match="must differ in letters"):
    study.run(**arguments(tmp_path, arms={"a b": 1, "A-b": 2}))
  with pytest.raises(ConfigError, match="arm 'a' must be a config or what JSON can hold"):
    study.run(**arguments(tmp_path, arms=dict(a=object())))
  assert not (tmp_path / "study/rows.jsonl").exists()
  with study.Ledger(tmp_path / "study").locked(), pytest.raises(ConfigError, match="another process runs it there"):
    study.run(**arguments(tmp_path))


def test_the_hash_of_a_config(monkeypatch):
  config = configs.load_config("simclr:demo")
  before = arm_hash(config)
  for change in ("seed=3", "data.threads=1", "log_every_steps=7"):
    assert arm_hash(configs.override(configs.load_config("simclr:demo"), [f"--config.{change}"])) == before
  for change in ("batch_size=32", "evaluation.size=32", "losses.nt_xent.temperature=0.3"):
    assert arm_hash(configs.override(configs.load_config("simclr:demo"), [f"--config.{change}"])) != before
  defaults = configs.default_config().to_dict() | dict(new_key=1)
  monkeypatch.setattr(configs, "default_config", lambda: configs.ml_collections.ConfigDict(defaults))
  newer = configs.with_defaults(config)
  assert newer.new_key == 1 and arm_hash(newer) == before


@pytest.mark.slow
def test_a_method_is_pretrained_and_evaluated(tmp_path):
  config = methods.small("simclr", total_steps=2)
  config.data.options = dict(num_examples=16, image_size=16)
  config.evaluation.update(dict(protocols=("rankme",), size=16))
  config.evaluation.train.options = dict(num_examples=16, image_size=16)
  also = {"smaller": ("--config.evaluation.size=12",)}
  measure = study.Pretrained(baselines=("random weights",), also=also, places={"elsewhere": "/nowhere"})
  ledger = study.run(**arguments(tmp_path, arms=dict(simclr=config), seeds=(1,), measure=measure))
  (row,) = ledger.rows()
  assert row["metrics"]["rankme/rankme"] > 1 and row["metrics"]["random weights/rankme/rankme"] > 1
  own = {name for name in row["metrics"] if name.startswith("rankme/")}
  assert {name for name in row["metrics"] if "smaller/" in name} == {f"smaller/{name}" for name in own}  # no baselines
  assert 1 < row["metrics"]["smaller/rankme/rankme"] != row["metrics"]["rankme/rankme"]
  assert "random weights" in json.loads((tmp_path / "runs/simclr_seed1/evaluation.json").read_text())  # the config's
  assert row["metrics"]["train/loss"] > 0 and 100 < row["metrics"]["train/mib"] <= row["mib"] + 1
  assert json.loads((tmp_path / "runs/simclr_seed1/config.json").read_text())["config"]["seed"] == 1


def test_places_are_put_where_a_config_names_none():
  config = configs.default_config()
  config.data.name = "glyphs"
  config.evaluation.test.name = "glyphs"
  config.evaluation.train.name = "glyphs:/mine"
  placed = study.placed(config, {"glyphs": "/fonts"})
  assert (placed.data.name, placed.evaluation.test.name, placed.evaluation.train.name) == (
    "glyphs:/fonts",
    "glyphs:/fonts",
    "glyphs:/mine",
  )
  of = dict(name="derived", options=dict(of=dict(name="glyphs"), by=(dict(fn="fraction", share=0.5),)))
  config.data = dict(name="derived", split="train", options=dict(of=of, by=(dict(fn="concatenate", others=(of,)),)), also={})
  found = study.placed(config, {"glyphs": "/fonts"}).data.options
  assert found.of.options.of.name == found.by[0]["others"][0]["options"]["of"]["name"] == "glyphs:/fonts"
  assert found.of.options.by == of["options"]["by"] and found.by[0]["fn"] == "concatenate"
  config.data.name = "glyphs"
  assert config.data.name == "glyphs" and pathlib.Path(placed.evaluation.test_scenes.name) == pathlib.Path("scenes")
