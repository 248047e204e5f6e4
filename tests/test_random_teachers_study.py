"""The study of random teachers: what its arms change, what they claim, and a small form."""

import jax
import numpy as np
import pytest

from experiments.random_teachers import run as random_teachers
from jssl import study
from tests import claim_studies

STUDENT = random_teachers.NEAR


def changed(arm):
  arms = random_teachers.arms()
  return claim_studies.changed(arms[arm], arms[STUDENT])


def test_an_arm_changes_one_thing():
  for arm in (random_teachers.HALF, random_teachers.FAR):
    assert changed(arm) == {"networks.student.near"}
  assert {key.rpartition(".")[0] for key in changed(random_teachers.NOISE)} == {"views.noise", "passes.s", "passes.t"}
  assert changed(random_teachers.FEW) == {"data.options.num_examples"}
  of_networks = {key.split(".")[1] for key in changed(random_teachers.VIT)}
  assert of_networks == {"student", "teacher"} and not any(".heads" in key for key in changed(random_teachers.VIT))


@pytest.mark.parametrize("arm", [STUDENT, "noise", "ViT"])
def test_both_networks_see_the_same(arm):
  config = random_teachers.arms()[arm]
  arrays = claim_studies.arrays_of(config, 40, 40, 1)
  assert arrays["s/logits"].shape == arrays["t/logits"].shape == (4, 1024)
  assert config.passes.s.reads == config.passes.t.reads and arrays[config.passes.s.reads[0]].shape == (4, 32, 32, 3)


def test_noise_tells_nothing_of_the_image():
  keys = jax.random.split(jax.random.key(0), 2)
  images = np.zeros((64, 64, 3), np.float32), np.ones((64, 64, 3), np.float32)
  one, other = (random_teachers.noise_like(keys[0], x) for x in images)
  np.testing.assert_array_equal(one, other)
  assert abs(one.mean()) < 0.05 and abs(one.std() - 1) < 0.05
  assert not np.allclose(one, random_teachers.noise_like(keys[1], images[0]))


def test_claims_are_of_what_there_is():
  claim_studies.claims_what_is_registered(random_teachers)


@pytest.mark.slow
@pytest.mark.parametrize("arm", [STUDENT, "noise"])
def test_a_small_form_has_the_numbers_that_are_claimed(arm, tmp_path):
  config = random_teachers.arms()[arm]
  for network in config.networks.values():
    network.update(dict(width=4))
    network.heads.logits.update(dict(hidden=16, bottleneck=8, prototypes=16))
  config.update(dict(total_steps=2, batch_size=16, log_every_steps=1, checkpoint_every_steps=2))
  config = claim_studies.with_fewer_images(config)
  places = dict(fashion_mnist=str(claim_studies.write_fashion(tmp_path)))
  measure = study.Pretrained(
    baselines=("raw pixels",), also=random_teachers.ALSO, modules=(random_teachers.MODULE,), places=places
  )
  rows = [dict(arm=arm, seed=0, metrics=measure(config, 0, tmp_path / "run"), seconds=1.0)]
  if arm == STUDENT:
    claim_studies.shows_its_claims(random_teachers, rows, random_teachers.table(rows), arm)
