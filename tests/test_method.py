"""A method as pure functions: order, names, draws, joined passes, teachers."""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from jssl.collapse import spread
from jssl.config import default_config
from jssl.errors import ConfigError
from jssl.method import Method
from jssl.schedules import Horizon, linear
from jssl.stateful import Stateful
from tests import methods

KEY = jax.random.key(0, impl="threefry2x32")


def noise_view(rng, image, *, strength):
  return image + strength * jax.random.normal(rng, image.shape)


def difference_loss(a, b, *, power=2):
  return jnp.mean(jnp.abs(a - b) ** power), {"largest": jnp.max(jnp.abs(a - b))}


def make(stages, batch=8, **numbers):
  config = default_config()
  config.update(dict(total_steps=10, batch_size=batch, **stages))
  return Method(config, num_examples=32, horizon=Horizon(10, 2, batch), **numbers)


def views_only(**more):
  return dict(
    views=dict(a=dict(fn=noise_view, reads=("image",), strength=0.1), b=dict(fn=noise_view, reads=("image",), strength=0.1)),
    losses=dict(l=dict(fn=difference_loss, reads=("a", "b"), **more)),
  )


def batch_of(size=8):
  return dict(image=np.random.default_rng(0).integers(0, 255, (size, 4, 4, 3)).astype(np.uint8))


def test_equal_views_run_as_one_and_draw_apart():
  method = make(views_only())
  assert [[node.name for node in unit] for unit in method.units] == [["a", "b"], ["l"]]
  env = method.environment(method.init(KEY, batch_of()), batch_of(), key=KEY, step=0)
  apart = make(
    dict(
      views_only(),
      views=dict(
        a=dict(fn=noise_view, reads=("image",), strength=0.1), b=dict(fn=noise_view, reads=("image",), strength=0.2)
      ),
    )
  )
  assert len(apart.units) == 3
  alone = apart.environment(apart.init(KEY, batch_of()), batch_of(), key=KEY, step=0)
  np.testing.assert_allclose(env["a"], alone["a"], rtol=1e-5, atol=1e-6)
  assert np.abs(env["a"] - env["b"]).max() > 0.1


def test_draws_belong_to_examples():
  method = make(views_only())
  variables, batch = method.init(KEY, batch_of()), batch_of()
  whole = method.environment(variables, batch, key=KEY, step=3)
  part = method.environment(variables, {"image": batch["image"][4:]}, key=KEY, step=3, positions=jnp.arange(4, 8))
  np.testing.assert_array_equal(whole["a"][4:], part["a"])
  later = method.environment(variables, batch, key=KEY, step=4)
  assert np.abs(later["a"] - whole["a"]).max() > 0.1


@pytest.mark.slow
def test_weights_and_numbers_may_be_schedules():
  method = make(views_only(weight=linear(0.0, 2.0), power=linear(1.0, 2.0)))
  variables, batch = method.init(KEY, batch_of()), batch_of()
  values = []
  for step in (0, 5, 10):
    loss, (_, metrics) = method.loss(variables.params, variables, batch, key=KEY, step=step)
    np.testing.assert_allclose(loss, metrics["l/weight"] * metrics["l"], rtol=1e-6)
    values.append((float(metrics["l/weight"]), float(metrics["l/power"])))
  np.testing.assert_allclose(values, [(0, 1), (1, 1.5), (2, 2)], rtol=1e-6)


def test_terms_are_summed():
  one = make(views_only())
  two = make(dict(views_only(), losses=dict(l=dict(fn=difference_loss, terms=(("a", "b"), ("b", "a"))))))
  variables, batch = one.init(KEY, batch_of()), batch_of()
  loss, (_, metrics) = one.loss(variables.params, variables, batch, key=KEY, step=0)
  loss_two, (_, metrics_two) = two.loss(variables.params, variables, batch, key=KEY, step=0)
  np.testing.assert_allclose(loss_two, 2 * loss, rtol=1e-6)
  np.testing.assert_allclose(metrics_two["l/largest"], metrics["l/largest"], rtol=1e-6)


def counter_init(x, *, start=0.0):
  return jnp.float32(start)


def counter_apply(state, x):
  return (jnp.mean(x) * 0 + state, {}), state + 1


