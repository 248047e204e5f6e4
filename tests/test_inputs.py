"""Several sources in one run, arrays that every example sees whole, and padded sequences."""

import dataclasses
import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import data
from jssl.config import default_config
from jssl.environment import run_key
from jssl.errors import ConfigError
from jssl.evaluate import evaluate, load_frozen
from jssl.explain import explain
from jssl.inputs import Input, load_inputs
from jssl.method import Method
from jssl.schedules import Horizon
from jssl.train import train_and_evaluate, Trainer
from tests import methods
from tests.data.test_algebra import classes_of_files, streamed
from tests.test_train import assert_identical, rows_without_speed

ONE = jax.devices()[:1]


class Flat(nn.Module):
  """A linear layer on whatever shape an example has."""

  @nn.compact
  def __call__(self, x, *, keys=None, train=False):
    return nn.Dense(8)(x.reshape(len(x), -1))


def align_loss(a, b, place):
  """Near to an example of the other source, and of length 1; and where those examples stand in their set."""
  return jnp.mean((a - b) ** 2) + jnp.mean((jnp.sum(a**2, -1) - 1) ** 2), {"place": jnp.mean(1.0 * place)}


def two_sources(**changes):
  config = default_config()
  config.update(dict(total_steps=12, batch_size=16, log_every_steps=1, checkpoint_every_steps=3))
  crop = dict(fn="augment", size=8, scale=(0.3, 1.0))
  config.views = dict(
    v=dict(crop, reads=("image", "extent=extent")), t=dict(crop, reads=("target/image", "extent=target/extent"))
  )
  config.networks = dict(net=dict(fn="tests.test_inputs:Flat"))
  config.passes = dict(a=dict(net="net", reads=("v",)), b=dict(net="net", reads=("t",)))
  config.losses = dict(l=dict(fn="tests.test_inputs:align_loss", reads=("a/features", "b/features", "target/index")))
  config.optim.update(dict(name="sgd", lr=3e-4, weight_decay=0.0))
  config.checkpoint.keep = 20
  config.update(changes)
  return config


def target(examples: int = 40):
  return methods.source(examples, seed=1)


def trained(config, workdir, devices=ONE, source=None, **also):
  return train_and_evaluate(config, workdir, source=source or methods.source(), also=also, devices=devices)


@pytest.mark.slow
def test_a_run_on_two_sources_is_killed_and_goes_on_bit_for_bit(tmp_path):
  config = two_sources()
  whole = trained(config, tmp_path, target=target())
  rows = rows_without_speed(tmp_path)
  assert len({row["l/place"] for row in rows}) == 12 and rows[-1]["loss"] < rows[0]["loss"]
  for step in (9, 3):
    for path in (tmp_path / "checkpoints").iterdir():
      if int(path.name) > step:
        shutil.rmtree(path)
    assert_identical(whole, trained(config, tmp_path, target=target()))
    assert rows_without_speed(tmp_path) == rows
  with pytest.raises(ConfigError, match=r"other data \(target: as many of the same shapes, with other contents\)"):
    trained(config, tmp_path, target=methods.source(40, seed=2))
  with pytest.raises(ConfigError, match=r"other data \(target: examples: 40 there, 48 now\)"):
    trained(config, tmp_path, target=target(48))
  about = json.loads((tmp_path / "config.json").read_text())["data"]
  assert about["also"]["target"]["examples"] == 40


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pmap", "jit"])
def test_two_sources_are_the_same_on_eight_devices_and_from_a_stream(mode, tmp_path):
  config = two_sources(total_steps=6)
  config.parallel.mode = mode
  states = [
    trained(config, tmp_path / "one", target=target()),
    trained(config, tmp_path / "many", jax.devices(), target=target()),
    trained(config, tmp_path / "stream", target=streamed(target())),
    trained(config, tmp_path / "both", source=streamed(methods.source()), target=streamed(target())),
  ]
  kernels = [np.asarray(jax.tree.leaves(state.variables.params)[1]) for state in states]
  for kernel in kernels[1:]:
    np.testing.assert_allclose(kernel, kernels[0], atol=1e-5)
  assert (
    np.abs(
      kernels[0]
      - jax.tree.leaves(Trainer(config, methods.source(), also=dict(target=target())).init_state().variables.params)[1]
    ).max()
    > 1e-3
  )


def numbers(trainer, start, stop, name):
  return np.stack([np.asarray(batch[name]).reshape(-1) for batch in trainer.batches(start, stop)])


