"""mixup and CutMix against their definitions, and the distribution of what they draw."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import views

KINDS = [(views.mixup, False), (views.mixup, True), (views.cutmix, False), (views.cutmix, True)]


def make_images(number=8, height=10, width=12):
  """Image i is everywhere i + 1."""
  return jnp.broadcast_to(1.0 + jnp.arange(number)[:, None, None, None], (number, height, width, 2))


@functools.cache
def drawn(fn, per_example, alpha=1.0, number=400):
  keys = jax.random.split(jax.random.key(0), number)
  mix = jax.jit(jax.vmap(lambda key: fn(key, make_images(), alpha=alpha, per_example=per_example)))
  return {name: np.asarray(x, np.float64 if name != "perm" else int) for name, x in mix(keys).items()}


@pytest.mark.parametrize("fn, per_example", KINDS)
def test_the_mean_of_a_mixture_is_that_of_the_two_images(fn, per_example):
  out = drawn(fn, per_example)
  own, partner = np.arange(8) + 1, out["perm"] + 1
  want = out["lam"] * own + (1 - out["lam"]) * partner
  np.testing.assert_allclose(out["image"].mean((2, 3, 4)), want, atol=1e-5)
  assert np.all(np.sort(out["perm"], axis=1) == np.arange(8))
  assert abs(np.mean(out["perm"] == np.arange(8)) - 1 / 8) < 0.03
  assert np.all(out["lam"] == out["lam"][:, :1]) == (not per_example)


def test_mixup_blends_every_pixel_alike():
  out = drawn(views.mixup, True)
  assert np.all(out["image"] == out["image"][:, :, :1, :1, :1])


@pytest.mark.parametrize("per_example", [False, True])
def test_cutmix_pastes_one_box(per_example):
  out = drawn(views.cutmix, per_example)
  own = np.arange(8)[:, None, None] + 1
  pasted = (out["image"][..., 0] != own) | (out["perm"] == np.arange(8))[..., None, None]
  moved = out["perm"] != np.arange(8)
  rows, columns = pasted.any(-1), pasted.any(-2)
  np.testing.assert_array_equal(pasted[moved], (rows[..., None] & columns[..., None, :])[moved])
  for edges in (rows, columns):  # connected: at most two changes along an axis
    assert np.all(np.abs(np.diff(edges[moved].astype(int), axis=-1)).sum(-1) <= 2)
  np.testing.assert_allclose(pasted.mean((-1, -2))[moved], 1 - out["lam"][moved], atol=1e-6)


def test_cutmix_boxes_have_the_sides_and_centres_of_the_authors_code():
  """A CutMix of the corners: how often each pixel is covered, against a simulation in NumPy."""
  rng = np.random.default_rng(0)
  covered = np.zeros((10, 12))
  for _ in range(20000):
    cut = np.sqrt(1 - rng.beta(1, 1))
    height, width = int(10 * cut), int(12 * cut)
    y, x = rng.integers(10), rng.integers(12)
    covered[max(y - height // 2, 0) : y + height // 2, max(x - width // 2, 0) : x + width // 2] += 1 / 20000
  out = drawn(views.cutmix, True)
  moved = out["perm"] != np.arange(8)
  pasted = (out["image"][..., 0] != np.arange(8)[:, None, None] + 1)[moved]
  np.testing.assert_allclose(pasted.mean(0), covered, atol=0.05)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_beta(alpha):
  shares = drawn(views.mixup, True, alpha)["lam"].reshape(-1)
  assert shares.min() >= 0 and shares.max() <= 1
  assert abs(shares.mean() - 0.5) < 0.03
  assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


@pytest.mark.slow
@pytest.mark.parametrize("fn, per_example", KINDS)
def test_mixtures_do_not_depend_on_the_split(fn, per_example):
  images = jax.random.uniform(jax.random.key(1), (8, 6, 5, 3))
  mix = functools.partial(fn, jax.random.key(7), alpha=1.0, per_example=per_example)
  shards = jax.vmap(functools.partial(mix, axis_name="devices"), axis_name="devices")(images.reshape(4, 2, 6, 5, 3))
  for name, whole in mix(images).items():
    np.testing.assert_allclose(shards[name].reshape(whole.shape), whole, atol=1e-6, err_msg=name)


def test_mixup_takes_any_arrays_and_keeps_their_dtype():
  rows = jnp.arange(4.0, dtype=jnp.bfloat16)[:, None]
  out = views.mixup(jax.random.key(0), rows, alpha=0.4)
  assert out["image"].dtype == jnp.bfloat16 and out["lam"].dtype == jnp.float32 and out["perm"].dtype == jnp.int32


def test_errors():
  for fn in (views.mixup, views.cutmix):
    with pytest.raises(ValueError, match="alpha > 0"):
      fn(jax.random.key(0), make_images(2), alpha=0.0)
