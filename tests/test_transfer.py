"""A pretrained network used with labels: fine-tuning and linear classification as runs, and what they are evaluated by."""

import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import collapse, data, evaluate, transfer
from jssl.checkpoint import load_variables, named_leaves
from jssl.environment import run_key
from jssl.errors import ConfigError, Stopped
from jssl.optim.config import complete, make_plan, parameter_paths
from jssl.schedules import Horizon
from jssl.train import train_and_evaluate, Trainer
from tests import methods


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A pretrained MAE, and labelled data that its evaluation names."""
  workdir = tmp_path_factory.mktemp("mae")
  config = methods.small("mae", depth=2, total_steps=2)
  config.evaluation.train.options = dict(num_examples=64, image_size=20)
  config.evaluation.test.options = dict(num_examples=24, image_size=20)
  config.evaluation.size = 16
  train_and_evaluate(config, workdir, source=methods.source(), devices=jax.devices()[:1])
  return workdir


FEW = ("--config.total_steps=2", "--config.batch_size=16", "--config.optim.warmup_fraction=None")


@pytest.mark.parametrize(
  "recipe", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("finetune", "finetune:small,two_part")), "linear"]
)
def test_a_recipe_is_a_run(run, recipe):
  results = transfer.transfer(run, recipe, overrides=FEW)
  place = run / "transfer" / recipe.replace(":", "-").replace(",", "-")
  metrics = results["pretrained"]["accuracy"]["metrics"]
  assert 0 <= metrics["accuracy (top 1)"] <= metrics["accuracy (top 5)"] <= 1
  assert results["pretrained"]["accuracy"]["parameters"]["images"] == 24
  assert json.loads((place / "evaluation.json").read_text())["about"]["step"] == 2
  before, after = load_variables(run), load_variables(place)
  kind = "teachers/backbone" if recipe == "linear" else "params/classifier"
  for name in before:
    if name.startswith("params/encoder/backbone/"):
      same = np.array_equal(after[f"{kind}/{name.removeprefix('params/encoder/')}"], before[name])
      assert same == (recipe == "linear"), name
  # The same command goes on where it stopped: nothing is trained twice.
  assert transfer.transfer(run, recipe, overrides=FEW)["pretrained"]["accuracy"]["metrics"] == metrics


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["finetune", "linear"])
def test_a_network_of_colours_is_shown_grey_images_as_it_was_trained(recipe, tmp_path):
  """Both in training and in evaluation: with weights that are not trained, the frozen network's features are the same."""
  arrays = methods.source(48).arrays
  grey = data.from_arrays(image=arrays["image"][..., :1], label=arrays["label"])
  config = methods.small("mae", total_steps=1)
  config.views = dict(rgb=dict(fn="as_rgb", reads=("image",))) | {
    name: dict(view, reads=("rgb", "extent=extent")) for name, view in config.views.to_dict().items()
  }
  train_and_evaluate(config, tmp_path, source=grey, devices=jax.devices()[:1])
  transfer.transfer(tmp_path, recipe, train=grey, test=grey, overrides=FEW)
  batch = dict(grey.get(np.arange(4)), index=np.arange(4))
  before = evaluate.load_frozen(tmp_path).feature_model("before").image_features(batch)
  after = evaluate.load_frozen(tmp_path / "transfer" / recipe).feature_model("after").image_features(batch)
  assert before.shape == after.shape
  if recipe == "linear":
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_transfer_that_is_stopped_has_no_result_and_goes_on(run, monkeypatch):
  few = ("--config.total_steps=4", *FEW[1:])
  with monkeypatch.context() as patch:
    patch.setattr(collapse.CollapseWatch, "look", lambda self, step, metrics: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped, match="stopped at step 2"):
      transfer.transfer(run, "linear", overrides=few, name="stopped")
  assert not (run / "transfer/stopped/evaluation.json").exists()
  results = transfer.transfer(run, "linear", overrides=few, name="stopped")
  assert results["pretrained"] == transfer.transfer(run, "linear", overrides=few, name="whole")["pretrained"]


def test_from_scratch_only_the_weights_differ(run):
  configs = [transfer.transfer_config(transfer.pretrained(run, scratch=scratch), "finetune") for scratch in (False, True)]
  assert configs[0].networks.classifier.load.run == f"{run.absolute()}@2:encoder"
  del configs[0].networks.classifier["load"]
  assert configs[0].to_dict() == configs[1].to_dict()
  assert transfer._folder("finetune", True, None, 10) == "finetune_labels-10_scratch"


