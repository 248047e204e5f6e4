"""Random, cell and block masks: counts, distribution, and BEiT's loop rewritten in NumPy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import masking

KEYS = jax.random.split(jax.random.key(0, impl="threefry2x32"), 3000)


def draw(fn, grid, keys=KEYS, **numbers):
  return {k: np.asarray(v) for k, v in jax.jit(jax.vmap(functools.partial(fn, grid=grid, **numbers)))(keys).items()}


@pytest.mark.parametrize("grid, ratio", [((4, 5), 0.75), ((13,), 0.6), ((2, 3, 4), 0.5)])
def test_random_patch_mask_hides_exactly_and_uniformly(grid, ratio):
  tokens = math.prod(grid)
  kept = int(tokens * (1 - ratio))
  out = draw(masking.random_patch_mask, grid, ratio=ratio)
  assert out["mask"].dtype == bool and out["ids_keep"].dtype == out["ids_restore"].dtype == np.int32
  assert out["ids_keep"].shape == (3000, kept) and np.all(out["mask"].sum(1) == tokens - kept)
  assert np.all(np.sort(out["ids_restore"], axis=1) == np.arange(tokens))
  share = out["mask"].mean(0)
  np.testing.assert_allclose(share, 1 - kept / tokens, atol=4.5 * math.sqrt(0.25 / 3000))
  together = np.mean(out["mask"][:, 0] & out["mask"][:, 1])  # without replacement
  hidden = tokens - kept
  np.testing.assert_allclose(together, hidden * (hidden - 1) / (tokens * (tokens - 1)), atol=0.04)


def test_random_patch_mask_has_maes_semantics():
  rng = jax.random.key(3)
  out = masking.random_patch_mask(rng, (14, 14), ratio=0.75)
  noise = np.asarray(jax.random.uniform(rng, (196,)))
  shuffle = np.argsort(noise, kind="stable")
  restore = np.argsort(shuffle, kind="stable")
  np.testing.assert_array_equal(out["ids_keep"], shuffle[:49])
  np.testing.assert_array_equal(out["ids_restore"], restore)
  np.testing.assert_array_equal(out["mask"], np.r_[np.zeros(49), np.ones(147)][restore].astype(bool))
  tokens = np.arange(196) * 10
  visible_then_blank = np.r_[tokens[out["ids_keep"]], np.full(147, -1)]
  np.testing.assert_array_equal(visible_then_blank[out["ids_restore"]], np.where(out["mask"], -1, tokens))


def test_cell_mask():
  out = draw(masking.cell_mask, (14, 14), cell=2, ratio=0.6)["mask"].reshape(-1, 7, 2, 7, 2)
  cells = out[:, :, 0, :, 0]
  assert np.all(out == cells[:, :, None, :, None]) and np.all(cells.sum((1, 2)) == 30)
  np.testing.assert_allclose(cells.mean(0), 30 / 49, atol=0.045)
  line = draw(masking.cell_mask, (12,), KEYS[:9], cell=3, ratio=0.3)
  assert np.all(line["mask"].sum(1) == 6)
  for mask, keep, restore in zip(line["mask"], line["ids_keep"], line["ids_restore"], strict=True):
    visible, hidden = np.flatnonzero(~mask), np.flatnonzero(mask)
    np.testing.assert_array_equal(keep, visible)
    np.testing.assert_array_equal(np.concatenate([visible, hidden])[restore], np.arange(12))


def beit(rng, grid, count, min_block, max_block=None, aspect=(0.3, 1 / 0.3)):
  """BEiT's generator as the paper and its code describe it."""
  mask = np.zeros(grid, bool)
  while mask.sum() < count:
    remaining = min(count - mask.sum(), max_block or count)
    for _ in range(10):
      area, ratio = min_block + (remaining - min_block) * rng.random(), np.exp(rng.uniform(*np.log(aspect)))
      h, w = int(round(np.sqrt(area * ratio))), int(round(np.sqrt(area / ratio)))
      if h < grid[0] and w < grid[1]:
        top, left = rng.integers(0, grid[0] - h + 1), rng.integers(0, grid[1] - w + 1)
        fresh = h * w - mask[top : top + h, left : left + w].sum()
        if 0 < fresh <= remaining:
          mask[top : top + h, left : left + w] = True
          break
    else:
      break
  return mask.reshape(-1)


