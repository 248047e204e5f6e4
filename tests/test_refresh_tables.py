"""What `refresh` functions see of the data, and those that act, keep tables of their own, and report."""

import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import data, tables
from jssl.config import default_config
from jssl.environment import run_key
from jssl.errors import ConfigError
from jssl.refresh import spherical_kmeans
from jssl.stateful import Stateful
from jssl.train import train_and_evaluate, Trainer
from jssl.views import draw_row, take_row
from tests import functions, methods
from tests.test_train import assert_identical, rows_without_speed

ARMS = np.float32([0.2, 0.8, 0.4, 0.1])
ROWS = 64


def clusters(**entry):
  config = methods.small("barlow_twins", depth=1)
  config.refresh.clusters = dict(fn="tests.functions:nearest_center", reads=("s_a/features",), count=4, **entry)
  config.targets = dict(
    which=dict(fn="tests.functions:rows", reads=("clusters/assignments", "index")),
    center=dict(fn="tests.functions:rows", reads=("clusters/centers", "which")),
  )
  config.losses = dict(c=dict(fn="tests.functions:classify_loss", reads=("s_b/features", "center")))
  return config


def test_refresh_needs_a_period_and_random_access():
  with pytest.raises(ConfigError, match=r"config\.refresh\.clusters: give every_epochs, every_steps"):
    Trainer(clusters(), methods.source(), devices=jax.devices()[:1])
  batches = lambda start: iter([{k: v[:16] for k, v in methods.source().arrays.items()}])
  iterator = data.from_iterator(batches, num_examples=64)
  with pytest.raises(ConfigError, match=r"config\.refresh\.clusters sees all examples, but iterator is an iterator"):
    Trainer(clusters(every_epochs=1), iterator, devices=jax.devices()[:1])


def two_classes(order):
  """Two classes of noisy images, the one a little brighter in half of its pixels, in a given order."""
  rng = np.random.default_rng(0)
  label = np.repeat([0, 1], 128)
  mean = 110 + 35 * label[:, None] * np.where(np.arange(48) % 2, 1, -1)
  image = np.clip(mean + 60 * rng.standard_normal((256, 48)), 0, 255).astype(np.uint8).reshape(256, 4, 4, 3)
  return data.from_arrays(image=image[order], label=label[order])


def toy(source):
  """A trainer whose view `n` is normalised by its batch, and whose `w` is drawn for each example."""
  config = default_config()
  config.update(dict(total_steps=4, batch_size=32))
  config.optim.lr = 0.1
  config.views = dict(
    n=dict(fn="tests.functions:normalized_images", reads=("image",), scope="batch"),
    w=dict(fn="augment", reads=("image", "extent=extent"), size=4, scale=(0.3, 1.0)),
  )
  config.losses = dict(l=dict(fn="tests.functions:classify_loss", reads=("n", "w")))
  return Trainer(config, source, devices=jax.devices()[:1])


def mutual_information(a, b):
  """Of two labels, over the root of the product of their entropies."""
  joint = np.histogram2d(a, b, bins=2)[0] / len(a)
  rows, columns = joint.sum(1), joint.sum(0)
  entropy = lambda p: -np.sum(p[p > 0] * np.log(p[p > 0]))
  return (entropy(rows) + entropy(columns) - entropy(joint.ravel())) / np.sqrt(entropy(rows) * entropy(columns))


@pytest.mark.slow
def test_refresh_sees_batches_of_all_classes_in_a_sorted_data_set():
  """Clusters of a folder sorted by class are as good as those of a shuffled one: a batch of one class has its statistics."""
  in_order, shuffled = np.arange(256), np.random.default_rng(1).permutation(256)
  information = []
  for order in (in_order, shuffled):
    source = two_classes(order)
    trainer = toy(source)
    found = tables.collect(trainer, trainer.init_state(), ["n"], 0)["n"].reshape(256, -1)
    _, assignments = spherical_kmeans(jax.random.key(0), found, clusters=2)
    information.append(mutual_information(np.asarray(assignments), source.arrays["label"]))
  normalized = lambda images: functions.normalized_images(None, images).reshape(len(images), -1)
  whole = spherical_kmeans(jax.random.key(0), normalized(two_classes(in_order).arrays["image"] / 255), clusters=2)[1]
  best = mutual_information(np.asarray(whole), two_classes(in_order).arrays["label"])
  apart = np.concatenate([normalized(part) for part in np.split(two_classes(in_order).arrays["image"] / 255, 8)])
  worst = spherical_kmeans(jax.random.key(0), apart, clusters=2)[1]
  worst = mutual_information(np.asarray(worst), two_classes(in_order).arrays["label"])
  assert worst < best / 2
  assert min(information) > 0.8 * best


