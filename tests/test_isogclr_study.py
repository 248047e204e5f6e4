"""The study of iSogCLR: what its arms change, what they claim, how temperatures are looked at, and a small form."""

import numpy as np
import pytest

from experiments.isogclr import run as isogclr
from tests import claim_studies


def changed(arm):
  arms = isogclr.arms()
  return claim_studies.changed(arms[arm], arms["iSogCLR"])


def test_an_arm_changes_one_thing():
  assert changed("gamma 1") == {"losses.con.gamma"}
  assert changed("equal classes") == {"data.options.by"}
  of_temperature = {f"losses.con.{name}" for name in ("rho", "eta", "beta", "temperature_range")}
  assert changed("SogCLR 0.1") == of_temperature | {"losses.con.fn"}
  assert changed("SogCLR 0.5") == of_temperature | {"losses.con.fn", "losses.con.temperature"}
  assert changed("SimCLR 0.1") == of_temperature | {f"losses.con.{name}" for name in ("fn", "gamma", "reads")}
  arms = isogclr.arms()
  for method in ("SimCLR", "SogCLR"):
    assert claim_studies.changed(arms[f"{method} 0.2"], arms[f"{method} 0.5"]) == {"losses.con.temperature"}


@pytest.mark.parametrize("arm", ["SimCLR 0.1", "SogCLR 0.1", "iSogCLR"])
def test_an_arm_is_a_method(arm):
  assert claim_studies.arrays_of(isogclr.arms()[arm], 40, 40, 1)["s_a/z"].shape == (4, 64)


def test_equal_classes_have_as_many_images_as_the_long_tail():
  sizes = np.floor(6000 * 100.0 ** -(np.arange(10) / 9) + 1e-9)
  assert abs(10 * isogclr.BALANCED - sizes.sum()) < 10
  assert sorted(isogclr.ORDER) == list(range(10)) and sum(isogclr.GROUPS, ()) == isogclr.ORDER


def test_claims_are_of_what_there_is():
  claim_studies.claims_what_is_registered(isogclr)
  assert {
    claim.at_least for claim in isogclr.claims() if claim.worse.startswith("SimCLR") and claim.metric[0] == isogclr.TEN
  } == {0.005}


def test_temperatures_are_looked_at_by_the_size_of_classes():
  """Three images a class; the largest class is the hottest, and one image of the smallest is hotter than all."""
  label = np.repeat(isogclr.ORDER, 3)
  of_class = dict(zip(isogclr.ORDER, np.linspace(0.5, 0.05, 10), strict=True))
  temperature = np.array([of_class[c] for c in label])
  found = isogclr.tempered(temperature, label)
  assert found["temperature/spearman"] == pytest.approx(1.0) == found["temperature/spearman_images"]
  assert found["temperature/group0"] == pytest.approx(0.45) and found["temperature/group2"] == pytest.approx(0.1)
  assert found["temperature/mean"] == pytest.approx(0.275) and found["no correlation"] == 0.0
  temperature[-1] = 3.0
  found = isogclr.tempered(temperature, label)
  assert 0.8 < found["temperature/spearman_images"] < 1.0 and found["temperature/spearman"] < 0.6
  assert isogclr.tempered(-temperature, label)["temperature/spearman"] == pytest.approx(-found["temperature/spearman"])
  assert isogclr.tempered(np.full(30, 0.1), label)["temperature/spearman"] == 0.0


@pytest.mark.slow
def test_a_small_form_has_the_numbers_that_are_claimed(tmp_path, monkeypatch):
  monkeypatch.setattr(isogclr, "BALANCED", 5)
  measure = isogclr.Tempered(
    baselines=isogclr.REGIME.controls, places=dict(fashion_mnist=str(claim_studies.write_fashion(tmp_path)))
  )
  arms = {name: claim_studies.tiny(isogclr.arms()[name]) for name in ("iSogCLR", "equal classes")}
  rows = [dict(arm=name, seed=0, metrics=measure(arm, 0, tmp_path / name), seconds=1.0) for name, arm in arms.items()]
  claim_studies.shows_its_claims(isogclr, rows, isogclr.REGIME.study_table(rows, "iSogCLR", isogclr.COLUMNS), "iSogCLR")
  assert all(row["metrics"]["temperature/mean"] != pytest.approx(0.1, abs=1e-4) for row in rows)  # they have moved
