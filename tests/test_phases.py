"""What phases may change, which durations a run is too short for, and what `refresh` functions see."""

import re

import jax
import numpy as np
import pytest

from jssl import data, durations, phases
from jssl.config import default_config
from jssl.errors import ConfigError
from jssl.refresh import spherical_kmeans
from jssl.schedules import Horizon, linear, warmup_cosine
from jssl.train import Trainer
from tests import functions, methods


def with_phase(name="mae", start=0.5, **override):
  config = methods.small(name, depth=1)
  config.phases.late = dict(start_fraction=start, override=override)
  return config


@pytest.mark.parametrize(
  "key, value",
  [
    ("batch_size", 8),
    ("accumulate", 2),
    ("seed", 1),
    ("total_steps", 40),
    ("log_every_steps", 2),
    ("checkpoint_every_steps", 2),
    ("checkpoint", dict(keep=3)),
    ("nonfinite", dict(policy="skip")),
    ("data", dict(device_bytes=0)),
    ("parallel", dict(mode="jit")),
    ("evaluation", dict(size=32)),
    ("phases", dict(late=dict(start_fraction=0.7))),
  ],
)
def test_what_holds_for_the_whole_run_is_no_phases_affair(key, value):
  with pytest.raises(ConfigError, match=rf"config\.phases\.late\.override\.{key}: .* a phase may change views, masking"):
    phases.split(with_phase(**{key: value}), Horizon(20))


@pytest.mark.parametrize("key, value", [("load", "runs/a:encoder"), ("init", "jax")])
def test_a_networks_start_is_no_phases_affair(key, value):
  with pytest.raises(ConfigError, match=rf"late\.override\.networks\.encoder\.{key}: it counts only where"):
    phases.split(with_phase(networks=dict(encoder={key: value})), Horizon(20))


def test_every_key_of_a_config_is_either_looked_at_in_phases_or_refused():
  """The method and the optimizer are built anew; a key that is neither theirs nor refused would be ignored."""
  assert set(phases.CHANGEABLE) == {
    *(set(default_config()) & {"dtype", "optim"}),
    *("views masking networks passes targets losses refresh".split()),
  }


@pytest.mark.parametrize("override", [None, 3, "views"])
def test_a_phase_without_changes(override):
  with pytest.raises(ConfigError, match=r"config\.phases\.late\.override: give a table of what changes"):
    config = methods.small("mae")
    config.phases.late = dict(start_fraction=0.5) if override is None else dict(start_fraction=0.5, override=override)
    phases.split(config, Horizon(20))


@pytest.mark.parametrize(
  "optim, message",
  [
    (dict(name="sgd"), r"\(optim\.name changed; only before it: \S*/count and .* more; only after it: \S*/trace/"),
    (dict(clip=dict(global_norm=1.0)), r"\(optim\.clip\.global_norm changed; only before it"),
    (dict(freeze=("decoder",)), r"\(optim\.freeze changed; only before it: \S*/mu/decoder/\S* and .* more\)"),
  ],
)
def test_another_state_of_the_optimizer_is_found_before_step_1(optim, message):
  config = with_phase(optim=optim)
  with pytest.raises(ConfigError, match=rf"config\.phases\.late: the optimizer cannot go on there.* {message}") as error:
    Trainer(config, methods.source(), devices=jax.devices()[:1])
  assert "\n" not in str(error.value)


def test_numbers_of_the_optimizer_may_change():
  config = with_phase(optim=dict(lr=1e-4, weight_decay=0.2), dtype="bfloat16")
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:1])
  assert [float(trainer.optim_info["weight_decay"](0)), trainer.phase.name] == [pytest.approx(0.05), "first"]
  trainer.start_phase(10)
  assert float(trainer.optim_info["weight_decay"](0)) == pytest.approx(0.2)


@pytest.mark.parametrize(
  "changes, messages",
  [
    (dict(), []),
    (
      dict(warmup_fraction=None, warmup_epochs=10),
      [r"config\.optim\.warmup_epochs=10: the warm-up is longer .*: that is step 40, the run has 20"],
    ),
    (dict(warmup_fraction=1.0), []),
    (dict(warmup_fraction=1.5), ["config.optim.warmup_fraction=1.5: the warm-up is longer"]),
    (
      dict(freeze=(("decoder", dict(until_epochs=7)),)),
      ["config.optim.freeze.until_epochs=7: what is frozen until then never moves"],
    ),
    (dict(freeze=(("decoder", dict(until_epochs=1)), "encoder")), []),
    (dict(weight_decay=linear(0.0, 0.1, epochs=30)), ["config.optim.weight_decay.epochs=30: it does not get to its end"]),
    (
      dict(weight_decay=linear(0.0, 0.1, hold_steps=20)),
      ["config.optim.weight_decay.hold_steps=20: it never leaves its start"],
    ),
    (dict(lr=warmup_cosine(0.1, warmup_steps=21)), ["config.optim.lr.warmup_steps=21: the warm-up is longer than the run"]),
    (
      dict(lr_schedule="step", step_factors=(0.1,), boundaries_epochs=(5,)),
      [r"config.optim.boundaries_epochs=\(5,\): the last boundary is never"],
    ),
    (
      dict(lr_mults=(("encoder", linear(0.0, 1.0, steps=21)),)),
      ["config.optim.lr_mults.steps=21: it does not get to its end"],
    ),
  ],
)
def test_durations_that_the_run_is_too_short_for(changes, messages):
  config = methods.small("mae")
  with config.optim.ignore_type():
    config.optim.update(changes)
  found = durations.unreachable(config, Horizon(20, 4, 16))
  assert len(found) == len(messages), found
  for message, line in zip(messages, found, strict=True):
    assert re.match(message, line), line