@pytest.mark.slow
def test_fine_tuning_is_that_of_plain_optax(run):
  """A partly loaded ViT: layer decay, decoupled decay of matrices, smoothed labels, drop path by the examples' keys."""
  config = transfer.transfer_config(transfer.pretrained(run), "finetune")
  config.update(dict(batch_size=8, total_steps=3))
  config.optim.update(dict(lr=1e-2, warmup_fraction=None, lr_schedule="constant", weight_decay=0.1))
  source = methods.source(16)
  trainer = Trainer(config, source, devices=jax.devices()[:1])
  state = trainer.init_state()
  start = jax.tree.map(np.asarray, state.variables)
  pretrained = load_variables(run)
  for name, leaf in named_leaves(start.params["classifier"]["backbone"]).items():
    np.testing.assert_array_equal(leaf, pretrained[f"params/encoder/backbone/{name}"])
  step = trainer.compile_step(state)
  indices = [np.asarray(batch["index"]).reshape(-1) for batch in trainer.batches(0, 3)]
  for batch in trainer.batches(0, 3):
    state, _ = step(state, trainer.arrays, batch)

  module, classes = trainer.single_method.networks["classifier"].module, config.networks.classifier.heads.classes.output
  params, moments = start.params["classifier"], None
  layer = lambda name: 0 if "embedding" in name or name.endswith(("cls", "mask_token")) else None
  factors = {}
  for name in named_leaves(params):
    block = [int(part.removeprefix("encoderblock_")) for part in name.split("/") if part.startswith("encoderblock_")]
    depth = block[0] + 1 if block else 0 if layer(name) == 0 else 3
    factors[name] = 0.75 ** (3 - depth)
  adam = optax.scale_by_adam(0.9, 0.999, 1e-8)
  environment = jax.jit(lambda v, b, n: trainer.single_method.environment(v, b, key=run_key(config.seed), step=n))
  moments = adam.init(params)
  for number, index in enumerate(indices):
    arrays = {name: source.arrays[name][index] for name in trainer.method.batch_names if name != "index"} | {"index": index}
    env = environment(start, arrays, number)
    keys = jax.vmap(lambda i, n=number: _pass_key(config.seed, n, i))(jnp.arange(8))

    def loss(params, image=env["mixed/image"], labels=arrays["label"], keys=keys):
      logits = module.apply({"params": params, "batch_stats": {}}, image, keys=keys, train=True)["classes"]
      target = 0.9 * jax.nn.one_hot(labels, classes) + 0.1 / classes
      return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), -1))

    updates, moments = adam.update(jax.jit(jax.grad(loss))(params), moments)
    new = {}
    for (name, p), u in zip(named_leaves(params).items(), named_leaves(updates).values(), strict=True):
      decayed = p.ndim > 1 and not name.endswith("bias")
      new[name] = p - 1e-2 * factors[name] * (u + (0.1 * p if decayed else 0))
    params = jax.tree.unflatten(jax.tree.structure(params), list(new.values()))
  for (name, found), expected in zip(
    named_leaves(state.variables.params["classifier"]).items(), jax.tree.leaves(params), strict=True
  ):
    if not name.endswith("key/bias"):  # which softmax does not see, and Adam shakes
      np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5, err_msg=name)


def _pass_key(seed, step, position):
  from jssl.environment import name_key

  return name_key(jax.random.fold_in(jax.random.fold_in(run_key(seed), step), position), "c")


@pytest.mark.parametrize(
  "recipe, message",
  [
    ("finetun", "did you mean 'finetune'"),
    ("finetune:smal", "it has no preset .*smal.*; there are small, mae, beit, deit, sit"),
    ("finetune:small,two_parts", "it has no option 'two_parts'; did you mean 'two_part'"),
  ],
)
def test_a_recipe_that_is_not_there(run, recipe, message):
  with pytest.raises(ConfigError, match=message):
    transfer.transfer(run, recipe)


# Peak and last learning rate, epochs of warm-up and in all, batch; rates of the class token and of the first of two blocks
# as shares of the peak; what the classifier reads, its layers, and the deviation of its last kernel. The recipes name the
# authors' files.
RECIPES = {
  "finetune:mae": (2e-3, 1e-6, 5, 100, 1024, (0.65**3, 0.65**2), ("features",), 1, 2e-5),
  "finetune:beit": (4e-3, 1e-6, 20, 100, 1024, (0.65**3, 0.65**2), ("features",), 1, 2e-5),
  "finetune:deit": (1e-3, 1e-5, 5, 300, 1024, (1, 1), ("features",), 1, 0.02),
  "finetune:sit": (5e-4 * 480 / 512, 5e-6, 5, 501, 480, (1, 1), ("cls", "mean"), 2, 0.02),
  "linear:mae": (6.4, 0.0, 10, 90, 16384, None, None, 1, 0.01),
}


