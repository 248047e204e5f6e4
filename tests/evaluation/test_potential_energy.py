"""The descent of potential energy against its written form, pair by pair, and on classes whose motion is known."""

import numpy as np
import pytest

from jssl.evaluation.transferability import logme_score, potential_energy_descent

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2, 3], (12, 8, 10, 6))
FEATURES = RNG.normal(size=(4, 5))[LABELS] + RNG.normal(size=(36, 5)) * np.array([2.0, 1.0, 1.0, 0.5, 0.0])
FEATURES = FEATURES * np.array([1.0, 1.0, 1.0, 1.0, 1e-3]) + 3.0  # the last one is below the least scale
REFERENCE = RNG.normal(size=(40, 5)) * np.array([3.0, 1.0, 0.5, 0.2, 0.0]) - 1.0
UNIT = np.array([[1.0, 1.0], [-1.0, -1.0]])  # a standard deviation of 1


def balls(apart: float):
  """Two classes around (0, 0) and (apart, 0), each with a sum of variances of 4, so that R is 2."""
  corners = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
  return np.concatenate([corners, corners + [apart, 0.0]]), np.repeat([0, 1], 4)


def written(x, y, reference, *, time, radius, steps):
  """All steps, sample by sample and pair by pair."""
  mean, sd = reference.mean(0), np.maximum(reference.std(0), 1e-3)
  for _ in range(steps):
    z = (x - mean) / sd
    means = [z[y == c].mean(0) for c in range(4)]
    radii = [np.sqrt(z[y == c].var(0).sum()) for c in range(4)]
    motion = np.zeros((4, x.shape[1]))
    for a in range(4):
      for b in range(4):
        if a != b:
          distance = np.linalg.norm(means[a] - means[b])
          force = max(radius * (radii[a] + radii[b]) - distance, 0)
          motion[a] += min(0.5 * time**2 * force, force) * (means[a] - means[b]) / distance
    x = (z + motion[y]) * sd + mean
  return x


@pytest.mark.parametrize("time", [0.1, 1.0, 2.0])
def test_equals_the_written_form(time):
  numbers = dict(time=time, radius=0.9)
  found = potential_energy_descent(FEATURES, LABELS, REFERENCE, exit_ratio=1e-9, max_steps=3, **numbers)
  expected = written(FEATURES, LABELS, REFERENCE, steps=found.steps, **numbers)
  assert found.steps >= 1 and found.shift > 0
  np.testing.assert_allclose(found.features, expected, rtol=1e-9, atol=1e-9)
  np.testing.assert_allclose(found.features - FEATURES, (found.displacement * found.scale)[LABELS], atol=1e-9)


def test_two_balls():
  """An overlap of 0.6 (2 + 2) - 1 = 1.4, half a percent of which is 0.007."""
  features, labels = balls(1.0)
  found = potential_energy_descent(features, labels, UNIT, max_steps=1)
  np.testing.assert_allclose(found.displacement, [[-0.007, 0.0], [0.007, 0.0]], atol=1e-12)
  assert found.energies == pytest.approx((0.014,)) and found.shift == pytest.approx(0.007)
  # Six steps, each of a percent less: the overlap shrinks by 1 % a step.
  six = potential_energy_descent(features, labels, UNIT)
  assert six.steps == 6 and six.energies == pytest.approx([0.014 * 0.99**k for k in range(6)])
  whole = potential_energy_descent(features, labels, UNIT, time=10.0, max_steps=1)
  np.testing.assert_allclose(whole.displacement, [[-1.4, 0.0], [1.4, 0.0]])  # at most the overlap


def test_balls_that_do_not_overlap_stay():
  features, labels = balls(9.0)
  found = potential_energy_descent(features, labels, UNIT)
  assert found.steps == 0 and found.shift == 0 and found.energies == (0.0,)
  np.testing.assert_array_equal(found.features, features)
  assert logme_score(found.features, labels) == logme_score(features, labels)


def test_a_step_that_is_small_beside_the_first_is_not_made():
  """A push of 0.3 of the overlap, each way: it leaves 0.4 of it, and the second energy is 0.4 of the first."""
  features, labels = balls(1.0)
  numbers = dict(time=np.sqrt(0.6))
  assert potential_energy_descent(features, labels, UNIT, exit_ratio=0.41, **numbers).steps == 1
  assert potential_energy_descent(features, labels, UNIT, exit_ratio=0.39, **numbers).steps == 2


def test_the_reference_gives_scales_alone():
  moved = potential_energy_descent(FEATURES, LABELS, REFERENCE + 100.0)
  np.testing.assert_allclose(moved.features, potential_energy_descent(FEATURES, LABELS, REFERENCE).features, rtol=1e-9)
  factor = np.array([10.0, 1.0, 1.0, 0.1, 1.0])
  scaled = potential_energy_descent(FEATURES * factor, LABELS, REFERENCE * factor)
  np.testing.assert_allclose(scaled.displacement, potential_energy_descent(FEATURES, LABELS, REFERENCE).displacement)


def test_energy_falls():
  """The overlap that is left, and the sum of all pushes, fall from step to step."""
  found = [potential_energy_descent(FEATURES, LABELS, REFERENCE, time=0.5, exit_ratio=0.01, max_steps=n) for n in (1, 3, 6)]
  shifts = [one.shift for one in found]
  assert shifts == sorted(shifts) and found[2].energies[:3] == found[1].energies
  assert list(found[2].energies) == sorted(found[2].energies, reverse=True)


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(labels=np.arange(36) // 2 * 2 + (np.arange(36) == 35)), "ped: class 34 has 1 of the 2 examples"),
    (dict(features=np.tile(FEATURES[:18], (2, 1)), labels=np.repeat([0, 1], 18)), "two classes have the same mean"),
    (dict(reference=REFERENCE[:, :4]), r"reference must be finite features \[m, 5\], m >= 2; found \[40, 4\]"),
    (dict(reference=np.full((4, 5), np.nan)), "must be finite"),
    (dict(time=0.0), "give numbers above 0"),
    (dict(exit_ratio=1.0), "a ratio below 1"),
    (dict(max_steps=0), "max_steps=0"),
  ],
)
def test_what_cannot_be_moved_is_told(changes, message):
  with pytest.raises(ValueError, match=message):
    potential_energy_descent(**dict(features=FEATURES, labels=LABELS, reference=REFERENCE) | changes)
