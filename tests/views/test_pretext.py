"""Views with a label: turns, pairs of tiles, grey and colour, and mixtures of two views."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import views
from jssl.views import pretext

KEYS = jax.random.split(jax.random.key(0, impl="threefry2x32"), 400)


def test_turns_are_numpys():
  image = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 5, 3)), jnp.float32)
  for k in range(4):
    out = views.rotate(None, image, turns=k)
    np.testing.assert_array_equal(out["image"], np.rot90(image, k))
    assert out["label"] == k and out["label"].dtype == jnp.int32
  drawn = jax.jit(jax.vmap(lambda key: views.rotate(key, image)))(KEYS)
  labels = np.asarray(drawn["label"])
  assert np.all(np.bincount(labels, minlength=4) > 60)  # of 400; 100 are expected
  for turned, label in zip(drawn["image"][:20], labels[:20], strict=True):
    np.testing.assert_array_equal(turned, np.rot90(image, label))
  with pytest.raises(ValueError, match="square"):
    views.rotate(None, image[:4], turns=1)


def tiles(image, **numbers):
  numbers = dict(size=4, gap=4, jitter=0, scale=(1.0, 1.0), ratio=(1.0, 1.0), mean=0.0, std=1.0) | numbers
  out = jax.jit(jax.vmap(lambda key: views.tile_pair(key, image, **numbers)))(KEYS)
  return {name: np.asarray(x) for name, x in out.items()}


def test_tiles_lie_in_the_cells_that_their_label_names():
  rows, columns = jnp.mgrid[:24, :24] / 32.0
  image = jnp.stack([rows, columns, jnp.zeros_like(rows)], axis=-1)  # each pixel says where it is
  out = tiles(image)
  offset = 32 * (out["second"] - out["first"])[:, 0, 0, :2]
  np.testing.assert_allclose(offset, 8 * pretext.NEIGHBORS[out["label"]], atol=1e-3)
  np.testing.assert_allclose(32 * out["first"][:, 0, 0, :2], 10, atol=1e-3)
  counts = np.bincount(out["label"], minlength=8)
  assert counts.min() > 25 and len(counts) == 8  # of 400; 50 are expected


def test_jitter_moves_both_tiles_within_their_cells():
  rows, columns = jnp.mgrid[:24, :24] / 32.0
  out = tiles(jnp.stack([rows, columns, jnp.zeros_like(rows)], axis=-1), jitter=2)
  first = np.round(32 * out["first"][:, 0, 0, :2]).astype(int)
  shift = np.round(32 * (out["second"] - out["first"])[:, 0, 0, :2]).astype(int) - 8 * pretext.NEIGHBORS[out["label"]]
  assert set(first.ravel()) == set(range(8, 13))
  assert shift.min() == -4 and shift.max() == 4
  with pytest.raises(ValueError, match="half of gap"):
    tiles(jnp.zeros((24, 24, 3)), jitter=3)


def test_both_tiles_are_grey_or_neither_is():
  out = tiles(jnp.asarray(np.random.default_rng(1).uniform(size=(24, 24, 3)), jnp.float32), grayscale=0.66)
  first, second = (np.ptp(out[name], axis=-1).max((1, 2)) < 1e-6 for name in ("first", "second"))
  np.testing.assert_array_equal(first, second)
  assert abs(first.mean() - 0.66) < 0.08


def test_orders_by_brute_force():
  """Each is, of those that are left, the first of those whose distances to the ones before are largest: sum, then least."""
  found = [tuple(row) for row in views.hamming_permutations(24, 4)]
  assert found[0] == (0, 1, 2, 3) and len(set(found)) == 24
  for i in range(1, 24):
    distances = lambda p, before=found[:i]: [sum(a != b for a, b in zip(p, q, strict=True)) for q in before]
    left = [p for p in itertools.permutations(range(4)) if p not in found[:i]]
    assert found[i] == max(left, key=lambda p: (sum(distances(p)), min(distances(p))))  # the first of equals
  with pytest.raises(ValueError, match="count=25 must lie between 1 and 24"):
    views.hamming_permutations(25, 4)


def test_orders_of_nine_tiles():
  found = views.hamming_permutations(100)
  assert all(sorted(column) == list(range(9)) for column in found[:9].T)  # a Latin square: nowhere the same
  counts = [np.bincount(column, minlength=9) for column in found.T]
  assert np.min(counts) >= 10 and np.max(counts) <= 13  # of 100 / 9: each tile everywhere as often as any other


def test_a_puzzle_is_the_image_when_its_tiles_are_put_back():
  rows, columns = jnp.mgrid[:24, :24] / 32.0
  image = jnp.stack([rows, columns, jnp.zeros_like(rows)], axis=-1)  # each pixel says where it is
  numbers = dict(permutations=12, size=4, gap=4, jitter=2, scale=(1.0, 1.0), ratio=(1.0, 1.0), mean=0.0, std=1.0)
  out = jax.jit(jax.vmap(lambda key: views.jigsaw_tiles(key, image, **numbers)))(KEYS[:200])
  assert np.bincount(out["label"], minlength=12).min() > 5 and out["label"].max() == 11  # of 200; 17 are expected
  orders = views.hamming_permutations(12)[out["label"]]
  for place in range(9):
    corner = np.round(32 * out[str(place)][:, 0, 0, :2]).astype(int)
    shown = orders[:, place]
    moved = corner - 8 * np.stack([shown // 3, shown % 3], axis=-1) - 2
    assert moved.min() == -2 and moved.max() == 2
    np.testing.assert_allclose(32 * (out[str(place)][:, 3, 3, :2] - out[str(place)][:, 0, 0, :2]), 3, atol=1e-3)
  with pytest.raises(ValueError, match="jigsaw_tiles: jitter=3 must lie between 0 and half of gap=4"):
    jax.eval_shape(lambda key: views.jigsaw_tiles(key, image, **numbers | dict(jitter=3)), KEYS[0])


def test_windows_of_one_crop():
  rows, columns = jnp.mgrid[:12, :12] / 16.0
  image = jnp.stack([rows, columns, jnp.zeros_like(rows)], axis=-1)  # each pixel says where it is
  numbers = dict(size=8, shift=4, scale=(1.0, 1.0), ratio=(1.0, 1.0))
  out = jax.jit(jax.vmap(lambda key: views.shifted_pair(key, image, **numbers)))(KEYS)
  first, second = (np.round(16 * out[name][..., :2]).astype(int) for name in ("first", "second"))
  flipped = first[:, 0, 0, 1] == 11
  assert 150 < flipped.sum() < 250 and np.all(first[~flipped] == np.mgrid[:8, :8].transpose(1, 2, 0))
  shift = second - first
  assert np.all(shift == shift[:, :1, :1])  # the whole window
  shift = shift[:, 0, 0] * np.where(flipped, -1, 1)[:, None] ** np.array([0, 1])
  counts = np.bincount(5 * shift[:, 0] + shift[:, 1], minlength=25)
  assert shift.min() == 0 and shift.max() == 4 and counts.min() > 2  # of 400; 16 are expected
  for wrong in (dict(size=0), dict(shift=-1)):
    with pytest.raises(ValueError, match=f"shifted_pair: {next(iter(wrong))}"):
      views.shifted_pair(KEYS[0], image, **numbers | wrong)


# The usual values, as in scikit-image; the last is dark enough to lie on the straight parts of both curves.
@pytest.mark.parametrize(
  "rgb, want",
  [
    ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
    ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
    ((0.0, 1.0, 0.0), (87.73, -86.18, 83.18)),
    ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
    ((0.5, 0.5, 0.5), (53.39, 0.0, 0.0)),
    ((0.02, 0.01, 0.03), (0.95, 1.38, -1.69)),
  ],
)
def test_lab(rgb, want):
  np.testing.assert_allclose(views.rgb_to_lab(jnp.array(rgb)), want, atol=0.03)
  np.testing.assert_allclose(views.rgb_to_lab(np.array(rgb)), want, atol=0.03)


def test_lab_has_finite_gradients():
  gradient = jax.grad(lambda x: views.rgb_to_lab(x).sum())(jnp.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.01]]))
  assert np.all(np.isfinite(gradient))


def test_grey_and_colour_are_apart():
  image = jnp.asarray(np.random.default_rng(2).uniform(size=(3, 4, 3)), jnp.float32)
  out = views.split_lab(None, image, mean=0.5, std=0.25)
  whole = views.rgb_to_lab(image)
  np.testing.assert_allclose(out["grey"][..., 1], (whole[..., 0] / 100 - 0.5) / 0.25, rtol=1e-5)
  assert np.ptp(out["grey"], axis=-1).max() == 0
  np.testing.assert_array_equal(out["ab"], whole[..., 1:])


def test_pairs_are_mixed_as_their_share_and_partner_say():
  a, b = (jnp.asarray(np.random.default_rng(s).normal(size=(8, 3, 3, 2)), jnp.float32) for s in (0, 1))
  mix = jax.jit(functools.partial(views.mix_pairs, KEYS[0]))
  out = mix(a, b)
  assert np.ptp(out["lam"]) == 0 and sorted(out["perm"].tolist()) == list(range(8))
  share = out["lam"][0]
  np.testing.assert_allclose(out["image"], share * a + (1 - share) * b[out["perm"]], atol=1e-6)
  shares = jax.jit(jax.vmap(lambda key: views.mix_pairs(key, a[:2, :1, :1], b[:2, :1, :1])["lam"][0]))(KEYS)
  assert abs(np.mean(shares) - 0.5) < 0.06 and abs(np.var(shares) - 1 / 12) < 0.02  # uniform
  split = jax.jit(jax.vmap(functools.partial(views.mix_pairs, KEYS[0], axis_name="batch"), axis_name="batch"))(
    a.reshape(4, 2, 3, 3, 2), b.reshape(4, 2, 3, 3, 2)
  )
  for name in out:
    np.testing.assert_allclose(split[name].reshape(out[name].shape), out[name], atol=1e-6)
