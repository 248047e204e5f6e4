"""Heads: shapes, normalisation, prototypes, BatchNorm over shards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import dino_head, linear_head, mlp_head, prototypes, reconstruction_head, shared_trunk_head
from jssl.models.prototype_heads import Prototypes

X = jax.random.normal(jax.random.key(0), (8, 6))


def initialise(module, *arrays):
  """Random variables, without compiling the initialisation; positive ones, since variances are among them."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), *arrays)
  variables = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), shapes)
  return variables | dict(params=jax.tree.map(lambda x: x - 1.0, variables["params"]))


def apply(module, variables, *arrays, train=False):
  return module.apply(variables, *arrays, train=train, mutable=["batch_stats"] if train else False)


def test_mlp_head_against_numpy():
  """SiT's contrastive head in float64, with the statistics of the batch."""
  module = mlp_head(hidden=5, output=4, activation=("relu", "gelu"), last_batch_norm="plain")
  variables = initialise(module, X)
  out, _ = apply(module, variables, X, train=True)

  x = np.float64(X)
  for i in range(3):
    layer = variables["params"][f"dense_{i}"]
    x = x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    if i < 2:
      norm = variables["params"][f"batch_norm_{i}"]
      x = x * np.float64(norm["scale"]) + np.float64(norm["bias"])
    x = [np.maximum(x, 0), np.float64(jax.nn.gelu(jnp.float32(x), approximate=False)), x][i]
  np.testing.assert_allclose(out, x, atol=1e-5)
  assert set(variables["params"]) == {"dense_0", "dense_1", "dense_2", "batch_norm_0", "batch_norm_1"}


def test_mlp_head_options():
  def names(**numbers):
    params = jax.eval_shape(mlp_head(hidden=5, output=4, **numbers).init, jax.random.key(0), X)["params"]
    return {f"{layer}/{name}" for layer, arrays in params.items() for name in arrays}

  assert names(bias=False, last_bias=False) == {
    "dense_0/kernel",
    "dense_1/kernel",
    "dense_2/kernel",
    "batch_norm_0/scale",
    "batch_norm_0/bias",
    "batch_norm_1/scale",
    "batch_norm_1/bias",
  }
  assert names(layers=2, batch_norm=False) == {"dense_0/kernel", "dense_0/bias", "dense_1/kernel", "dense_1/bias"}
  assert names(layers=1, last_batch_norm="affine") == {
    "dense_0/kernel",
    "dense_0/bias",
    "batch_norm_0/scale",
    "batch_norm_0/bias",
  }


@pytest.mark.parametrize(
  "numbers, message",
  [
    (dict(activation=("relu",)), "3 layers have 2 activations"),
    (dict(activation="swish"), "activation must be one of"),
    (dict(last_batch_norm=True), "last_batch_norm must be"),
    (dict(init="zeros"), "init must be"),
  ],
)
def test_mlp_head_errors(numbers, message):
  with pytest.raises(ValueError, match=message):
    mlp_head(**numbers)


def test_running_statistics_follow_torch_momentum():
  module = mlp_head(hidden=5, output=4, layers=1, last_batch_norm="plain")
  variables = initialise(module, X)
  _, updates = apply(module, variables, X, train=True)
  raw = np.float64(X) @ np.float64(variables["params"]["dense_0"]["kernel"]) + variables["params"]["dense_0"]["bias"]
  statistics = updates["batch_stats"]["batch_norm_0"]
  before = variables["batch_stats"]["batch_norm_0"]
  np.testing.assert_allclose(statistics["mean"], 0.9 * before["mean"] + 0.1 * raw.mean(0), atol=1e-6)
  np.testing.assert_allclose(statistics["var"], 0.9 * before["var"] + 0.1 * raw.var(0), atol=1e-6)


