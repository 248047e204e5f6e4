"""Schedules as arrays, against closed forms in float64."""

import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from jssl.schedules import constant, cosine, Horizon, infinite, is_schedule, linear, make_schedule, step, warmup_cosine

RUN = dict(total_steps=100, steps_per_epoch=10, batch_size=32)


def values(spec, steps, **run):
  schedule = make_schedule(spec, **{**RUN, **run})
  array = schedule(jnp.asarray(steps))
  assert array.dtype == jnp.float32 and array.shape == np.shape(steps)
  np.testing.assert_allclose(array, jax.jit(schedule)(jnp.asarray(steps)), rtol=3e-7, atol=1e-7)
  np.testing.assert_allclose(array, [schedule(s) for s in steps], rtol=6e-7)
  return np.asarray(array, np.float64)


def test_a_number_and_a_constant():
  np.testing.assert_allclose(values(0.3, [0, 50, 100]), 0.3, rtol=1e-7)
  np.testing.assert_allclose(values(constant(0.3), [0, 50, 100]), 0.3, rtol=1e-7)


@pytest.mark.parametrize("duration", [dict(steps=20), dict(epochs=2), dict(examples=640), dict(fraction=0.2)])
def test_every_unit_of_duration(duration):
  steps = [0, 5, 10, 20, 21, 99]
  want = np.interp(steps, [0, 20], [0.04, 0.07])
  np.testing.assert_allclose(values(linear(0.04, 0.07, **duration), steps), want, rtol=1e-6)


def test_cosine_over_the_whole_run_is_the_half_cosine():
  steps = np.arange(0, 121)
  progress = np.minimum(steps / 100, 1)
  want = 1 - (1 - 0.996) * (1 + np.cos(np.pi * progress)) / 2
  np.testing.assert_allclose(values(cosine(0.996, 1.0), steps), want, rtol=2e-7)


def test_warmup_then_cosine_at_its_corners():
  got = values(warmup_cosine(1e-3, 1e-6, warmup_epochs=1), [0, 5, 10, 55, 100, 200])
  middle = 1e-6 + (1e-3 - 1e-6) / 2
  np.testing.assert_allclose(got, [0, 5e-4, 1e-3, middle, 1e-6, 1e-6], rtol=1e-5)
  started = values(warmup_cosine(1.0, warmup_start=0.1, warmup_steps=9), [0, 3, 9, 100])
  np.testing.assert_allclose(started, [0.1, 0.4, 1, 0], rtol=1e-6, atol=1e-12)


def test_hold_delays_a_ramp():
  got = values(linear(0.0, 2.0, hold_epochs=3, epochs=2), [0, 30, 40, 50, 90])
  np.testing.assert_allclose(got, [0, 0, 1, 2, 2], rtol=1e-6)
  rest = values(linear(0.0, 1.0, hold_fraction=0.5), [0, 50, 75, 100])
  np.testing.assert_allclose(rest, [0, 0, 0.5, 1], rtol=1e-6)
  warm_hold = values(cosine(1.0, 0.0, warmup_steps=10, hold_steps=10, steps=20), [5, 10, 20, 30, 40])
  np.testing.assert_allclose(warm_hold, [0.5, 1, 1, 0.5, 0], atol=1e-6)


def test_a_ramp_may_outlast_the_run():
  np.testing.assert_allclose(values(linear(0.0, 1.0, fraction=1.25), [0, 100]), [0, 0.8], rtol=1e-6)


def test_steps():
  got = values(step((1.0, 0.1, 0.01), boundaries_epochs=(5, 8)), [0, 49, 50, 79, 80, 99])
  np.testing.assert_allclose(got, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)
  warm = values(step((1.0, 0.1), boundaries_steps=(50,), warmup_steps=4), [0, 2, 4, 50])
  np.testing.assert_allclose(warm, [0, 0.5, 1, 0.1], rtol=1e-6)


INFINITE = dict(peak=1.5e-4, constant=3.75e-5, end=1.5e-5)


def written_out(n, warmup, cooldown_end, anneal_start, total, shape):
  """Equation 1 of the paper, n counted over the whole run."""
  peak, constant, end = INFINITE.values()
  if n < warmup:
    return peak * n / warmup
  if n < cooldown_end:
    p = (n - warmup) / (cooldown_end - warmup)
    g = lambda x: 1 / np.sqrt(1 + 10 * x) - 1
    return dict(
      cosine=constant + (peak - constant) * (1 + np.cos(np.pi * p)) / 2,
      linear=peak + (constant - peak) * p,
      inverse_sqrt=peak + (constant - peak) * g(p) / g(1),
    )[shape]
  if n <= anneal_start:
    return constant
  return constant * (end / constant) ** ((n - anneal_start) / (total - anneal_start))


@pytest.mark.parametrize("shape", ["cosine", "linear", "inverse_sqrt"])
def test_infinite_is_the_papers_equation(shape):
  spec = infinite(**INFINITE, shape=shape, warmup_fraction=0.05, cooldown_fraction=0.25, anneal_fraction=0.2)
  steps = np.arange(101)
  want = [written_out(n, 5, 30, 80, 100, shape) for n in steps]
  got = values(spec, steps)
  np.testing.assert_allclose(got, want, rtol=2e-6)
  np.testing.assert_allclose(got[[0, 5, 30, 80, 100]], [0, 1.5e-4, 3.75e-5, 3.75e-5, 1.5e-5], rtol=1e-6)


