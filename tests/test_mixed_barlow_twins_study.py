"""The study of Mixed Barlow Twins: what its arms change, how the best checkpoint is chosen, and a small form."""

import numpy as np
import pytest

from experiments.mixed_barlow_twins import run as mixed
from jssl import data, study
from tests import claim_studies


def changed(arm, other=mixed.MIXED):
  arms = mixed.arms()
  return claim_studies.changed(arms[arm], arms[other])


def test_an_arm_changes_one_thing():
  assert {".".join(key.split(".")[:2]) for key in changed(mixed.BT)} == {"views.mix", "passes.s_mix", "losses.reg"}
  assert changed(mixed.OFF) == {"losses.reg.weight"}
  assert {key.rpartition(".")[0] for key in changed(mixed.THIRD)} == {"losses.reg"}
  assert changed(mixed.LONGER, mixed.BT) == {"total_steps", "checkpoint_every_steps", "checkpoint.keep_every"}


def test_a_third_view_is_asked_what_the_second_is():
  losses = mixed.arms()[mixed.THIRD].losses.to_dict()
  assert losses["bt"] | dict(reads=("s_a/z", "s_mix/z")) == losses["reg"]


@pytest.mark.parametrize("arm", [mixed.BT, mixed.MIXED, mixed.THIRD])
def test_an_arm_is_a_method(arm):
  arrays = claim_studies.arrays_of(mixed.arms()[arm], 40, 40, 1)
  assert arrays["s_a/z"].shape == (4, mixed.DIM) and ("s_mix/z" in arrays) == (arm != mixed.BT)


def test_every_arm_is_asked_at_as_many_checkpoints_and_sees_images_for_long():
  for name, config in mixed.arms().items():
    assert config.total_steps == mixed.POINTS * config.checkpoint.keep_every, name
    assert config.checkpoint_every_steps == config.checkpoint.keep_every
    assert config.total_steps * config.batch_size / (10 * mixed.PER_CLASS) > 300


def test_no_image_decides_where_a_run_is_at_its_best_and_is_trained_on(tmp_path, monkeypatch):
  monkeypatch.setattr(mixed, "PER_CLASS", 5)
  monkeypatch.setattr(mixed, "VALIDATION", 10)
  places = dict(fashion_mnist=str(claim_studies.write_fashion(tmp_path)))
  found = {}
  for name, entry in mixed.parts().items():
    entry = study.placed_data(entry, places)
    source = data.load(entry["name"], split=entry["split"], **entry["options"])
    arrays = source.get(np.arange(len(source)), ("image", "label"))
    assert np.bincount(arrays["label"]).tolist() == [dict(train=5, validation=10)[name]] * 10
    found[name] = {image.tobytes() for image in arrays["image"]}
  assert len(found["train"]) == 50 and len(found["validation"]) == 100 and not found["train"] & found["validation"]


def test_the_best_checkpoint_is_chosen_on_validation_images():
  found = mixed.of_curves([0.5, 0.7, 0.7, 0.6], [0.4, 0.5, 0.9, 0.45])
  assert found[mixed.PEAK] == 0.5 and found[mixed.WHEN] == 0.5  # the first of two, and not the test images' best
  assert found["curve/test/03"] == 0.9 and found["curve/validation/04"] == 0.6


def test_claims_are_of_what_there_is():
  claim_studies.claims_what_is_registered(mixed)


@pytest.mark.slow
def test_a_small_form_has_the_numbers_that_are_claimed(tmp_path, monkeypatch):
  monkeypatch.setattr(mixed, "PER_CLASS", 15)
  monkeypatch.setattr(mixed, "VALIDATION", 5)
  config = claim_studies.tiny(mixed.config())
  config.checkpoint_every_steps = 1
  config.checkpoint.keep_every = 1
  measure = mixed.Curve(
    baselines=mixed.REGIME.controls, places=dict(fashion_mnist=str(claim_studies.write_fashion(tmp_path)))
  )
  rows = [dict(arm=mixed.MIXED, seed=0, metrics=measure(config, 0, tmp_path / "run"), seconds=1.0)]
  claim_studies.shows_its_claims(mixed, rows, mixed.table(rows), mixed.MIXED)
  found = rows[0]["metrics"]
  assert found["curve/test/02"] == found[mixed.FINAL] and "curve/validation/03" not in found
  assert f"| {mixed.MIXED} | {found['curve/test/01']:.3f} | {found[mixed.FINAL]:.3f} | - |" in mixed.table(rows)