@pytest.mark.slow
def test_what_refresh_sees_of_an_example_is_what_its_index_draws():
  """In the data's order, and drawn as the environment draws for an example of that index at that step."""
  source = two_classes(np.arange(256))
  trainer = toy(source)
  state = trainer.init_state()
  found = tables.collect(trainer, state, ["image", "w"], 3)
  np.testing.assert_allclose(found["image"], np.float32(source.arrays["image"]) / 255, atol=1e-6)
  batch = {name: source.arrays[name][40:72] for name in ("image", "extent")}
  key, index = run_key(trainer.config.seed), np.arange(40, 72)
  drawn = trainer.single_method.environment(state.variables, batch, key=key, step=0, positions=index)["w"]
  np.testing.assert_allclose(found["w"][40:72], drawn, atol=1e-6)
  assert np.abs(found["w"][40] - found["w"][41]).max() > 0.01


class Policy(nn.Module):
  """A preference for each arm."""

  @nn.compact
  def __call__(self, x, *, keys=None, train=False):
    return nn.Dense(len(ARMS), use_bias=False)(x)


def no_plays(*, rng, rows):
  return dict(state=np.ones((rows, 1), np.float32), arm=np.zeros(rows, np.int32), gain=np.zeros(rows, np.float32), plays=0)


def play(before, call, *, rng, rows):
  """Each row plays once, on the host; `gain` is how much more than the mean it won."""
  draws = np.random.default_rng(np.asarray(jax.random.key_data(rng)))
  logits = np.asarray(call("policy", before["state"])["features"], np.float64)
  chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  arm = np.array([draws.choice(len(ARMS), p=p) for p in chances])
  won = draws.random(rows) < ARMS[arm]
  gain = won - won.mean()
  after = dict(before, arm=arm.astype(np.int32), gain=gain.astype(np.float32), plays=before["plays"] + rows)
  return dict(won=won.mean(), plays=after["plays"]), after


def reinforce_loss(logits, arm, gain):
  """Williams 1992: minus the gain times the logarithm of the chance of what was played."""
  return -jnp.mean(gain * jnp.take_along_axis(jax.nn.log_softmax(logits), arm[:, None], 1)[:, 0]), {}


def bandit(**changes):
  config = default_config()
  config.update(dict(total_steps=120, batch_size=16, log_every_steps=1, checkpoint_every_steps=10))
  config.data.update(dict(name="nothing", options=dict(num_examples=ROWS)))
  config.refresh = dict(play=dict(fn="tests.test_refresh_tables:BANDIT", rows=ROWS, every_steps=4))
  config.views = dict(row=dict(fn="draw_row", reads=("play/state", "play/arm", "play/gain")))
  config.networks = dict(policy=dict(fn="tests.test_refresh_tables:Policy"))
  config.passes = dict(p=dict(net="policy", reads=("row/0",)))
  config.losses = dict(reinforce=dict(fn="tests.test_refresh_tables:reinforce_loss", reads=("p/features", "row/1", "row/2")))
  config.optim.update(dict(name="sgd", lr=3.0, weight_decay=0.0))
  config.checkpoint.keep = 20
  config.update(changes)
  return config


BANDIT = Stateful(no_plays, play)


