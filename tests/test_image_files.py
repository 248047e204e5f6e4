"""The presets for ImageNet, narrow, on a folder of image files like it: a run, a resume, an evaluation."""

import jax
import numpy as np
from PIL import Image
import pytest

from jssl import logging
from jssl.config import load_config
from jssl.evaluate import evaluate
from jssl.train import train_and_evaluate
from tests.test_host_crops import photo
from tests.test_resume import forget_after
from tests.test_train import assert_identical

pytestmark = pytest.mark.slow
CLASSES, IMAGES = 10, 1000
NARROW = dict(width=32, depth=1, num_heads=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """800 JPEGs to train on and 200 to test, of 300 to 900 px, each class with a tint of its own."""
  root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
  tints = rng.uniform(0.4, 1.0, (CLASSES, 3))
  for i in range(IMAGES):
    split, label = ("val" if i % 5 == 4 else "train"), (i // 5) % CLASSES
    path = root / split / f"n{label:02d}" / f"{i:04d}.JPEG"
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(photo(i, int(rng.integers(300, 901)))) * tints[label]
    Image.fromarray(array.astype(np.uint8)).save(path, quality=85)
  return root


def preset(name: str, folder):
  config = load_config(f"{name}:imagenet")
  for network in config.networks.values():
    if "fn" in network:
      network.update(NARROW)
      if "variant" in network:
        del network["variant"]
    if "heads" in network:
      network.heads.logits.update(dict(hidden=32, bottleneck=16, prototypes=64))
  config.update(dict(batch_size=8, total_steps=20, total_epochs=None, log_every_steps=5, checkpoint_every_steps=10))
  for data in (config.data, config.evaluation.train, config.evaluation.test):
    data.update(dict(name=f"folder:{folder}"))
  config.evaluation.test.split = "val"
  return config


@pytest.mark.parametrize("name", ["mae", "dino"])
def test_a_run_a_resume_and_an_evaluation(name, folder, tmp_path, caplog):
  config, devices = preset(name, folder), jax.devices()[:1]
  with caplog.at_level("INFO", logger="jssl"):
    whole = train_and_evaluate(config, tmp_path, devices=devices)
  assert "views cropped on the host, out of the files at full resolution" in caplog.text
  losses = [row["loss"] for row in logging.read_metrics(tmp_path)]
  assert len(losses) == 5 and np.isfinite(losses).all()
  forget_after(tmp_path, 10)
  assert_identical(whole, train_and_evaluate(config, tmp_path, devices=devices))
  result = evaluate(tmp_path, ["knn"])["pretrained"]["knn"]
  assert max(value for value in result["metrics"].values() if np.isscalar(value)) > 1.5 / CLASSES  # tints are easily told
