"""A run that collapses on purpose is warned of by the kind's name; one that learns is not."""

import logging
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import collapse, data, Method
from jssl.collapse import CollapseWatch, diagnose, dimensions, still_teachers
from jssl.config import load_config
from jssl.evaluation import participation_ratio
from jssl.schedules import Horizon
from jssl.train import train_and_evaluate
from tests import methods


def warnings_of(config, tmp_path, caplog, source=None):
  """What a run warns of: (kind, metric)."""
  with caplog.at_level("WARNING", logger="jssl"):
    train_and_evaluate(config, tmp_path, source=source or methods.source(), devices=jax.devices()[:1])
  return re.findall(r"step \d+: collapse\? (\S+): (\S+) is ", caplog.text)


def distilled(**target):
  """DINO of two crops."""
  config = methods.small("dino", depth=1, total_steps=10)
  for name in ("l1", "l2"):
    del config.views[name], config.passes[f"s_{name}"]
  config.losses.dino.reads = (("s_a/logits", "s_b/logits"), ("y/0", "y/1"))
  config.targets.y.update(target)
  return config


@pytest.mark.slow
def test_a_teacher_without_sharpening_is_uniform(tmp_path, caplog):
  assert ("uniform", "dino/teacher_entropy") in warnings_of(distilled(temp=50.0), tmp_path, caplog)
  assert caplog.text.count("uniform: dino/teacher_entropy") == 1 and "try a lower teacher temperature" in caplog.text


@pytest.mark.slow
def test_a_student_that_says_nothing_stays_at_ln_k(tmp_path, caplog):
  config = distilled(temp=0.02)
  config.losses.dino.student_temp = 1e4
  assert ("uniform", "dino") in warnings_of(config, tmp_path, caplog)
  assert f"dino is {math.log(16):.4f}: the student says the same of all prototypes" in caplog.text


@pytest.mark.slow
def test_a_teacher_without_centring_is_one_hot(tmp_path, caplog):
  config = distilled(temp=1e-4, momentum=1.0)
  config.total_steps = 60
  config.optim.update(dict(lr=1e-2, lr_scale=None, warmup_fraction=None))
  assert ("one-hot", "dino/teacher_entropy") in warnings_of(config, tmp_path, caplog)
  assert "stronger centring" in caplog.text


@pytest.mark.slow
def test_views_that_show_the_same_of_all_examples_are_constant(tmp_path, caplog):
  config = methods.small("simclr", depth=1, total_steps=10)
  for view in config.views.values():
    view.update(dict(jitter_prob=0.0, grayscale=0.0))
  grey = data.from_arrays(image=np.full((64, 20, 20, 3), 128, np.uint8))
  assert ("constant", "spread/s_a/z") in warnings_of(config, tmp_path, caplog, grey)


@pytest.mark.slow
def test_a_line_is_dimensional(tmp_path, caplog):
  """A projector of one hidden unit: 32 dimensions, all of them multiples of one number."""
  config = methods.small("simclr", depth=1, total_steps=20)
  config.networks.student.heads.z.update(dict(hidden=1))
  config.monitor.update(dict(every_steps=20, protocols=()))
  assert ("dimensional", "dimensions/s_a/z") in warnings_of(config, tmp_path, caplog)


def test_what_is_no_collapse():
  healthy = {"dino": 2.2, "dino/teacher_entropy": 0.4, "dino/kl": 1.09, "spread/s/z": 0.5, "dimensions/s/z": 8.0}
  assert not diagnose(healthy)
  assert not diagnose({"dino": 2.0, "dino/teacher_entropy": 0.001, "dino/kl": 1.99})  # sharp, and not yet followed
  # A teacher that is nearly uniform, of whom the student knows a third of what there is to know.
  e, most = 0.9, math.log(16)
  loss = most - 0.1 * most / 3
  assert not diagnose({"swav": loss, "swav/teacher_entropy": e, "swav/kl": loss - e * most})
  assert diagnose({"swav": most, "swav/teacher_entropy": e, "swav/kl": (1 - e) * most}) == {"swav": collapse.STUCK}
  # Where all embeddings are the same nothing is to be said of their dimensions.
  assert diagnose({"spread/z": 1e-4, "dimensions/z": 0.0}) == {"spread/z": collapse.CONSTANT}


def test_it_takes_three_rows_past_the_first_tenth_and_is_told_once(caplog):
  watch, bad = CollapseWatch(100), {"spread/z": 0.001}
  told = []
  for step in range(1, 31):
    watch.look(step, {"spread/z": 0.5} if step == 11 else bad)
    told.append(caplog.text.count("collapse? constant: spread/z is 0.0010"))
  assert told[:13] == [0] * 13 and told[13:] == [1] * 17  # rows 12, 13 and 14
  caplog.clear()
  short = CollapseWatch(100, every=50)
  short.look(100, bad)
  assert "collapse?" in caplog.text


def test_a_teacher_that_does_not_learn_says_nothing_of_collapse(caplog):
  still = {}
  for name in ("random_teacher", "dino"):
    method = Method(methods.small(name), num_examples=64, horizon=Horizon(10))
    still[name] = still_teachers(method.graph)
  assert still == {"random_teacher": {"match"}, "dino": set()}
  watch = CollapseWatch(1, still=still["random_teacher"])
  watch.look(1, {"match/teacher_entropy": 0.999})
  assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("shape", [(24, 10), (10, 24)])
def test_dimensions_are_the_participation_ratio_of_the_covariance(shape):
  rng = np.random.default_rng(0)
  x = rng.normal(size=shape) * np.linspace(0.1, 2, shape[1]) + 0.5
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  want = participation_ratio(np.linalg.eigvalsh(np.cov(unit.T)))
  assert float(dimensions(jnp.asarray(x, jnp.float32))) == pytest.approx(want, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", methods.NAMES)
def test_a_method_as_it_is_raises_no_alarm(name, tmp_path, caplog):
  """Of 100 steps in small form, on scenes. That shows that there is no false alarm as runs begin, not that they learn."""
  config = methods.small(name, width=32, batch_size=32, total_steps=100, log_every_steps=5, checkpoint_every_steps=100)
  config.optim.update(dict(lr=2e-3, lr_scale=None, end_lr=None))
  for view in config.views.values():
    view.update(dict(scale=(0.5, 1.0)) if "scale" in view and view.get("fn") == "augment" else {})
  config.monitor.update(dict(every_steps=50, protocols=()))
  kind = "objects" if load_config(name).data.name == "objects" else "scenes"  # what it reads labels of
  source = data.load(kind, num_examples=512, image_size=32)
  with caplog.at_level("WARNING", logger="jssl"):
    train_and_evaluate(config, tmp_path, source=source, devices=jax.devices()[:1])
  assert "collapse?" not in caplog.text
