"""The study of PED: its networks and targets, and how a score is held against accuracies."""

import numpy as np
import pytest

from experiments.ped import run as study_of_ped
from jssl import config as configs
from jssl import data, study

BUDGET = study_of_ped.Budget()
RNG = np.random.default_rng(0)


def test_twelve_networks_of_one_form():
  runs, models = study_of_ped.runs(BUDGET), study_of_ped.models(BUDGET)
  assert len(models) == 12 and {model.run for model in models.values()} == set(runs)
  net = study_of_ped.REGIME.net
  for name, config in runs.items():
    configs.check_config(config)
    student = config.networks.student
    assert {key: student[key] for key in net if key != "init"} == {key: net[key] for key in net if key != "init"}, name
    assert config.total_steps == (1 if name == "random weights" else BUDGET.steps)
  for name, (run, step) in models.items():
    assert step % runs[run].checkpoint_every_steps == 0 or step == runs[run].total_steps, name


def test_digits_are_whole_and_of_other_samples_in_tests():
  train, test = study_of_ped.digits("train"), study_of_ped.digits("test")
  assert len(train) + len(test) == 1797 and train.num_classes == test.num_classes == 10
  assert np.bincount(train.arrays["label"]).min() >= 100
  for source in (train, test):
    image = source.arrays["image"]
    assert image.shape[1:] == (40, 40, 1) and image.sum((1, 2, 3)).min() > 0
  one = train.arrays["image"][0, :, :, 0]
  rows, columns = np.flatnonzero(one.sum(1)), np.flatnonzero(one.sum(0))
  assert np.ptp(rows) < 24 and np.ptp(columns) < 24
  corners = {tuple(np.argwhere(image[:, :, 0])[0]) for image in train.arrays["image"][:50]}
  assert len(corners) > 30  # at places of their own


def features(apart: float, classes: int = 3):
  labels = np.repeat(np.arange(classes), 30)
  return apart * np.eye(8)[labels] + RNG.normal(size=(len(labels), 8)), labels


def test_random_directions_are_as_far():
  x, y = features(1.0)
  descent = study_of_ped.transferability.potential_energy_descent(x, y, x)
  moved = study_of_ped.randomly(x, y, descent, np.random.default_rng(0))
  steps = np.stack([((moved - x) / descent.scale)[y == c] for c in range(3)])
  np.testing.assert_allclose(steps, np.broadcast_to(steps[:, :1], steps.shape), atol=1e-12)  # each class as a whole
  lengths = np.linalg.norm(descent.displacement, axis=1)
  np.testing.assert_allclose(np.linalg.norm(steps[:, 0], axis=1), lengths)
  assert (np.abs((steps[:, 0] * descent.displacement).sum(1)) < 0.95 * lengths**2).any()


def test_scores_of_a_network_and_of_one_that_has_collapsed():
  scored = {apart: study_of_ped.scored(*features(apart), RNG.normal(size=(50, 8)), 0) for apart in (0.0, 3.0)}
  assert all(np.isfinite([*found.values()]).all() for found in scored.values())
  for score in ("kNN", "NLEEP", "PARC", "LogME", "SFDA", "GBC", "LogME + PED"):
    assert scored[0.0][score] < scored[3.0][score], score
  assert scored[0.0]["PED/shift"] > scored[3.0]["PED/shift"]
  collapsed = study_of_ped.scored(np.ones((90, 8)), features(0.0)[1], RNG.normal(size=(50, 8)), 0)
  assert collapsed.keys() == scored[0.0].keys()
  assert np.isnan(collapsed["LogME"]) and np.isnan(collapsed["GBC + PED, time 1"]) and collapsed["PED/steps"] == 0.0


def networks(scores):
  """Accuracies that rise from network to network, and scores of each."""
  return {f"n{i}": dict(accuracy=0.1 * i) | {name: each[i] for name, each in scores.items()} for i in range(5)}


def rows():
  """PED turns what LogME says the right way round; random directions do so in one draw of two."""
  up, down = [0.0, 1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0, 0.0]
  scores = {"LogME": down, "LogME + PED": up, "LogME + PED, time 1": up, "kNN": [float("nan"), *up[1:]], "PED/shift": up}
  scores |= {"LogME + random directions 0": up, "LogME + random directions 1": down, "PED/steps": up}
  scores |= {name: down for name in ("SFDA", "SFDA + PED", "GBC", "GBC + PED")}
  found = {target: networks(scores) for target in ("fashion", "capitals", "digits")}
  metrics = study_of_ped.compared(found) | study_of_ped.each(found) | {study_of_ped.NONE: 0.0}
  return [dict(arm=study_of_ped.ARM, seed=seed, metrics=metrics) for seed in range(3)]