def test_each_source_has_an_order_and_epochs_of_its_own():
  """A set of 40 gives each example once in 40, whatever the batch; one of 6 fills a batch of 16 all the same."""
  trainer = Trainer(two_sources(), methods.source(), also=dict(target=target()), devices=ONE)
  found = numbers(trainer, 0, 10, "target/index")
  for epoch in found.reshape(4, 40):
    assert sorted(epoch) == list(range(40))
  assert not np.array_equal(found.reshape(4, 40)[0], found.reshape(4, 40)[1])
  np.testing.assert_array_equal(numbers(trainer, 7, 10, "target/index"), found[7:])
  few = Input(methods.source(6), "few")
  few.settle(["few/image"], 1 << 20)
  few = np.stack([x["few/index"] for x in few.batches(0, 3, seed=0, batch_size=16, parallel=trainer.parallel)])
  assert all(sorted(epoch) == list(range(6)) for epoch in few.reshape(8, 6))
  same = Trainer(two_sources(), methods.source(), also=dict(target=methods.source()), devices=ONE)
  main, other = numbers(same, 0, 4, "index"), numbers(same, 0, 4, "target/index")
  assert sorted(main.reshape(-1)) == sorted(other.reshape(-1)) and not np.array_equal(main, other)
  alone = Trainer(methods.small("simclr"), methods.source(), devices=ONE)
  np.testing.assert_array_equal(numbers(alone, 0, 4, "index"), main)


def test_an_iterator_may_stand_beside_arrays():
  """Its batches come as they are, and go on where it is told to."""

  def batches(start):
    for step in range(start, 100):
      yield dict(image=np.full((16, 20, 20, 3), step, np.uint8))

  other = data.from_iterator(batches, num_examples=160)
  trainer = Trainer(two_sources(), methods.source(), also=dict(target=other), devices=ONE)
  found = list(trainer.batches(3, 5))
  assert [int(batch["target/image"].max()) for batch in found] == [3, 4]
  np.testing.assert_array_equal(np.asarray(found[0]["target/index"]).reshape(-1), 48 + np.arange(16))


def test_a_config_names_the_others(tmp_path):
  config = two_sources(total_steps=1)
  objects = lambda n: dict(name="objects", options=dict(num_examples=n, image_size=16))
  config.data.update(objects(32))
  config.data.also = dict(target=dict(objects(48), split="test"))
  train_and_evaluate(config, tmp_path, devices=ONE)
  train_and_evaluate(config, tmp_path, devices=ONE)
  text = explain(Trainer(config, devices=ONE))
  assert "also target: objects/test, 48 examples" in text and "target/image" in text


@pytest.mark.parametrize(
  "also, message",
  [
    (dict(target="objects"), r"config\.data\.also\.target: write dict\(name="),
    (dict(target=dict(nam="objects")), r"config\.data\.also\.target: write dict\(name="),
    (
      dict(target=dict(name="objects", option={})),
      r"config\.data\.also\.target\.option: unknown key; did you mean 'options'",
    ),
    (dict(target=dict(name="objcts")), "did you mean 'objects'"),
    (dict(v=dict(name="objects")), r"config\.data\.also\.v: config\.views\.v is called 'v' too"),
    ({"a/b": dict(name="objects")}, "cannot have '/'"),
  ],
)
def test_what_is_wrong_with_the_others_is_told(also, message):
  config = two_sources()
  config.data.also = also
  with pytest.raises(ConfigError, match=message):
    load_inputs(config, methods.source(), None)


def test_other_data_that_are_not_there_are_told():
  with pytest.raises(ConfigError, match=r"config\.views\.t reads 'target/extent', which neither"):
    Trainer(two_sources(), methods.source(), devices=ONE)
  with pytest.raises(ConfigError, match=r"config\.data\.also\.more: nothing reads an array of it, such as 'more/image'"):
    Trainer(two_sources(), methods.source(), also=dict(target=target(), more=target()), devices=ONE)
  mine = data.from_arrays(**{"target/x": np.zeros(16)})
  with pytest.raises(ConfigError, match="arrays has an array 'target/x' too"):
    Trainer(two_sources(), mine, also=dict(target=target()), devices=ONE)


