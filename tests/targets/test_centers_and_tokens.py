"""The teacher's centre over several steps, and targets made of tokens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.targets import average_blocks, average_tokens, centered_softmax, layer_norm_tokens, same, take_tokens


def logits(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5)])
def test_the_centre_follows_the_batch_one_step_behind(shape):
  """Two views over three steps with a moving temperature; the loop is the equation in float64."""
  center, by_hand = centered_softmax.init([jax.ShapeDtypeStruct(shape, jnp.bfloat16)] * 2), np.zeros(5)
  assert center.dtype == jnp.float32 and center.shape == (5,)
  step = jax.jit(functools.partial(centered_softmax.apply, momentum=0.8))
  for i, temp in enumerate((0.5, 0.6, 0.7)):
    views = [logits(*shape, seed=2 * i), logits(*shape, seed=2 * i + 1) + 1]
    probs, center = step(center, views, temp=temp)
    for got, view in zip(probs, views, strict=True):
      np.testing.assert_allclose(got, softmax((view - by_hand) / temp), rtol=2e-5, atol=1e-7)
    by_hand = 0.8 * by_hand + 0.2 * np.mean([view.reshape(-1, 5).mean(0) for view in views], axis=0, dtype=np.float64)
    np.testing.assert_allclose(center, by_hand, rtol=1e-5, atol=1e-6)


def test_an_array_gives_an_array():
  x = jnp.asarray(logits(4, 5))
  center = centered_softmax.init(x)
  probs, center = centered_softmax.apply(center, x, temp=0.1)
  (listed,), same_center = centered_softmax.apply(centered_softmax.init(x), [x], temp=0.1)
  np.testing.assert_array_equal(probs, listed)
  np.testing.assert_array_equal(center, same_center)
  assert centered_softmax.apply(center, x.astype(jnp.bfloat16), temp=0.1)[0].dtype == jnp.float32


def test_four_shards_have_the_centre_of_one():
  views = [jnp.asarray(logits(8, 3, 5, seed=s)) for s in (0, 1)]
  center = jnp.asarray(logits(5, seed=2))
  want, want_center = centered_softmax.apply(center, views, temp=0.1)
  split = [x.reshape(4, 2, 3, 5) for x in views]
  apply = functools.partial(centered_softmax.apply, temp=0.1, axis_name="batch")
  got, centers = jax.vmap(apply, (None, 0), axis_name="batch")(center, split)
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a.reshape(b.shape), b, rtol=1e-5)
  np.testing.assert_allclose(centers, np.broadcast_to(want_center, (4, 5)), rtol=1e-5)


def test_a_mask_picks_the_rows_that_move_the_centre():
  views = [jnp.asarray(logits(8, 3, 5, seed=s)) for s in (0, 1)]
  masks = [jnp.asarray(logits(8, 3, seed=s) > 0) for s in (2, 3)]
  start = jnp.asarray(logits(5, seed=4))
  probs, center = centered_softmax.apply(start, views, masks, temp=0.1)
  rows = np.concatenate([np.asarray(v)[np.asarray(m)] for v, m in zip(views, masks, strict=True)])
  np.testing.assert_allclose(center, 0.9 * start + 0.1 * rows.mean(0), rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(probs[1], centered_softmax.apply(start, views, temp=0.1)[0][1])
  np.testing.assert_array_equal(centered_softmax.apply(start, views[0], masks[0] & False, temp=0.1)[1], start)
  split = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), (views, masks))
  apply = functools.partial(centered_softmax.apply, temp=0.1, axis_name="batch")
  centers = jax.vmap(apply, (None, 0, 0), axis_name="batch")(start, *split)[1]
  np.testing.assert_allclose(centers, np.broadcast_to(center, (4, 5)), rtol=1e-5)


def test_tokens():
  x = jnp.asarray(logits(2, 4, 6))
  ids = jnp.array([[3, 0], [1, 1]])
  got = take_tokens(x, ids)
  for b in range(2):
    np.testing.assert_array_equal(got[b], x[b][ids[b]])
  np.testing.assert_array_equal(same(x), x)


def test_layer_norm_is_torchs():
  torch = pytest.importorskip("torch")
  x = logits(2, 4, 6)
  want = torch.nn.functional.layer_norm(torch.tensor(x), (6,))
  np.testing.assert_allclose(layer_norm_tokens(jnp.asarray(x)), want, rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(layer_norm_tokens(jnp.ones((1, 6))), 0)


def test_tokens_of_blocks():
  x, ids = jnp.asarray(logits(2, 4, 6)), jnp.array([[[3, 0], [1, 1]], [[2, 2], [0, 3]]])
  got = take_tokens(x, ids)
  assert got.shape == (2, 2, 2, 6)
  for b, n in np.ndindex(2, 2):
    np.testing.assert_array_equal(got[b, n], x[b][ids[b, n]])


def test_the_target_of_data2vec_is_torchs():
  torch = pytest.importorskip("torch")
  blocks = [5 * logits(2, 4, 6, seed=s) + s for s in range(3)]
  norm = lambda x: torch.nn.functional.layer_norm(x, (6,))
  want = norm(sum(norm(torch.tensor(x)[:, 1:]) for x in blocks) / 3)
  got = jax.jit(average_blocks)([jnp.asarray(x) for x in blocks])
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
  two = average_blocks([jnp.asarray(x, jnp.bfloat16) for x in blocks], prefix=2)
  assert two.shape == (2, 2, 6) and two.dtype == jnp.float32
  np.testing.assert_array_equal(average_blocks([jnp.ones((1, 3, 4))] * 2), 0)


def test_average_tokens():
  x = logits(2, 5, 6)
  np.testing.assert_allclose(average_tokens(jnp.asarray(x), prefix=2), np.float64(x)[:, 2:].mean(1), rtol=1e-5, atol=1e-6)
  assert average_tokens(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.float32
  with pytest.raises(ValueError, match="prefix"):
    average_tokens(jnp.asarray(x), prefix=5)
