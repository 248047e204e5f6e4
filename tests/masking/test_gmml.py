"""GMML against the authors' loop rewritten in NumPy, and alien content under a split batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import masking
from jssl.masking import gmml

KEYS = jax.random.split(jax.random.key(0, impl="threefry2x32"), 400)


def paste(blocks, shape, pixels):
  """The loop over given candidates: the union of the first blocks that reach `pixels`."""
  mask = np.zeros(shape, bool)
  for top, left, height, width in blocks:
    if mask.sum() >= pixels:
      break
    mask[top : top + height, left : left + width] = True
  return mask


def candidate(rng, shape, align, block_max):
  """One block as the authors draw it."""

  def along(side):
    start = rng.integers(0, side - align) // align * align
    length = min(rng.integers(align, int(block_max * side)), side - start)
    return start, round(length / align) * align

  (top, height), (left, width) = along(shape[0]), along(shape[1])
  return top, left, height, width


def corrupt(number, image, **numbers):
  out = jax.jit(jax.vmap(functools.partial(masking.gmml_corrupt, **numbers), (0, None)))(KEYS[:number], image)
  return np.asarray(out["image"]), np.asarray(out["mask"])


@pytest.mark.parametrize(
  "shape, align, number, pixels",
  [((20, 33), 1, 160, 400.5), ((32, 32), 4, 70, 512.0), ((16, 16), 1, 5, 250.0), ((20, 20), 1, 33, 1.0)],
)
def test_given_the_blocks_the_mask_is_the_loops(shape, align, number, pixels):
  def mask_of(key):
    blocks = gmml.draw_blocks(key, shape, align=align, max_blocks=number)
    return jnp.stack(blocks, axis=1), gmml.cover_until(gmml.first_cover(blocks, shape), number, pixels)

  for blocks, mask in zip(*map(np.asarray, jax.jit(jax.vmap(mask_of))(KEYS[:20])), strict=True):
    np.testing.assert_array_equal(mask, paste(blocks, shape, pixels))


@pytest.mark.parametrize("shape, align", [((20, 33), 1), ((32, 48), 4), ((30, 30), 4)])
def test_blocks_have_the_authors_distribution(shape, align):
  rng = np.random.default_rng(0)
  expected = np.array([candidate(rng, shape, align, 0.3) for _ in range(8000)])
  got = np.stack(gmml.draw_blocks(KEYS[0], shape, align=align, max_blocks=8000), axis=1)
  assert np.all(got % align == 0) and got[:, 2:].min() == align
  for column in range(4):
    values = np.arange(50)
    distance = np.abs((got[:, column, None] <= values).mean(0) - (expected[:, column, None] <= values).mean(0)).max()
    assert distance < 0.031  # the 0.1 % point of the two-sample Kolmogorov-Smirnov statistic
  union = gmml.expected_cover(shape, align, 0.3, 20)
  sample = np.mean([paste(expected[20 * i : 20 * i + 20], shape, np.inf).mean() for i in range(400)])
  assert abs(union - sample) < 0.02


def test_area_is_fixed_up_to_one_half_and_uniform_above():
  image = jnp.ones((32, 32, 1))
  covered = corrupt(400, image, area=0.4)[1].mean((1, 2))
  assert covered.min() >= 0.4 and covered.max() < 0.4 + (8 / 32) ** 2  # less than one block too many
  covered = corrupt(400, image, area=0.75)[1].mean((1, 2))
  assert covered.min() >= 0.5 and covered.max() > 0.73 and abs(covered.mean() - 0.635) < 0.02


def test_single_squares_are_random_patches():
  """Every patch is hidden as a whole or not at all, all as often, and as many as the area asks for."""
  image = jax.random.uniform(jax.random.key(1), (16, 24, 1)) + 5
  out, mask = corrupt(400, image, area=0.3, fill="noise", align=4, block_max=None)
  patches = mask.reshape(400, 4, 4, 6, 4).transpose(0, 1, 3, 2, 4).reshape(400, 24, 16)
  hidden = patches.all(2)
  np.testing.assert_array_equal(hidden, patches.any(2))
  np.testing.assert_array_equal(hidden.sum(1), 8)  # 0.3 of 24 are 7.2
  often = hidden.mean(0)  # of 400 draws with 1/3: a standard error of 0.024
  assert abs(often - 1 / 3).max() < 0.09
  # Drawn without replacement, a patch beside a hidden one is hidden in 7 of 23 cases.
  assert abs((hidden[:, :-1] & hidden[:, 1:]).mean() - 8 / 24 * 7 / 23) < 0.02
  np.testing.assert_array_equal(out[~mask], np.broadcast_to(image, out.shape)[~mask])
  covered = corrupt(400, image, area=0.75, align=4, block_max=None)[1].mean((1, 2))
  assert covered.min() >= 0.5 and covered.max() <= 0.75 and abs(covered.mean() - 0.645) < 0.02


def test_aliens_come_in_single_squares():
  clean, corrupted, mask = make_batch(16)
  replace = functools.partial(masking.alien_replace, area=0.3, prob=1.0, align=5, block_max=None)
  out = jax.jit(replace)(KEYS[0], clean, corrupted, mask)
  cells = np.asarray(out["mask"]).reshape(16, 4, 5, 4, 5)
  np.testing.assert_array_equal(cells.all((2, 4)), cells.any((2, 4)))
  np.testing.assert_array_equal(cells.all((2, 4)).sum((1, 2)), 5)  # 0.3 of 16 are 4.8
  np.testing.assert_array_equal(np.asarray(out["image"])[~out["mask"]], np.asarray(clean)[~out["mask"]])


def test_zeros_and_noise_fill_the_mask_only():
  image = jax.random.uniform(jax.random.key(1), (20, 24, 3)) + 1
  zeros, mask = corrupt(20, image, area=0.5)
  np.testing.assert_array_equal(zeros, np.where(mask[..., None], 0, image))
  noise, mask = corrupt(50, image, area=0.5, fill="noise")
  np.testing.assert_array_equal(noise[~mask], np.broadcast_to(image, noise.shape)[~mask])
  hidden = noise[mask]
  assert abs(hidden.mean()) < 0.02 and abs(hidden.std() - 1) < 0.02
  assert np.unique(hidden).size > 0.98 * hidden.size  # drawn for each pixel and channel


def test_self_copies_whole_blocks_of_the_image():
  image = jnp.arange(24 * 24, dtype=jnp.float32).reshape(24, 24, 1)  # every pixel tells where it came from
  out, mask = corrupt(10, image, area=0.5, fill="self", align=4)
  position = np.arange(24 * 24).reshape(24, 24)
  for copy, hidden in zip(out[..., 0].astype(int), mask, strict=True):
    np.testing.assert_array_equal(copy[~hidden], position[~hidden])
    shift = (copy // 24 - position // 24, copy % 24 - position % 24)
    for part in shift:  # all pixels of an aligned cell move together, by multiples of the alignment
      cells = part.reshape(6, 4, 6, 4).transpose(0, 2, 1, 3).reshape(36, 16)
      assert np.all(cells == cells[:, :1]) and np.all(part % 4 == 0)
    assert np.mean(copy[hidden] != position[hidden]) > 0.5


def test_a_tuple_of_fills_draws_one_an_image():
  image = jnp.full((20, 20, 1), 3.0)
  out, mask = corrupt(300, image, area=0.4, fill=("zeros", "noise", "self"))
  kinds = [np.unique(o[m]).tolist() for o, m in zip(out, mask, strict=True)]
  counts = np.array([kinds.count([0.0]), kinds.count([3.0]), sum(len(k) > 10 for k in kinds)])
  assert counts.sum() == 300 and counts.min() > 70


def test_alignment_hides_whole_patches():
  _, mask = corrupt(30, jnp.ones((32, 32, 3)), area=0.6, align=4)
  whole, touched = (masking.pixel_to_patch_mask(mask, patch=4, min_hidden=share) for share in (1.0, 1 / 16))
  np.testing.assert_array_equal(whole, touched)


def test_pixel_to_patch_mask():
  mask = np.zeros((4, 6), bool)
  mask[:2, :2] = mask[0, 2] = mask[2:, 4] = True
  np.testing.assert_array_equal(masking.pixel_to_patch_mask(mask, patch=2), [1, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(masking.pixel_to_patch_mask(mask, patch=2, min_hidden=0.5), [1, 0, 0, 0, 0, 1])
  np.testing.assert_array_equal(masking.pixel_to_patch_mask(mask[None], patch=2, min_hidden=0.25), [[1, 1, 0, 0, 0, 1]])


def make_batch(number=8):
  clean = jnp.broadcast_to(jnp.arange(1.0, number + 1)[:, None, None, None], (number, 20, 20, 2))
  return clean, jnp.zeros_like(clean), jnp.ones(clean.shape[:3], bool)


def test_aliens_are_same_place_blocks_of_one_image_of_the_batch():
  clean, corrupted, mask = make_batch()
  out = jax.jit(jax.vmap(masking.alien_replace, (0, None, None, None)))(KEYS[:80], clean, corrupted, mask)
  partners = []
  for i, image, hidden in zip(
    np.tile(np.arange(8), 80), *(np.asarray(out[k]).reshape(640, *out[k].shape[2:]) for k in ("image", "mask")), strict=True
  ):
    if hidden.all():  # not replaced: the first corruption hid everything
      assert not image.any()
      partners.append(-1)
    else:
      assert 120 <= hidden.sum() < 120 + 5 * 5 and np.all(image[~hidden] == i + 1)  # 0.3 and less than one block
      assert np.unique(image[hidden]).size == 1
      partners.append(int(image[hidden][0, 0]) - 1)
  share = np.bincount(np.array(partners) + 1, minlength=9) / len(partners)
  assert abs(share[0] - 0.5) < 0.08 and np.all(np.abs(share[1:] - 1 / 16) < 0.05)


def test_alien_content_comes_from_the_place_it_is_pasted_on():
  clean = jax.random.uniform(jax.random.key(2), (4, 20, 20, 3))
  replace = jax.jit(functools.partial(masking.alien_replace, prob=1.0))
  out = replace(KEYS[0], clean, jnp.zeros_like(clean), jnp.ones(clean.shape[:3], bool))
  for image, own, hidden in zip(*(np.asarray(x) for x in (out["image"], clean, out["mask"])), strict=True):
    np.testing.assert_array_equal(image[~hidden], own[~hidden])
    assert sum(np.array_equal(image[hidden], np.asarray(other)[hidden]) for other in clean) == 1


@pytest.mark.parametrize("devices", [2, 4])
def test_aliens_do_not_depend_on_how_the_batch_is_split(devices):
  clean = jax.random.uniform(jax.random.key(3), (8, 20, 20, 3))
  drop = dict(image=-clean, mask=clean[..., 0] > 0.5)
  whole = jax.jit(masking.alien_replace)(KEYS[9], clean, drop["image"], drop["mask"])
  shards = [x.reshape(devices, 8 // devices, *x.shape[1:]) for x in (clean, drop["image"], drop["mask"])]
  replace = functools.partial(masking.alien_replace, axis_name="i")
  split = jax.jit(jax.vmap(replace, (None, 0, 0, 0), axis_name="i"))(KEYS[9], *shards)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.reshape(b.shape), b), split, whole)


def test_a_batch_of_one_is_its_own_alien():
  clean, corrupted, mask = (x[:1] for x in make_batch())
  out = jax.jit(functools.partial(masking.alien_replace, prob=1.0))(KEYS[0], clean, corrupted, mask)
  np.testing.assert_array_equal(out["image"], clean)
  assert 120 <= out["mask"].sum() < 145


@pytest.mark.slow
def test_jit_equals_eager():
  image = jax.random.normal(jax.random.key(4), (20, 20, 3))
  fn = functools.partial(masking.gmml_corrupt, area=0.75, fill="self")
  jax.tree.map(np.testing.assert_array_equal, jax.jit(fn)(KEYS[1], image), fn(KEYS[1], image))


@pytest.mark.parametrize(
  "numbers",
  [
    dict(area=0.0),
    dict(area=1.0),
    dict(area=-0.1),
    dict(area=0.5, align=6),
    dict(area=0.5, align=0),
    dict(area=0.5, fill="grey"),
    dict(area=0.5, fill=()),
    dict(area=0.5, max_blocks=20),
    dict(area=0.9),
    dict(area=0.5, block_max=0.1),
    dict(area=0.5, block_max=None, align=3),
    dict(area=0.5, block_max=None, align=20),
  ],
)
def test_errors_are_one_line_and_found_while_tracing(numbers):
  with pytest.raises(ValueError) as error:
    jax.eval_shape(functools.partial(masking.gmml_corrupt, **numbers), KEYS[0], jnp.ones((20, 20, 3)))
  assert "\n" not in str(error.value)


def test_other_errors():
  clean, corrupted, mask = make_batch(2)
  with pytest.raises(ValueError, match="prob"):
    masking.alien_replace(KEYS[0], clean, corrupted, mask, prob=0.0)
  with pytest.raises(ValueError, match="patch=3"):
    masking.pixel_to_patch_mask(mask, patch=3)
