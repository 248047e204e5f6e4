"""Features of any data: as a file, and as a transformer of scikit-learn."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from jssl import data, evaluate, extract
from jssl.errors import ConfigError
from jssl.train import train_and_evaluate
from tests import methods


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("mae")
  train_and_evaluate(methods.small("mae", total_steps=1), workdir, source=methods.source(), devices=jax.devices()[:1])
  return workdir


def test_a_file_of_features(run, tmp_path, capsys):
  out = tmp_path / "features.npz"
  arguments = ["--workdir", str(run), "--data", "objects", "--split", "test"]
  arguments += ["--options", "{'num_examples': 21, 'image_size': 20}", "--out", str(out)]
  assert extract.main(arguments) == 0
  assert "features float32 [21, 16], label int32 [21]" in capsys.readouterr().out
  with np.load(out) as found:
    objects = data.load("objects", split="test", num_examples=21, image_size=20)
    batch = objects.get(np.arange(21))
    want = evaluate.load_frozen(run).feature_model("run").image_features(dict(image=batch["image"]))
    np.testing.assert_allclose(found["features"], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["label"], batch["label"])
  assert extract.main(arguments) == 2 and "it is there already" in capsys.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ["features.npz"]


@pytest.mark.slow
def test_places_and_an_output_that_there_is_not(run):
  arrays = dict(image=methods.source(5).arrays["image"])
  assert extract.extract(run, arrays, output="places")["places"].shape == (5, 256, 16)  # of the evaluation's 64 px
  with pytest.raises(ConfigError, match="output='logits': the run's network has none; there are features, places"):
    extract.extract(run, arrays, output="logits")
  with pytest.raises(ConfigError, match="did you mean 'features'"):
    extract.extract(run, arrays, output="feature")


def test_a_transformer_in_a_pipeline(run):
  arrays = methods.source(40).arrays
  pipeline = make_pipeline(extract.Features(run), LogisticRegression(C=0.01, max_iter=1000)).fit(
    arrays["image"], arrays["label"]
  )
  assert pipeline.predict(arrays["image"]).shape == (40,)
  features = extract.extract(run, arrays)["features"]
  np.testing.assert_array_equal(extract.Features(str(run)).fit_transform(arrays["image"]), features)
  np.testing.assert_array_equal(pipeline[-1].predict(features), pipeline.predict(arrays["image"]))


@pytest.mark.parametrize(
  "changes, message",
  [
    (["--data", "objcts"], "did you mean 'objects'"),
    (["--out", "x.npy"], "give the name of an .npz file"),
    (["--out", "nowhere/x.npz"], "in a folder that there is"),
    (["--options", "3"], "write {'name': value}"),
    (["--options", "{'split': 'test'}"], "the split as --split"),
    (["--workdir", "nowhere"], "nowhere"),
  ],
)
def test_what_cannot_be_is_told_in_a_line(run, changes, message, tmp_path, capsys):
  arguments = {"--workdir": str(run), "--data": "objects", "--out": str(tmp_path / "x.npz")} | dict([changes])
  assert extract.main([word for pair in arguments.items() for word in pair]) == 2
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert error.startswith("error: ") and message in error