@pytest.mark.slow
def test_reinforce_on_a_bandit_killed_and_resumed_bit_for_bit(tmp_path):
  """It learns the best arm; from any checkpoint, also between two plays, it goes on as if it had not been killed."""
  config = bandit()
  whole = train_and_evaluate(config, tmp_path, devices=jax.devices()[:1])
  rows = rows_without_speed(tmp_path)
  assert np.mean([row["play/won"] for row in rows[:8]]) < 0.5 < 0.7 < np.mean([row["play/won"] for row in rows[-20:]])
  assert rows[-1]["play/plays"] == whole.variables.tables["play/plays"] == ROWS * 30
  assert np.argmax(jax.tree.leaves(whole.variables.params)[0]) == np.argmax(ARMS)
  for step in (110, 60):
    for path in (tmp_path / "checkpoints").iterdir():
      if int(path.name) > step:
        shutil.rmtree(path)
    assert_identical(whole, train_and_evaluate(config, tmp_path, devices=jax.devices()[:1]))
    assert rows_without_speed(tmp_path) == rows


@pytest.mark.parametrize("mode", ["pmap", "jit"])
def test_one_device_plays_as_eight(tmp_path, mode):
  config = bandit(total_steps=12)
  config.parallel.mode = mode
  states = [train_and_evaluate(config, tmp_path / str(n), devices=jax.devices()[:n]) for n in (1, 8)]
  assert states[0].variables.tables.keys() == states[1].variables.tables.keys()
  for name, table in states[0].variables.tables.items():
    np.testing.assert_array_equal(table, states[1].variables.tables[name])
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), *[state.variables.params for state in states])


def acting(init=no_plays, apply=play):
  config = bandit()
  del config.refresh.play["fn"]
  config.refresh.play.fn = Stateful(init, apply)
  return Trainer(config)


def test_what_a_bandit_needs_is_told():
  config = bandit()
  config.refresh.play.every_steps = 0
  with pytest.raises(ConfigError, match=r"config\.refresh\.play: give every_epochs"):
    Trainer(config)
  with pytest.raises(ConfigError, match=r"config\.refresh\.play: what its `init` returns must be a dict of arrays"):
    acting(lambda *, rng, rows: jnp.zeros(rows))
  trainer = acting(apply=lambda before, call, *, rows: ({}, dict(before, arm=np.zeros(3))))
  with pytest.raises(ConfigError, match=r"config\.refresh\.play: its tables must stay of the same names, shapes and types"):
    tables.refresh(trainer, trainer.init_state(), 0)
  trainer = acting(apply=lambda before, call, *, rows: call("polcy", before["state"]))
  with pytest.raises(ConfigError, match=r"call\('polcy', \.\.\.\): .*did you mean 'policy'"):
    tables.refresh(trainer, trainer.init_state(), 0)


def test_tables_that_depend_on_tables_and_on_examples():
  """A `Stateful` gets other tables as they are, and what belongs to examples for each of them."""
  seen = {}

  def apply(before, call, centers, index, *, rng):
    seen.update(centers=np.asarray(centers), index=index)
    return {}, before

  config = clusters(every_epochs=1)
  reads = ("clusters/centers", "index")
  config.refresh.watch = dict(
    fn=Stateful(lambda centers, index, *, rng: dict(x=jnp.zeros(3)), apply), reads=reads, every_epochs=1
  )
  config.targets.unused = dict(fn="tests.functions:rows", reads=("watch/x", "index"))
  config.losses.l2 = dict(fn="tests.functions:classify_loss", reads=("unused", "unused"))
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:1])
  state, metrics = tables.refresh(trainer, trainer.init_state(), 0)
  np.testing.assert_array_equal(seen["centers"], state.variables.tables["clusters/centers"])
  np.testing.assert_array_equal(seen["index"], np.arange(64))
  assert metrics == {}


def test_data_without_arrays():
  source = data.load("nothing", num_examples=10)
  assert len(source) == 10 and source.get([3, 4]) == {}
  with pytest.raises(ConfigError, match="num_examples is 0"):
    data.load("nothing", num_examples=0)


def test_rows_of_tables():
  x, y = jnp.arange(8), jnp.arange(8)[:, None] * 10
  drawn = [draw_row(jax.random.key(i), x, y, count=3) for i in range(50)]
  assert {int(a) for a, _ in drawn} == {0, 1, 2} and all(int(b[0]) == 10 * int(a) for a, b in drawn)
  assert [int(take_row(None, jnp.int32(i), x)[0]) for i in (0, 7, 8, 17)] == [0, 7, 0, 1]
  with pytest.raises(ValueError, match="tables of equally many rows are needed"):
    draw_row(jax.random.key(0), x, y[:3])
