"""I-JEPA's masks: counts, shapes, places, and a context apart from all targets."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.masking import multi_block_mask
from jssl.masking.multi_block import block_shapes

DRAWS = 1200
KEYS = jax.random.split(jax.random.key(0, impl="threefry2x32"), DRAWS)
PAPER = dict(scale=(0.15, 0.2), aspect=(0.75, 1.5))


@functools.cache
def draw(grid):
  out = jax.jit(jax.vmap(functools.partial(multi_block_mask, grid=grid, **PAPER)))(KEYS)
  return {name: np.asarray(x) for name, x in out.items()}


@pytest.mark.parametrize("grid, area", [((14, 14), 30), ((8, 8), 12), ((16, 16), 42), ((7, 12), 16)])
def test_counts_are_static(grid, area):
  out = draw(grid)
  kept = math.prod(grid) - 4 * area
  assert out["target"].shape == (DRAWS, 4, area) and out["context"].shape == (DRAWS, kept)
  assert out["target"].dtype == out["context"].dtype == np.int32 and out["mask"].dtype == bool
  assert np.all(out["mask"].sum(1) == math.prod(grid) - kept)
  assert not np.take_along_axis(out["mask"], out["context"], 1).any()
  for context, target in zip(out["context"], out["target"], strict=True):
    assert len(set(context)) == kept and not set(context) & set(target.ravel())


def test_targets_are_rectangles_of_every_shape_at_every_place():
  target = draw((14, 14))["target"].reshape(-1, 30)
  rows, columns = target // 14, target % 14
  top, left = rows.min(1), columns.min(1)
  heights, widths = rows.max(1) - top + 1, columns.max(1) - left + 1
  assert set(zip(heights, widths, strict=True)) == {(5, 6), (6, 5)} and abs(np.mean(heights == 5) - 0.5) < 0.03
  assert np.all(np.diff(target, axis=1) > 0)  # row by row, no patch twice
  for place, length, side in ((top, heights, 14), (left, widths, 14)):
    for long in (5, 6):
      counts = np.bincount(place[length == long], minlength=side - long + 1)
      assert len(counts) == side - long + 1
      np.testing.assert_allclose(counts / counts.sum(), 1 / len(counts), atol=0.025)


def test_blocks_are_drawn_apart():
  target = draw((14, 14))["target"][:, :, 0]
  for a, b in ((0, 1), (2, 3)):
    assert abs(np.corrcoef(target[:, a], target[:, b])[0, 1]) < 0.1


def test_the_context_may_be_anywhere_that_no_target_is():
  """Given a patch is in no target, it is in the context as often as any other such patch of the image."""
  out = draw((14, 14))
  covered = np.zeros((DRAWS, 196), bool)
  np.put_along_axis(covered, out["target"].reshape(DRAWS, -1), True, axis=1)
  seen, expected = (~out["mask"]).sum(0), (76 / (~covered).sum(1, keepdims=True) * ~covered).sum(0)
  assert np.all(np.abs(seen - expected) < 5 * np.sqrt(DRAWS) / 2)
  assert seen[-14:].min() > 0 and seen[13::14].min() > 0  # the last row and column too, unlike in the original


@pytest.mark.parametrize(
  "grid, shapes", [((14, 14), {(5, 6), (6, 5)}), ((8, 8), {(3, 4), (4, 3)}), ((16, 16), {(6, 7), (7, 6)})]
)
def test_shapes(grid, shapes):
  assert set(block_shapes(grid, *PAPER.values())) == shapes
  for rows, columns in shapes:
    assert 0.15 <= rows * columns / math.prod(grid) <= 0.2 and 0.75 <= rows / columns <= 1.5


def test_a_fixed_shape_and_jit():
  rng = KEYS[7]
  numbers = dict(targets=2, scale=(0.25, 0.25), aspect=(1.0, 1.0))
  eager = multi_block_mask(rng, (4, 4), **numbers)
  jitted = jax.jit(lambda rng: multi_block_mask(rng, grid=(4, 4), **numbers))(rng)
  jax.tree.map(np.testing.assert_array_equal, eager, jitted)
  assert eager["target"].shape == (2, 4) and jnp.all(jnp.diff(eager["target"][0]) == jnp.array([1, 3, 1]))


@pytest.mark.parametrize(
  "grid, numbers, message",
  [
    ((4, 4), dict(), "no block"),
    ((8, 8), dict(targets=6), "may leave no context"),
    ((8, 8), dict(aspect=(9.0, 10.0)), "no block"),
  ],
)
def test_errors(grid, numbers, message):
  with pytest.raises(ValueError, match=message):
    multi_block_mask(KEYS[0], grid, **numbers)
