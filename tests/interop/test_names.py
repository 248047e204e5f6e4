"""Weights under other names: layouts, and what is refused. Whole models are in test_load.py and in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.errors import ConfigError
from jssl.interop.names import convert

LIKE = dict(
  params=dict(
    dense=dict(kernel=jnp.zeros((2, 2, 3)), bias=jnp.zeros((2, 3))),
    norm=dict(scale=jnp.zeros(4)),
    conv=dict(kernel=jnp.zeros((5, 5, 1, 2))),
  ),
  batch_stats=dict(norm=dict(mean=jnp.zeros(4))),
)
RULES = ((r"(dense|norm|conv)\.(weight|bias|running_mean)", r"\1/\2"), (r"head\..*", None))


def weights(**changes):
  rng = np.random.default_rng(0)
  arrays = {
    "dense.weight": (6, 2),
    "dense.bias": (6,),
    "norm.weight": (4,),
    "norm.running_mean": (4,),
    "conv.weight": (2, 1, 5, 5),
    "head.weight": (7,),
  }
  return {name: rng.normal(size=shape) for name, shape in (arrays | changes).items() if shape}


def test_layouts():
  """Of kernels, of heads as an axis, of norms, of statistics; in the dtype of the place."""
  torch = weights()
  found = convert("theirs", torch, LIKE, RULES)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(lambda x: (x.shape, x.dtype), LIKE)
  x = np.random.default_rng(1).normal(size=2)
  product = np.einsum("i,ihd->hd", x, found["params"]["dense"]["kernel"]).reshape(-1)
  np.testing.assert_allclose(product, torch["dense.weight"] @ x, rtol=1e-5)
  assert found["params"]["conv"]["kernel"][3, 4, 0, 1] == np.float32(torch["conv.weight"][1, 0, 3, 4])
  np.testing.assert_array_equal(found["batch_stats"]["norm"]["mean"], np.float32(torch["norm.running_mean"]))


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"tail.weight": (1,)}, "theirs: no place is known for tail.weight$"),
    ({"norm.weight": None}, r"only in the network: params/norm/scale \(4,\)"),
    ({"norm.bias": (4,)}, r"only in theirs: params/norm/bias \(4,\)"),
    ({"dense.weight": (5, 2)}, r"params/dense/kernel: \(2, 5\) float32 in theirs, \(2, 2, 3\) float32 in the network"),
  ],
)
def test_what_is_left_over(changes, message):
  with pytest.raises(ConfigError, match=message):
    convert("theirs", weights(**changes), LIKE, RULES)