def test_state_is_applied_once_a_step():
  method = make(
    dict(
      views_only(),
      losses=dict(
        l=dict(fn=difference_loss, reads=("a", "b")),
        c=dict(fn=Stateful(counter_init, counter_apply), reads=("a",), start=5.0),
      ),
    )
  )
  variables, batch = method.init(KEY, batch_of()), batch_of()
  assert variables.memory == {"c": 5.0}
  for expected in (5.0, 6.0):
    _, (variables, metrics) = method.loss(variables.params, variables, batch, key=KEY, step=0)
    assert metrics["c"] == expected
  assert variables.memory == {"c": 7.0}


@pytest.mark.slow
def test_joined_passes_are_the_passes_apart():
  joined = methods.small("dino")
  apart = joined.copy_and_resolve_references()
  for node in apart.passes.values():
    del node["join"]
  batch = {"image": methods.source(8).arrays["image"], "extent": methods.source(8).arrays["extent"]}
  losses = []
  for config in (joined, apart):
    method = Method(config, num_examples=64, horizon=Horizon(20, 4, 8))
    variables = method.init(KEY, batch)
    losses.append(jax.jit(lambda v, b, loss=method.loss: loss(v.params, v, b, key=KEY, step=1)[0])(variables, batch))
  np.testing.assert_allclose(*losses, rtol=1e-5)


def test_joined_passes_need_equal_shapes():
  config = methods.small("dino")
  config.passes.s_l1.join = "large"
  method = Method(config, num_examples=64, horizon=Horizon(20, 4, 8))
  with pytest.raises(ConfigError, match=r"config\.passes\.s_l1: join='large' needs equal shapes"):
    method.abstract_environment(methods.source(8).arrays)


@pytest.mark.slow
def test_gradients_reach_students_only():
  config = methods.small("mmc")
  method = Method(config, num_examples=64, horizon=Horizon(20, 4, 8))
  arrays = methods.source(8).arrays
  variables = method.init(KEY, arrays)

  @jax.jit
  @functools.partial(jax.grad, argnums=(0, 1))
  def gradients(teachers, params, batch):
    return method.loss(params, variables.replace(teachers=teachers), batch, key=KEY, step=0)[0]

  batch = {name: arrays[name] for name in method.batch_names}
  teachers, params = gradients(variables.teachers, variables.params, batch)
  assert all(not np.any(x) for x in jax.tree.leaves(teachers))
  assert sum(bool(np.any(x)) for x in jax.tree.leaves(params)) > 0.9 * len(jax.tree.leaves(params))


def test_teachers_follow_by_their_decay():
  config = methods.small("dino")
  config.networks.teacher.decay = ml_collections.ConfigDict(linear(0.5, 1.0))
  method = Method(config, num_examples=64, horizon=Horizon(20, 4, 8))
  teachers, params = {"teacher": {"w": jnp.ones(2)}}, {"student": {"w": jnp.zeros(2)}}
  np.testing.assert_allclose(method.update_teachers(teachers, params, 0)["teacher"]["w"], 0.5)
  np.testing.assert_allclose(method.update_teachers(teachers, params, 10)["teacher"]["w"], 0.75)


def test_spread_of_embeddings():
  assert float(spread(jnp.ones((8, 4)))) == pytest.approx(0, abs=1e-3)
  assert float(spread(jnp.concatenate([jnp.eye(4), -jnp.eye(4)]))) == pytest.approx(1)
  x = jax.random.normal(KEY, (8, 4)) + 1
  split = jax.vmap(lambda x: spread(x, axis_name="batch"), axis_name="batch")(x.reshape(4, 2, 4))
  np.testing.assert_allclose(split, spread(x), rtol=1e-5)


def table_view(rng, image, *, table):
  return image + jnp.asarray(table).sum() + 0 * jax.random.normal(rng, image.shape)


def test_views_with_different_long_arrays_are_not_merged():
  """NumPy prints arrays of more than 1,000 numbers alike when they differ in the middle."""
  table = np.zeros(2000)
  other = table.copy()
  other[1000] = 3
  assert repr(table) == repr(other)
  view = lambda table: dict(fn=table_view, reads=("image",), table=table)
  method = make(dict(views_only(), views=dict(a=view(table), b=view(other))))
  assert len(method.units) == 3
  env = method.environment(method.init(KEY, batch_of()), batch_of(), key=KEY, step=0)
  np.testing.assert_allclose(env["b"] - env["a"], 3, rtol=1e-5)
  assert len(make(dict(views_only(), views=dict(a=view(table), b=view(table.copy())))).units) == 2


