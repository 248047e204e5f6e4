"""The study of MMC's demo: its table, and the control that is trained with labels."""

import importlib.util
import pathlib

import jax

from jssl import data
from jssl.config import check_config, load_config
from jssl.method import Method
from jssl.schedules import Horizon

STUDY = pathlib.Path(__file__).parents[1] / "experiments/mmc_scenes"


def result(miou, overlap):
  return {
    "prompt_segmentation": dict(metrics=dict(miou_random_fixed=miou)),
    "object_similarity": dict(metrics=dict(overlap=overlap)),
  }


def test_the_table_holds_every_seed_against_every_control():
  spec = importlib.util.spec_from_file_location("mmc_scenes_run", STUDY / "run.py")
  study = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(study)
  position = result(0.34, 0.31)
  lines = study.table(
    [
      {"pretrained": result(0.50, 0.30), "position only": position},
      {"pretrained": result(0.52, 0.32), "position only": position},
    ]
  ).splitlines()
  assert [line.split() for line in lines[1:]] == [
    ["pretrained", "0.5100", "+-", "0.0100", "0.3100", "+-", "0.0100"],
    ["position", "only", "0.3400", "+-", "0.0000", "0.3100", "+-", "0.0000"],
    ["less", "position", "only", "+0.160,", "+0.180", "-0.010,", "+0.010"],
  ]


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
