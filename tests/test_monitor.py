"""What is seen of a run while it trains is what an evaluation of its checkpoints sees, and costs what it says."""

import shutil

import jax
import numpy as np
import optax
import pytest

from jssl import data, evaluate, logging, monitor
from jssl.data.algebra.derive import rows
from jssl.data.sampling import epoch_permutation
from jssl.errors import ConfigError
from jssl.monitor import Monitor
from jssl.train import train_and_evaluate, Trainer
from tests import methods
from tests.test_processes import finish, start_two


def small(name="byol", **changes):
  config = methods.small(name, depth=1, **(dict(total_steps=4, log_every_steps=2, checkpoint_every_steps=2) | changes))
  config.monitor.update(dict(every_steps=2, train_examples=24, test_examples=8, protocols=("knn:k=(3,5)", "rankme")))
  return config


def run(config, workdir, devices=1, **arguments):
  return train_and_evaluate(config, workdir, **(dict(source=methods.source()) | arguments), devices=jax.devices()[:devices])


def looks(workdir):
  """step -> what was seen, but for the time."""
  rows_ = logging.read_metrics(workdir)
  seen = {row["step"]: {k: v for k, v in row.items() if k.startswith("monitor/")} for row in rows_}
  assert all(found.pop("monitor/seconds") > 0 for found in seen.values())
  return seen


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("watched")
  run(small(), workdir)
  return workdir


@pytest.mark.slow
def test_it_sees_what_an_evaluation_of_the_checkpoint_sees(watched):
  order, source = epoch_permutation(0, 0, 64), methods.source()
  train, test = (rows(source, "part", np.sort(index)) for index in (order[:24], order[24:32]))
  seen = looks(watched)
  assert list(seen) == [1, 2, 4]
  for step in (2, 4):
    found = evaluate.evaluate(watched, ["knn:k=(3,5)", "rankme"], step=step, train=train, test=test)["pretrained"]
    want = {f"monitor/{name}/{key}": x for name, result in found.items() for key, x in result["metrics"].items()}
    assert set(want) > {"monitor/knn/k3", "monitor/knn/k5", "monitor/rankme/rankme"}
    assert seen[step] == want
  assert seen[2] != seen[4]


@pytest.mark.slow
def test_after_a_resume_the_rows_are_the_same(watched, tmp_path):
  shutil.copytree(watched, tmp_path / "run")
  shutil.rmtree(tmp_path / "run/checkpoints/4")
  run(small(), tmp_path / "run")
  assert looks(tmp_path / "run") == looks(watched)


@pytest.mark.slow
def test_eight_devices_see_what_one_sees(watched, tmp_path):
  run(small(), tmp_path, devices=8)
  for step, found in looks(tmp_path).items():
    assert found == pytest.approx(looks(watched)[step], rel=1e-2, abs=0.13)  # one of eight images


@pytest.mark.slow
def test_a_second_look_compiles_nothing(tmp_path):
  trainer = Trainer(small(), methods.source(), devices=jax.devices()[:1])
  seen = Monitor(trainer, given=True)
  state, programs = trainer.init_state(), []
  first = seen.look(2, state)
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, duration, **_: programs.append(event) if "backend_compile" in event else None
  )
  moved = state.replace(
    variables=state.variables.replace(teachers=jax.tree.map(lambda x: 1.5 * x, state.variables.teachers))
  )
  programs.clear()
  second = seen.look(4, moved)
  assert not programs
  assert first.keys() == second.keys() and first["monitor/rankme/rankme"] != second["monitor/rankme/rankme"]


@pytest.mark.slow
def test_it_follows_phases_and_a_graph_of_its_own(tmp_path):
  config = small("simmim")
  config.phases = dict(late=dict(start_fraction=0.5, override=dict(views=dict(v=dict(size=32)))))
  config.evaluation.size = None
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:1])
  shown = [frozen.view.size for frozen in Monitor(trainer, given=True)._frozen.values()]
  assert shown == [16, 32]
  run(config, tmp_path / "phases")
  assert list(looks(tmp_path / "phases")) == [1, 2, 4]
  config = small("mae")
  config.evaluation.views = dict(w=dict(fn="resize_view", reads=("image", "extent=extent"), size=16))
  config.evaluation.passes = dict(f=dict(net="encoder", reads=("w",)))
  config.evaluation.outputs = dict(features="f/features")
  run(config, tmp_path / "graph")
  assert looks(tmp_path / "graph")[4]["monitor/rankme/rankme"] > 1


@pytest.mark.slow
def test_without_data_handed_over_it_looks_at_the_evaluations(tmp_path):
  config = small()
  config.data.options = dict(num_examples=64, image_size=24)
  for split in ("train", "test"):
    config.evaluation[split].options = dict(num_examples=32)
  run(config, tmp_path, source=None)
  assert "monitor/knn/k3" in looks(tmp_path)[4]


