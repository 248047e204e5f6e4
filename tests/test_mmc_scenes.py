"""The study of MMC's demo: its table, and the control that is trained with labels."""

import importlib.util
import pathlib

import jax
import pytest

from jssl import data, study
from jssl.config import check_config, load_config
from jssl.method import Method
from jssl.schedules import Horizon
from jssl.study.ledger import claims_table

STUDY = pathlib.Path(__file__).parents[1] / "experiments/mmc_scenes"


@pytest.fixture(scope="module")
def run():
  spec = importlib.util.spec_from_file_location("mmc_scenes_run", STUDY / "run.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_page_is_what_the_rows_say(run):
  ledger = study.Ledger(STUDY)
  page = (STUDY / "README.md").read_text()
  assert run.table(ledger.rows()) in page and claims_table(ledger.verdicts()) in page
  assert [entry.claim for entry in ledger.claims()] == run.claims()


def test_the_table_holds_every_control(run):
  rows = [
    dict(arm="mmc", seed=seed, metrics={run.METRICS["overlap"]: value, f"position only/{run.METRICS['overlap']}": 0.5})
    for seed, value in enumerate((0.30, 0.32))
  ]
  lines = run.table(rows).splitlines()
  assert lines[0] == "Arm mmc, seeds 0, 1:" and "| MMC | - | 0.310 +- 0.014 |" in lines
  assert "| position only | - | 0.500 +- 0.000 |" in lines


def test_the_control_with_labels_reads_labels_and_has_the_demo_s_network():
  config = load_config(f"{STUDY / 'with_labels.py'}:mae")
  check_config(config)
  batch = data.load("objects", num_examples=2).get(range(2))
  method = Method(config, num_examples=2, horizon=Horizon(1))
  params = jax.eval_shape(lambda: method.init(jax.random.key(0), batch)).params["student"]
  demo = load_config("mmc:demo")
  whole = Method(demo, num_examples=2, horizon=Horizon(10, 1, 2))
  taught = jax.eval_shape(lambda: whole.init(jax.random.key(0), batch)).params["student"]
  assert params["backbone"] == taught["backbone"]
  assert method.batch_names == ("extent", "image", "label")