@pytest.mark.parametrize(
  "recipe", [recipe if recipe == "finetune:mae" else pytest.param(recipe, marks=pytest.mark.slow) for recipe in RECIPES]
)
def test_recipes_are_the_authors(run, recipe):
  peak, end, warmup, epochs, batch, shares, reads, layers, deviation = RECIPES[recipe]
  config = transfer.transfer_config(transfer.pretrained(run), recipe)
  assert (config.total_epochs, config.batch_size, config.optim.warmup_epochs) == (epochs, batch, warmup)
  optim = config.optim.to_dict()
  config.update(dict(batch_size=16, total_epochs=None, total_steps=4))
  config.optim.update(dict(warmup_epochs=None))
  trainer = Trainer(config, methods.source(), devices=jax.devices()[:1])
  assert "ce" in trainer.metric_names()
  params = trainer.init_state().variables.params["classifier"]
  names = named_leaves(params)
  plan, _ = make_plan(complete(optim), params, Horizon(5 * epochs, 5, batch), parameter_paths(params))
  assert float(plan.lr(5 * warmup)) == pytest.approx(peak)
  assert float(plan.lr(5 * epochs)) == pytest.approx(end, abs=1e-9)
  own = [name for name in names if "linear" in recipe or not name.startswith("backbone/")]
  kernels = [names[name] for name in own if name.endswith("kernel")]
  assert float(jnp.std(kernels[-1])) == pytest.approx(deviation, rel=0.1)
  assert len(kernels) == layers
  if shares is None:
    return
  decayed = {name for name, yes in named_leaves(plan.decayed).items() if yes}
  assert decayed == {name for name, x in names.items() if x.ndim > 1 and not name.endswith(("/cls", "/bias"))}
  rates = {name: float(rate(5 * warmup)) / peak for name, rate in named_leaves(plan.rates).items()}
  of_block = {rate for name, rate in rates.items() if "encoderblock_0/" in name}
  assert (rates["backbone/cls"], *of_block) == pytest.approx(shares)
  assert [rates[name] for name in own] == pytest.approx([1.0] * len(own))
  assert config.networks.classifier.heads.classes.reads == reads
  assert any("/fc_norm/" in name for name in names) == (not any("/encoder_norm/" in name for name in names))
  assert any("/fc_norm/" in name for name in names) == (recipe in ("finetune:mae", "finetune:beit"))


def graph(**evaluation):
  config = methods.small("mae", depth=1, total_steps=2)
  config.evaluation.update(
    dict(
      views=dict(v=dict(fn="resize_view", reads=("image", "extent=extent"), size=16, mean=0.5, std=0.25)),
      passes=dict(e=dict(net="encoder", reads=("v",))),
      outputs=dict(features="e/mean", places="e/patch_tokens"),
      protocols=("knn:k=3", "rankme"),
    )
  )
  config.evaluation.update(evaluation)
  return config


@pytest.fixture(scope="module")
def graph_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("graph")
  train_and_evaluate(graph(), workdir, source=methods.source(), devices=jax.devices()[:1])
  return workdir