def test_four_shards_equal_one():
  """Also on [batch, tokens, dim], and where the mean is large against the deviation."""
  x = 100.0 + jax.random.normal(jax.random.key(2), (8, 3, 6))
  target = jax.random.normal(jax.random.key(3), (8, 3, 4))
  whole = mlp_head(hidden=5, output=4, last_batch_norm="affine")
  split = mlp_head(hidden=5, output=4, last_batch_norm="affine", axis_name="devices")
  variables = initialise(whole, x)

  def loss(params, module, x, target):
    out, updates = apply(module, {**variables, "params": params}, x, train=True)
    return jnp.mean((out - target) ** 2), (out, updates)

  step = jax.value_and_grad(loss, argnums=(0, 2), has_aux=True)
  (value, (out, updates)), (grads, grad_x) = jax.jit(step, static_argnums=1)(variables["params"], whole, x, target)

  def sharded(x, target):
    (value, (out, updates)), (grads, grad_x) = step(variables["params"], split, x, target)
    return jax.lax.pmean((value, updates, grads), "devices"), out, grad_x

  (value4, updates4, grads4), out4, grad_x4 = jax.jit(jax.vmap(sharded, axis_name="devices"))(
    x.reshape(4, 2, 3, 6), target.reshape(4, 2, 3, 4)
  )
  np.testing.assert_allclose(value4[0], value, rtol=1e-5)
  np.testing.assert_allclose(out4.reshape(out.shape), out, atol=1e-4)
  np.testing.assert_allclose(grad_x4.reshape(x.shape) / 4, grad_x, atol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=5e-5), grads4, grads)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-5), updates4, updates)


def test_dino_head_logits_are_cosines():
  module = dino_head(hidden=7, bottleneck=4, prototypes=9)
  variables = initialise(module, X)
  params = variables["params"]
  logits = module.apply(variables, X)
  assert set(params["prototypes"]) == {"direction"} and params["prototypes"]["direction"].shape == (4, 9)
  assert {name for name in params["mlp"]} == {"dense_0", "dense_1", "dense_2"}
  assert logits.shape == (8, 9) and np.abs(logits).max() <= 1 + 1e-6
  scaled = jax.tree.map(lambda x: x, params) | dict(prototypes=dict(direction=3.0 * params["prototypes"]["direction"]))
  np.testing.assert_allclose(module.apply(dict(params=scaled), X), logits, atol=1e-6)


def test_prototypes_of_their_own_give_cosines():
  module = prototypes(prototypes=9)
  variables = initialise(module, X)
  direction = np.asarray(variables["params"]["prototypes"]["direction"], np.float64)
  x = np.asarray(X, np.float64)
  want = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (direction / np.linalg.norm(direction, axis=0))
  np.testing.assert_allclose(module.apply(variables, X)["logits"], want, atol=1e-6)
  assert np.all(np.isfinite(jax.grad(lambda x: module.apply(variables, x)["logits"].sum())(jnp.zeros_like(X))))


def test_dino_head_gain():
  module = dino_head(hidden=7, bottleneck=4, prototypes=9, norm_last_layer=False)
  variables = initialise(module, X)
  grads = jax.grad(lambda v: jnp.sum(module.apply(v, X) ** 2))(variables)["params"]["prototypes"]
  assert grads["gain"].all()
  fixed = dino_head(hidden=7, bottleneck=4, prototypes=9).apply(variables, X)
  np.testing.assert_allclose(module.apply(variables, X), fixed * variables["params"]["prototypes"]["gain"], atol=1e-6)
  init = Prototypes(9, trainable_gain=True).init(jax.random.key(0), X)["params"]
  np.testing.assert_array_equal(init["gain"], np.ones(9))
  assert 0 < np.abs(init["direction"]).max() <= 6**-0.5


