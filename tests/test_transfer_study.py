"""The study of fine-tuning: what it pretrains, and what it measures."""

import jax
import numpy as np
import pytest

from experiments.transfer import run as study_of_transfer
from jssl import config as configs
from jssl import data, study, transfer
from jssl.trainer import Trainer


@pytest.mark.parametrize("name", ["MAE", "SimCLR"])
def test_an_arm_pretrains_without_labels(name):
  config = study_of_transfer.arms()[name]
  images = np.zeros((256, 40, 40, 1), np.uint8)
  trainer = Trainer(config, data.from_arrays(image=images), devices=jax.devices()[:1])  # there are none to read
  assert trainer.horizon.total_steps == config.total_steps and config.batch_size == 128
  configs.check_config(config)


def test_claims_are_of_what_the_rows_have():
  row = dict(seed=0, metrics={})
  for labels in study_of_transfer.LABELS:
    row["metrics"] |= {f"finetune/{labels}": 0.6, f"from scratch/finetune/{labels}": 0.5}
  for prefix in ("", "random weights/"):
    row["metrics"] |= {f"{prefix}{metric}": 0.4 if prefix else 0.7 for metric in study_of_transfer.FROZEN.values()}
  rows = [row | dict(arm=arm, seed=seed) for arm in study_of_transfer.arms() for seed in range(3)]
  claims = study_of_transfer.claims()
  assert len(claims) == 8
  assert {study.verdict(claim, rows, (0, 1, 2)).word for claim in claims} == {"shown"}
  table = study_of_transfer.table(rows).splitlines()
  assert (
    len(table) == 6 and "| MAE | 3 | 0.600 +- 0.000 |" in table[2] and "its network from scratch | 3 | 0.500" in table[3]
  )


@pytest.mark.parametrize("stopped", [False, True])
def test_a_measure_has_both_sides_of_each_number_of_labels(stopped, tmp_path, monkeypatch):
  """Without training: which transfers are asked for, and that one that was stopped is no number."""
  asked = []

  def transferred(workdir, recipe, *, labels, scratch, overrides):
    asked.append((labels, scratch, len(overrides)))
    if stopped and len(asked) == 3:
      raise study.Stopped("told to stop")
    return dict(pretrained=dict(accuracy=dict(metrics={"accuracy (top 1)": 0.5 + 0.1 * (not scratch)})))

  monkeypatch.setattr(transfer, "transfer", transferred)
  monkeypatch.setattr(study.Pretrained, "__call__", lambda self, arm, seed, workdir: {"knn/k20": 0.3})
  measure = study_of_transfer.FineTuned()
  if stopped:
    with pytest.raises(study.Stopped):
      measure(None, 0, tmp_path)
    return
  found = measure(None, 0, tmp_path)
  assert found["finetune/10"] == 0.6 and found["from scratch/finetune/all"] == 0.5 and len(found) == 7
  assert asked == [(10, False, 1), (10, True, 1), (100, False, 1), (100, True, 1), (None, False, 2), (None, True, 2)]