def test_other_files_are_cropped_on_the_device(tmp_path):
  files = classes_of_files(tmp_path)
  trainer = Trainer(two_sources(), files, also=dict(target=files), devices=ONE)
  assert trainer.cropping().splitlines() == [
    "views cropped on the host, out of the files at full resolution: v",
    "views of target/image are cropped on the device, out of images shrunk into 32 x 32 pixels",
  ]
  batch = next(trainer.batches(0, 1))
  assert set(batch) == {"image@v", "index", "target/image", "target/extent", "target/index"}
  assert sorted(np.asarray(batch["target/image"])[..., 0, 0, 0].reshape(-1)) == sorted(
    files.get(np.asarray(batch["target/index"]).reshape(-1), ("image",))["image"][:, 0, 0, 0]
  )


def means(rng, features, bank, *, scale):
  """A table of the features' mean over all examples, and of what a whole array has as it is."""
  return dict(mean=scale * features.mean(0), bank=jnp.asarray(bank)[:2])


@pytest.mark.slow
def test_a_refresh_goes_through_the_runs_own_data(tmp_path):
  """It sees each example of them, whatever stands beside, and whole arrays as they are."""
  config = two_sources(total_steps=3)
  config.refresh.m = dict(fn="tests.test_inputs:means", reads=("a/features", "bank"), scale=2.0, every_epochs=1)
  config.losses.n = dict(fn="tests.test_inputs:three_loss", reads=("m/mean", "m/bank", "target/label"), weight=0.0)
  bank = np.arange(12, dtype=np.float32).reshape(4, 3)
  source = dataclasses.replace(methods.source(), whole=dict(bank=bank))
  states = [
    trained(config, tmp_path / str(i), devices, source=one, target=other)
    for i, (devices, one, other) in enumerate(
      [(ONE, source, target()), (jax.devices(), source, target()), (ONE, streamed(source), streamed(target()))]
    )
  ]
  for state in states:
    np.testing.assert_array_equal(state.variables.tables["m/bank"], bank[:2])
    np.testing.assert_allclose(state.variables.tables["m/mean"], states[0].variables.tables["m/mean"], atol=1e-5)
  config.refresh.m.reads = ("b/features", "bank")
  with pytest.raises(ConfigError, match=r"config\.refresh\.m sees 'target/extent', but a refresh goes through"):
    Trainer(config, source, also=dict(target=target()), devices=ONE)


def three_loss(mean, bank, label):
  return jnp.sum(mean) + jnp.sum(bank) + 0.0 * jnp.sum(label), {}


class Graph(nn.Module):
  """Vectors of all nodes, after one step along the edges: `[nodes, 4]`; drops whole rows while it trains."""

  nodes: int

  @nn.compact
  def __call__(self, edges, *, keys=None, train=False):
    own = self.param("own", nn.initializers.normal(1.0), (self.nodes, 4))
    if keys is not None and train:
      own = own * jax.vmap(lambda key: jax.random.bernoulli(key, 0.8))(keys[: self.nodes])[:, None]
    return own + jax.ops.segment_sum(own[edges[:, 0]], edges[:, 1], self.nodes)


def pair_loss(vectors, pair, noise):
  """The two nodes of an example are alike, up to noise that it drew."""
  a, b = vectors[pair[:, 0]] + noise, vectors[pair[:, 1]]
  return jnp.mean((a - b) ** 2) + 0.1 * jnp.mean((jnp.sum(vectors**2, -1) - 1) ** 2), {}


def graph_run(**changes):
  config = default_config()
  config.update(dict(total_steps=6, batch_size=16, log_every_steps=1, checkpoint_every_steps=2))
  config.views = dict(noise=dict(fn="draw_row", reads=("bank",)))
  config.networks = dict(graph=dict(fn="tests.test_inputs:Graph", nodes=10))
  config.passes = dict(g=dict(net="graph", reads=("edges",)))
  config.losses = dict(l=dict(fn="tests.test_inputs:pair_loss", reads=("g/features", "pair", "noise/0")))
  config.optim.update(dict(name="sgd", lr=0.02, weight_decay=0.0))
  config.update(changes)
  return config


def graph_data(seed: int = 0):
  rng = np.random.default_rng(seed)
  return data.from_arrays(
    pair=rng.integers(0, 10, (48, 2)),
    whole=dict(edges=rng.integers(0, 10, (25, 2)), bank=0.1 * rng.standard_normal((30, 4))),
  )