@pytest.mark.parametrize(
  "grid, numbers", [((14, 14), dict(count=75, min_block=16)), ((6, 9), dict(count=20, min_block=3, max_block=6))]
)
def test_block_mask_has_beits_distribution(grid, numbers):
  got = draw(masking.block_mask, grid, KEYS[:1500], **numbers)["mask"]
  rng = np.random.default_rng(0)
  expected = np.array([beit(rng, grid, **numbers) for _ in range(1500)])
  assert got.sum(1).max() <= numbers["count"]

  def borders(masks):  # changes between neighbours: the size of the blocks
    masks = masks.reshape(-1, *grid)
    return (masks[:, 1:] != masks[:, :-1]).sum((1, 2)) + (masks[:, :, 1:] != masks[:, :, :-1]).sum((1, 2))

  for measure in (lambda m: m.sum(1), borders):
    a, b = measure(got), measure(expected)
    values = np.arange(max(a.max(), b.max()) + 1)
    distance = np.abs((a[:, None] <= values).mean(0) - (b[:, None] <= values).mean(0)).max()
    assert distance < 0.071  # the 0.1 % point of the two-sample Kolmogorov-Smirnov statistic
  np.testing.assert_allclose(got.mean(0), expected.mean(0), atol=0.085)


def test_exact_block_mask_tops_up_the_same_blocks():
  loose = draw(masking.block_mask, (14, 14), KEYS[:300], ratio=0.4, min_block=16)["mask"]
  out = draw(masking.block_mask, (14, 14), KEYS[:300], ratio=0.4, min_block=16, exact=True)
  assert np.all(out["mask"].sum(1) == 78) and out["ids_keep"].shape == (300, 118)
  assert np.all(out["mask"] >= loose) and np.any(loose.sum(1) < 78)
  np.testing.assert_array_equal(np.take_along_axis(out["mask"], out["ids_keep"], 1), False)
  np.testing.assert_array_equal(out["mask"], out["ids_restore"] >= 118)


def test_ibot_masks_half_of_the_images_by_a_uniform_ratio():
  masks = draw(masking.block_mask, (14, 14), KEYS[:1500], ratio=(0.1, 0.5), min_block=16, prob=0.5)["mask"]
  hidden = masks.sum(1)
  assert abs(np.mean(hidden == 0) - 0.5) < 0.05
  some = hidden[hidden > 0]
  assert some.max() <= 98 and 50 < some.mean() < 59 and np.mean(some < 40) > 0.15


def stratified(rng, crops, **numbers):
  return masking.stratified_block_mask(rng, [crops, crops], grid=(14, 14), ratio=(0.1, 0.5), min_block=4, **numbers)


def test_stratified_masks_cover_the_range_of_ratios_in_every_batch():
  crops = jnp.zeros((16, 1))
  masks = jax.jit(jax.vmap(lambda rng: jnp.stack(stratified(rng, crops))))(KEYS[:50])
  hidden = np.asarray(masks.sum(-1))  # draws, views, examples
  ordered = np.sort(hidden.reshape(50, 32), axis=1)
  assert np.all(ordered[:, :16] == 0) and np.all(ordered[:, 16:] > 0)
  # Crop k aims at a share in slice k of (0.1, 0.5), and falls short only where no block fits any more.
  edges = 196 * (0.1 + 0.4 * np.arange(17) / 16)
  assert np.all(ordered[:, 16:] <= edges[1:]) and np.mean(ordered[:, 16:] > edges[:-1] - 6) > 0.95
  # Any crop of either view may be masked, as strongly as any other.
  np.testing.assert_allclose((hidden > 0).mean(0), 0.5, atol=4.5 * math.sqrt(0.25 / 50))
  np.testing.assert_allclose(hidden.mean((0, 2)), 196 * 0.3 / 2, rtol=0.1)


