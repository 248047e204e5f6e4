"""The study of MMC: what its arms change, what they claim, patches before and after the head, and a small form."""

import pytest

from experiments.mmc import run as mmc
from jssl import study
from jssl.config import load_config
from jssl.errors import ConfigError
from tests import claim_studies, methods

WEIGHTS = {loss: f"losses.{loss}.weight" for loss in mmc.LOSSES}


def changed(arm, other=mmc.FULL):
  arms = mmc.arms()
  return claim_studies.changed(arms[arm], arms[other])


def test_an_arm_changes_one_thing():
  for loss, title in mmc.LOSSES.items():
    assert changed(f"without {title}") == {WEIGHTS[loss]}
  for of in ("", ", items"):
    full = f"MMC{of}"
    assert changed(f"reconstruction alone{of}", full) == {WEIGHTS["md"], WEIGHTS["gc"]}
    assert changed(f"contrast alone{of}", full) == {WEIGHTS["rec"], WEIGHTS["md"]}
  data = ("data", *(f"evaluation.{name}" for name in ("train", "test", "calibration_scenes", "test_scenes")))
  items = changed("MMC, items") - {f"{entry}.options" for entry in data}  # which are empty without
  assert items == {f"{entry}.options.sprites" for entry in data}
  assert changed(mmc.FROM_CLS) == {"networks.student.heads.trunk.share_prototypes", "targets.md_target.reads"}
  with pytest.raises(ConfigError, match="did you mean 'patch_from_cls'"):
    load_config("mmc:demo,patches")


def test_the_whole_method_is_the_demo():
  demo, arm = load_config("mmc:demo"), mmc.arms()[mmc.FULL]
  for stage in ("views", "masking", "networks", "passes", "targets", "losses", "optim", "data"):
    assert arm[stage] == demo[stage], stage
  assert (arm.total_steps, arm.batch_size, arm.evaluation.size) == (demo.total_steps, demo.batch_size, demo.evaluation.size)


def test_every_patch_follows_the_class_token():
  """The target is one distribution an image, of the teacher's class token over the patches' prototypes."""
  arrays = claim_studies.arrays_of(mmc.arms()[mmc.FROM_CLS], 64, 64, 3)
  prototypes = arrays["s_a/trunk/patch_logits"].shape[-1]
  assert arrays["t_a/trunk/cls_logits"].shape == arrays["md_target/0"].shape == (4, prototypes)


def test_items_are_found_where_the_command_says():
  placed = study.placed(mmc.arms()["MMC, items"], dict(fashion_mnist="/my/files"))
  entries = [placed.data, *(placed.evaluation[name] for name in ("train", "test", "calibration_scenes", "test_scenes"))]
  assert {entry.options.sprites for entry in entries} == {"fashion_mnist:/my/files"}
  assert "sprites" not in study.placed(mmc.arms()["MMC"], dict(fashion_mnist="/my/files")).data.options


def test_claims_are_of_what_there_is():
  claim_studies.claims_what_is_registered(mmc)
  claims = mmc.claims()
  for claim in claims:
    assert claim.lower == claim.metric[0].endswith("overlap")
    assert all(metric.split("/")[-2] in ("prompt_segmentation", "object_similarity") for metric in claim.metric)
  against = {claim.worse: claim for claim in claims if claim.at_least == 0.05}
  assert {*against} == set(mmc.arms()) - {"MMC", "MMC, items", mmc.FROM_CLS}
  assert all(claim.better == ("MMC, items" if claim.worse.endswith("items") else "MMC") for claim in against.values())


@pytest.mark.slow
def test_a_small_form_has_the_numbers_that_are_claimed(tmp_path):
  config = methods.small("mmc", total_steps=2, checkpoint_every_steps=2)
  config.data.options = dict(num_examples=16, image_size=32)
  config.evaluation.update(dict(size=32, protocols=mmc.REGIME.protocols))
  for split in ("calibration_scenes", "test_scenes"):
    config.evaluation[split].options = dict(num_examples=8, image_size=32)
  metrics = study.Pretrained(baselines=mmc.REGIME.controls, also=mmc.ALSO)(config, 0, tmp_path / "run")
  rows = [dict(arm=arm, seed=0, metrics=metrics, seconds=1.0) for arm in ("MMC", "MMC, items")]
  claim_studies.shows_its_claims(mmc, rows, mmc.table(rows), "MMC")
  assert metrics[mmc.OVERLAP] != metrics[f"{mmc.AFTER}/{mmc.OVERLAP}"]  # other vectors
  assert mmc.table(rows).count("| position only | ") == 2
