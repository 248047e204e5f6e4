"""A folder of the user's pictures, of all sizes and kinds and without labels, on every command."""

import logging

import jax
import numpy as np
from PIL import Image
import pytest

from jssl import data, evaluate, extract, train
from jssl import logging as run_log
from jssl.config import load_config, override
from jssl.evaluation.own_data import evaluate_own_data
from jssl.report import __main__ as report
from jssl.workdirs import read_record
from tests import methods

MODES = ("RGB", "L", "P", "RGBA", "LA", "I;16")
TINY = (
  "--config=simclr:demo",
  *(
    f"--config.{key}={value}"
    for key, value in {
      "networks.student.width": 16,
      "networks.student.depth": 1,
      "networks.student.num_heads": 2,
      "evaluation.size": 32,
      "total_steps": 2,
      "batch_size": 8,
      "log_every_steps": 1,
      "checkpoint_every_steps": 2,
    }.items()
  ),
)


def picture(number: int) -> Image.Image:
  """One of MODES, of a size of its own."""
  mode, rng = MODES[number % len(MODES)], np.random.default_rng(number)
  shape = (24 + 7 * (number % 5), 40)
  if mode == "I;16":
    return Image.fromarray(rng.integers(0, 2**16, shape, dtype=np.uint16))
  return Image.fromarray(rng.integers(0, 256, (*shape, 4), dtype=np.uint8)).convert(mode)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """24 pictures in folders that are no classes, and a file that is none."""
  root = tmp_path_factory.mktemp("own") / "photos"
  for i in range(24):
    path = root / ("", "2023", "2024/summer")[i % 3] / f"{i:02d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(i).save(path)
  (root / "2023" / "broken.jpg").write_bytes(b"no picture")
  return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("runs") / "photos"
  monitored = ("--config.monitor.every_steps=1", "--config.monitor.protocols=('knn','rankme')")
  assert train.main([*TINY, *monitored, "--workdir", str(workdir), f"--config.data.name=folder:{photos}"]) == 0
  return workdir


@pytest.mark.slow
def test_a_run_is_evaluated_and_watched_on_its_own_pictures(run, photos):
  entries = read_record(run)["config"]["evaluation"]
  assert entries["train"] == entries["test"] == dict(name=f"folder:{photos}", split="train", options={})
  assert entries["protocols"] == ["knn", "linear", "rankme"]  # and none of the demo's scenes
  rows = run_log.read_metrics(run)
  assert len(rows) == 2 and all(1 <= row["monitor/rankme/rankme"] <= 24 and row["unreadable"] == 1 for row in rows)
  assert not any(key.startswith("monitor/knn") for row in rows for key in row)


@pytest.mark.slow
def test_an_evaluation_without_labels_says_what_it_leaves_out(run, photos, capsys, caplog):
  assert evaluate.main(["--workdir", str(run), "--baselines", "--report"]) == 0
  line = f"knn, linear not run, since folder:{photos} has no labels; in their place, without labels: spectrum, lidar, copy_"
  assert caplog.text.count("not run, since") == 1 and line in caplog.text
  results = evaluate.read_results(run)
  for model in ("pretrained", "random weights", "raw pixels"):
    assert {"rankme", "spectrum", "copy_detection"} <= results[model].keys()
    assert np.isfinite([x for found in results[model].values() for x in found["metrics"].values()]).all()
  assert 0 <= results["pretrained"]["lidar"]["metrics"]["alignment"] <= 4
  assert results.about["data"]["train"]["name"] == f"folder:{photos}"
  assert "copy_detection" in capsys.readouterr().out
  text = (run / "report.html").read_text()
  for title in ("Click a patch", "What patches say", "Nearest neighbours", "A map of the test images", "What was learnt"):
    assert f"{title}</h2>" in text
  assert "class='legend'" not in text and "the other pictures" in text and "Left out" not in text


