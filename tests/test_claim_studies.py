"""The studies of Barlow Twins, GMML and SiT: what their arms change, what they claim, and a small form from end to end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import finetuning
from experiments.barlow_twins import run as barlow_twins
from experiments.gmml import run as gmml
from experiments.sit import run as sit
from jssl import masking, study, transfer
from tests import claim_studies

RUNS = dict(barlow_twins=barlow_twins.arms, gmml=gmml.runs, sit=sit.runs)
NAMES = [(name, arm) for name, runs in RUNS.items() for arm in runs()]


def changed(name: str, arm: str, full: str) -> set[str]:
  """What an arm's config has in the place of the full method's."""
  return claim_studies.changed(*(RUNS[name]()[which] for which in (arm, full)))


def test_an_arm_changes_one_thing():
  assert changed("barlow_twins", "width 64", "width 256") == {f"networks.student.heads.z.{n}" for n in ("hidden", "output")}
  assert changed("barlow_twins", "lambda 0", "width 256") == {"losses.bt.lambd"}
  assert {key.split(".")[1] for key in changed("barlow_twins", "diagonal 0", "width 256")} == {"diagonal"}
  masks = {f"masking.{node}_a.{number}" for node in ("drop", "hidden") for number in ("align", "block_max")}
  assert changed("gmml", "random patches", "GMML") == masks
  assert changed("gmml", "aligned blocks", "GMML") == {key for key in masks if key.endswith("align")}
  assert {key.rpartition(".")[0] for key in changed("gmml", "all pixels", "GMML")} == {"losses.rec", "targets.where_a"}
  assert changed("gmml", "last block", "GMML") == {"networks.student.readout"}
  assert changed("sit", "lambda 1", "SiT") == {"losses.rec.weight"}
  assert changed("sit", "reconstruction alone", "SiT") == {"losses.con.weight"}


@pytest.mark.parametrize("name, arm", NAMES)
def test_an_arm_is_a_method(name, arm):
  assert claim_studies.arrays_of(RUNS[name]()[arm], 40, 40, 1)["a"].shape == (4, 32, 32, 3)


def test_random_patches_hide_as_much_as_blocks():
  """Each corruption by the numbers that the arms' masks have; a block or a patch too many at most."""
  keys, image = jax.random.split(jax.random.key(0), 300), jnp.ones((32, 32, 1))
  hidden = {}
  images, nothing = jnp.ones((300, 32, 32, 1)), jnp.zeros((300, 32, 32), bool)
  for arm in ("GMML", "random patches"):
    config = gmml.runs()[arm]
    drop, alien = (
      {k: v for k, v in entry.items() if k not in ("fn", "reads", "scope")} for entry in config.masking.values()
    )
    corrupt = functools.partial(masking.gmml_corrupt, **drop)
    replace = functools.partial(masking.alien_replace, **alien | dict(prob=1.0))
    dropped = jax.jit(jax.vmap(corrupt, (0, None)))(keys, image)["mask"]
    replaced = jax.jit(replace)(keys[0], images, images, nothing)["mask"]
    hidden[arm] = np.array([dropped.mean(), replaced.mean()])
  for arm, shares in hidden.items():
    np.testing.assert_allclose(shares, hidden["GMML"], atol=0.03, err_msg=arm)
    np.testing.assert_allclose(shares, [0.64, 0.32], atol=0.03, err_msg=arm)


def test_from_scratch_sees_as_many_images():
  for module, of in ((gmml, "GMML"), (sit, "SiT")):
    arms, config = module.arms(), module.runs()[of]
    scratch = arms[finetuning.SCRATCH]
    assert 64 * scratch["steps"] == config.total_steps * config.batch_size + 64 * arms[of]["steps"]
    assert scratch["scratch"] and scratch["run"] == of and "scratch" not in arms[of]
    assert len({arm["config"] for arm in arms.values()}) == len(arms) - 1


