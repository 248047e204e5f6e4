"""What phases may change, and which durations a run is too short for."""

import re

import jax
import pytest

from jssl import durations, phases
from jssl.config import default_config
from jssl.errors import ConfigError
from jssl.schedules import Horizon, linear, warmup_cosine
from jssl.train import Trainer
from tests import methods


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
