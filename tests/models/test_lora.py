"""Adapters of an attention: nothing changes at first, they alone are trained, and merged they are the same function."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import interop, networks, optim
from jssl.checkpoint import named_leaves
from jssl.errors import ConfigError
from jssl.interop.pretrained import build, Pretrained
from jssl.models import merge_adapters, vit
from jssl.models.lora import hold_frozen, is_adapter
from jssl.train import train_and_evaluate, Trainer
from jssl.warm_start import load_network
from tests import methods

NET = dict(image_size=16, patch_size=4, width=16, depth=2, num_heads=2)
IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
ALL = ("query", "key", "value", "out")


def drawn(**numbers):
  """A ViT with these numbers and its parameters, all drawn by one key."""
  module = vit(**NET, **numbers)
  return module, module.init(jax.random.key(0), IMAGES)["params"]


def moved(params):
  """With adapters that are no longer zero."""
  rng = np.random.default_rng(1)
  move = lambda path, x: jnp.asarray(rng.normal(0, 0.3, x.shape), x.dtype) if "lora_b" in str(path[-1]) else x
  return jax.tree_util.tree_map_with_path(move, params)


def test_a_network_with_adapters_begins_as_it_was_without():
  plain, before = drawn()
  adapted, params = drawn(lora_rank=3, lora_targets=ALL)
  names = {name for name in named_leaves(params) if name not in named_leaves(before)}
  assert names == {
    f"Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/{product}/lora_{half}"
    for i in range(2)
    for product in ALL
    for half in "ab"
  }
  for name, x in named_leaves(before).items():
    np.testing.assert_array_equal(named_leaves(params)[name], x)
  np.testing.assert_array_equal(adapted.apply(dict(params=params), IMAGES)[0], plain.apply(dict(params=before), IMAGES)[0])


@pytest.mark.parametrize("alpha", [None, 6.0])
def test_merged_it_is_the_same_function(alpha):
  adapted, params = drawn(lora_rank=3, lora_alpha=alpha, lora_targets=ALL)
  plain, before = drawn()
  params = moved(params)
  merged = merge_adapters(params, alpha=alpha)
  assert jax.tree.map(jnp.shape, merged) == jax.tree.map(jnp.shape, before)
  want, got = adapted.apply(dict(params=params), IMAGES)[0], plain.apply(dict(params=merged), IMAGES)[0]
  np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())
  assert np.abs(want - plain.apply(dict(params=before), IMAGES)[0]).max() > 0.01
  place = ("Transformer", "encoderblock_1", "MultiHeadDotProductAttention_0", "out")
  one, other = params, merged
  for key in place:
    one, other = one[key], other[key]
  a, b = np.asarray(one["lora_a"], np.float64).reshape(16, 3), np.asarray(one["lora_b"], np.float64)
  wanted = np.asarray(one["kernel"], np.float64).reshape(16, 16) + (2.0 if alpha else 1.0) * a @ b
  np.testing.assert_allclose(other["kernel"].reshape(16, 16), wanted, atol=1e-6)


def adapted_config(**changes):
  config = methods.small("data2vec", depth=1, total_steps=4, **changes)
  config.networks.student.update(dict(lora_rank=2, lora_targets=("key", "out")))
  return config


def test_they_alone_move_in_their_backbone_and_a_run_resumes(tmp_path):
  source, one = methods.source(), dict(devices=jax.devices()[:1])
  config = adapted_config(checkpoint_every_steps=2)
  start = named_leaves(Trainer(config, source, **one).init_state().variables)
  whole = train_and_evaluate(config, tmp_path / "whole", source=source, **one)
  end = named_leaves(whole.variables)
  for name, x in start.items():
    if name.startswith("params/student/"):
      still = name.startswith("params/student/backbone/") and not is_adapter(name)
      assert np.array_equal(end[name], x) == still, name
    elif name.startswith("teachers/teacher/backbone/") and not is_adapter(name):
      np.testing.assert_allclose(end[name], x, rtol=1e-6, atol=1e-9)  # a moving average of what stands still
  states = [x for name, x in named_leaves(whole.opt_state).items() if "backbone/" in name]
  assert len(states) == 2 * 4  # Adam's moments of two adapters, and none of what is frozen
  shutil.rmtree(tmp_path / "whole" / "checkpoints" / "4")
  again = train_and_evaluate(config, tmp_path / "whole", source=source, **one)
  jax.tree.map(np.testing.assert_array_equal, again, whole)


def test_no_decay_reaches_what_is_frozen():
  _, params = drawn(lora_rank=2)
  tree = dict(
    net=dict(backbone=params, heads_z=dict(kernel=jnp.ones((2, 2)))), other=dict(backbone=dict(kernel=jnp.ones(2)))
  )
  groups = dict(rest_of_it=dict(params="MlpBlock", lr=1.0))
  for more in ({}, dict(groups=groups)):
    tx, info = optim.make_optimizer(dict(lr=0.1, weight_decay=0.5, **more), tree, total_steps=3)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, tree), tx.init(tree), tree)
    for name, x in named_leaves(updates).items():
      assert bool(np.any(x)) == (is_adapter(name) or not name.startswith("net/backbone/")), name
    assert info["frozen"] == len(named_leaves(params)) - 8


def test_export_merges_them(tmp_path):
  entry = dict(fn="vit", lora_rank=2, lora_alpha=4.0, **NET)
  module = build(entry)
  params = moved(module.init(jax.random.key(0), IMAGES)["params"])
  found = Pretrained("a run", entry, dict(params=params), None, None, {}, (), ())
  interop.save(found, tmp_path / "out", "hf")
  back = interop.load(tmp_path / "out", "hf")
  want = module.apply(dict(params=params), IMAGES)["features"]
  got = back.module.apply(back.variables, IMAGES)["features"]
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
  # These have no adapters, so that a network that has some draws its own.
  spec = networks.build(dict(student=entry | dict(load=f"hf:{tmp_path}/out:backbone")), None, {})["student"]
  like = spec.module.init(jax.random.key(1), IMAGES)["params"]
  params, _, record = load_network(spec, like, {})
  assert set(record.drawn) == {name for name in named_leaves(params) if is_adapter(name)} and len(record.drawn) == 8
  np.testing.assert_allclose(spec.module.apply(dict(params=params), IMAGES)["features"], got, atol=1e-6)


def test_no_gradient_reaches_what_is_frozen():
  tree = dict(backbone=dict(a=dict(kernel=1.0, lora_a=2.0)), heads_z=dict(kernel=3.0))
  gradient = jax.grad(lambda x: sum(jax.tree.leaves(hold_frozen(x))))(tree)
  assert gradient == dict(backbone=dict(a=dict(kernel=0.0, lora_a=1.0)), heads_z=dict(kernel=1.0))
  del tree["backbone"]["a"]["lora_a"]
  assert hold_frozen(tree) is tree


@pytest.mark.parametrize(
  "numbers, message",
  [
    (dict(lora_rank=0), "lora_rank=0: give a whole number"),
    (dict(lora_rank=2, lora_targets=("mlp",)), "give some of query, key, value, out"),
    (dict(lora_rank=2, lora_targets=()), "give some of query, key, value, out"),
  ],
)
def test_numbers_that_cannot_be(numbers, message):
  with pytest.raises(ValueError, match=message):
    vit(**NET, **numbers)
  config = methods.small("data2vec", depth=1)
  config.networks.student.update(numbers)
  with pytest.raises(ConfigError, match=rf"config\.networks\.student: .*{message}"):
    Trainer(config, methods.source())