@pytest.mark.parametrize("mode", ["pmap", pytest.param("jit", marks=pytest.mark.slow)])
def test_whole_arrays_are_the_same_on_eight_devices_and_from_a_stream(mode, tmp_path):
  config = graph_run()
  config.parallel.mode = mode
  run = lambda name, source, devices=ONE: train_and_evaluate(config, tmp_path / name, source=source, devices=devices)
  state = run("one", graph_data())
  first = np.asarray(Trainer(config, graph_data(), devices=ONE).init_state().variables.params["graph"]["backbone"]["own"])
  own = lambda state: np.asarray(state.variables.params["graph"]["backbone"]["own"])
  assert own(state).shape == (10, 4) and np.abs(own(state) - first).max() > 0.01
  np.testing.assert_allclose(own(run("many", graph_data(), jax.devices())), own(state), atol=5e-5)
  np.testing.assert_allclose(own(run("stream", streamed(graph_data()))), own(state), atol=5e-5)
  assert_identical(run("one", graph_data()), state)
  other = dataclasses.replace(graph_data(), whole=graph_data(1).whole)
  with pytest.raises(ConfigError, match="with other contents"):
    run("one", other)
  shorter = dataclasses.replace(graph_data(), whole=graph_data().whole | dict(edges=graph_data().whole["edges"][1:]))
  with pytest.raises(ConfigError, match=r"edges: int32\[25, 2\] there, int32\[24, 2\] now"):
    run("one", shorter)


@pytest.mark.slow
def test_a_step_on_whole_arrays_is_its_written_form():
  """Also of a batch in parts, which are parts of the examples alone, and of one that looks ahead."""
  config = graph_run()
  config.networks.graph.nodes = 10
  config.passes.g.train = False
  source = graph_data()
  trainer = Trainer(config, source, devices=ONE)
  state = trainer.init_state()
  own = np.asarray(state.variables.params["graph"]["backbone"]["own"])
  batch = next(trainer.batches(0, 1))
  pair = source.arrays["pair"][np.asarray(batch["index"]).reshape(-1)]
  env = trainer.single_method.environment(
    state.variables, dict(pair=pair, **source.whole), key=run_key(config.seed), step=0, positions=np.arange(16)
  )
  noise = np.asarray(env["noise/0"])
  assert {tuple(row) for row in noise.tolist()} <= {tuple(row) for row in source.whole["bank"].tolist()}
  edges = source.whole["edges"]

  def written(own):
    return pair_loss(own + jnp.zeros_like(own).at[edges[:, 1]].add(own[edges[:, 0]]), pair, noise)[0]

  expected = own - 0.02 * np.asarray(jax.grad(written)(jnp.asarray(own)))
  for accumulate in (1, 4):
    config.accumulate = accumulate
    parts = Trainer(config, source, devices=ONE)
    start = parts.init_state()
    after, metrics = parts.compile_step(start)(start, parts.arrays, next(parts.batches(0, 1)))
    np.testing.assert_allclose(after.variables.params["graph"]["backbone"]["own"], expected, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], written(own), rtol=1e-5)
    assert not after.variables.tables


def test_whole_arrays_and_parts_of_a_batch_that_look_ahead(tmp_path):
  config = graph_run(total_steps=2, lookahead=dict(steps=1, mode="wide"))
  config.networks.slow = dict(ema="graph", decay=0.9)
  config.passes.s = dict(net="slow", reads=("edges",))
  config.losses.t = dict(fn="tests.test_inputs:pair_loss", reads=("s/features", "pair", "noise/0"))
  train_and_evaluate(config, tmp_path, source=graph_data(), devices=ONE)


def test_joined_passes_read_the_same_whole_arrays():
  config = two_sources()
  config.networks = dict(net=dict(fn="tests.test_inputs:WithBank"))
  config.passes = dict(a=dict(net="net", reads=("v", "bank"), join="x"), b=dict(net="net", reads=("t", "bank"), join="x"))
  source = dataclasses.replace(methods.source(), whole=dict(bank=np.ones((3, 2), np.float32), other=np.ones((3, 2))))
  trainer = Trainer(config, source, also=dict(target=target()), devices=ONE)
  state = trainer.init_state()
  assert state.variables.params["net"]["backbone"]["of_bank"].shape == (3, 2)
  trainer.compile_step(state)(state, trainer.arrays, next(trainer.batches(0, 1)))
  config.passes.b.reads = ("t", "other")
  with pytest.raises(ConfigError, match=r"config\.passes\.b: join='x': passes of one call read the same"):
    Trainer(config, source, also=dict(target=target()), devices=ONE)


class WithBank(nn.Module):
  @nn.compact
  def __call__(self, x, bank, *, keys=None, train=False):
    of_bank = self.param("of_bank", nn.initializers.normal(1.0), bank.shape)
    return nn.Dense(8)(x.reshape(len(x), -1)) + jnp.sum(of_bank * bank)


