"""Inner arrays of networks: told to those who ask, and to nobody else."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jssl.models import Network, vit
from jssl.models.inner import inner_outputs, tell

IMAGES = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))


def _network(**numbers):
  return Network(vit(image_size=8, width=16, depth=3, num_heads=2, patch_size=4, init="mae", **numbers))


def test_a_vit_tells_each_block_after_the_final_norm_and_its_attention():
  network = _network(registers=1)
  variables = network.init(jax.random.key(0), IMAGES)
  assert [*variables] == ["params"]
  plain = network.apply(variables, IMAGES)
  outputs, told = jax.jit(lambda v, x: inner_outputs(network, v, x))(variables, IMAGES)
  assert sorted(outputs) == sorted(plain)
  weights = [f"backbone/Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/weights" for i in range(3)]
  assert sorted(told) == [*weights, *(f"backbone/Transformer/normed{i:02d}" for i in (1, 2, 3))]
  np.testing.assert_allclose(told[weights[0]].sum(-1), np.ones((2, 2, 6)), atol=1e-6)
  np.testing.assert_allclose(told["backbone/Transformer/normed03"], outputs["tokens"], atol=1e-6)
  norm = variables["params"]["backbone"]["Transformer"]["encoder_norm"]
  wanted = nn.LayerNorm(epsilon=1e-6).apply({"params": norm}, outputs["block01"])
  np.testing.assert_allclose(told["backbone/Transformer/normed01"], wanted, atol=1e-6)


@pytest.mark.parametrize(
  "numbers", [dict(scan=True), dict(fc_norm=True), pytest.param(dict(remat=True), marks=pytest.mark.slow)]
)
def test_whatever_way_the_blocks_run(numbers):
  network, plain = _network(**numbers), _network(fc_norm=numbers.get("fc_norm", False))
  variables = plain.init(jax.random.key(0), IMAGES)
  (_, told), (outputs, wanted) = (inner_outputs(module, variables, IMAGES) for module in (network, plain))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), told, wanted)
  if plain.backbone.fc_norm:
    np.testing.assert_array_equal(told["backbone/Transformer/normed02"], outputs["block02"])


calls = []


class _Counts(nn.Module):
  @nn.compact
  def __call__(self, x):
    tell(self, "twice", lambda: calls.append(1) or 2 * x)
    return nn.Dense(2, name="d")(x)


def test_where_nobody_asks_nothing_is_computed():
  module = _Counts()
  variables = module.init(jax.random.key(0), IMAGES[0, 0])
  module.apply(variables, IMAGES[0, 0], mutable=["batch_stats"])
  assert not calls and [*variables] == ["params"]
  output, told = inner_outputs(module, variables, IMAGES[0, 0])
  np.testing.assert_array_equal(told["twice"], 2 * IMAGES[0, 0])
  np.testing.assert_array_equal(output, module.apply(variables, IMAGES[0, 0]))
