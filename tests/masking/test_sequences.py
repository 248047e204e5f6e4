"""Masks of padded sequences and of clips, and BERT's corruption: counts, distributions, validity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import masking

KEYS = jax.random.split(jax.random.key(0), 2000)


def draw(fn, *arrays, keys=KEYS, **numbers):
  return jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: fn(key, *arrays, **numbers)))(keys))


@pytest.mark.parametrize("length", [1, 2, 5, 9, 10])
@pytest.mark.parametrize("ratio", [0.6, 0.75, 0.15])
def test_random_masks_of_padded_sequences(length, ratio):
  """Of what is valid as many are hidden as of a sequence of that length, uniformly; of padding nothing is."""
  valid = np.arange(10) < length
  out = draw(masking.random_patch_mask, grid=(10,), ratio=ratio, valid=jnp.asarray(valid))
  kept = int(10 * (1 - ratio))
  visible = max(int(length * (1 - ratio)), 1)
  assert out["ids_keep"].shape[1] == kept and not out["mask"][:, ~valid].any()
  assert (out["mask"].sum(1) == length - visible).all()
  share, sigma = (length - visible) / length, np.sqrt(0.25 / len(KEYS))
  assert np.abs(out["mask"][:, valid].mean(0) - share).max() < 5 * sigma
  # What the encoder sees of the kept ones are the visible ones; the decoder gets the mask token for all that is hidden.
  kept_and_valid = valid[out["ids_keep"]]
  assert (kept_and_valid.sum(1) == visible).all()
  assert not np.take_along_axis(out["mask"], out["ids_keep"], 1).any()
  assert (out["ids_restore"][out["mask"]] >= kept).all()
  np.testing.assert_array_equal(np.sort(out["ids_restore"], 1), np.tile(np.arange(10), (len(KEYS), 1)))
  np.testing.assert_array_equal(np.take_along_axis(out["ids_restore"], out["ids_keep"], 1)[0], np.arange(kept))


def test_where_all_is_valid_the_mask_is_the_one_without():
  plain = draw(masking.random_patch_mask, grid=(3, 4), ratio=0.7)
  out = draw(masking.random_patch_mask, grid=(3, 4), ratio=0.7, valid=jnp.ones(12, bool))
  jax.tree.map(np.testing.assert_array_equal, plain, out)
  nothing = draw(masking.random_patch_mask, grid=(3, 4), ratio=0.7, valid=jnp.zeros(12, bool), keys=KEYS[:2])
  assert not nothing["mask"].any()
  with pytest.raises(ValueError, match=r"valid \[4\] must be bool \[12\]"):
    masking.random_patch_mask(KEYS[0], (3, 4), ratio=0.7, valid=jnp.ones(4, bool))


def test_valid_patches():
  found = masking.valid_patches(KEYS[0], jnp.array(3), grid=(3, 2), patch=2)
  np.testing.assert_array_equal(found, [True, True, True, True, False, False])


def test_spans():
  out = draw(masking.span_mask, grid=(30,), ratio=0.4, span=4)["mask"]
  runs = np.diff(np.pad(out.astype(int), ((0, 0), (1, 1))), axis=1)
  lengths = np.argwhere(runs < 0)[:, 1] - np.argwhere(runs > 0)[:, 1]
  assert lengths.min() == 4 and out.any(1).all()
  # int(0.4 * 30 / 4 + u) = 3 spans among 27 begins: the closed form for a token that 4 begins cover.
  hidden = 1 - (23 * 22 * 21) / (27 * 26 * 25)
  assert np.abs(out[:, 5:25].mean() - hidden) < 0.02
  counts = draw(masking.span_mask, grid=(40,), ratio=0.1, span=1)["mask"].sum(1)
  assert set(counts) == {4}  # spans of one do not overlap


def test_spans_of_padded_sequences():
  for length in (3, 4, 9):
    valid = jnp.arange(30) < length
    out = draw(masking.span_mask, grid=(30,), ratio=0.5, span=4, valid=valid, keys=KEYS[:200])["mask"]
    assert not out[:, length:].any()
    assert (out.sum(1) >= 4).all() if length >= 4 else not out.any()
  number = draw(masking.span_mask, grid=(30,), ratio=0.25, span=1, valid=jnp.arange(30) < 10)["mask"].sum(1)
  assert set(number) == {2, 3} and abs(number.mean() - 2.5) < 0.06


def test_berts_proportions():
  tokens, mask = jnp.arange(10, 30), jnp.arange(20) % 2 == 0
  out = draw(masking.replace_tokens, tokens, mask, vocab=40, mask_id=3)
  np.testing.assert_array_equal(out[:, 1::2], np.tile(tokens[1::2], (len(KEYS), 1)))
  hidden = out[:, ::2]
  shares = (hidden == 3).mean(), (hidden == np.asarray(tokens[::2])).mean()
  np.testing.assert_allclose(shares, (0.8 + 0.1 / 40, 0.1 + 0.1 / 40), atol=0.01)
  random = hidden[(hidden != 3) & (hidden != np.asarray(tokens[::2]))]
  assert set(range(40)) - {3} == set(np.unique(random)) and out.dtype == np.int32
  always = draw(masking.replace_tokens, tokens, mask, vocab=40, mask_id=3, random=0.0, keep=0.0, keys=KEYS[:3])
  assert (always[:, ::2] == 3).all()


@pytest.mark.parametrize("ratio", [0.75, 0.9])
def test_tubes(ratio):
  out = draw(masking.tube_mask, grid=(3, 4, 5), ratio=ratio)
  mask = out["mask"].reshape(-1, 3, 20)
  assert (mask == mask[:, :1]).all()
  kept = int(20 * (1 - ratio))
  assert (mask[:, 0].sum(1) == 20 - kept).all() and out["ids_keep"].shape[1] == 3 * kept
  assert np.abs(mask[:, 0].mean(0) - (1 - kept / 20)).max() < 5 * np.sqrt(0.25 / len(KEYS))
  assert not np.take_along_axis(out["mask"], out["ids_keep"], 1).any()
  np.testing.assert_array_equal(out["mask"], out["ids_restore"] >= 3 * kept)
  np.testing.assert_array_equal(
    np.take_along_axis(out["ids_restore"], out["ids_keep"], 1), np.tile(np.arange(3 * kept), (len(KEYS), 1))
  )


def test_block_masks_are_of_images():
  for fn in (functools.partial(masking.block_mask, ratio=0.5, min_block=1), masking.multi_block_mask):
    for grid in ((8,), (2, 4, 4)):
      with pytest.raises(ValueError, match="must hold 2 positive whole numbers"):
        fn(KEYS[0], grid)