@pytest.mark.slow
def test_features_of_each_picture_and_a_page_of_others(run, photos, tmp_path):
  out = tmp_path / "features.npz"
  assert extract.main(["--workdir", str(run), "--data", f"folder:{photos}", "--out", str(out)]) == 0
  found = np.load(out)
  assert {name: array.shape for name, array in found.items()} == dict(features=(25, 16))
  picture(0).save(tmp_path / "alone.png")
  arguments = ["--workdir", str(run), "--data", f"folder:{tmp_path}", "--out", str(tmp_path)]
  assert report.main(arguments) == 0
  assert "Click a patch</h2>" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_images_that_are_trained_on_are_no_test_of_labels(run, tmp_path, caplog):
  for i in range(8):
    path = tmp_path / "ab"[i % 2] / f"{i}.png"
    path.parent.mkdir(exist_ok=True)
    picture(i).save(path)
  names = [f"--config.evaluation.{split}.name=folder:{tmp_path}" for split in ("train", "test")]
  found = evaluate.evaluate(run, overrides=names)["pretrained"]
  assert "knn, linear not run, since the test images are those of train" in caplog.text
  assert "knn" not in found and "rankme" in found
  assert "knn" in evaluate.evaluate(run, ["knn:k=1"], overrides=names)["pretrained"]  # asked for by name


@pytest.mark.slow
def test_one_picture_is_a_data_set(tmp_path, capsys):
  (tmp_path / "photos").mkdir()
  picture(3).save(tmp_path / "photos" / "only.png")
  arguments = ["--workdir", str(tmp_path / "run"), f"--config.data.name=folder:{tmp_path / 'photos'}"]
  assert train.main([*TINY, *arguments]) == 2
  assert f"config.batch_size=8: folder:{tmp_path / 'photos'} has only 1 example" in capsys.readouterr().err
  config = methods.small("mae", depth=1, total_steps=2, batch_size=1)
  config.data.update(dict(name=f"folder:{tmp_path / 'photos'}"))
  config.evaluation.size = 32
  for split in ("train", "test"):
    config.evaluation[split].update(dict(name=config.data.name, split="train"))
  train.train_and_evaluate(config, tmp_path / "run", devices=jax.devices()[:1])
  found = evaluate.evaluate(tmp_path / "run", ["rankme", "copy_detection"])["pretrained"]
  assert found["rankme"]["metrics"]["rankme"] == pytest.approx(1.0, abs=1e-3)
  assert "1 test images are too few" in found["copy_detection"]["error"]


def test_subfolders_are_no_labels_and_a_part_is_held_out(tmp_path):
  for i in range(20):
    path = tmp_path / "ab"[i % 2] / f"{i:02d}.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4), (i, 0, 0)).save(path)
  of = dict(name=f"folder:{tmp_path}", options=dict(labels=False, canvas=4))
  parts = [data.load("derived", of=of, by=(dict(fn="hold_out", part=part, share=0.2),)) for part in ("rest", "held")]
  assert [(len(part), "label" in part.element_spec) for part in parts] == [(16, False), (4, False)]
  seen = [part.get(np.arange(len(part)))["image"][:, 0, 0, 0].tolist() for part in parts]
  assert sorted(seen[0] + seen[1]) == list(range(20))


@pytest.mark.parametrize(
  "arguments, train_name, protocols",
  [
    (["--config.data.name=folder:/photos"], "folder:/photos", ("knn", "linear", "rankme")),
    (["--config.data.name=objects"], "objects", None),
    (["--config.batch_size=8"], "objects", None),
    (["--config.data.name=folder:/photos", "--config.evaluation.test.split=val"], "objects", None),
    (["--config.data.name=folder:/photos", "--config.evaluation.protocols=('spectrum',)"], "folder:/photos", ("spectrum",)),
  ],
)
def test_whose_data_an_evaluation_takes(arguments, train_name, protocols, caplog):
  config = override(load_config("simclr:demo"), arguments)
  before = config.evaluation.protocols
  with caplog.at_level(logging.INFO, logger="jssl"):
    evaluate_own_data(config, arguments)
  assert config.evaluation.train.name == train_name
  assert tuple(config.evaluation.protocols) == (protocols or before)
  assert ("evaluated on folder:/photos, too" in caplog.text) == (train_name != "objects")


def test_a_config_that_names_its_data_twice_keeps_its_splits():
  config = load_config("mae:cifar10")
  evaluate_own_data(config, ["--config.data.name=tfds:cifar10"])
  assert config.evaluation.test.split == "test"
