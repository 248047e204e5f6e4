"""`python -m jssl.report`: of runs, of a folder of pictures, and of models that no run has."""

import configparser
import json
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
from PIL import Image
import pytest

from jssl.errors import ConfigError
from jssl.report import __main__ as command
from jssl.report import page, run_report, seen
from jssl.train import train_and_evaluate
from tests import methods
from tests.report import fake_models


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run of MAE on few scenes."""
  workdir = tmp_path_factory.mktemp("reported") / "run"
  config = methods.small("mae", depth=1, total_steps=2, checkpoint_every_steps=2, log_every_steps=1)
  config.data.options = dict(num_examples=24, image_size=32)
  config.evaluation.size = 32
  for split in ("train", "test", "test_scenes", "calibration_scenes"):
    config.evaluation[split].options = dict(image_size=32, num_examples=16)
  train_and_evaluate(config, workdir, devices=jax.devices()[:1])
  return workdir


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """A folder of pictures of several sizes, without classes."""
  folder = tmp_path_factory.mktemp("photos")
  rng = np.random.default_rng(0)
  for i in range(12):
    Image.fromarray(rng.integers(0, 256, (40 + i, 50, 3), np.uint8)).save(folder / f"{i}.png")
  return folder


def _titles(text):
  return re.findall(r"<h2[^>]*>(.*?)</h2>", text)


@pytest.mark.slow
def test_runs_side_by_side(run, tmp_path):
  other = shutil.copytree(run, tmp_path / "deep" / "run")
  knn = dict(knn=dict(metrics=dict(k20=0.5), parameters=dict(chance=0.1), meaning="higher is better"))
  (other / "evaluation.json").write_text(json.dumps({"pretrained": knn, "random weights": knn}))
  assert command.main(["--workdir", str(run), "--workdir", str(other)]) == 0
  text = (run / "report.html").read_text()
  names = [f"{run.parent.name}/run", "deep/run"]
  assert f"Runs {', '.join(names)}" in text and text.count("<polyline class='run1'") > 3
  shown = ["What was learnt", "Click a patch", "What patches say", "Where the class token looks"]
  shown += ["Nearest neighbours", "A map of the test images"]
  shown += [f"{title}: {name}" for name in names for title in ("What the network sees", "Reconstructions")]
  shown += ["Curves", "All results", "Config"]
  assert _titles(text) == shown
  for name in (*names, f"{names[0]}: random weights", "raw pixels"):
    assert f'"name":"{name}"' in text
  assert (
    "Near images are of the same class" in text
    and f"--workdir {run} --baselines" in text
    and "About the same as random weights" in text
  )
  assert len(text) < 1_000_000


@pytest.mark.slow
def test_a_folder_of_pictures_takes_the_place_of_the_data(run, photos, tmp_path, capsys):
  arguments = ["--workdir", str(run), "--data", f"folder:{photos}", "--options", "{'canvas': 48}"]
  assert command.main([*arguments, "--out", str(tmp_path)]) == 0
  assert f"report: {tmp_path / 'report.html'}" in capsys.readouterr().out
  text = (tmp_path / "report.html").read_text()
  assert f"python -m jssl.evaluate --workdir {run} --baselines --report" in text  # which was not done yet
  assert {"Click a patch", "Nearest neighbours", "A map of the test images", "What the network sees"} <= set(_titles(text))
  assert "Left out" not in _titles(text) and "the other pictures" in text and "class='legend'" not in text


def test_hidden_patches_are_those_of_the_mask(run):
  observed = seen.Observed(run, run_report.run_config(run))
  body = seen.views_body(observed)
  assert "v: read by e (encoder)" in body and body.count("class='strip'") == 2
  env = observed.environment(seen._part(observed.method.graph, ["v", "m/mask"]))
  node = observed.method.nodes["e"]
  hidden = seen._hidden("ids_keep", env["m/ids_keep"], env["v"], observed.method, node)
  patch = env["v"].shape[1] // observed.method.networks["encoder"].module.grid(env["v"].shape[1:])[0]
  mask = np.asarray(env["m/mask"]).reshape(len(hidden), env["v"].shape[1] // patch, -1)
  np.testing.assert_array_equal(hidden[..., 0], mask.repeat(patch, 1).repeat(patch, 2))
  np.testing.assert_array_equal(hidden, seen._hidden("mask", env["m/mask"], env["v"], observed.method, node))


def test_models_without_a_run(tmp_path):
  source = fake_models.images(12)
  models = [fake_models.model("DINOv2"), fake_models.noise("before")]
  path = run_report.write_pictures(tmp_path / "public.html", models, dict(source.arrays), title="<public>")
  text = path.read_text()
  assert _titles(text) == ["Click a patch", "What patches say", "Nearest neighbours", "A map of the test images"]
  assert "<title>&lt;public&gt;</title>" in text and '"name":"before"' in text
  with pytest.raises(ConfigError, match="give at least one FeatureModel"):
    run_report.write_pictures(tmp_path, [], source)


def test_what_cannot_be_shown_is_told_in_the_page(tmp_path):
  def broken(batch):
    return np.full((len(batch["image"]), 6), np.nan, np.float32)

  models = [fake_models.model("mine", image_features=broken)]
  text = run_report.write_pictures(tmp_path, models, fake_models.images()).read_text()
  assert "Left out" in _titles(text) and "are not all finite" in text and "Click a patch" in _titles(text)


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--workdir", "nowhere"], "holds no run"),
    (["--data", "objcts"], "did you mean 'objects'"),
    (["--data", "objects", "--options", "3"], "write {'name': value}"),
    (["--config.optim.lr=1"], "only --config.evaluation.key=value"),
  ],
)
def test_what_is_wrong_is_one_line(arguments, message, run, capsys):
  assert command.main(["--workdir", str(run), *arguments]) == 2
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert error.startswith("error: ") and message in error


def test_evaluate_and_report_do_not_import_each_other():
  code = """
import sys, jssl.evaluate
assert not [name for name in sys.modules if name.startswith("jssl.report")]
del sys.modules["jssl.evaluate"]
import jssl.report.__main__
assert "jssl.evaluate" not in sys.modules
"""
  assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_files_of_the_page_are_part_of_the_package():
  parts = configparser.ConfigParser()
  parts.read(pathlib.Path(__file__).parents[2] / "setup.cfg")
  patterns = parts["options.package_data"]["jssl.report"].split()
  folder = pathlib.Path(page.__file__).parent
  packed = {found.name for pattern in patterns for found in folder.glob(pattern)}
  assert packed == {path.name for path in (folder / "static").iterdir()} == {*page.SCRIPTS, "report.css"}