@pytest.mark.parametrize("numbers", [(1, True), (1, 1.0), ((1,), [1]), (np.float32(1), np.float64(1)), (jnp.sin, jnp.cos)])
def test_views_are_merged_only_if_their_numbers_are_the_same(numbers):
  view = lambda number: dict(fn=table_view, reads=("image",), table=number)
  apart = make(dict(views_only(), views=dict(a=view(numbers[0]), b=view(numbers[1]))))
  same = make(dict(views_only(), views=dict(a=view(numbers[0]), b=view(numbers[0]))))
  assert (len(apart.units), len(same.units)) == (3, 2)


def returns(value):
  return lambda a, b: value(jnp.mean((a - b) ** 2))


@pytest.mark.parametrize(
  "value, message",
  [
    (lambda loss: loss, r"returns a scalar alone; .*`return loss, \{\}`"),
    (lambda loss: {"loss": loss}, r"returns a dict \(loss\); .*`return loss, \{\}`"),
    (lambda loss: (loss, loss), r"returns a tuple of 2 \(a scalar alone, a scalar alone\)"),
    (lambda loss: (loss, {}, loss), "returns a tuple of 3"),
    (lambda loss: None, "returns a NoneType"),
    (lambda loss: (jnp.ones(8) * loss, {}), r"its loss is an array float32\[8\]; .*the mean over the batch"),
    (lambda loss: (loss, {"each": jnp.ones(8) * loss}), r"its metric 'each' is an array float32\[8\]"),
  ],
)
def test_what_a_loss_must_return(value, message):
  method = make(dict(views_only(), losses=dict(mine=dict(fn=returns(value), reads=("a", "b")))))
  with pytest.raises(ConfigError, match=r"^config\.losses\.mine: " + ".*" + message):
    method.init(KEY, batch_of())


def test_a_loss_may_return_plain_numbers():
  method = make(dict(views_only(), losses=dict(l=dict(fn=returns(lambda loss: [loss, {"one": 1.0}]), reads=("a", "b")))))
  loss, (_, metrics) = method.loss({}, method.init(KEY, batch_of()), batch_of(), key=KEY, step=0)
  assert metrics["l/one"] == 1 and metrics["loss"] == loss == metrics["l"]


def test_what_is_told_of_an_entry():
  image = ("image",)
  for views, message in (
    (dict(a=dict(fn=noise_view, reads=image, strength=1.0, scope="bach")), r"config\.views\.a\.scope='bach'.*'batch'"),
    (dict(a=dict(fn=noise_view, reads=(*image, "strenth=image"))), r"config\.views\.a: .*no argument 'strenth'.*'strength'"),
    (dict(a=dict(fn=noise_view, reads=(*image, "strength=image"), strength=1.0)), "'strength' is a number and also read"),
  ):
    with pytest.raises(ConfigError, match=message):
      make(dict(views_only(), views=dict(views_only()["views"], **views)))


def test_a_state_keeps_its_shape():
  growing = Stateful(lambda x: jnp.zeros(1), lambda state, x: ((0.0 * jnp.mean(x), {}), jnp.concatenate([state, state])))
  losses = dict(views_only()["losses"], c=dict(fn=growing, reads=("a",)))
  with pytest.raises(
    ConfigError, match=r"config\.losses\.c: .* same shapes and types; it is float32\[1\], then float32\[2\]"
  ):
    make(dict(views_only(), losses=losses)).init(KEY, batch_of())


def test_a_batch_without_extent_is_told_at_init_and_later():
  config = methods.small("mmc", depth=1)
  method = Method(config, num_examples=64, horizon=Horizon(20, 4, 8))
  arrays = methods.source(8).arrays
  for call in (
    lambda batch: method.init(KEY, batch),
    lambda batch: method.loss({}, method.init(KEY, arrays), batch, key=KEY, step=0),
  ):
    with pytest.raises(ConfigError, match=r"^config\.views\.\w+ reads 'extent', .*int32 \[batch, 2\].*data\.from_arrays"):
      call({"image": arrays["image"]})


def test_a_number_of_a_state_may_be_a_schedule():
  losses = dict(
    views_only()["losses"], c=dict(fn=Stateful(counter_init, counter_apply), reads=("a",), start=linear(3.0, 4.0))
  )
  assert make(dict(views_only(), losses=losses)).init(KEY, batch_of()).memory == {"c": 3.0}


def test_channels_that_come_first_are_told_with_the_entry_that_reads_them():
  method = make(views_only())
  batch = dict(image=np.zeros((8, 3, 32, 32), np.uint8))
  message = r"config\.views\.a reads 'image', which looks like \[n, channels, height, width\].*transpose\(0, 2, 3, 1\)"
  with pytest.raises(ConfigError, match=message):
    method.init(KEY, batch)
