"""The study of going on: what its arms share, what it claims, and a small form from end to end."""

import numpy as np
import pytest

from experiments.going_on import run as going_on
from jssl import config as configs
from jssl import study
from tests.test_claim_studies import fashion  # noqa: F401  # a fixture


def test_arms_that_are_held_against_each_other_differ_in_one_thing():
  released, scratch, narrow = (configs.flatten(going_on.config(arm)) for arm in ("released", "from scratch", "narrow"))
  differ = lambda a, b: {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
  assert differ(released, scratch) == {"total_steps", "data.options.by"}
  assert differ(released, narrow) == {"total_steps", "networks.student.width"}
  parts = [one["data.options.by"][0]["part"] for one in (released, scratch)]
  assert parts == ["rest", "held"] and released["evaluation.train.options.by"][0]["part"] == "held"


def test_baselines_are_measured_beside_the_released_network(monkeypatch):
  monkeypatch.setattr(study, "execute", lambda arguments, keywords: keywords())
  measure = going_on.main([])["measure"]
  controls = {arm: measure.controls(going_on.config(arm)) for arm in ("released", "from scratch", "narrow")}
  assert controls == {"released": going_on.REGIME.controls, "from scratch": (), "narrow": ()}


def test_claims_are_of_what_there_is():
  arms, claims = going_on.arms(), going_on.claims()
  assert {claim.better for claim in claims} | {claim.worse for claim in claims} == set(arms)
  assert {metric for claim in claims for metric in claim.metric} <= {*going_on.REGIME.metrics.values()}
  assert len({claim.sentence for claim in claims}) == len(claims)
  budgets = going_on.STEPS
  assert budgets["continued"] == budgets["from scratch"] and budgets["distilled"] == budgets["narrow"]


@pytest.mark.slow
def test_a_small_form_has_the_numbers_that_are_claimed(fashion, tmp_path, monkeypatch):  # noqa: F811
  full = going_on.config
  seen = {}

  def small(arm, source=None):
    config = full(arm, source)
    config.update(dict(total_steps=2, batch_size=16, log_every_steps=1, checkpoint_every_steps=2))
    student = config.networks.student
    if arm != "continued":  # whose network is that of the file
      student.update(dict(width=student.width // 4, depth=1, num_heads=2))
    config.data.options.of.options.num_examples = config.evaluation.train.options.of.options.num_examples = 200
    config.evaluation.train.options.by = (dict(fn="hold_out", part="held", share=0.6),)  # ten labels a class
    config.evaluation.test.options.num_examples = 40
    seen[arm] = config
    return config

  monkeypatch.setattr(going_on, "config", small)
  arms = going_on.arms()
  measure = going_on.GoneOn(
    baselines=going_on.REGIME.controls, beside=(arms["released"]["config"],), places=dict(fashion_mnist=str(fashion))
  )
  rows = [
    dict(arm=arm, seed=0, metrics=measure(arms[arm], 0, tmp_path / f"{arm.replace(' ', '_')}_seed0"), seconds=1.0, mib=1)
    for arm in arms
  ]
  metrics = {row["arm"]: row["metrics"] for row in rows}
  assert {arm for arm, found in metrics.items() if "raw pixels/knn/k20" in found} == {"released"}
  for claim in going_on.claims():
    for side, metric in zip((claim.better, claim.worse), claim.metric, strict=True):
      assert np.isfinite(metrics[side][metric]), (side, metric)
  assert {study.verdict(claim, rows, (0,)).word for claim in going_on.claims()} == {""}
  student = seen["continued"].networks.student
  assert (student.width, student.patch_size, student.load.run) == (24, 8, f"hf:{tmp_path / 'file_seed0'}")
  assert seen["distilled"].networks.teacher.width == 24 and seen["distilled"].networks.student.width == 12
  table = going_on.table(rows)
  assert "| released | 1 |" in table and "| raw pixels | " in table
