"""The token encoder and learned queries."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import query_decoder, token_encoder
from tests.models.test_axes import apply, draw, normal

IDS = jnp.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 0]])
VECTORS = normal(2, 5, 3)


def small(**numbers):
  return token_encoder(**dict(dict(width=8, depth=2, num_heads=2, mlp_ratio=2.0, max_length=6), **numbers))


def inputs(**numbers):
  return (small(vocab=7, **numbers), IDS), (small(width_in=3, **numbers), VECTORS)


def layer_norm(p, x):
  return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def written(params, x, seen):
  """The transformer in float64, of two heads; `seen [queries, keys]`."""
  erf = np.vectorize(math.erf)
  for i in range(2):
    p = params["Transformer"][f"encoderblock_{i}"]
    a, y = p["MultiHeadDotProductAttention_0"], layer_norm(p["LayerNorm_0"], x)
    project = lambda name, a=a, y=y: np.einsum("td,dhk->htk", y, a[name]["kernel"]) + a[name]["bias"][:, None]
    query, key, value = map(project, ("query", "key", "value"))
    logits = np.where(seen, query @ key.swapaxes(1, 2) / np.sqrt(4), -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    y = weights / weights.sum(-1, keepdims=True) @ value
    x = x + np.einsum("htk,hkd->td", y, a["out"]["kernel"]) + a["out"]["bias"]
    m, y = p["MlpBlock_0"], layer_norm(p["LayerNorm_1"], x)
    y = y @ m["Dense_0"]["kernel"] + m["Dense_0"]["bias"]
    y = 0.5 * y * (1 + erf(y / np.sqrt(2)))
    x = x + y @ m["Dense_1"]["kernel"] + m["Dense_1"]["bias"]
  return layer_norm(params["Transformer"]["encoder_norm"], x)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["ids", "vectors"])
def test_it_is_the_written_transformer(kind, causal):
  module, x = inputs(causal=causal)[kind == "vectors"]
  variables = draw(module, x)
  params = jax.tree.map(np.float64, variables["params"])
  lengths = [5, 3]
  features, out = apply(module, variables, x, length=jnp.array(lengths))
  for i, n in enumerate(lengths):
    embedded = (
      params["embedding"]["embedding"][x[i, :n]] if kind == "ids" else np.float64(x[i, :n]) @ params["embedding"]["kernel"]
    )
    embedded = embedded + (0 if kind == "ids" else params["embedding"]["bias"]) + params["pos_embedding"][0, :n]
    wanted = written(params, embedded, np.tri(n, dtype=bool) if causal else np.ones((n, n), bool))
    np.testing.assert_allclose(out["tokens"][i, :n], wanted, atol=1e-4)
    np.testing.assert_allclose(out["mean"][i], wanted.mean(0), atol=1e-4)
    np.testing.assert_allclose(out["last"][i], wanted[-1], atol=1e-4)
  np.testing.assert_array_equal(features, out["last" if causal else "mean"])


def test_a_causal_prefix_does_not_see_its_future():
  for module, x in inputs(causal=True):
    variables = draw(module, x)
    whole = apply(module, variables, x)[1]["tokens"]
    np.testing.assert_allclose(apply(module, variables, x[:, :3])[1]["tokens"], whole[:, :3], atol=1e-5)
    changed = apply(module, variables, x.at[:, 3:].set(0))[1]["tokens"]
    np.testing.assert_array_equal(changed[:, :3], whole[:, :3])
    assert np.abs(changed[:, 3:] - whole[:, 3:]).max() > 1e-3


def test_padding_changes_nothing():
  for position, kind in (("learned", 0), ("sincos", 1), ("none", 0)):
    module, x = inputs(position=position)[kind]
    variables = draw(module, x)
    _, out = apply(module, variables, x, valid=jnp.arange(5) < jnp.array([[3], [3]]))
    _, alone = apply(module, variables, x[:, :3])
    np.testing.assert_allclose(out["tokens"][:, :3], alone["tokens"], atol=1e-5)
    np.testing.assert_allclose(out["last"], alone["tokens"][:, 2], atol=1e-5)
    assert not out["tokens"][:, 3:].any() and not out["block01"][:, 3:].any()


def test_an_unknown_identifier_is_not_a_number_unless_it_is_padding():
  module, _ = inputs()[0]
  variables = draw(module, IDS)
  for wrong in (7, -1):
    ids = IDS.at[0, 3].set(wrong)
    tokens = apply(module, variables, ids)[1]["tokens"]
    assert np.isnan(tokens[0]).all() and np.isfinite(tokens[1]).all()
    loss = lambda v, ids=ids: jnp.sum(module.apply(v, ids, length=jnp.array([3, 5]))[1]["tokens"] ** 2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(variables)))


def test_masks_and_grids():
  module, x = small(width_in=3, mask_token=True), VECTORS
  assert module.grid(x.shape[1:]) == module.grid(x.shape) == (5,) and small(vocab=7).grid((5,)) == (5,)
  variables = draw(module, x)
  mask = jnp.zeros((2, 5), bool).at[:, 1].set(True)
  found = apply(module, variables, x, mask=mask)[1]["tokens"]
  np.testing.assert_array_equal(found, apply(module, variables, x.at[:, 1].set(9.0), mask=mask)[1]["tokens"])
  with pytest.raises(ValueError, match="mask_token=True"):
    jax.eval_shape(small(width_in=3).init, jax.random.key(0), x, mask=mask)


def test_stochastic_depth_and_precision():
  module, x = small(vocab=7, drop_path=0.9, dtype="bfloat16"), IDS
  variables = draw(module, x)
  keys = jax.random.split(jax.random.key(1), 2)
  features, out = apply(module, variables, x, keys=keys)
  assert out["tokens"].dtype == features.dtype == jnp.float32
  assert np.abs(features - apply(module, variables, x)[0]).max() > 1e-3


@pytest.mark.parametrize(
  "numbers, message",
  [
    (dict(), "exactly one of vocab"),
    (dict(vocab=7, width_in=3), "exactly one of vocab"),
    (dict(vocab=7, num_heads=3), "not divisible by num_heads 3"),
    (dict(vocab=7, position="sincos2d"), "position must be one of learned, sincos, none"),
  ],
)
def test_wrong_numbers(numbers, message):
  with pytest.raises(ValueError, match=message):
    small(**numbers)


@pytest.mark.parametrize(
  "numbers, x, message",
  [
    (dict(vocab=7), VECTORS, r"takes integers \[batch, T\], not float32 \[2, 5, 3\]"),
    (dict(width_in=4), VECTORS, r"takes floats \[batch, T, 4\], not float32 \[2, 5, 3\]"),
    (dict(width_in=3), IDS, r"takes floats \[batch, T, 3\], not int32 \[2, 5\]"),
    (dict(vocab=7, max_length=4), IDS, "longer than max_length=4"),
  ],
)
def test_wrong_arrays(numbers, x, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(small(**numbers).init, jax.random.key(0), x)


@pytest.mark.parametrize("scan", [False, True])
def test_queries_find_what_is_in_a_context(scan):
  module, context = query_decoder(queries=3, width=8, depth=2, num_heads=2, scan=scan), normal(2, 5, 6)
  variables = draw(module, context)
  block = variables["params"]["Transformer"]["encoderblock_1"]
  assert block["MultiHeadDotProductAttention_1"]["key"]["kernel"].shape == (6, 2, 4)
  ask = lambda context, **more: apply(module, variables, context, **more)["tokens"]
  found = ask(context)
  assert found.shape == (2, 3, 8) and np.abs(found[0] - found[1]).max() > 1e-3
  np.testing.assert_allclose(ask(context[:, jnp.array([4, 2, 0, 1, 3])]), found, atol=1e-5)  # a context is a set
  valid = jnp.arange(5) < jnp.array([[3], [3]])
  np.testing.assert_allclose(ask(context.at[:, 3:].set(5.0), valid=valid), ask(context[:, :3]), atol=1e-5)
  assert np.abs(ask(context, valid=valid) - found).max() > 1e-3
