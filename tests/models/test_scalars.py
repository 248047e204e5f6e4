"""Learned numbers and the losses that they weigh, scores of colours, and a head that reads several arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import models, optim
from jssl.config import default_config
from jssl.method import Method
from jssl.schedules import Horizon

KEY = jax.random.key(0)


def test_scalars_are_broadcast_and_learned_but_not_decayed():
  module, x = models.scalars(initial=dict(b=2.0, a=-1.0)), jnp.zeros((3, 4, 4))
  variables = module.init(KEY, x)
  assert jax.tree.map(jnp.shape, variables["params"]) == dict(a=(), b=())
  out = module.apply(variables, x, train=True)
  assert {name: value.tolist() for name, value in out.items()} == dict(a=[-1.0] * 3, b=[2.0] * 3)
  gradient = jax.grad(lambda p: module.apply({"params": p}, x)["b"].mean())(variables["params"])
  assert gradient["b"] == 1 and gradient["a"] == 0
  _, info = optim.make_optimizer(dict(lr=1.0, weight_decay=0.1), variables["params"], total_steps=1)
  assert info["decayed"] == 0 and info["undecayed"] == 2


def test_a_learned_log_variance_weighs_a_loss():
  config = default_config()
  config.views = {v: dict(fn="resize_view", reads=("image",), size=4, mean=mean) for v, mean in (("a", 0.0), ("b", 0.5))}
  for view in config.views.values():
    view.std = 1.0
  config.networks = dict(learned=dict(fn="scalars", initial=dict(s=0.7)))
  config.passes = dict(u=dict(net="learned", reads=("a",)))
  config.losses = dict(l=dict(fn="masked_l1_loss", reads=("a", "b"), weight=3.0, log_variance="u/s"))
  method = Method(config, num_examples=2, horizon=Horizon(10))
  batch = dict(image=np.zeros((2, 4, 4, 3), np.uint8))
  variables = method.init(KEY, batch)
  loss = lambda params: method.loss(params, variables, batch, key=KEY, step=0)
  (total, (_, metrics)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables.params)
  assert metrics["l"] == pytest.approx(0.5) and metrics["l/log_variance"] == pytest.approx(0.7)
  assert total == pytest.approx(1.5 * np.exp(-0.7) + 0.35)
  assert gradient["learned"]["backbone"]["s"] == pytest.approx(0.5 - 1.5 * np.exp(-0.7))


def test_color_head_scores_every_place():
  x = jnp.ones((2, 3, 8))
  out, variables = models.color_head(patch_size=8, stride=4, bins=5).init_with_output(KEY, x)
  assert out.shape == (2, 3, 4 * 5) and models.count_parameters(variables) == 8 * 20 + 20


def test_a_head_of_two_arrays_is_that_of_the_joined_one():
  a, b = jax.random.normal(KEY, (4, 3)), jax.random.normal(KEY, (4, 2))
  head = models.mlp_head(hidden=6, output=2, layers=2, batch_norm=False)
  out, variables = head.init_with_output(KEY, a, b)
  np.testing.assert_array_equal(out, head.apply(variables, jnp.concatenate([a, b], axis=-1)))