def test_phases_and_periods_that_never_come(caplog):
  config = with_phase(start=1.0, masking=dict(m=dict(ratio=0.5)))
  Trainer(config, methods.source(), devices=jax.devices()[:1])
  assert "config.phases.late.start_fraction=1.0: the phase never begins: that is step 20, the run has 20" in caplog.text
  config.refresh = dict(a=dict(every_epochs=6), b=dict(every_fraction=1.0))
  lines = durations.unreachable(config, Horizon(20, 4, 16))
  assert lines[-1].startswith(
    "config.refresh.a.every_epochs=6: it runs before the first step only"
  ) and "config.refresh.b" not in str(lines)


def clusters(**entry):
  config = methods.small("barlow_twins", depth=1)
  config.refresh.clusters = dict(fn="tests.functions:nearest_center", reads=("s_a/features",), count=4, **entry)
  config.targets = dict(
    which=dict(fn="tests.functions:rows", reads=("clusters/assignments", "index")),
    center=dict(fn="tests.functions:rows", reads=("clusters/centers", "which")),
  )
  config.losses = dict(c=dict(fn="tests.functions:classify_loss", reads=("s_b/features", "center")))
  return config


def test_refresh_needs_a_period_and_random_access():
  with pytest.raises(ConfigError, match=r"config\.refresh\.clusters: give every_epochs, every_steps"):
    Trainer(clusters(), methods.source(), devices=jax.devices()[:1])
  batches = lambda start: iter([{k: v[:16] for k, v in methods.source().arrays.items()}])
  iterator = data.from_iterator(batches, num_examples=64)
  with pytest.raises(ConfigError, match=r"config\.refresh\.clusters sees all examples, but iterator is an iterator"):
    Trainer(clusters(every_epochs=1), iterator, devices=jax.devices()[:1])


def two_classes(order):
  """Two classes of noisy images, the one a little brighter in half of its pixels, in a given order."""
  rng = np.random.default_rng(0)
  label = np.repeat([0, 1], 128)
  mean = 110 + 35 * label[:, None] * np.where(np.arange(48) % 2, 1, -1)
  image = np.clip(mean + 60 * rng.standard_normal((256, 48)), 0, 255).astype(np.uint8).reshape(256, 4, 4, 3)
  return data.from_arrays(image=image[order], label=label[order])


def toy(source):
  """A trainer whose view `n` is normalised by its batch, and whose `w` is drawn for each example."""
  config = default_config()
  config.update(dict(total_steps=4, batch_size=32))
  config.optim.lr = 0.1
  config.views = dict(
    n=dict(fn="tests.functions:normalized_images", reads=("image",), scope="batch"),
    w=dict(fn="augment", reads=("image", "extent=extent"), size=4, scale=(0.3, 1.0)),
  )
  config.losses = dict(l=dict(fn="tests.functions:classify_loss", reads=("n", "w")))
  return Trainer(config, source, devices=jax.devices()[:1])


def mutual_information(a, b):
  """Of two labels, over the root of the product of their entropies."""
  joint = np.histogram2d(a, b, bins=2)[0] / len(a)
  rows, columns = joint.sum(1), joint.sum(0)
  entropy = lambda p: -np.sum(p[p > 0] * np.log(p[p > 0]))
  return (entropy(rows) + entropy(columns) - entropy(joint.ravel())) / np.sqrt(entropy(rows) * entropy(columns))


def test_refresh_sees_batches_of_all_classes_in_a_sorted_data_set():
  """Clusters of a folder sorted by class are as good as those of a shuffled one: a batch of one class has its statistics."""
  in_order, shuffled = np.arange(256), np.random.default_rng(1).permutation(256)
  information = []
  for order in (in_order, shuffled):
    source = two_classes(order)
    trainer = toy(source)
    found = phases.collect(trainer, trainer.init_state(), ["n"], 0)["n"].reshape(256, -1)
    _, assignments = spherical_kmeans(jax.random.key(0), found, clusters=2)
    information.append(mutual_information(np.asarray(assignments), source.arrays["label"]))
  normalized = lambda images: functions.normalized_images(None, images).reshape(len(images), -1)
  whole = spherical_kmeans(jax.random.key(0), normalized(two_classes(in_order).arrays["image"] / 255), clusters=2)[1]
  best = mutual_information(np.asarray(whole), two_classes(in_order).arrays["label"])
  apart = np.concatenate([normalized(part) for part in np.split(two_classes(in_order).arrays["image"] / 255, 8)])
  worst = spherical_kmeans(jax.random.key(0), apart, clusters=2)[1]
  worst = mutual_information(np.asarray(worst), two_classes(in_order).arrays["label"])
  assert worst < best / 2
  assert min(information) > 0.8 * best


def test_what_refresh_sees_of_an_example_is_what_its_index_draws():
  """In the data's order, and drawn as the environment draws for an example of that index at that step."""
  source = two_classes(np.arange(256))
  trainer = toy(source)
  state = trainer.init_state()
  found = phases.collect(trainer, state, ["image", "w"], 3)
  np.testing.assert_allclose(found["image"], np.float32(source.arrays["image"]) / 255, atol=1e-6)
  batch = {name: source.arrays[name][40:72] for name in ("image", "extent")}
  key, index = phases.run_key(trainer.config.seed), np.arange(40, 72)
  drawn = trainer.single_method.environment(state.variables, batch, key=key, step=0, positions=index)["w"]
  np.testing.assert_allclose(found["w"][40:72], drawn, atol=1e-6)
  assert np.abs(found["w"][40] - found["w"][41]).max() > 0.01
