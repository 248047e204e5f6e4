"""Networks of runs for other codes, and public weights as runs."""

import json

import jax
import numpy as np
import pytest

from jssl import checkpoint, convert, evaluate, interop
from jssl.errors import ConfigError
from jssl.interop.files import read
from jssl.train import train_and_evaluate
from tests import methods


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """DINO's teacher, a head beside it, and an evaluation at another size than that of its crops."""
  workdir = tmp_path_factory.mktemp("dino")
  config = methods.small("dino", total_steps=2)
  config.evaluation.update(dict(size=24, resize_to=26))
  train_and_evaluate(config, workdir, source=methods.source(), devices=jax.devices()[:1])
  return workdir


def images(run):
  """What the run's network sees of some images, and what it says of them."""
  frozen = evaluate.load_frozen(run)
  pictures = methods.source(4, size=28).arrays["image"]
  return np.asarray(frozen.view(dict(image=pictures))), np.asarray(frozen.outputs(pictures)["features"])


@pytest.mark.parametrize("form", ["hf", "timm", "big_vision"])
def test_a_network_of_a_run(run, form, tmp_path, capsys):
  """The features that its evaluation sees; a card that says where it comes from."""
  out = tmp_path / form
  arguments = ["--source", f"{run}:teacher:backbone", "--format", form, "--out", str(out), "--license", "mit"]
  assert convert.main(arguments) == 0
  assert "positions are made for images of 24x24 pixels, its own are for 16x16" in capsys.readouterr().out
  found = interop.load(out)
  shown, wanted = images(run)
  np.testing.assert_allclose(found.module.apply(found.variables, shown)["features"], wanted, rtol=1e-5, atol=1e-5)
  view = json.loads((out / "preprocessor_config.json").read_text())
  assert view["size"] == dict(shortest_edge=26) and view["crop_size"] == dict(height=24, width=24)
  card = (out / "README.md").read_text()
  assert "license: mit" in card and "2 steps of 16 examples: 32 in all" in card and "None was made." in card
  assert "examples 64" in card and '"fn": "dino_loss"' in card and "Trained by jssl" in card
  assert convert.main(arguments) == 2 and "is there already" in capsys.readouterr().err


@pytest.mark.slow
def test_transformers_gives_the_features_of_the_run(run, tmp_path):
  torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
  convert.convert(f"{run}:teacher:backbone", tmp_path / "out", "hf")
  model = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
  shown, wanted = images(run)
  with torch.no_grad():
    found = model(torch.from_numpy(np.ascontiguousarray(shown.transpose(0, 3, 1, 2)))).last_hidden_state[:, 0]
  np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_an_encoder_with_its_decoder(tmp_path, capsys):
  """Of a run of MAE, in one folder, from which both come back."""
  config = methods.small("mae", total_steps=1)
  train_and_evaluate(config, tmp_path / "run", source=methods.source(), devices=jax.devices()[:1])
  arguments = ["--source", f"{tmp_path}/run:encoder", "--format", "hf", "--out", str(tmp_path / "out")]
  arguments += ["--decoder", f"{tmp_path}/run:decoder"]
  assert convert.main(arguments) == 2 and "give norm_pix_loss=True or False" in capsys.readouterr().err
  assert convert.main([*arguments, "--norm-pix-loss", "True"]) == 0
  saved = checkpoint.load_variables(tmp_path / "run", 1)
  for part in ("encoder", "decoder"):
    ours, _ = checkpoint.network_arrays(saved, part)
    found = checkpoint.named_leaves(interop.load(tmp_path / "out", part=part).variables["params"])
    assert found.keys() == ours.keys()
    for name, array in ours.items():
      np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_start_from_what_was_exported(run, tmp_path):
  """At its own size the same arrays come back, also through another format."""
  convert.convert(f"{run}:student:backbone", tmp_path / "a", "timm", size=16)
  convert.convert(f"timm:{tmp_path}/a", tmp_path / "b", "hf")
  ours = convert.read(f"{run}:student:backbone").network
  for folder in ("a", "b"):
    fitted = interop.load(tmp_path / folder).fitted(ours.module)
    jax.tree.map(np.testing.assert_array_equal, fitted["params"], ours.variables["params"])
  assert len(read(tmp_path / "b").weights) > 10


def test_public_weights_as_a_run(run, tmp_path):
  """A workdir that is evaluated as any other, heads included."""
  convert.convert(f"{run}:teacher", tmp_path / "run", "run")
  shown, wanted = images(run)
  frozen = evaluate.load_frozen(tmp_path / "run")
  assert frozen.name == "network" and frozen.step == 0
  np.testing.assert_allclose(frozen.view(dict(image=methods.source(4, size=28).arrays["image"])), shown, atol=1e-6)
  np.testing.assert_allclose(frozen.module.apply(frozen.variables, shown)["features"], wanted, rtol=1e-6, atol=1e-6)
  arrays = methods.source(32).arrays
  results = evaluate.evaluate(tmp_path / "run", "knn:k=5", train=arrays, test=arrays)
  assert "error" not in results["pretrained"]["knn"]
  convert.convert(f"{tmp_path}/run:network:backbone", tmp_path / "out", "timm")
  card = (tmp_path / "out" / "README.md").read_text()
  assert "knn" in card and "0 steps of 256 examples" in card
  convert.convert(f"timm:{tmp_path}/out", tmp_path / "again", "run")
  again = evaluate.load_frozen(tmp_path / "again")
  assert again.config.networks.network.load == f"timm:{tmp_path}/out"
  np.testing.assert_allclose(again.module.apply(again.variables, shown)["features"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  "source, form, numbers, message",
  [
    ("{run}:teacher", "hf", {}, r"hf holds a backbone alone, not heads\.logits: write ':backbone'"),
    ("{run}:tutor:backbone", "hf", {}, "has no network 'tutor'"),
    ("{run}", "hf", {}, "source: write 'workdir:network'"),
    ("{run}@7:teacher", "hf", {}, "holds no checkpoint of step 7"),
    ("{run}:teacher", "onnx", {}, "networks are not written as 'onnx'; known: big_vision, hf, run, timm"),
    ("{run}:teacher", "run", dict(size=8), "leave size and license out"),
    ("mae:/a.pth", "hf", dict(overrides=["--config.evaluation.size=8"]), "mae:/a.pth is no run"),
  ],
)
def test_what_is_refused(run, source, form, numbers, message, tmp_path):
  with pytest.raises(ConfigError, match=message):
    convert.convert(source.format(run=run), tmp_path / "out", form, **numbers)
  assert not (tmp_path / "out").exists()