def test_whole_arrays_are_told_apart_from_those_of_examples():
  with pytest.raises(ValueError, match="'x' is an array of the examples already"):
    data.from_arrays(x=np.zeros(3), whole=dict(x=np.zeros(2)))
  source = data.from_arrays(x=np.zeros(3), whole=dict(scalar=2.0, wide=np.zeros((2, 2))))
  assert source.whole["scalar"].dtype == np.float32 and source.whole["scalar"].shape == ()
  text = explain(Trainer(graph_run(), graph_data(), devices=ONE))
  assert "whole: edges int32[25,2]" in text and "whole: bank float32[30,4]" in text


def unit_loss(vectors):
  return jnp.mean((jnp.sum(vectors**2, -1) - 1) ** 2), {}


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_an_evaluation_reads_whole_arrays(lazy, tmp_path):
  """Those of the data that it is given, for every example, however many there are to a batch or a thread."""
  with_bank = lambda source, value: dataclasses.replace(source, whole=dict(bank=np.full((3, 2), value, np.float32)))
  config = two_sources(total_steps=1)
  config.networks.net.fn = "tests.test_inputs:WithBank"
  del config.views["t"]
  config.passes = dict(a=dict(net="net", reads=("v", "bank")))
  config.losses = dict(l=dict(fn="tests.test_inputs:unit_loss", reads=("a/features",)))
  look = dict(fn="augment", reads=("image", "extent=extent"), size=8, scale=(1.0, 1.0))
  config.evaluation.views = dict(v=look)
  config.evaluation.passes = dict(e=dict(net="net", reads=("v", "bank")))
  config.evaluation.outputs = dict(features="e/features")
  state = trained(config, tmp_path, source=with_bank(methods.source(), 1.0))
  given = {name: with_bank(methods.source(50 + i, seed=i), 2.0 + i) for i, name in enumerate(("train", "test"))}
  given = {name: streamed(source) if lazy else source for name, source in given.items()}
  result = evaluate(tmp_path, "knn:k=3", modules=("tests",), **given)
  assert 0 <= result["pretrained"]["knn"]["metrics"]["k3"] <= 1
  features = load_frozen(tmp_path, modules=("tests",)).feature_model("x").image_features
  batch = lambda bank: given["test"].get(np.arange(9)) | dict(index=np.arange(9, dtype=np.int32), bank=bank)
  banks = [np.zeros((3, 2), np.float32), given["test"].whole["bank"]]
  none, found = (features(batch(bank)) for bank in banks)
  of_bank = np.sum(np.asarray(state.variables.params["net"]["backbone"]["of_bank"]) * banks[1])
  np.testing.assert_allclose(found, none + of_bank, atol=1e-5)
  assert found.shape == (9, 8) and abs(of_bank) > 1e-3 and np.std(none[:, 0]) > 1e-3


VOCABULARY, TIME = 12, 10


def hide_tokens(rng, tokens, length, *, share):
  """Hides a share of the valid tokens, one at least; the number of the hidden token is the vocabulary's size."""
  valid = jnp.arange(len(tokens)) < length
  draw = jnp.where(valid, jax.random.uniform(rng, tokens.shape), 2.0)
  hidden = valid & ((draw < share) | (draw == draw.min()))
  return dict(tokens=jnp.where(hidden, VOCABULARY, tokens), hidden=hidden, valid=valid)


class Neighbours(nn.Module):
  """Guesses a token from those on its two sides."""

  @nn.compact
  def __call__(self, tokens, valid, *, keys=None, train=False):
    x = nn.Embed(VOCABULARY + 1, 16)(jnp.where(valid, tokens, 0)) * valid[..., None]
    sides = jnp.concatenate([jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1], jnp.pad(x, ((0, 0), (0, 1), (0, 0)))[:, 1:]], -1)
    return nn.Dense(VOCABULARY)(nn.relu(nn.Dense(48)(sides)))


def masked_token_loss(logits, tokens, hidden):
  losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.clip(tokens, 0, VOCABULARY - 1)[..., None], -1)[..., 0]
  return jnp.mean(jnp.sum(losses * hidden, -1) / jnp.sum(hidden, -1)), {}


def sentences(padding: int = 0, examples: int = 512, seed: int = 0):
  """Each token is the one before it plus 1 or plus 3; small ones are more frequent; behind their end stands padding."""
  rng = np.random.default_rng(seed)
  start = np.minimum(rng.integers(0, VOCABULARY, examples), rng.integers(0, VOCABULARY, examples))
  step = rng.choice([1, 3], examples)
  tokens = (start[:, None] + step[:, None] * np.arange(TIME)) % VOCABULARY
  length = rng.integers(4, TIME + 1, examples)
  tokens[np.arange(TIME) >= length[:, None]] = padding
  return data.from_arrays(tokens=tokens, length=length)


