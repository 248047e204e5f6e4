"""The study beside lightly: what both sides are given, what is claimed, and what a row says."""

import ast
import json
import os
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from experiments.peers import arms as of_peers
from experiments.peers import record, run
from jssl import study
from jssl.config import check_config, from_json
from jssl.errors import ConfigError
from jssl.study.runner import arm_hash
from jssl.trainer import Trainer
from tests import idx_files

PEER = os.environ.get("JSSL_PEER_PYTHON", sys.executable)  # of an environment with lightly
STEPS, BATCH = 3, 8
ON_ONE = dict(devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def places(tmp_path_factory):
  """Files of Fashion-MNIST's form, with random images."""
  folder, rng = tmp_path_factory.mktemp("fashion"), np.random.default_rng(0)
  for name, n in (("train", 32), ("t10k", 20)):
    idx_files.write_fashion(folder, name, rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10)
  return {"fashion_mnist": str(folder)}


def small(name, places):
  config = study.placed(of_peers.arms(STEPS)[name], places)
  config.update(dict(batch_size=BATCH, log_every_steps=1))
  config.evaluation.train.options.num_examples, config.evaluation.test.options.num_examples = 32, 20
  return config


def test_every_arm_has_claims_and_a_method_of_lightly():
  found = of_peers.arms()
  tree = ast.parse((run.HERE / "theirs/methods.py").read_text())
  (theirs,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "METHODS")
  assert list(found) == [keyword.arg for keyword in theirs.keywords] and len(found) >= 12
  claims = run.claims()
  assert [(claim.better, claim.worse) for claim in claims] == [(name, name) for name in found for _ in range(2)]
  assert {claim.metric for claim in claims} == {(f"jssl/{m}", f"peer/{m}") for m in ("knn/k20", "linear/accuracy")}
  assert {claim.margin for claim in claims} == {0.005} and len({claim.sentence for claim in claims}) == len(claims)
  assert len({arm_hash(config) for config in found.values()}) == len(found)


def test_arms_differ_in_nothing_but_the_method():
  found = of_peers.arms()
  for config in found.values():
    check_config(config)
    assert not any(target.fn == "feature_queue" for target in config.targets.values())
    vits = [network for network in config.networks.values() if network.get("fn") == "vit"]
    assert [(vit.width, vit.patch_size, bool(vit.get("stem"))) for vit in vits] in ([(96, 8, True)], [(64, 4, False)])
  alike = lambda config: (config.batch_size, config.total_steps, config.evaluation.to_dict()["size"])
  assert {alike(config) for config in found.values()} == {(128, 300, 32)}
  optim = [config.optim.to_dict() | dict(decay=()) for config in found.values()]
  assert all(one == optim[0] for one in optim)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "swav"])
def test_a_run_on_a_record_sees_what_its_own_config_draws(name, places, tmp_path):
  config = small(name, places)
  config.seed = 3
  record.make(config, tmp_path)
  taken = from_json((tmp_path / "config.json").read_text())
  sides = [Trainer(config, **ON_ONE), Trainer(taken, record.source(tmp_path, BATCH), **ON_ONE)]
  assert sides[1].horizon.total_steps == STEPS and sides[1].source.num_examples == STEPS * BATCH
  arrays, names = record.load_arrays(tmp_path), record.drawn(sides[0].single_method)
  variables = [side.init_state().variables for side in sides]
  jax.tree.map(np.testing.assert_array_equal, *variables)  # the weights to start from, and the queues
  start = np.load(tmp_path / "start.npz")
  assert len(start.files) == len(jax.tree.leaves((variables[0].params, variables[0].memory)))
  key = record.run_key(config.seed)
  for k, batches in enumerate(zip(*(side.batches(0, STEPS) for side in sides), strict=True)):
    batches = [{name: array[0] for name, array in batch.items()} for batch in batches]
    own = record.examples_of(sides[0].arrays, batches[0], ())
    whole = sides[0].single_method.environment(variables[0], own, key=key, step=k)
    found = sides[1].single_method.environment(variables[1], batches[1], key=key, step=k)
    for array in names:
      if array not in config.views:
        np.testing.assert_array_equal(found[array], whole[array])
        continue
      view = config.views[array]
      np.testing.assert_allclose(found[array], whole[array], atol=0.502 / 255 / view.std)  # a view's pixels are uint8
      pixels = arrays[f"pixels_{array}"][k * BATCH : (k + 1) * BATCH]  # what the peer reads
      expected = np.repeat((pixels / 255 - view.mean) / view.std, 3, axis=-1)
      np.testing.assert_allclose(found[array], expected, atol=1e-5)
  assert k == STEPS - 1


