"""Evaluations of runs: what is evaluated, on which data, and what is written down."""

import json
import shutil

import jax
import numpy as np
import pytest

from jssl import config as configs
from jssl import data, evaluate, workdirs
from jssl.errors import ConfigError
from jssl.report import run_report
from jssl.train import train_and_evaluate
from tests import methods

FEW = tuple(
  f"--config.evaluation.{split}.options.num_examples={n}"
  for split, n in dict(train=24, test=16, calibration_scenes=6, test_scenes=6, test_sequences=3).items()
)


def _config(**changes):
  config = methods.small("dino", depth=1, total_steps=2, checkpoint_every_steps=1, log_every_steps=1)
  config.evaluation.size = 32
  for split in ("train", "test", "calibration_scenes", "test_scenes", "test_sequences"):
    config.evaluation[split].options = dict(image_size=32)
  configs.override(config, [*FEW])
  config.update(changes)
  return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run of DINO on arrays, whose EMA decay is a schedule in epochs."""
  workdir = tmp_path_factory.mktemp("evaluated") / "run"
  config = _config()
  config.networks.teacher.decay = dict(schedule="linear", start=0.9, end=1.0, epochs=1)
  train_and_evaluate(config, workdir, source=methods.source(), devices=jax.devices()[:1])
  return workdir


@pytest.fixture()
def copy(run, tmp_path):
  """A copy of it, to be changed."""
  return shutil.copytree(run, tmp_path / "run")


def test_what_was_evaluated_is_written_down(copy, capsys):
  arguments = ["--workdir", str(copy), "--protocols", "knn:k=(3,100),rankme,object_similarity", "--step", "1"]
  assert evaluate.main([*arguments, "--baselines"]) == 0
  printed = capsys.readouterr().out
  written = json.loads((copy / "evaluation.json").read_text())
  about = written["about"]
  assert (about["step"], about["network"], about["feature"]) == (1, "teacher", "features")
  assert about["view"]["crop"] == "32 x 32" and about["view"]["filter"] == "bicubic" and len(about["view"]["std"]) == 3
  assert about["data"]["train"] == dict(name="objects/train", examples=24)
  assert about["data"]["scenes"]["name"] == "scenes/test" and about["versions"]["jax"] == jax.__version__
  for words in ("step 1: network 'teacher', feature 'features'", "crop 32 x 32, bicubic", "test: objects/test (16)"):
    assert words in printed
  assert {"pretrained", *evaluate.BASELINES} == written.keys() - {"about"}
  assert written["pretrained"]["knn"]["parameters"]["k"] == [3, 24] and "k_asked=(3, 100)" in printed
  assert written["raw pixels"]["knn"]["parameters"]["pixels"] == "32 x 32"
  assert evaluate.read_results(copy).about == about


@pytest.mark.slow
def test_a_report_tells_what_was_evaluated(copy):
  assert evaluate.main(["--workdir", str(copy), "--protocols", "object_similarity", "--step", "1", "--report"]) == 0
  text = (copy / "report.html").read_text()
  assert "step 1: network" in text and "how alike patches of one object" in text


@pytest.mark.slow
def test_the_step_that_is_asked_for_is_evaluated(run):
  steps = [evaluate.load_frozen(run, step=step) for step in (1, 2, None)]
  assert [frozen.step for frozen in steps] == [1, 2, 2]
  same = lambda a, b: all(jax.tree.leaves(jax.tree.map(np.array_equal, a.variables, b.variables)))
  assert same(steps[1], steps[2]) and not same(steps[0], steps[1])
  with pytest.raises(ConfigError, match=r"holds no checkpoint of step 7; known: \[1, 2\]"):
    evaluate.evaluate(run, ["rankme"], step=7)


def test_a_run_on_arrays_is_not_scored_on_other_data_without_a_word(run, caplog):
  evaluate.evaluate(run, ["rankme"])
  assert "was trained on data handed to it" in caplog.text
  caplog.clear()
  mine = methods.source(30, size=24)
  results = evaluate.evaluate(run, train=mine, test=dict(image=mine.arrays["image"][:9], label=mine.arrays["label"][:9]))
  assert "handed to it" not in caplog.text and "not run, since they need other data" in caplog.text
  assert results["pretrained"].keys() == {"knn", "linear", "rankme"}
  assert results.about["data"]["train"] == dict(name="arrays", examples=30)
  assert results["pretrained"]["knn"]["parameters"]["queries"] == 9
  with pytest.raises(ConfigError, match="protocol 'knn': train= is given; give test= too"):
    evaluate.evaluate(run, ["knn"], train=mine)
  with pytest.raises(ConfigError, match="test= must be a data.Source or a dict of arrays, not a ndarray"):
    evaluate.evaluate(run, ["knn"], train=mine, test=np.zeros(3))


@pytest.mark.parametrize("evaluated, told", [("objects", True), ("folder:/photos", False)])
def test_a_run_on_a_folder_is_not_scored_on_other_data_without_a_word(evaluated, told, run, tmp_path, caplog, monkeypatch):
  shutil.copytree(run, tmp_path / "run")
  record = workdirs.read_record(tmp_path / "run")
  record["data"]["given"] = False
  record["config"]["data"]["name"] = "folder:/photos"
  record["config"]["evaluation"]["train"]["name"] = evaluated
  (tmp_path / "run" / "config.json").write_text(json.dumps(record))
  monkeypatch.setattr(data, "load", lambda name, **options: methods.source(24, size=32))
  evaluate.evaluate(tmp_path / "run", ["rankme"])
  assert ("was trained on folder:/photos: it is evaluated on objects; --config" in caplog.text) == told


DENSE = (
  "linear_segmentation:steps=4,learning_rates=0.01",
  "neighbour_segmentation:memory=100,k=4",
  "mask_propagation",
  "attention_segmentation",
)


@pytest.mark.slow
def test_dense_protocols_of_an_old_run_are_the_same_on_one_device_and_on_eight(copy, monkeypatch):
  record = json.loads((copy / "config.json").read_text())
  del record["config"]["evaluation"]["test_sequences"]  # as a run has it that was trained before there were any
  (copy / "config.json").write_text(json.dumps(record))
  more = ["--config.evaluation.test_sequences.options=" + repr(dict(num_examples=3, image_size=32, frames=4))]
  results = evaluate.evaluate(copy, DENSE, baselines=("random weights", "position only"), overrides=more)
  assert not [(model, name) for model, found in results.items() for name in found if "error" in found[name]]
  assert results.about["data"]["sequences"] == dict(name="moving_scenes/test.frames", examples=12)
  names = {spec.partition(":")[0] for spec in DENSE}
  assert results["pretrained"].keys() == results["random weights"].keys() == results["position only"].keys() == names
  everywhere = jax.local_devices
  monkeypatch.setattr(jax, "local_devices", lambda *args, **kwargs: everywhere(*args, **kwargs)[:1])
  alone = evaluate.evaluate(copy, DENSE, overrides=more)
  for name in names:
    for metric, value in alone["pretrained"][name]["metrics"].items():
      assert results["pretrained"][name]["metrics"][metric] == pytest.approx(value, abs=2e-3), (name, metric)


@pytest.mark.slow
def test_evaluation_ignores_what_lies_beside_an_image(run):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (20, 24, 16, 3), dtype=np.uint8)
  canvas = rng.integers(0, 256, (20, 40, 50, 3), dtype=np.uint8)
  canvas[:, :24, :16] = image
  padded = data.from_arrays(image=canvas, extent=np.tile([24, 16], (20, 1)))
  alone, beside = (
    evaluate.evaluate(run, ["rankme"], train=source)["pretrained"]["rankme"]["metrics"]["rankme"]
    for source in (data.from_arrays(image=image), padded)
  )
  assert alone == pytest.approx(beside, rel=1e-4)


def test_one_protocol_that_cannot_run_leaves_the_others(copy, capsys):
  arguments = ["--workdir", str(copy), "--protocols", "linear:held_out=0.0,rankme,knn"]
  assert evaluate.main([*arguments, "--config.evaluation.test.split=tset"]) == 2
  printed = capsys.readouterr().out
  assert "rankme: dimensions" in printed and "pretrained: could not be run: " in printed and "tset" in printed
  written = json.loads((copy / "evaluation.json").read_text())["pretrained"]
  assert written["rankme"]["metrics"]["rankme"] > 0 and "tset" in written["knn"]["error"]


@pytest.mark.parametrize(
  "arguments, message",
  [
    (["--protocols", "kn"], "there is no protocol 'kn'; did you mean 'knn'"),
    (["--protocols", "knn:q=2"], "protocol 'knn' has no number 'q'"),
    (["--protocols", ","], "name at least one protocol"),
    (["--baselines", "raw"], "--baselines raw: unknown"),
    (["--step", "5"], "holds no checkpoint of step 5"),
    (["--config.evaluation.feature=featres"], "config.evaluation.feature='featres': did you mean 'features'"),
    (["--config.evaluation.feature=patch_tokens"], "config.evaluation.feature='patch_tokens'"),
    (["--config.evaluation.network=techer"], "did you mean 'teacher'"),
    (["--config.evaluation.size=30"], "the network does not take images of 30 x 30"),
    (["--config.evaluation.resize_to=16"], "config.evaluation.resize_to=16: config.evaluation.size=32 x 32 does not fit"),
    (["--config.optim.lr=1.0"], "only --config.evaluation.key=value"),
    (["--config.evaluation.sise=3"], "did you mean 'size'"),
    (["--nonsense"], "only --config.evaluation.key=value"),
  ],
)
def test_what_is_wrong_is_one_line(arguments, message, run, capsys):
  assert evaluate.main(["--workdir", str(run), *arguments]) == 2
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert error.startswith("error: ") and message in error


@pytest.mark.slow
def test_a_run_that_may_not_be_written_is_evaluated_all_the_same(copy, monkeypatch, capsys):
  def refuse(path, *unused, **more):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(evaluate, "write_whole", refuse)
  monkeypatch.setattr("pathlib.Path.write_text", refuse)
  assert evaluate.main(["--workdir", str(copy), "--protocols", "rankme"]) == 0
  shown = capsys.readouterr()
  assert "pretrained" in shown.out and "evaluation.json could not be written: Permission denied" in shown.err
  assert evaluate.main(["--workdir", str(copy), "--protocols", "rankme", "--report"]) == 2
  assert "report.html could not be written: Permission denied" in capsys.readouterr().err


def test_evaluation_keys_of_a_finished_run_count(copy):
  config = configs.from_json(configs.to_json(workdirs.read_config(copy)))
  configs.override(config, ["--config.evaluation.train.options.num_examples=40"])
  train_and_evaluate(config, copy, source=methods.source(), devices=jax.devices()[:1])
  rankme = evaluate.evaluate(copy, ["rankme"])["pretrained"]["rankme"]
  assert rankme["parameters"]["n"] == 40
  assert workdirs.read_record(copy)["data"]["given"]
  again = evaluate.evaluate(copy, "rankme:images=17,seed=1", overrides=["--config.evaluation.train.options.num_examples=20"])
  assert again["pretrained"]["rankme"]["parameters"]["n"] == 17
  assert workdirs.read_config(copy).evaluation.train.options.num_examples == 40


def test_a_partly_copied_run_is_one_line(copy, capsys):
  shutil.rmtree(copy / "checksums")
  shutil.rmtree(copy / "checkpoints" / "2" / "state")
  assert evaluate.main(["--workdir", str(copy), "--protocols", "rankme"]) == 2
  assert "the checkpoint of step 2 is damaged" in capsys.readouterr().err
  assert evaluate.main(["--workdir", str(copy), "--protocols", "rankme", "--step", "1"]) == 0


@pytest.mark.slow
def test_a_home_folder_is_one_wherever_it_is_written(copy, monkeypatch):
  monkeypatch.setenv("HOME", str(copy.parent))
  results = evaluate.evaluate("~/run", ["rankme"])
  assert (copy / "evaluation.json").exists() and evaluate.load_frozen("~/run").name == "teacher"
  assert run_report.write("~/run", results) == copy / "report.html"


def test_protocols_that_a_run_names_are_imported_only_if_they_are_trusted(copy):
  record = json.loads((copy / "config.json").read_text())
  record["config"]["evaluation"]["protocols"] = ["tests.evaluation.test_protocols:OBJECT"]
  (copy / "config.json").write_text(json.dumps(record))
  with pytest.raises(ConfigError, match="--modules=tests.evaluation.test_protocols"):
    evaluate.evaluate(copy)
  results = evaluate.evaluate(copy, modules=("tests",))
  assert results["pretrained"]["tests.evaluation.test_protocols:OBJECT"]["metrics"] == dict(one=1.0)


@pytest.mark.slow
def test_a_network_that_is_not_square(tmp_path, capsys):
  config = _config()
  with config.ignore_type():
    config.networks.student.image_size = (16, 32)
    for name, view in config.views.items():
      view.size = (8, 16) if name.startswith("l") else (16, 32)
    config.evaluation.size = None
  train_and_evaluate(config, tmp_path, source=methods.source(32), devices=jax.devices()[:1])
  frozen = evaluate.load_frozen(tmp_path)
  images = np.random.default_rng(0).integers(0, 256, (5, 20, 40, 3), dtype=np.uint8)
  model = frozen.feature_model("pretrained")
  assert frozen.size == (16, 32) and model.grid == (4, 8) and model.image_features(images).shape == (5, 16)
  np.testing.assert_allclose(model.patch_features(images), frozen.outputs(images)["patch_tokens"], atol=1e-4)
  protocols = "knn:k=3,prompt_segmentation:random_prompts=1,thresholds=(0.0,0.5),object_similarity"
  assert evaluate.main(["--workdir", str(tmp_path), "--protocols", protocols, "--baselines", "--report"]) == 0
  assert "crop 16 x 32" in capsys.readouterr().out
  results = evaluate.read_results(tmp_path)
  assert results["raw pixels"]["knn"]["parameters"]["pixels"] == "16 x 32"
  assert results["position only"]["object_similarity"]["parameters"]["grid"] == [4, 8]
  text = (tmp_path / "report.html").read_text()
  assert "pretrained, threshold" in text and "random weights, threshold" in text and '"grid":[4,8]' in text


@pytest.mark.slow
def test_protocols_of_blocks_of_patches_and_of_drawn_views(copy):
  """Of a run's own network, projector and augmentation."""
  names = ["linear_dinov2:epochs=1", "attentive_probe:epochs=1", "logistic_regression", "lidar:images=12,views=2"]
  names += ["copy_detection:edits=('blur','crop')", "rankme", "spectrum"]
  results = evaluate.evaluate(copy, names, baselines=["raw pixels"])
  assert not [result["error"] for found in results.values() for result in found.values() if "error" in result]
  trained, pixels = results["pretrained"], results["raw pixels"]
  assert trained["linear_dinov2"]["parameters"]["blocks"] == (1,)  # all that there are
  for name in ("rankme", "spectrum", "lidar"):
    assert trained[name]["parameters"]["embedding"] == "logits"
  assert 1 < trained["lidar"]["metrics"]["embeddings_lidar"] <= 11 and trained["lidar"]["metrics"]["alignment"] > 0
  assert 0 < trained["copy_detection"]["metrics"]["micro_ap"] <= 1
  assert {"copy_detection", "attentive_probe"} <= pixels.keys() and not {"lidar", "linear_dinov2"} & pixels.keys()
  assert json.loads((copy / "evaluation.json").read_text())["pretrained"]["copy_detection"]["by_edit"].keys() == {
    "blur",
    "crop",
  }
