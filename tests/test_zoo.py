"""The table of all methods."""

import importlib.util
import pathlib

import pytest

from tests import methods


@pytest.fixture(scope="module")
def zoo():
  spec = importlib.util.spec_from_file_location("zoo_run", pathlib.Path(__file__).parents[1] / "experiments/zoo/run.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def row(method, seed, **trained):
  values = {"pretrained": trained, "random weights": dict.fromkeys(trained, 0.5)}
  if (method, seed) == ("a", 0):
    values["raw pixels"] = {"kNN": 0.3}
  return dict(method=method, seed=seed, patches=64, images_per_second=100.0, mib=900, values=values)


def test_the_zoo_is_all_methods(zoo):
  assert zoo.METHODS == sorted(set(methods.NAMES) - {"tokenizer"})


def test_what_is_not_above_random_weights_in_every_seed_is_marked(zoo):
  lines = zoo.table(
    [
      row("a", 0, kNN=0.6, overlap=0.4),
      row("a", 1, kNN=0.7, overlap=0.3),
      row("b", 0, kNN=0.8, overlap=0.6),
      row("b", 1, kNN=0.4, overlap=0.6),
    ]
  ).splitlines()
  assert lines[2] == "| a | 2 | 0.650 (0.500) | - | - | - | 0.350 (0.500) | 100 | 900 |"
  assert lines[3] == "| b | 2 | 0.600* (0.500) | - | - | - | 0.600* (0.500) | 100 | 900 |"
  assert lines[4:] == ["| raw pixels, 64 patches | | 0.300 | - | - | - | - | | |"]


def test_a_run_that_fails_is_named(zoo):
  with pytest.raises(RuntimeError, match="jssl.train --config nothing: exit code 2"):
    zoo.timed(["jssl.train", "--config", "nothing"])