def test_infinite_without_some_of_its_parts():
  steps = [0, 50, 80, 90, 100]
  later = values(infinite(**INFINITE, anneal_steps=20), steps)  # the second data set: neither warm-up nor cooldown
  np.testing.assert_allclose(later, [3.75e-5, 3.75e-5, 3.75e-5, np.sqrt(3.75 * 1.5) * 1e-5, 1.5e-5], rtol=1e-6)
  durations = dict(warmup_steps=5, cooldown_steps=25)
  endless, branch = (
    values(infinite(**INFINITE, **durations, **more), np.arange(200), total_steps=total)
    for more, total in (({}, 200), (dict(anneal_steps=20), 100))
  )
  np.testing.assert_array_equal(endless[30:], np.float32(3.75e-5))
  np.testing.assert_array_equal(endless[:81], branch[:81])  # until it anneals, a run does not know its length
  hot = values(infinite(**INFINITE, warmup_steps=10), [0, 5, 10, 100])
  np.testing.assert_allclose(hot, [0, 1.875e-5, 3.75e-5, 3.75e-5], rtol=1e-6)


@pytest.mark.parametrize("spec", [linear(0.0, 1.0, fraction=1.25), cosine(0.0, 0.3), linear(0.3, 0.0, steps=49)])
def test_compiled_schedules_do_not_leave_their_range(spec):
  schedule = jax.jit(make_schedule(spec, **RUN))
  assert abs(float(schedule(0)) - spec["start"]) < 1e-7 and float(schedule(1000)) == np.float32(spec["end"])
  assert np.all(np.asarray([schedule(s) for s in (0, 1, 124, 125)]) >= 0)


def test_zero_durations_start_at_the_end_value():
  np.testing.assert_allclose(values(linear(3.0, 5.0, steps=0), [0, 1]), 5)
  np.testing.assert_allclose(values(warmup_cosine(1.0, warmup_epochs=0), [0]), 1)


def test_the_last_steps_of_a_long_run_are_exact():
  total = 1_000_000
  steps = np.array([total - 1000, total - 10, total - 1, total])
  got = values(cosine(1.0, 0.0), steps, total_steps=total)
  want = np.sin(np.pi / 2 * (total - steps) / total) ** 2
  np.testing.assert_allclose(got, want, rtol=1e-5)
  got = values(linear(0.0, 1.0), [total // 2 + 1], total_steps=total)
  np.testing.assert_allclose(got, 0.5 + 1 / total, rtol=1e-7)


def test_schedules_live_in_configs_and_json():
  spec = warmup_cosine(1.0, warmup_epochs=2)
  config = ml_collections.ConfigDict(dict(lr=spec))
  config.lr.end = 0.5
  assert is_schedule(spec) and is_schedule(config.lr) and is_schedule(json.loads(json.dumps(spec)))
  assert not is_schedule(0.1) and not is_schedule(dict(fn="x")) and not is_schedule(None)
  np.testing.assert_allclose(values(config.lr, [0, 20, 100]), [0, 1, 0.5], rtol=1e-6)
  listed = json.loads(json.dumps(step((1.0, 0.5), boundaries_steps=(3,))))
  np.testing.assert_allclose(values(listed, [2, 3]), [1, 0.5])


@pytest.mark.parametrize(
  "spec, message",
  [
    ({"schedule": "cosin", "start": 0, "end": 1}, "'cosine'"),
    (cosine(0.0, 1.0, warmup_epoch=3), "'warmup_epochs'"),
    (linear(0.0, 1.0, epochs=3, steps=5), "exactly one of steps, epochs"),
    (linear(0.0, 1.0, steps=-5), "negative"),
    ({"schedule": "linear", "start": 0.0}, "needs 'end'"),
    (step((1.0, 0.1, 0.01), boundaries_epochs=(5,)), "3 values need"),
    (step((1.0, 0.1, 0.01), boundaries_epochs=(8, 5)), "not in order"),
    (constant(1.0, epochs=3), "unknown key 'epochs'"),
    (constant("high"), "value: 'high' is not a number"),
    (linear(0, 1, epochs="two"), "epochs: 'two' is not a number"),
    (infinite(1.0, 0.5, 0.1, warmup_steps=60, anneal_steps=50), "the run has 100"),
    (infinite(1.0, 0.5, 0.0, anneal_steps=50), "must be positive"),
    (infinite(1.0, 0.5, 0.1, shape="cosin"), "'cosine'"),
  ],
)
def test_mistakes_are_named(spec, message):
  with pytest.raises(ValueError, match=message):
    make_schedule(spec, **RUN)


def test_durations_are_read_by_prefix():
  horizon = Horizon(**RUN)
  assert horizon.steps(dict(warmup_steps=None), "warmup") is None
  assert horizon.steps(dict(until_epochs=1.5, until_steps=None), "until") == 15
  assert horizon.steps(dict(boundaries_fraction=(0.5, 0.75)), "boundaries") == (50, 75)
  with pytest.raises(ValueError, match="does not say how many steps"):
    Horizon(total_steps=10).make(linear(0.0, 1.0, epochs=2))