@pytest.mark.parametrize("module, of", [(gmml, "GMML"), (sit, "SiT")])
def test_baselines_are_measured_beside_one_run(module, of, monkeypatch):
  monkeypatch.setattr(study, "execute", lambda arguments, keywords: keywords())
  measure = module.main([])["measure"]
  controls = {name: measure.controls(config) for name, config in module.runs().items()}
  assert controls == {name: module.REGIME.controls if name == of else () for name in controls}


@pytest.mark.parametrize("module", [barlow_twins, gmml, sit])
def test_claims_are_of_what_there_is(module):
  arms = {claim.better for claim in module.claims()} | {claim.worse for claim in module.claims()}
  assert arms == set(module.arms())  # none is run for nothing
  protocols = {"knn/k20", "few_labels/n10", "train/rec"} | {f"finetune/{n}" for n in getattr(module, "LABELS", ())}
  protocols |= {*barlow_twins.COLUMNS.values()} if module is barlow_twins else set()
  metrics = {metric.removeprefix("random weights/") for claim in module.claims() for metric in claim.metric}
  assert metrics <= protocols
  assert len({claim.sentence for claim in module.claims()}) == len(module.claims())


@pytest.mark.parametrize("scratch", [False, True])
def test_a_measure_fine_tunes_with_each_number_of_labels(scratch, tmp_path, monkeypatch):
  asked, trained = [], []

  def transferred(workdir, recipe, *, labels, scratch, overrides):
    asked.append((recipe, labels, scratch, overrides))
    return dict(pretrained=dict(accuracy=dict(metrics={"accuracy (top 1)": 0.1 * len(asked)})))

  monkeypatch.setattr(transfer, "transfer", transferred)
  monkeypatch.setattr(study, "train", lambda config, seed, workdir: trained.append(config.total_steps) or {})
  monkeypatch.setattr(study.Pretrained, "__call__", lambda self, config, seed, workdir: {"knn/k20": 0.3})
  measure = finetuning.FineTuned(runs=sit.runs(), labels=sit.LABELS, recipe=sit.RECIPE)
  arm = sit.arms()[finetuning.SCRATCH if scratch else "SiT"]
  found = measure(arm, 0, tmp_path)
  assert found == {"finetune/20": 0.1, "finetune/all": 0.2} | ({} if scratch else {"knn/k20": 0.3})
  steps = (f"--config.total_steps={arm['steps']}",)
  assert asked == [(sit.RECIPE, 20, scratch, steps), (sit.RECIPE, None, scratch, steps)]
  assert trained == ([1] if scratch else []) and sit.runs()["SiT"].total_steps == sit.STEPS


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
  return claim_studies.write_fashion(tmp_path_factory.mktemp("fashion"))


@pytest.mark.slow
@pytest.mark.parametrize("name, arm", [("barlow_twins", "diagonal 0"), ("gmml", "random patches"), ("sit", "SiT")])
def test_a_small_form_has_the_numbers_that_are_claimed(name, arm, fashion, tmp_path):
  module, places = dict(barlow_twins=barlow_twins, gmml=gmml, sit=sit)[name], dict(fashion_mnist=str(fashion))
  runs = {key: claim_studies.tiny(config) for key, config in RUNS[name]().items() if key == arm}
  common = dict(baselines=module.REGIME.controls, places=places)
  if name == "barlow_twins":
    arms, measure = runs, study.Pretrained(**common)
  else:
    labels = {key: min(count or 20, 10) for key, count in module.LABELS.items()}
    arms = finetuning.arms(runs, arm, steps=2)
    measure = finetuning.FineTuned(**common, runs=runs, labels=labels, recipe=getattr(module, "RECIPE", "finetune"))
  rows = [dict(arm=key, seed=0, metrics=measure(one, 0, tmp_path / key), seconds=1.0) for key, one in arms.items()]
  claim_studies.shows_its_claims(module, rows, module.REGIME.study_table(rows, arm, module.COLUMNS), arm)
