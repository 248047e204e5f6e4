"""The study of folders: which pictures its arms see, what it claims, and a small form from end to end."""

import numpy as np
from PIL import Image
import pytest

from experiments.folders import run as folders
from jssl import data, study
from tests import claim_studies


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
  """60 pictures by 15 authors in three categories, each of which has a link, and one a file that is no picture."""
  root, rng = tmp_path_factory.mktemp("drawings"), np.random.default_rng(0)
  for i in range(60):
    path = root / ("animals/cats", "food", "tools")[i % 3] / f"thing_by_{chr(97 + i // 4)}_{i}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(60 * (i % 3), 60 * (i % 3) + 90, (20 + i, 40, 3)).astype(np.uint8)).save(path)
    if i < 3:
      (path.parent / "link.png").symlink_to(path)
  (root / "food" / "broken.png").write_bytes(b"no picture")
  return root


def loaded(entry: dict, root) -> data.Source:
  entry = study.placed_data(entry, dict(folder=str(root)))
  return data.load(entry["name"], split=entry["split"], **entry["options"])


def test_no_run_sees_a_label_or_what_is_held_out(drawings):
  rest, bank, held = (loaded(entry, drawings) for entry in (folders.REGIME.data, folders.REGIME.train, folders.REGIME.test))
  assert "label" not in rest.element_spec and len(rest) + len(held) == 60
  np.testing.assert_array_equal(rest.arrays["image"], bank.arrays["image"])
  means = {len(source): source.arrays["image"][:, :20, :15].mean((1, 2, 3)) for source in (bank, held)}
  for source in (bank, held):  # 45, 105 and 165 in the mean
    np.testing.assert_array_equal(source.arrays["label"], np.rint((means[len(source)] - 45) / 60))
    assert source.num_classes == 3
  seen = {array.tobytes() for array in rest.arrays["image"]}
  assert set(rest.arrays["author"]).isdisjoint(held.arrays["author"]) and len(set(held.arrays["author"])) == 3
  assert len(seen) == len(rest) and not seen & {array.tobytes() for array in held.arrays["image"]}


@pytest.mark.parametrize("arm", folders.METHODS)
def test_an_arm_is_a_method_that_reads_no_label(arm):
  config = folders.arms()[arm]
  arrays = claim_studies.arrays_of(config, 48, 48, 3)
  assert arrays["a" if arm == "SimCLR" else "v"].shape == (4, 32, 32, 3)
  assert not any("label" in str(entry.get("reads")) for stage in (config.views, config.losses) for entry in stage.values())


def test_claims_are_of_what_there_is():
  claim_studies.claims_what_is_registered(folders)


@pytest.mark.slow
def test_a_small_form_has_the_numbers_that_are_claimed(drawings, tmp_path):
  rows = []
  measure = study.Pretrained(baselines=folders.REGIME.controls, modules=(folders.MODULE,), places=dict(folder=str(drawings)))
  for arm, config in folders.arms().items():
    config.update(dict(total_steps=2, batch_size=16, log_every_steps=1, checkpoint_every_steps=2))
    config.networks["student" if arm == "SimCLR" else "encoder"].update(dict(width=24, depth=1, num_heads=2))
    rows.append(dict(arm=arm, seed=0, metrics=measure(config, 0, tmp_path / arm), seconds=1.0, mib=1))
  metrics = {row["arm"]: row["metrics"] for row in rows}
  for claim in folders.claims():
    for side, metric in zip((claim.better, claim.worse), claim.metric, strict=True):
      assert np.isfinite(metrics[side][metric]), metric
  table = folders.table(rows)
  for arm in folders.METHODS:
    assert f"| {arm} | 1 |" in table and f"Beside {arm}:" in table
  assert table.count("| raw pixels | ") == 2 and " - |" not in table.partition("Beside")[2]
