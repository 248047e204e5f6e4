"""A run that stops for a value that is not finite says where that arose."""

import jax
import pytest

from jssl import data, origin
from jssl.errors import NonFiniteError
from jssl.train import train_and_evaluate, Trainer
from tests import methods

LATE = dict(schedule="step", values=(0.0, 2.0), boundaries_steps=(4,))  # from step 5 on, counted from 1


def small(**changes):
  """Stops at the log step 6, with a checkpoint of step 3."""
  return methods.small("mae", depth=1, total_steps=9, checkpoint_every_steps=3, log_every_steps=6, **changes)


def stopped(config, tmp_path, devices=1, source=None):
  """What the run says in the end."""
  with pytest.raises(NonFiniteError) as error:
    train_and_evaluate(config, tmp_path, source=source or methods.source(), devices=jax.devices()[:devices])
  return str(error.value)


@pytest.mark.slow
def test_a_loss(tmp_path, caplog):
  config = small()
  config.losses.rec.update(dict(fn="tests.functions:exploding_loss", scale=LATE))
  with caplog.at_level("INFO", logger="jssl"):
    message = stopped(config, tmp_path)
  assert message.startswith("step 6: 2 update(s) with a loss or gradient that is not finite (now: ")
  assert message.endswith("; it arose in step 5: config.losses.rec -> rec is the first that is not finite")
  assert caplog.text.count("replaying from step 3 to find where it arose") == 1 and "going on" not in caplog.text


@pytest.mark.slow
def test_a_view_on_two_devices_before_the_first_checkpoint(tmp_path):
  config = small()
  config.views.spoilt = dict(fn="tests.functions:spoilt", reads=("v",), scale=LATE | dict(boundaries_steps=(1,)))
  config.passes.e.reads = ("spoilt", *config.passes.e.reads[1:])
  config.log_every_steps = 2
  message = stopped(config, tmp_path, devices=2)
  assert "last good checkpoint: step None; it arose in step 2: config.views.spoilt -> spoilt is the first" in message


@pytest.mark.slow
def test_a_pass_whose_weights_have_run_away(tmp_path):
  config = small()
  config.optim.update(dict(name="sgd", lr_scale=None, weight_decay=None, momentum=0.0, warmup_fraction=None, end_lr=None))
  with config.optim.ignore_type():
    config.optim.clip, config.optim.lr = None, LATE | dict(values=(0.01, 1e30))
  message = stopped(config, tmp_path)
  assert "it arose in step 6: config.passes.e -> e/" in message and message.endswith(" is the first that is not finite")


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_whose_values_are_finite(accumulate, tmp_path):
  config = small(accumulate=accumulate)
  config.losses.rec.update(dict(fn="tests.functions:steep_loss", scale=LATE))
  message = stopped(config, tmp_path)
  # Of both networks; the first by name is told. What no gradient reaches has one of 0.
  assert "it arose in step 5: all values are finite, the gradient of config.networks.decoder is not (" in message


@pytest.mark.slow
def test_the_update_that_was_one_too_many_is_in_the_replay_of_a_run_that_skips(tmp_path):
  config = small()
  config.losses.rec.update(dict(fn="tests.functions:exploding_loss", scale=LATE | dict(boundaries_steps=(2,))))
  config.nonfinite.update(dict(policy="skip", limit=2))
  message = stopped(config, tmp_path)  # steps 3 to 6 are bad, of which a checkpoint of step 3 has seen one
  assert "step 6: 4 update(s)" in message and "it arose in step 4: config.losses.rec -> rec" in message


@pytest.mark.slow
def test_after_a_rollback_the_replay_takes_the_examples_in_that_order(tmp_path):
  config = small()
  config.log_every_steps = 1
  first, second = (
    data.batch_indices(4, seed=config.seed + (n << 32), num_examples=64, batch_size=config.batch_size)[:3] for n in (0, 1)
  )
  config.losses.rec.update(dict(fn="tests.functions:poisoned_loss", reads=(*config.losses.rec.reads, "index")))
  config.losses.rec.poison = tuple(second.tolist())
  assert first.tolist() != second.tolist()
  config.losses.also = dict(
    fn="tests.functions:poisoned_loss", reads=config.losses.rec.reads, poison=tuple(first.tolist()), weight=0.0
  )
  config.nonfinite.update(dict(policy="roll_back", limit=1))
  message = stopped(config, tmp_path)
  assert "step 5: 1 update(s)" in message and "it arose in step 5: config.losses.rec -> rec" in message


@pytest.mark.slow
def test_what_cannot_be_replayed_does_not_hide_the_error(tmp_path, monkeypatch):
  config = small()
  config.losses.rec.update(dict(fn="tests.functions:exploding_loss", scale=LATE))
  full = lambda *args: (_ for _ in ()).throw(MemoryError("no room"))
  monkeypatch.setattr(origin, "find_origin", full)
  assert stopped(config, tmp_path).endswith("step 3; where it arose could not be found: no room")


@pytest.mark.slow
def test_a_finite_run_meets_nothing(tmp_path):
  trainer = Trainer(small(), methods.source(), devices=jax.devices()[:1])
  assert origin.find_origin(trainer, trainer.init_state(), 2) == "a replay from step 0 did not meet it again"
  assert origin.find_origin(trainer, trainer.init_state(), 2, lambda: True) == "the replay was stopped at step 0"