def language_model(**changes):
  config = default_config()
  config.update(dict(total_steps=300, batch_size=64, log_every_steps=50, checkpoint_every_steps=100))
  config.views = dict(h=dict(fn="tests.test_inputs:hide_tokens", reads=("tokens", "length"), share=0.2))
  config.networks = dict(net=dict(fn="tests.test_inputs:Neighbours"))
  config.passes = dict(p=dict(net="net", reads=("h/tokens", "h/valid")))
  config.losses = dict(l=dict(fn="tests.test_inputs:masked_token_loss", reads=("p/features", "tokens", "h/hidden")))
  config.optim.update(dict(name="adamw", lr=1e-2, weight_decay=0.0))
  config.checkpoint.keep = 5
  config.update(changes)
  return config


@pytest.mark.slow
def test_a_masked_language_model_learns_from_padded_tokens(tmp_path):
  """More than the frequencies of tokens; on sentences that it has not seen; resumed bit for bit; padding is not seen."""
  config = language_model()
  state = train_and_evaluate(config, tmp_path, source=sentences(), devices=ONE)
  test = sentences(seed=1)
  method = Method(config, num_examples=len(test), horizon=Horizon(300, 8, 64))
  loss = jax.jit(lambda batch: method.loss(state.variables.params, state.variables, batch, key=run_key(7), step=0)[0])
  found = float(loss(dict(test.arrays)))
  valid = np.arange(TIME) < test.arrays["length"][:, None]
  shares = np.bincount(sentences().arrays["tokens"][np.arange(TIME) < sentences().arrays["length"][:, None]]) / np.sum(
    sentences().arrays["length"]
  )
  unigram = -np.mean(np.log(shares[test.arrays["tokens"][valid]]))
  assert unigram > 2 and found < 0.5 * unigram
  assert float(loss(dict(sentences(padding=99, seed=1).arrays))) == found
  for step in (300, 200):
    shutil.rmtree(tmp_path / "checkpoints" / str(step))
  assert_identical(state, train_and_evaluate(config, tmp_path, source=sentences(), devices=ONE))


@pytest.mark.slow
def test_a_language_model_on_eight_devices(tmp_path):
  config = language_model(total_steps=5)
  config.optim.update(dict(name="sgd", lr=0.1))
  states = [train_and_evaluate(config, tmp_path / str(n), source=sentences(), devices=jax.devices()[:n]) for n in (1, 8)]
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), *[state.variables.params for state in states])


@pytest.mark.parametrize(
  "arrays, message",
  [
    (
      dict(tokens=np.zeros((4, 6), int), length=[1, 2, 3, 7]),
      "length must lie within 0 and 6, the entries of tokens; got 1 to 7",
    ),
    (dict(tokens=np.zeros((4, 6), int), length=[1.0, 2, 3, 4]), r"length must hold integers \[n\] beside an array"),
    (dict(tokens=np.zeros((4, 6), int), length=np.ones((4, 1), int)), r"length must hold integers \[n\] beside"),
    (dict(a=np.zeros((4, 6)), b=np.zeros((4, 2)), b_length=[3] * 4), "b_length must lie within 0 and 2, the entries of b"),
    (dict(waveform=np.zeros((4, 6), np.int32)), "waveform has the type int32; waveforms are int16"),
    (dict(waveform=np.full((4, 6), 2e4)), "values up to 20000; waveforms of floats"),
    (dict(tokens=np.zeros((4, 2, 3, 5), np.uint8)), r"tokens is uint8 \[4, 2, 3, 5\], which is taken for pictures"),
  ],
)
def test_what_cannot_be_right_of_sequences_is_told(arrays, message):
  with pytest.raises(ValueError, match=message):
    data.from_arrays(**arrays)


def test_lengths_are_counts_and_other_numbers_of_that_name_are_what_they_are():
  source = data.from_arrays(x=np.zeros((3, 5)), length=np.array([0, 5, 2], np.int64), x_length=np.array([1, 2, 3], np.uint8))
  assert source.arrays["length"].dtype == source.arrays["x_length"].dtype == np.int32
  assert data.from_arrays(length=[1.5, 2.0]).arrays["length"].dtype == np.float32