def test_stratified_masks_do_not_depend_on_the_split():
  crops = jnp.zeros((8, 1))
  want = jax.jit(lambda crops: stratified(KEYS[0], crops, prob=0.7))(crops)
  shard = jax.vmap(lambda crops: stratified(KEYS[0], crops, prob=0.7, axis_name="batch"), axis_name="batch")
  got = jax.jit(shard)(crops.reshape(4, 2, 1))
  for a, b in zip(got, want, strict=True):
    np.testing.assert_array_equal(a.reshape(b.shape), b)
  assert np.sum(np.any(np.concatenate(want), axis=1)) == int(16 * 0.7)


def test_jit_equals_eager():
  rng = KEYS[5]
  for fn, numbers in (
    (masking.random_patch_mask, dict(ratio=0.5)),
    (masking.cell_mask, dict(cell=2, ratio=0.5)),
    (masking.block_mask, dict(count=20, min_block=4, exact=True)),
  ):
    jitted = jax.jit(functools.partial(fn, grid=(8, 8), **numbers))(rng)
    jax.tree.map(np.testing.assert_array_equal, jitted, fn(rng, (8, 8), **numbers))


@pytest.mark.parametrize(
  "call",
  [
    lambda: masking.random_patch_mask(KEYS[0], (4, 4), ratio=0.0),
    lambda: masking.random_patch_mask(KEYS[0], (4, 4), ratio=1.0),
    lambda: masking.random_patch_mask(KEYS[0], (2, 2), ratio=0.8),
    lambda: masking.cell_mask(KEYS[0], (14, 15), cell=2, ratio=0.5),
    lambda: masking.cell_mask(KEYS[0], (4, 4), cell=2, ratio=0.9),
    lambda: masking.cell_mask(KEYS[0], (4, 4), cell=2, ratio=0.0),
    lambda: masking.block_mask(KEYS[0], (8,), count=3, min_block=2),
    lambda: masking.block_mask(KEYS[0], (8, 8), min_block=2),
    lambda: masking.block_mask(KEYS[0], (8, 8), count=8, ratio=0.2, min_block=2),
    lambda: masking.block_mask(KEYS[0], (8, 8), count=64, min_block=2),
    lambda: masking.block_mask(KEYS[0], (8, 8), ratio=0.001, min_block=1),
    lambda: masking.block_mask(KEYS[0], (8, 8), count=8, min_block=9),
    lambda: masking.block_mask(KEYS[0], (1, 8), count=4, min_block=1),
    lambda: masking.block_mask(KEYS[0], (8, 8), count=8, min_block=4, aspect=(0, 1)),
    lambda: masking.block_mask(KEYS[0], (8, 8), count=8, min_block=4, prob=1.5),
    lambda: masking.block_mask(KEYS[0], (8, 8), ratio=(0.1, 0.5), min_block=4, exact=True),
    lambda: masking.block_mask(KEYS[0], (8, 8), count=8, min_block=4, prob=0.5, exact=True),
    lambda: stratified(KEYS[0], jnp.zeros((2, 1)), prob=0.0),
    lambda: masking.stratified_block_mask(KEYS[0], [jnp.zeros(2)], grid=(4, 4), ratio=(0.1, 0.5), min_block=9),
    lambda: masking.stratified_block_mask(KEYS[0], [jnp.zeros(2)], grid=(4, 4), ratio=(0.5, 0.1), min_block=2),
  ],
)
def test_errors_are_one_line(call):
  with pytest.raises(ValueError) as error:
    call()
  assert "\n" not in str(error.value)


def test_a_bad_number_is_found_while_tracing():
  with pytest.raises(ValueError, match="ratio=0.0"):
    jax.eval_shape(lambda rng: masking.random_patch_mask(rng, (4, 4), ratio=0.0), KEYS[0])


def test_keys_of_the_config_reach_the_grid_by_keyword():
  assert masking.random_patch_mask(KEYS[0], grid=(4, 4), ratio=0.5)["mask"].shape == (16,)
  assert jnp.issubdtype(masking.cell_mask(KEYS[0], grid=(4, 4), cell=2, ratio=0.5)["mask"].dtype, jnp.bool_)