def test_heads_keep_float32_outputs_in_half_precision():
  tokens = jax.random.normal(jax.random.key(4), (2, 3, 6))
  for module, arrays in [
    (mlp_head(hidden=5, output=4, last_batch_norm="plain", dtype="bfloat16"), (X,)),
    (dino_head(hidden=5, bottleneck=4, prototypes=9, dtype="bfloat16"), (X,)),
    (shared_trunk_head(hidden=5, bottleneck=4, prototypes=9, dtype="bfloat16"), (tokens[:, 0], tokens)),
    (reconstruction_head(patch_size=2, dtype="bfloat16"), (tokens,)),
  ]:
    variables = initialise(module, *arrays)
    out = module.apply(variables, *arrays, keys=None, train=False)
    for array in jax.tree.leaves((variables, out)):
      assert array.dtype == jnp.float32 and np.isfinite(array).all()


def test_shared_trunk_head():
  tokens = jax.random.normal(jax.random.key(4), (2, 3, 6))
  cls = tokens[:, 1]
  module = shared_trunk_head(hidden=7, bottleneck=4, prototypes=9, cls_prototypes=5)
  variables = initialise(module, cls, tokens)
  out = module.apply(variables, cls, tokens)
  assert {name: array.shape for name, array in out.items()} == dict(
    cls=(2, 4), patch=(2, 3, 4), patch_logits=(2, 3, 9), cls_logits=(2, 5)
  )
  np.testing.assert_allclose(out["cls"], out["patch"][:, 1], atol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(out["patch"], axis=-1), 1.0, atol=1e-6)
  assert set(variables["params"]) == {"mlp", "patch_prototypes", "cls_prototypes"}

  shared = shared_trunk_head(hidden=7, bottleneck=4, prototypes=9, share_prototypes=True)
  out = shared.apply(initialise(shared, cls, tokens), cls, tokens)
  np.testing.assert_allclose(out["cls_logits"], out["patch_logits"][:, 1], atol=1e-6)
  plain = shared_trunk_head(hidden=7, bottleneck=4, prototypes=9)
  assert "cls_logits" not in plain.apply(initialise(plain, cls, tokens), cls, tokens)
  with pytest.raises(ValueError, match="exclude each other"):
    shared_trunk_head(cls_prototypes=5, share_prototypes=True)


def test_reconstruction_head():
  tokens = jax.random.normal(jax.random.key(4), (2, 3, 6))
  module = reconstruction_head(patch_size=2, layers=1, channels=1)
  variables = initialise(module, tokens)
  params = variables["params"]
  assert set(params) == {"dense_0", "pixels"}
  hidden = jax.nn.gelu(tokens @ params["dense_0"]["kernel"] + params["dense_0"]["bias"], approximate=False)
  np.testing.assert_allclose(
    module.apply(variables, tokens), hidden @ params["pixels"]["kernel"] + params["pixels"]["bias"], atol=1e-6
  )
  assert set(initialise(reconstruction_head(patch_size=2, layers=0), tokens)["params"]) == {"pixels"}


@pytest.mark.parametrize("init, kernel, bias", [("zero_bias", 192, None), ("transposed", 192, 192), ("convolution", 32, 32)])
def test_where_the_last_layer_of_a_reconstruction_head_starts(init, kernel, bias):
  module = reconstruction_head(patch_size=8, layers=0, init=init)
  params = module.init(jax.random.key(0), jnp.zeros((1, 4, 32)))["params"]["pixels"]
  for array, fan in ((params["kernel"], kernel), (params["bias"], bias)):
    bound = 0.0 if fan is None else fan**-0.5
    assert 0.97 * bound <= np.abs(array).max() <= bound
  with pytest.raises(ValueError, match="init must be 'transposed', 'convolution' or 'zero_bias', not 'torch'"):
    reconstruction_head(patch_size=8, init="torch")


def test_linear_head():
  module = linear_head(output=4)
  params = initialise(module, X)["params"]
  np.testing.assert_allclose(
    module.apply(dict(params=params), X), X @ params["dense_0"]["kernel"] + params["dense_0"]["bias"], atol=1e-6
  )
  assert jax.eval_shape(lambda: linear_head().init_with_output(jax.random.key(0), X)[0]).shape == X.shape
