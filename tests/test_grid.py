"""The study that puts methods together from pieces of others."""

import importlib.util
import json
import pathlib
import shutil

import jax
import pytest

from jssl.errors import ConfigError
from jssl.method import Method
from jssl.schedules import Horizon
from tests import methods

PATH = pathlib.Path(__file__).parents[1] / "experiments/grid/run.py"


@pytest.fixture(scope="module")
def grid():
  spec = importlib.util.spec_from_file_location("grid_run", PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def shapes(config):
  """Every name of a combined method and its shape."""
  method = Method(config, num_examples=64, horizon=Horizon(20, 4, config.batch_size))
  source = methods.source().get(range(4))
  batch = {name: jax.ShapeDtypeStruct((4, *x.shape[1:]), x.dtype) for name, x in source.items()}
  return {name: x.shape for name, x in method.abstract_environment(batch).arrays.items()}


def test_cells_of_the_grid_are_methods(grid):
  for name, pieces in grid.CELLS.items():
    assert shapes(grid.combine(pieces)), name


def test_masks_of_one_method_and_targets_of_another(grid):
  config = grid.combine(("data2vec", "mae.masking:encoder=student"))
  assert config.masking.m.fn == "random_patch_mask" and tuple(config.masking.m.grid) == ("v", "student")
  assert set(config.networks) == {"student", "teacher"} and set(config.targets) == {"y"}
  assert shapes(config)["m/mask"] == (4, 64)


def test_what_is_not_read_is_left_out(grid):
  config = grid.combine(grid.CELLS["Barlow Twins on GMML's corruption of one view"])
  assert set(config.masking) == {"drop_a", "hidden_a"}
  config = grid.combine(("sit", "barlow_twins.losses"))  # neither pixels nor a teacher
  assert set(config.losses) == {"bt"} and not config.targets
  assert set(config.networks) == {"student"} and set(config.passes) == {"s_a", "s_b"}


def test_single_entries_are_added_under_other_names(grid):
  config = grid.combine(
    (
      "mae",
      "data2vec.networks.teacher:student=encoder",
      "data2vec.passes.t",
      "data2vec.targets.y:y=features",
      "simmim.losses.rec:rec=second,e=d",
    )
  )
  assert config.networks.to_dict().keys() == {"encoder", "decoder"}  # nothing reads the features
  assert {"rec", "second"} == set(config.losses) and tuple(config.losses.second.reads)[0] == "d/pixels"
  assert shapes(config)["d/pixels"] == (4, 64, 48)


def test_mistakes_are_named(grid):
  with pytest.raises(ConfigError, match=r"mae\.masks: write config\.stage"):
    grid.combine(("data2vec", "mae.masks"))
  with pytest.raises(ConfigError, match="no such entry; did you mean 'rec'"):
    grid.combine(("data2vec", "mae.losses.recc"))


def test_an_arm_that_is_not_there_is_named(grid, tmp_path, capsys):
  assert grid.main(["--folder", str(tmp_path), "--only", "baseline"]) == 2
  assert "there is no arm 'baseline'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_appends_a_row_and_is_not_repeated(grid, tmp_path, capsys):
  small = [
    "batch_size=8",
    "total_steps=2",
    "data.options={'num_examples': 16, 'image_size': 32}",
    "evaluation.size=32",
    "evaluation.protocols=('rankme',)",
    "evaluation.train.options.num_examples=16",
  ]
  cell = "small=data2vec simmim.masking:encoder=student --config.targets.y.reads=\"(('t/block01',),)\""
  cell += " --config.networks.student.width=12 --config.networks.student.depth=1"
  places = ["--folder", str(tmp_path / "study"), "--workdir", str(tmp_path / "runs")]
  arguments = [*places, "--cell", cell, "--only", "small", "--columns", "rankme/rankme"]
  arguments += [f"--config.{change}" for change in small]
  assert grid.main(arguments) == 0
  (row,) = (json.loads(line) for line in (tmp_path / "study/rows.jsonl").read_text().splitlines())
  assert row["arm"] == "small" and row["seed"] == 0
  assert row["metrics"]["rankme/rankme"] > 1 and row["metrics"]["train/loss"] > 0
  shutil.rmtree(tmp_path / "runs")
  assert grid.main(arguments) == 0 and not (tmp_path / "runs/small_seed0").exists()
  assert len((tmp_path / "study/rows.jsonl").read_text().splitlines()) == 1
  assert "| small | 1 | " in capsys.readouterr().out