@pytest.mark.slow
def test_what_has_no_labels_is_left_out_once(tmp_path, caplog):
  run(small(), tmp_path, source=data.from_arrays(image=methods.source().arrays["image"]))
  assert caplog.text.count("monitor: knn left out, since the data has no labels") == 1 and "'label'" not in caplog.text
  assert {name.rpartition("/")[0] for name in looks(tmp_path)[4]} == {"monitor/rankme"}


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(every_steps=3), "config.monitor.every_steps=3: give a multiple of config.log_every_steps=2"),
    (dict(protocols=("knn:kk=3",)), "config.monitor.protocols: protocol 'knn' has no number 'kk'; did you mean 'k'"),
    (dict(protocols=("kn",)), "config.monitor.protocols: there is no protocol 'kn'"),
    (dict(protocols=("object_similarity",)), "config.monitor.protocols: 'object_similarity' cannot be run while training"),
    (dict(train_examples=0), "config.monitor.train_examples=0: it must be at least 1"),
  ],
)
def test_what_cannot_be_watched_is_told_before_the_run(changes, message, tmp_path):
  config = small()
  config.monitor.update(changes)
  with pytest.raises(ConfigError) as error:
    run(config, tmp_path / "run")
  assert str(error.value).startswith(message) and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_cost_is_told_and_is_no_part_of_the_speed(monkeypatch, caplog):
  trainer = Trainer(small(total_steps=100), methods.source(), devices=jax.devices()[:1])
  seen, clock = Monitor(trainer, given=True), [0.0]
  monkeypatch.setattr(monitor.time, "monotonic", lambda: clock[0])
  monkeypatch.setattr(monitor.logging, "compiling_since", lambda moment: 0.0)

  def slow(names, model, data, **numbers):
    clock[0] += 10.0
    return {}

  monkeypatch.setattr(monitor.protocols, "run_protocols", slow)
  seen._start, progress = 0.0, logging.Progress(0, 100, 8)
  for step in (1, 2, 4, 6):
    clock[0] += 90.0
    speed = progress.update(step)
    found = seen.look(step, trainer.init_state())
    progress.go_on()
    assert found == {"monitor/seconds": 10.0}
  assert speed == pytest.approx(2 * 8 / 90)
  # Of 200 seconds 10, since the first look does not count; 90 + 90 + 10 before that are 190 in two steps.
  told = [record.getMessage() for record in caplog.records if "monitoring has taken" in record.getMessage()]
  assert len(told) == 1 and told[0].startswith("step 2: monitoring has taken 5.0 % of the run's time; ")
  # 190 seconds for every 2 steps and 10 of looking: 3 % take 323.3 seconds, which are 3.4 steps.
  assert "config.monitor.every_steps=4 (now 2) would take 3 %" in told[0]


@pytest.mark.slow
def test_norms_are_those_of_the_networks():
  config = methods.small_with_sgd("byol", depth=1)
  config.monitor.every_steps = 10
  expected = None
  for devices in (1, 8):
    trainer = Trainer(config, methods.source(), devices=jax.devices()[:devices])
    state = trainer.init_state()
    before = jax.tree.map(np.array, state.variables)
    for batch in trainer.batches(0, 1):
      state, metrics = trainer.compile_step(state)(state, trainer.arrays, batch)
    after, norm = jax.tree.map(np.array, state.variables), lambda tree: float(optax.tree.norm(tree))
    changed = jax.tree.map(np.subtract, after.params["student"], before.params["student"])
    apart = jax.tree.map(np.subtract, after.teachers["teacher"], after.params["student"])
    found = {name: float(x) for name, x in metrics.items()}
    parts = [found[f"gradient_norm/{name}"] for name in ("student", "predictor")]
    assert np.hypot(*parts) == pytest.approx(found["gradient_norm"], rel=1e-5)
    assert found["update_norm/student"] == pytest.approx(norm(changed), rel=1e-3)
    assert found["parameter_norm/student"] == pytest.approx(norm(after.params["student"]), rel=1e-5)
    assert found["ema_distance/teacher"] == pytest.approx(norm(apart) / norm(after.params["student"]), rel=1e-3)
    values = np.array([found[name] for name in sorted(found) if name.startswith("dimensions/")])
    assert len(values) == 4 and (values > 1).all() and (values <= 15).all()
    expected = values if devices == 1 else expected
    np.testing.assert_allclose(values, expected, rtol=1e-3)


def test_without_a_monitor_a_step_reports_what_it_did():
  names = [Trainer(small_, methods.source(), devices=jax.devices()[:1]).metric_names() for small_ in _off_and_on()]
  added = {name.partition("/")[0] for name in names[1] - names[0]}
  assert added == {"gradient_norm", "update_norm", "parameter_norm", "ema_distance", "dimensions"} and names[0] < names[1]


def _off_and_on():
  off, on = small(), small()
  off.monitor.every_steps = None
  return off, on


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_of_two_processes_the_first_looks(sharded, tmp_path):
  options = ["--config.monitor.every_steps=2", "--config.monitor.train_examples=32", "--config.monitor.test_examples=16"]
  options += ["--config.parallel.mode=jit", "--config.parallel.shard_state=True"] if sharded else []
  outputs = finish(start_two(tmp_path / "two", "dino:steps=4", tmp_path / "cache", *options))
  assert "monitor: knn/k20" in outputs[0] and "monitor:" not in outputs[1]
  found = [row for row in logging.read_metrics(tmp_path / "two") if "monitor/knn/k20" in row]
  assert [row["step"] for row in found] == [1, 2, 4]