def test_scores_are_those_of_the_protocols(tmp_path):
  rng = np.random.default_rng(0)
  for split, n in (("train", 200), ("test", 50)):
    label = np.arange(n) % 10
    np.save(tmp_path / f"{split}_label.npy", label)
    np.save(tmp_path / f"x_{split}.npy", np.eye(10)[label] + 0.01 * rng.normal(size=(n, 10)))
  assert run.scores(tmp_path, tmp_path, "x") == {"knn/k20": 1.0, "linear/accuracy": 1.0}
  np.save(tmp_path / "test_label.npy", (np.arange(50) + 1) % 10)
  assert run.scores(tmp_path, tmp_path, "x") == {"knn/k20": 0.0, "linear/accuracy": 0.0}


def test_a_side_that_fails_is_no_number():
  run.run_side([sys.executable, "-c", ""])
  with pytest.raises(RuntimeError, match="ended with 3"):
    run.run_side([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_study_that_is_told_to_stop_tells_the_side():
  threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
  with pytest.raises(study.Stopped):
    run.run_side([sys.executable, "-c", "import time; time.sleep(60)"])


def test_an_environment_without_lightly_is_told():
  with pytest.raises(ConfigError, match="--peer-python=/no/python: .*No such file.*README.md says how"):
    run.versions("/no/python")


def test_the_table_has_both_sides():
  costs = {f"{side}/{name}": 10.0 for side in run.SIDES for name in run.COSTS.values()}
  values = {"jssl": 0.702, "peer": 0.7, "random": 0.5}
  metrics = {f"{side}/{name}": value for side, value in values.items() for name in run.METRICS.values()}
  rows = [dict(arm="simclr", seed=seed, metrics=metrics | costs) for seed in range(2)] + [
    dict(arm="mae", seed=0, error="no")
  ]
  lines = run.table(rows).splitlines()
  both = "0.702 +- 0.000, 0.700 +- 0.000, +0.2"
  assert lines[2:] == [f"| simclr | 2 | {both} | {both} | 0.500, 0.500 | 10, 10 | 10, 10 | 10, 10 | 10, 10 |"]
  assert len(lines[0].split("|")) == len(lines[1].split("|")) == len(lines[2].split("|"))
  found = [study.verdict(claim, [row | dict(seed=s) for s in range(3) for row in rows], range(3)) for claim in run.claims()]
  assert [one.word for one in found[:2]] == ["shown", "shown"] and {one.word for one in found[2:]} == {""}


@pytest.mark.slow
@pytest.mark.parametrize("name", of_peers.METHODS)
def test_both_sides_take_the_same_steps(name, places, tmp_path):
  """Losses of the first step, and of those after it, which show gradients, optimizer, schedules and averages.

  lightly's side computes in float64: torch's own rounding moves SimSiam's third loss by 3e-4, since BatchNorm divides by
  what eight images differ in. What is left of SwAV is lightly's way to normalise prototypes, see the study's page.
  """
  if subprocess.run([PEER, "-c", "import lightly, timm"], capture_output=True, check=False).returncode:
    pytest.skip("lightly is not there; JSSL_PEER_PYTHON names a Python that has it")
  record.make(small(name, places), tmp_path / "record")
  losses, features = [], []
  commands = dict(jssl=[sys.executable, "-m", "experiments.peers.ours"], peer=[PEER, str(run.THEIRS), name])
  for side, command in commands.items():
    (tmp_path / side).mkdir()
    double = ["--float64"] if side == "peer" else []
    run.run_side([*command, str(tmp_path / "record"), str(tmp_path / side), *double])
    result = json.loads((tmp_path / side / "result.json").read_text())
    assert result["seconds"] > 0 and result["mib"] > 100 and result["step_ms"] > 0
    losses.append([result["losses"][str(k + 1)] for k in range(STEPS)])
    features.append(np.load(tmp_path / side / "features_test.npy"))
  np.testing.assert_allclose(losses[1][0], losses[0][0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2 if name == "swav" else 1e-3, atol=1e-4)
  assert features[0].shape == features[1].shape == (20, 96 if of_peers.METHODS[name][0] is of_peers.WHOLE else 64)
  np.testing.assert_allclose(features[1], features[0], atol=0.05 * np.abs(features[0]).max())
