"""The study of RankMe: its grids, and how a score is held against the probe."""

import pytest

from experiments.rankme import run as study_of_rankme
from jssl import config as configs
from jssl import study


def test_a_grid_differs_in_one_number():
  grids = study_of_rankme.grids()
  assert {method: len(values) for method, values in grids.items()} == dict(VICReg=8, SimCLR=8)
  for values in grids.values():
    flat = [configs.flatten(one) for one in values.values()]
    assert len({key for one in flat for key in one if one[key] != flat[0][key]}) == 1
    for one in values.values():
      configs.check_config(one)


def test_a_score_is_worth_the_order_it_gives_and_what_it_chooses(monkeypatch, tmp_path):
  """RankMe orders the runs as the probe does, LiDAR the other way round; the loss says the same of all."""
  count = iter(range(1000))

  def trained(self, arm, seed, workdir):
    place = next(count) % 8
    found = {name: 1.0 for name, _ in study_of_rankme.SCORES.values()}
    return found | {
      study_of_rankme.ACCURACY: 0.1 * place,
      "rankme/embeddings_rankme": 9.0**place,
      "lidar/embeddings_lidar": -place,
    }

  monkeypatch.setattr(study.Pretrained, "__call__", trained)
  rows = [dict(arm=study_of_rankme.ARM, seed=s, metrics=study_of_rankme.Grids()(None, s, tmp_path)) for s in range(3)]
  found = rows[0]["metrics"]
  assert found["VICReg/RankMe/order"] == pytest.approx(1.0) and found["SimCLR/LiDAR/order"] == pytest.approx(-1.0)
  assert found["VICReg/RankMe/choice"] == pytest.approx(0.7) and found["VICReg/LiDAR/choice"] == 0.0
  assert found["VICReg/loss/choice"] == found["VICReg/loss/order"] == 0.0  # the first of equals
  assert found["SimCLR/mean"] == pytest.approx(0.35) and found["SimCLR/best less a point"] == pytest.approx(0.69)
  words = {claim.sentence: study.verdict(claim, rows, (0, 1, 2)).word for claim in study_of_rankme.claims()}
  assert words["RankMe orders VICReg's runs as a probe does (Spearman's correlation at least 0.6)"] == "shown"
  assert words["LiDAR orders VICReg's runs better than RankMe"] == "contrary"
  assert "| RankMe | 1.000 +- 0.000 | 0.700 +- 0.000 |" in study_of_rankme.table(rows)
