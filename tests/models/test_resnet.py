"""ResNets: names, sizes, synchronised statistics, precision. Values are in tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import count_parameters, parts, resnet
from jssl.models.resnet import ResidualBlock

SHARDS = 4


@pytest.mark.parametrize("depth, count", [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160)])
def test_parameter_counts(depth, count):
  """torchvision's numbers without `fc`."""
  params = jax.eval_shape(resnet(depth=depth).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
  assert count_parameters(params) == count


def test_names_and_shapes():
  module = resnet(depth=50, width=4)
  shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3)))
  params, statistics = shapes["params"], shapes["batch_stats"]
  assert set(params) == {"conv1", "bn1"} | {f"layer{s + 1}_{i}" for s, n in enumerate((3, 4, 6, 3)) for i in range(n)}
  assert set(params["layer1_0"]) == {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample_0", "downsample_1"}
  assert params["conv1"]["kernel"].shape == (7, 7, 3, 4) and "bias" not in params["conv1"]
  assert statistics["layer4_2"]["bn3"]["mean"].shape == (128,)
  features, out = jax.eval_shape(module.apply, shapes, jnp.zeros((2, 64, 32, 3)))
  maps = dict(
    layer1=(2, 16, 8, 16),
    layer2=(2, 8, 4, 32),
    layer3=(2, 4, 2, 64),
    layer4=(2, 2, 1, 128),
    feature_map=(2, 2, 1, 128),
    patch_tokens=(2, 2, 128),
    mean=(2, 128),
    pooled=(2, 128),
  )
  assert {name: array.shape for name, array in out.items()} == maps and features.shape == (2, 128)
  assert module.grid((64, 32, 3)) == (2, 1)


def test_cifar_stem_keeps_the_resolution():
  module = resnet(depth=18, width=2, stem="cifar")
  shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  assert shapes["params"]["conv1"]["kernel"].shape == (3, 3, 3, 2)
  _, out = jax.eval_shape(module.apply, shapes, jnp.zeros((1, 32, 32, 3)))
  assert out["layer1"].shape == (1, 32, 32, 2) and out["feature_map"].shape == (1, 4, 4, 16)
  assert module.grid((32, 27, 3)) == (4, 4)


@pytest.mark.parametrize(
  "arrays, message",
  [(dict(ids_keep=jnp.zeros((1, 2), int)), "cannot drop patches"), (dict(mask=jnp.ones((1, 1), bool)), "no mask token")],
)
def test_masks_are_refused(arrays, message):
  with pytest.raises(ValueError, match=f"a ResNet .*{message}"):
    jax.eval_shape(resnet(depth=18, width=2).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)), **arrays)


def block(*, train=False, axis_name=None, stride=2, zero_init=False, dtype="float32"):
  """A bottleneck that halves the resolution, from 3 channels to 8."""
  norm = functools.partial(parts.batch_norm, train=train, axis_name=axis_name, dtype=dtype)
  return ResidualBlock(width=2, stride=stride, bottleneck=True, norm=norm, zero_init=zero_init, scheme="torch", dtype=dtype)


def initialise(module, x):
  return module.init(jax.random.key(2), x)


def test_zero_init_makes_blocks_begin_as_their_shortcut():
  module = block(stride=1, zero_init=True)
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
  variables = initialise(module, x)
  assert variables["params"]["bn1"]["scale"].all() and not variables["params"]["bn3"]["scale"].any()
  np.testing.assert_array_equal(module.apply(variables, x), jnp.maximum(x, 0))


def test_four_shards_equal_one():
  """Synchronised BatchNorm: outputs, statistics and gradients do not depend on how the batch is split."""
  x = 5.0 + jax.random.normal(jax.random.key(0), (SHARDS * 2, 4, 4, 3))
  target = jax.random.normal(jax.random.key(1), (SHARDS * 2, 2, 2, 8))
  variables = initialise(block(), x)

  def loss(params, module, x, target):
    out, updates = module.apply({**variables, "params": params}, x, mutable=["batch_stats"])
    return jnp.mean((out - target) ** 2), (out, updates)

  step = jax.value_and_grad(loss, has_aux=True)
  (value, (out, updates)), grads = jax.jit(step, static_argnums=1)(variables["params"], block(train=True), x, target)

  def sharded(x, target):
    (value, (out, updates)), grads = step(variables["params"], block(train=True, axis_name="devices"), x, target)
    return jax.lax.pmean((value, updates, grads), "devices"), out

  (value4, updates4, grads4), out4 = jax.jit(jax.vmap(sharded, axis_name="devices"))(
    *(a.reshape(SHARDS, 2, *a.shape[1:]) for a in (x, target))
  )
  np.testing.assert_allclose(value4[0], value, rtol=1e-5)
  np.testing.assert_allclose(out4.reshape(out.shape), out, atol=2e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=2e-5), updates4, updates)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=2e-5), grads4, grads)


def test_bfloat16():
  x = jax.random.normal(jax.random.key(0), (4, 4, 4, 3))
  module = block(train=True, dtype="bfloat16")
  variables = initialise(module, x)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  out, updates = module.apply(variables, x, mutable=["batch_stats"])
  exact, _ = block(train=True).apply(variables, x, mutable=["batch_stats"])
  assert out.dtype == jnp.bfloat16 and {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
  np.testing.assert_allclose(np.float32(out), exact, atol=0.1)
  whole = resnet(depth=18, width=2, dtype="bfloat16")
  shapes = jax.eval_shape(whole.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  features, maps = jax.eval_shape(whole.apply, shapes, jnp.zeros((1, 32, 32, 3)))
  assert features.dtype == jnp.float32 and maps["feature_map"].dtype == jnp.bfloat16


@pytest.mark.parametrize("numbers, message", [(dict(depth=20), "depth must be one of"), (dict(stem="tiny"), "stem")])
def test_wrong_numbers(numbers, message):
  with pytest.raises(ValueError, match=message):
    resnet(**numbers)
