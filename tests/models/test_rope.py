"""Rotary positions of a ViT: what they turn, what they depend on, what moves them. Whole models are in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import rope, vit

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)
SMALL = dict(image_size=16, patch_size=4, width=16, depth=1, num_heads=2, position="rope", registers=1)
KEYS = jax.random.split(jax.random.key(1), 2)
CONFIG = rope.Rope(100.0, "float32", None, None, None)


def run(images=IMAGES, numbers=None, **arrays):
  """The outputs of one network, whose weights are large enough that every part of it matters."""
  module = vit(**SMALL | (numbers or {}))
  rng = np.random.default_rng(1)
  shapes = jax.eval_shape(module.init, jax.random.key(0), IMAGES)
  variables = jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
  return jax.jit(lambda variables, arrays: module.apply(variables, images, **arrays)[1])(variables, arrays)


def test_a_rotation_by_hand():
  """Complex numbers: the pair (i, i + half) of a patch turns by 2 pi place / period, of rows first, then of columns."""
  grid, head = (2, 3), 8
  x = RNG.normal(size=(1, 1 + 6, 2, head))
  pairs = x[..., : head // 2] + 1j * x[..., head // 2 :]
  rows, columns = np.repeat([-0.5, 0.5], 3), np.tile([-2 / 3, 0, 2 / 3], 2)
  p = np.array([1.0, 10.0])
  angles = 2 * np.pi * np.concatenate([rows[:, None] / p, columns[:, None] / p], axis=1)
  turned = np.concatenate([pairs[:, :1], pairs[:, 1:] * np.exp(1j * angles)[None, :, None]], axis=1)
  found = rope.rotate(jnp.asarray(x, jnp.float32), rope.rotation(CONFIG, grid, head, prefix=1))
  np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], axis=-1), rtol=1e-5, atol=1e-5)


def test_periods_that_are_rounded():
  """Those of the files that DINOv3's authors released, of heads of width 64."""
  released = [1.0, 1.3359375, 1.78125, 2.375, 3.15625, 4.21875, 5.625, 7.5]
  released += [10.0, 13.3125, 17.75, 23.75, 31.625, 42.25, 56.25, 75.0]
  np.testing.assert_array_equal(rope.periods(100.0, 16, "bfloat16"), released)
  np.testing.assert_allclose(rope.periods(100.0, 16), 100.0 ** (np.arange(16) / 16), rtol=1e-6)


def test_patches_that_are_kept_keep_their_places():
  """An order changes nothing but the order."""
  ids = jnp.asarray([[3, 9, 5, 14], [0, 1, 2, 15]])
  found = run(ids_keep=ids)["patch_tokens"]
  back = run(ids_keep=ids[:, ::-1])["patch_tokens"][:, ::-1]
  np.testing.assert_allclose(found, back, atol=1e-5)
  everything = jnp.tile(jnp.arange(16), (2, 1))
  np.testing.assert_allclose(run(ids_keep=everything)["tokens"], run()["tokens"], atol=1e-5)


def test_positions_matter_and_any_size_will_do():
  assert np.abs(run()["patch_tokens"] - run(numbers=dict(position="none"))["patch_tokens"]).max() > 1e-3
  assert run(IMAGES[:, :8, :12])["patch_tokens"].shape == (2, 6, 16)


def test_loops_and_recomputation_give_the_same():
  moves = dict(rope_rescale=2.0, depth=2)
  looped = run(numbers=moves | dict(scan=True, remat=True), keys=KEYS)["tokens"]
  np.testing.assert_allclose(looped, run(numbers=moves, keys=KEYS)["tokens"], atol=1e-5)


def test_half_precision():
  found = run(numbers=dict(dtype="bfloat16"))["tokens"]
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, run()["tokens"], atol=0.2)


def test_moves_of_training():
  """They need keys, are an example's own, and stay within what they may."""
  moves = dict(rope_shift=0.3, rope_jitter=1.5, rope_rescale=2.0)
  np.testing.assert_array_equal(run(numbers=moves)["tokens"], run()["tokens"])
  both = run(numbers=moves, keys=KEYS)["tokens"]
  np.testing.assert_allclose(both[1:], run(IMAGES[1:], moves, keys=KEYS[1:])["tokens"], atol=1e-5)
  assert np.abs(both - run()["tokens"]).max() > 1e-3

  where = jnp.asarray(rope.places((4, 4)))
  many = jax.random.split(jax.random.key(2), 4000)
  shifts = rope.moved(where, many, CONFIG._replace(shift=0.3)) - where
  np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :1], shifts.shape), atol=1e-6)
  np.testing.assert_allclose(np.quantile(shifts[:, 0], (0, 0.5, 1), axis=0), [[-0.3] * 2, [0] * 2, [0.3] * 2], atol=0.02)
  for factor in (CONFIG._replace(jitter=1.5), CONFIG._replace(rescale=2.0)):
    logs = np.log(np.asarray(rope.moved(where, many, factor) / where)[:, 0])
    most = np.log(factor.jitter or factor.rescale)
    np.testing.assert_allclose(np.quantile(logs, (0, 0.5, 1), axis=0), [[-most] * 2, [0] * 2, [most] * 2], atol=0.05)
    together = abs(np.corrcoef(logs.T)[0, 1])
    assert together > 0.999 if factor.rescale else together < 0.1


@pytest.mark.parametrize(
  "numbers, message",
  [
    (dict(num_heads=8), "heads of a width divisible by 4, not 2"),
    (dict(rope_theta=0.0), "rope_theta must be above 0"),
    (dict(rope_dtype="float16"), "rope_dtype must be 'float32' or 'bfloat16'"),
    (dict(rope_jitter=0.5), "rope_jitter must be at least 1.0, not 0.5"),
    (dict(rope_shift=-0.5), "rope_shift must be at least 0.0"),
    (dict(position="learned", rope_shift=0.5), "rope_shift moves rotary positions: it needs position='rope'"),
    (dict(image_size=(64,), patch_size=(4,)), "position='rope' is for images"),
    (dict(mlp="relu"), "mlp must be one of gelu, swiglu, not 'relu'"),
  ],
)
def test_bad_numbers(numbers, message):
  with pytest.raises(ValueError, match=message):
    vit(**SMALL | numbers)