@pytest.mark.slow
def test_a_graph_of_ones_own_is_the_image_default_spelled_out(tmp_path):
  """Of the same network, view and feature the numbers are the same; random weights are other weights."""
  results = []
  for config in (graph(), methods.small("mae", depth=1, total_steps=2)):
    place = tmp_path / str(len(results))
    train_and_evaluate(config, place, source=methods.source(), devices=jax.devices()[:1])
    overrides = () if results else ("--config.evaluation.passes.e.train=False",)
    if results:
      overrides = ("--config.evaluation.size=16", "--config.evaluation.mean=0.5", "--config.evaluation.std=0.25")
      overrides += ("--config.evaluation.feature=mean",)
    data = dict(train=methods.source(40, seed=1), test=methods.source(20, seed=2))
    results.append(
      evaluate.evaluate(place, ["knn:k=3", "rankme"], baselines=["random weights"], overrides=overrides, **data)
    )
  for model in ("pretrained", "random weights"):
    for protocol in ("knn", "rankme"):
      a, b = (found[model][protocol]["metrics"] for found in results)
      assert a == pytest.approx(b, rel=1e-4)
  assert results[0]["pretrained"]["rankme"]["metrics"] != results[0]["random weights"]["rankme"]["metrics"]
  assert results[0].about["view"]["v"]["size"] == 16 and results[0].about["network"] == "encoder"


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(outputs=dict(features="e/meen")), r"evaluation\.outputs\.features='e/meen': nothing writes it; .*e/mean"),
    (dict(outputs=dict(feature="e/mean")), r"evaluation\.outputs\.feature: did you mean 'features'"),
    (dict(outputs=dict(features="e/patch_tokens")), r"it must be \[example, dim\]"),
    (dict(passes=dict(e=dict(net="encodr", reads=("v",)))), r"evaluation\.passes\.e: no network 'encodr'; did you mean"),
    (dict(views=dict(v=dict(fn="resize_veiw", reads=("image",), size=16))), r"config\.evaluation\.views\.v: .*resize_view"),
  ],
)
def test_mistakes_in_a_graph_are_named(graph_run, tmp_path, change, message):
  workdir = shutil.copytree(graph_run, tmp_path / "run")
  record = json.loads((workdir / "config.json").read_text())
  record["config"]["evaluation"].update(change)
  (workdir / "config.json").write_text(json.dumps(record))
  with pytest.raises(ConfigError, match=message):
    evaluate.load_frozen(workdir).feature_model("pretrained")


@pytest.mark.slow
def test_checkpoints_of_named_steps_stay(tmp_path):
  config = methods.small("mae", depth=1, total_steps=8, checkpoint_every_steps=1)
  config.checkpoint.update(dict(keep=1, keep_every=3))
  train_and_evaluate(config, tmp_path, source=methods.source(), devices=jax.devices()[:1])
  assert {int(path.name) for path in (tmp_path / "checkpoints").iterdir()} == {3, 6, 8}
  config.checkpoint_every_steps = 2
  with pytest.raises(ConfigError, match=r"keep_every=3: give a multiple of config.checkpoint_every_steps=2"):
    Trainer(config, methods.source())


@pytest.mark.slow
def test_an_average_that_no_pass_uses_can_be_evaluated(tmp_path):
  config = methods.small("mae", depth=1, total_steps=2)
  config.networks.average = dict(ema="encoder", decay=0.5)
  with pytest.raises(ConfigError, match=r"config\.networks\.average: no pass uses it"):
    Trainer(config, methods.source())
  config.evaluation.network = "average"
  config.evaluation.update(dict(size=16, mean=0.5, std=0.25))
  train_and_evaluate(config, tmp_path, source=methods.source(), devices=jax.devices()[:1])
  frozen = evaluate.load_frozen(tmp_path)
  assert frozen.name == "average"
  trained = load_variables(tmp_path)
  a, b = (trained[f"{kind}/backbone/embedding/kernel"] for kind in ("teachers/average", "params/encoder"))
  assert 0 < np.abs(a - b).max() < 0.1
  passes = {key: value for key, value in graph().evaluation.to_dict().items() if key in ("views", "passes", "outputs")}
  passes["passes"]["e"]["net"] = "average"
  record = json.loads((tmp_path / "config.json").read_text())
  record["config"]["evaluation"].update(passes)
  (tmp_path / "config.json").write_text(json.dumps(record))
  trained, random = (evaluate.load_frozen(tmp_path, random=random).variables for random in (False, True))
  np.testing.assert_array_equal(trained.teachers["average"]["backbone"]["embedding"]["kernel"], a)
  assert np.abs(random.teachers["average"]["backbone"]["embedding"]["kernel"] - a).max() > 1e-4


@pytest.mark.slow
def test_with_few_labels(run):
  """Of arrays and of what a config names: so many of each class."""
  train = methods.source(64, seed=3)
  few = ("--config.total_steps=1", "--config.batch_size=8", "--config.optim.warmup_fraction=None")
  results = transfer.transfer(run, "linear", labels=2, overrides=few, train=train, test=methods.source(16, seed=4))
  record = json.loads((run / "transfer" / "linear_labels-2" / "config.json").read_text())
  assert record["data"]["examples"] == 2 * train.num_classes
  assert results["pretrained"]["accuracy"]["parameters"]["images"] == 16
  transfer.transfer(run, "linear", fraction=0.25, overrides=few)
  record = json.loads((run / "transfer" / "linear_fraction-0.25" / "config.json").read_text())
  assert 10 <= record["data"]["examples"] <= 26 and record["config"]["data"]["name"] == "derived"