def test_a_score_is_worth_the_order_it_gives():
  found = rows()[0]["metrics"]
  assert found["LogME/tau"] == pytest.approx(-1) and found["fashion/LogME + PED/tau"] == pytest.approx(1)
  assert found["LogME + random directions/tau"] == pytest.approx(0) and found["kNN/tau"] == pytest.approx(1)
  assert found["digits/LogME/choice"] == 0.0 and found["digits/kNN/choice"] == pytest.approx(0.4)
  assert found["fashion/PED/shift"] == 2.0 and "PED/shift/tau" not in found
  assert study_of_ped.order([1.0, 1.0], [0.1, 0.2]) == study_of_ped.order([float("nan")] * 2, [0.1, 0.2]) == 0.0


def test_claims_are_of_what_the_rows_have():
  words = {claim.sentence: study.verdict(claim, rows(), (0, 1, 2)).word for claim in study_of_ped.claims()}
  assert "" not in words.values()
  assert words["LogME orders the networks better behind PED"] == "shown"
  assert words["LogME orders the networks (tau of at least 0.3)"] == "contrary"
  assert words["SFDA orders the networks better behind PED"] == "not shown"
  assert words["fashion has something to tell apart: the best network is five points above the worst"] == "shown"
  table = study_of_ped.table(rows())
  assert "| LogME + PED | 1.000 +- 0.000 | 1.000 +- 0.000 | 0.400 +- 0.000 |" in table
  assert np.isfinite(list(rows()[0]["metrics"].values())).all()  # n0 has no number of kNN
  assert "| n0 | 0.000 +- 0.000 | - | 4.000 +- 0.000 |" in table
  assert "| n4 | 0.400 +- 0.000 | 4.000 +- 0.000 | 0.000 +- 0.000 | 4.000 +- 0.000 |" in table


@pytest.mark.parametrize("stopped", [False, True])
def test_a_measure_ranks_every_network_on_every_target(stopped, tmp_path, monkeypatch):
  """Without training: what is pretrained, seen and fine-tuned, and that a run that was stopped is no number."""
  trained, tuned = [], []
  few = data.from_arrays(image=np.zeros((60, 40, 40, 1), np.uint8), label=np.arange(60) % 2)

  def transfer(workdir, *, train, test, step, name, overrides):
    tuned.append((workdir.name, name, len(overrides)))
    if stopped and len(tuned) == 5:
      raise study.Stopped("told to stop")
    assert len(train) == 50 and len(test) == 60  # 25 of each of two classes
    return dict(pretrained=dict(accuracy=dict(metrics={"accuracy (top 1)": 0.01 * len(tuned)})))

  def extract(workdir, source, *, step):
    labels = source.arrays["label"]
    return dict(features=labels[:, None] + RNG.normal(size=(len(labels), 8)), label=labels)

  monkeypatch.setattr(study_of_ped.study, "train", lambda config, seed, workdir: trained.append((workdir.name, seed)))
  monkeypatch.setattr(study_of_ped.transfer, "transfer", transfer)
  monkeypatch.setattr(study_of_ped.extract, "extract", extract)
  monkeypatch.setattr(study_of_ped, "targets", lambda places: dict.fromkeys(("fashion", "capitals"), (few, few)))
  monkeypatch.setattr(study_of_ped, "held_out", lambda places: few)
  monkeypatch.setattr(study_of_ped, "scored", lambda x, y, reference, seed: {"LogME": x.mean(), "PED/shift": 0.0})
  measure = study_of_ped.Ranked(budget=study_of_ped.Budget(labels=25))
  if stopped:
    with pytest.raises(study.Stopped):
      measure(None, 1, tmp_path)
    return
  found = measure(None, 1, tmp_path)
  assert len(trained) == 8 and {seed for _, seed in trained} == {1}
  assert len(tuned) == 24 and ("SimCLR", "fashion_60", 1) in tuned and ("SimCLR", "capitals_300", 2) in tuned
  assert found["SimCLR, early/capitals/accuracy"] > 0 and "LogME/tau" in found
