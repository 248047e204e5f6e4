"""A backbone and its heads as one module."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import count_parameters, linear_head, mae_decoder, mlp_head, Network, resnet, shared_trunk_head, vit

IMAGES = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))


def initialise(module, *arrays):
  """Random variables, without compiling the initialisation."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), *arrays)
  return jax.tree.map(lambda leaf: jnp.asarray(0.2 * np.abs(rng.normal(size=leaf.shape)), leaf.dtype), shapes)


def backbone(**numbers):
  return vit(image_size=8, width=16, depth=1, num_heads=2, patch_size=4, **numbers)


def test_outputs_and_parameters_by_name():
  network = Network(
    backbone(mask_token=True),
    dict(
      q=mlp_head(hidden=6, output=5, layers=2),
      a=linear_head(output=3),
      t=shared_trunk_head(hidden=6, bottleneck=4, prototypes=7),
    ),
    dict(q=("a",), a=("cls",), t=("cls", "patch_tokens")),
  )
  variables = initialise(network, IMAGES)
  assert set(variables["params"]) == {"backbone", "heads_a", "heads_q", "heads_t"}
  assert set(variables["batch_stats"]) == {"heads_q"}
  mask = jnp.zeros((2, 4), bool).at[:, 0].set(True)
  out = network.apply(variables, IMAGES, mask=mask)
  assert {"features", "tokens", "block01", "a", "q", "t/cls", "t/patch", "t/patch_logits"} <= set(out)
  assert out["q"].shape == (2, 5) and out["t/patch_logits"].shape == (2, 4, 7)
  features, _ = network.backbone.apply(dict(params=variables["params"]["backbone"]), IMAGES, mask=mask)
  np.testing.assert_allclose(out["features"], features, atol=1e-6)
  _, updates = network.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
  assert updates["batch_stats"]["heads_q"]["batch_norm_0"]["mean"].any()


def test_keys_reach_the_backbone():
  network = Network(vit(image_size=8, width=16, depth=2, num_heads=2, patch_size=4, drop_path=0.999999))
  variables = initialise(network, IMAGES)
  out = network.apply(variables, IMAGES, keys=jax.random.split(jax.random.key(2), 2))
  np.testing.assert_array_equal(out["block02"], out["block01"])


def test_grid_is_the_backbones():
  assert Network(backbone()).grid((8, 12, 3)) == (2, 3)


def test_backbones_that_return_a_dict_or_an_array():
  decoder = Network(mae_decoder(patch_size=4, width=8, depth=1, num_heads=2))
  arrays = jnp.ones((2, 3, 6)), jnp.tile(jnp.arange(4), (2, 1))
  out = jax.eval_shape(lambda: decoder.init_with_output(jax.random.key(0), *arrays)[0])
  assert set(out) == {"mean", "pixels", "tokens"}
  predictor = Network(mlp_head(hidden=4, output=3, layers=2), dict(z=linear_head(output=2)), dict(z=("features",)))
  out = jax.eval_shape(lambda: predictor.init_with_output(jax.random.key(0), jnp.ones((2, 6)))[0])
  assert {name: array.shape for name, array in out.items()} == dict(features=(2, 3), z=(2, 2))


def test_resnet_backbone():
  network = Network(resnet(depth=18, width=2, stem="cifar"), dict(z=linear_head(output=2)), dict(z=("pooled",)))
  out = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), IMAGES)[0])
  assert out["z"].shape == (2, 2) and out["features"].shape == (2, 16)


def test_wrong_names():
  def run(heads, reads):
    return jax.eval_shape(Network(backbone(), heads, reads).init, jax.random.key(0), IMAGES)

  with pytest.raises(ValueError, match=r"\{'z': \['clss'\]\}.*'cls'"):
    run(dict(z=linear_head(output=2)), dict(z=("clss",)))
  with pytest.raises(ValueError, match="exist already: \\['cls'\\]"):
    run(dict(cls=linear_head(output=2)), dict(cls=("cls",)))


def test_count_parameters():
  assert count_parameters(dict(a=jnp.zeros((2, 3)), b=[jnp.zeros(()), jax.ShapeDtypeStruct((4,), jnp.float32)])) == 11
