"""Where gradients go, and axes that join the batch for a pass."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import checkpoint, data, logging
from jssl.config import default_config
from jssl.configs import common
from jssl.errors import ConfigError
from jssl.explain import explain
from jssl.method import Method
from jssl.schedules import Horizon
from jssl.train import train_and_evaluate, Trainer
from tests import methods

KEY = jax.random.key(0, impl="threefry2x32")
X = np.random.default_rng(0).standard_normal((8, 3, 4)).astype(np.float32)


class Scale(nn.Module):
  """A linear layer; in training each part of an example is multiplied by a draw of its own."""

  width: int
  noise: float = 0.0

  @nn.compact
  def __call__(self, x, *, keys=None, train=False):
    x = nn.Dense(self.width)(x)
    if train and keys is not None and self.noise:
      x = x * jax.vmap(lambda key: 1 + self.noise * jax.random.normal(key, (self.width,)))(keys)
    return x


def mean_square(x):
  return jnp.mean(x**2), {}


def make(networks, passes, losses=None, batch=8):
  config = default_config()
  config.update(dict(total_steps=10, batch_size=batch, networks=networks, passes=passes))
  config.losses = losses or dict(l=dict(fn=mean_square, reads=("b/features",)))
  return Method(config, num_examples=32, horizon=Horizon(10, 2, batch))


def net(**more):
  return dict(fn=Scale, width=4, **more)


def gradients(method, batch):
  variables = method.init(KEY, batch)
  loss = lambda params: method.loss(params, variables, batch, key=KEY, step=0)[0]
  found = jax.jit(jax.grad(loss))(variables.params)
  return {name: sum(float(jnp.sum(jnp.abs(x))) for x in jax.tree.leaves(tree)) for name, tree in found.items()}, variables


# Beside the pass in question each network is trained by a pass of its own, whose weight is 0.
OTHERS = dict(a_alone=dict(net="first", reads=("x",)), b_alone=dict(net="second", reads=("x",)))
LOSSES = dict(
  l=dict(fn=mean_square, reads=("b/features",)),
  others=dict(fn=mean_square, terms=(("a_alone/features",), ("b_alone/features",)), weight=0.0),
)


@pytest.mark.parametrize("gradient, reached", [("all", (True, True)), ("inputs", (True, False)), ("params", (False, True))])
def test_a_gradient_goes_where_the_pass_says(gradient, reached):
  passes = dict(a=dict(net="first", reads=("x",)), b=dict(net="second", reads=("a/features",), gradient=gradient), **OTHERS)
  found, _ = gradients(make(dict(first=net(), second=net()), passes, LOSSES), dict(x=X[:, 0]))
  assert (found["first"] > 0, found["second"] > 0) == reached


def test_what_goes_through_a_frozen_network_is_the_chain_rule():
  passes = dict(a=dict(net="first", reads=("x",)), b=dict(net="second", reads=("a/features",), gradient="inputs"))
  method = make(dict(first=net(), second=net(frozen=True)), passes)
  batch = dict(x=X[:, 0])
  variables = method.init(KEY, batch)
  found = jax.grad(lambda p: method.loss(p, variables, batch, key=KEY, step=0)[0])(variables.params)
  first = variables.params["first"]["backbone"]["Dense_0"]
  second = variables.teachers["second"]["backbone"]["Dense_0"]
  kernel, bias = np.float64(second["kernel"]), np.float64(second["bias"])
  output = (X[:, 0] @ np.float64(first["kernel"]) + np.float64(first["bias"])) @ kernel + bias
  expected = X[:, 0].T @ (2 * output / output.size @ kernel.T)
  np.testing.assert_allclose(found["first"]["backbone"]["Dense_0"]["kernel"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("second", [net(frozen=True), dict(ema="first", decay=0.9)])
def test_a_frozen_network_behind_a_trained_one_must_say_whether_gradients_pass(second):
  passes = dict(a=dict(net="first", reads=("x",)), b=dict(net="second", reads=("a/features",)))
  losses = dict(l=dict(fn=mean_square, terms=(("a/features",), ("b/features",))))
  with pytest.raises(ConfigError, match=r"config\.passes\.b: it reads 'a/features', which is trained.*gradient='inputs'"):
    make(dict(first=net(), second=second), passes, losses)
  passes["b"]["gradient"] = "none"
  found, _ = gradients(make(dict(first=net(), second=second), passes, losses), dict(x=X[:, 0]))
  passes["b"]["gradient"] = "inputs"
  through, _ = gradients(make(dict(first=net(), second=second), passes, losses), dict(x=X[:, 0]))
  assert through["first"] != pytest.approx(found["first"], rel=1e-3)


def test_a_network_that_nothing_trains_is_told():
  passes = dict(a=dict(net="first", reads=("x",)), b=dict(net="second", reads=("a/features",), gradient="params"))
  with pytest.raises(ConfigError, match=r"config\.networks\.first: no gradient of a loss reaches it"):
    make(dict(first=net(), second=net()), passes)
  passes["b"]["gradient"] = "inputs"
  with pytest.raises(ConfigError, match=r"config\.networks\.second: no gradient of a loss reaches it"):
    make(dict(first=net(), second=net()), passes)


@pytest.mark.parametrize("gradient", ["all", "params"])
def test_a_frozen_network_cannot_be_trained_by_a_pass(gradient):
  passes = dict(b=dict(net="second", reads=("x",), gradient=gradient))
  with pytest.raises(ConfigError, match=rf"config\.passes\.b\.gradient='{gradient}': network 'second' is frozen"):
    make(dict(second=net(frozen=True)), passes)


@pytest.mark.parametrize(
  "option, message", [(dict(gradient="input"), "did you mean 'inputs'"), (dict(fold=-1), "0 or more")]
)
def test_options_of_a_pass_are_checked(option, message):
  with pytest.raises(ConfigError, match=rf"config\.passes\.b\.{next(iter(option))}.*{message}"):
    make(dict(second=net()), dict(b=dict(net="second", reads=("x",), **option)))


def test_a_folded_pass_is_the_pass_on_each_part():
  folded = make(dict(second=net()), dict(b=dict(net="second", reads=("x",), fold=1)))
  variables = folded.init(KEY, dict(x=X))
  found = folded.environment(variables, dict(x=X), key=KEY, step=0)["b/features"]
  layer = variables.params["second"]["backbone"]["Dense_0"]
  np.testing.assert_allclose(found, X @ layer["kernel"] + layer["bias"], rtol=1e-5, atol=1e-6)
  one = make(dict(second=net()), dict(b=dict(net="second", reads=("x",)))).init(KEY, dict(x=X[:, 0]))
  jax.tree.map(np.testing.assert_array_equal, variables.params, one.params)


def test_draws_of_a_folded_pass_belong_to_the_parts_of_examples():
  method = make(dict(second=net(noise=0.5)), dict(b=dict(net="second", reads=("x",), fold=1)))
  variables = method.init(KEY, dict(x=X))
  whole = method.environment(variables, dict(x=X), key=KEY, step=0)["b/features"]
  part = method.environment(variables, dict(x=X[4:]), key=KEY, step=0, positions=jnp.arange(4, 8))["b/features"]
  np.testing.assert_allclose(whole[4:], part, rtol=1e-5, atol=1e-6)
  equal = np.repeat(X[:, :1], 3, 1)
  parts = method.environment(variables, dict(x=equal), key=KEY, step=0)["b/features"]
  assert np.abs(parts[:, 0] - parts[:, 1]).max() > 0.1 and np.abs(parts[0] - parts[1]).max() > 0.1


def test_joined_passes_fold_too():
  joined = dict(net="second", fold=1, join="both")
  passes = dict(b=dict(joined, reads=("x",)), c=dict(joined, reads=("y",)))
  losses = dict(l=dict(fn=mean_square, terms=(("b/features",), ("c/features",))))
  method = make(dict(second=net()), passes, losses)
  assert [[node.name for node in unit] for unit in method.units][0] == ["b", "c"]
  batch = dict(x=X, y=X[::-1].copy())
  found = method.environment(method.init(KEY, batch), batch, key=KEY, step=0)
  np.testing.assert_allclose(found["c/features"][::-1], found["b/features"], rtol=1e-5, atol=1e-6)


def test_parts_of_unequal_number_are_told():
  two = dict(fn=lambda: Both())
  method = make(dict(second=two), dict(b=dict(net="second", reads=("x", "y"), fold=1)))
  with pytest.raises(ConfigError, match=r"config\.passes\.b: fold=1 needs"):
    method.init(KEY, dict(x=X, y=X[:, :2]))


class Both(nn.Module):
  @nn.compact
  def __call__(self, x, y, *, keys=None, train=False):
    return nn.Dense(2)(x) + nn.Dense(2)(y)


def test_outputs_of_one_dimension_are_not_watched_for_collapse():
  method = make(dict(second=dict(fn=Scale, width=1)), dict(b=dict(net="second", reads=("x",))))
  batch = dict(x=X[:, 0])
  variables = method.init(KEY, batch)
  _, (_, metrics) = method.loss(variables.params, variables, batch, key=KEY, step=0)
  assert not [name for name in metrics if name.startswith("spread")]


def test_explain_shows_the_way_of_gradients_and_folds():
  config = methods.small("mae")
  config.passes.e.gradient = "params"
  text = explain(Trainer(config, methods.source()))
  assert "encoder, gradient to params only" in text


@pytest.mark.slow
def test_online_probe_leaves_the_method_as_it_is(tmp_path):
  """Weights and their clipping are as without it, and it learns what can be told."""
  label = (np.arange(64) % 4).astype(np.int32)
  shade = np.array([20, 90, 160, 230])[label][:, None, None, None] + np.random.default_rng(0).integers(
    -9, 9, (64, 20, 20, 3)
  )
  source = data.from_arrays(image=shade.astype(np.uint8), label=label)
  found = []
  for name in ("without", "with"):
    config = methods.small("mae", total_steps=20)
    with config.optim.ignore_type():
      config.optim.clip = dict(global_norm=0.01)
    if name == "with":
      common.online_probe(config, features="e/features", classes=4, lr=0.1)
    found.append(train_and_evaluate(config, tmp_path / name, source=source, devices=jax.devices()[:1]).variables.params)
  without, beside = map(checkpoint.named_leaves, found)
  assert {name.split("/")[0] for name in set(beside) - set(without)} == {"probe"}
  for name, value in without.items():
    np.testing.assert_allclose(value, beside[name], rtol=1e-4, atol=1e-6, err_msg=name)
  rows = logging.read_metrics(tmp_path / "with")
  assert rows[0]["online_probe/accuracy"] < 0.6 and rows[-1]["online_probe/accuracy"] > 0.9
