"""The report of a run, from its workdir alone."""

import io

import jax
import numpy as np
from PIL import Image
import pytest

from jssl import evaluate
from jssl.report import run_report
from jssl.report.figures import PAPER
from jssl.train import train_and_evaluate
from tests import methods, test_modalities


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "mmc"])
def test_report_of_a_run(name, tmp_path):
  config = methods.small(name, total_steps=2)
  config.data.options = dict(num_examples=32, image_size=32)
  config.evaluation.size = 32
  for split, options in dict(
    train=dict(num_examples=40),
    test=dict(num_examples=20),
    calibration_scenes=dict(num_examples=6),
    test_scenes=dict(num_examples=6),
  ).items():
    config.evaluation[split].options = dict(image_size=32, **options)
  train_and_evaluate(config, tmp_path, devices=jax.devices()[:1])
  results = evaluate.evaluate(tmp_path, ["knn", "prompt_segmentation", "object_similarity"], baselines=True)
  assert {"pretrained", "random weights", "raw pixels", "position only"} <= results.keys()
  assert results["pretrained"] != results["random weights"]
  assert (tmp_path / "evaluation.json").exists()
  text = run_report.write(tmp_path, results).read_text()
  assert "<h3>rec</h3>" in text and "what it puts there" in text and "Left out" not in text
  assert "pretrained, threshold" in text and "random weights, threshold" in text
  captions = [caption for caption, _ in run_report.similarity_figures(tmp_path, config, results)]
  assert len(captions) == 2 and captions[1].startswith("random weights: a click")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["waveforms", "clips", "volumes"])
def test_report_of_a_run_without_images(name, tmp_path):
  config, source = test_modalities.MODALITIES[name]()
  config.total_steps = 2
  train_and_evaluate(config, tmp_path, source=source, devices=jax.devices()[:1])
  found = dict(run_report.reconstruction_figures(tmp_path, config, source=source))
  assert list(found) == ["rec: clean, as the network sees it, reconstructed"]
  shown = np.asarray(Image.open(io.BytesIO(found.popitem()[1])))
  width = (shown.shape[1] + 4) // 3  # of a picture, and the gap behind it
  clean, seen, guess = (shown[:, i * width : (i + 1) * width - 4] for i in range(3))
  assert clean.shape == guess.shape and (clean == guess).mean() > 0.3  # what was not hidden
  assert (clean != PAPER).any() and (seen != clean).any() and (guess != seen).any()
