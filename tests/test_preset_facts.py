"""The imagenet presets beside the authors' code: what is decayed, where parameters start, crops and schedules."""

import functools
import inspect
import re

import jax
import numpy as np
import pytest

from jssl import optim, views
from jssl.checkpoint import named_leaves
from jssl.config import from_json, load_config, to_json, total_steps
from jssl.method import Method
from jssl.models.resnet import DEPTHS
from jssl.schedules import Horizon
from tests.preset_facts import convolutional, distillation, masked
from tests.test_configs import IMAGENET

FACTS = masked.FACTS | distillation.FACTS | convolutional.FACTS
# Presets without a table: there is no code of the authors' to hold them against, or nothing but the loss is theirs.
OURS = dict(
  colorization="network, optimizer and views are ours",
  context_encoder="all but the discriminator is ours, as of `inpainting`",
  efficient_train="of its variant for MAE no code was published; the base is that of `mae`",
  inpainting="network, optimizer and views are ours",
  jigsaw="network and optimizer are ours",
  mmc="no code was published",
  relative_position="network, optimizer and views are ours",
  tokenizer="all of it is ours",
)
IMAGES = 1_281_167


def shallow(config):
  """The config with transformers of one block, and narrow ResNets and what reads them."""
  config = from_json(re.sub(r"/block(\d+)", "/block01", to_json(config)))
  with config.networks.ignore_type(), config.networks.unlocked():
    for network in config.networks.values():
      if network.get("fn") in ("vit", "mae_decoder", "jepa_predictor"):
        network.depth = 1
        if "readout" in network:
          network.readout = (1,)
      if network.get("fn") == "resnet":
        network.width = 8
      if network.get("fn") in ("resnet", "mlp_head"):
        for module in (network, *network.get("heads", {}).values()):
          module.update({"hidden": min(module.hidden, 128)} if "hidden" in module else {})
  return config


@pytest.fixture(autouse=True)
def resnets_of_one_block_a_stage(monkeypatch):
  for depth in (18, 50):
    monkeypatch.setitem(DEPTHS, depth, (1, 1, 1, 1))


def test_every_preset_is_held_against_its_authors_code_or_says_why_not():
  assert sorted([*FACTS, *OURS]) == sorted(IMAGENET)


@functools.cache
def built(name):
  """The preset's config, its horizon, and a function that makes its variables, in shallow networks."""
  config = load_config(f"{name}:imagenet")
  horizon = Horizon(total_steps(config, IMAGES), IMAGES // config.batch_size, config.batch_size)
  method = Method(shallow(config), num_examples=IMAGES, horizon=horizon)
  shapes = dict(image=((256, 256, 3), np.uint8), extent=((2,), np.int32), index=((), np.int32), label=((), np.int32))
  batch = {k: jax.ShapeDtypeStruct((config.batch_size, *shape), dtype) for k, (shape, dtype) in shapes.items()}
  return config, horizon, lambda: method.init(jax.random.key(0), batch)


@functools.cache
def optimizer(name):
  """The preset's config and horizon, its parameters' shapes by path, and what is said of its optimizer."""
  config, horizon, init = built(name)
  params = jax.eval_shape(init).params
  _, info = optim.make_optimizer(config.optim, params, **horizon._asdict())
  return config, horizon, named_leaves(params), info


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_what_is_decayed(name):
  _, _, params, info = optimizer(name)
  assert set(info["decayed_paths"]) == {path for path in params if re.search(FACTS[name].decayed, path)}


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_where_parameters_start(name):
  start, params = FACTS[name].start, named_leaves(built(name)[2]().params)
  for path, value in params.items():
    fitting = next((regex for regex in start if re.search(regex, path)), None)
    assert fitting, path
    want = start[fitting]
    if callable(want):
      want = want(params.get(re.sub("/bias$", "/kernel", path), value).shape)
    # Four deviations of what so many normal numbers would give.
    tolerance = max(0.02, 4 / np.sqrt(2 * value.size))
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(value))), want, rtol=tolerance, atol=1e-9, err_msg=path)


@pytest.mark.parametrize("name", FACTS)
def test_crops(name):
  default = inspect.signature(views.augment).parameters["interpolation"].default
  entries = load_config(f"{name}:imagenet").views
  crops = {
    view: (entry.size, tuple(entry.scale), entry.get("interpolation", default))
    for view, entry in entries.items()
    if "scale" in entry
  }
  assert crops == FACTS[name].crops


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.numbers or facts.networks])
def test_views_and_networks(name):
  config = load_config(f"{name}:imagenet")
  defaults = {key: parameter.default for key, parameter in inspect.signature(views.augment).parameters.items()}
  for view, wanted in FACTS[name].numbers.items():
    numbers = defaults | config.views[view].to_dict()
    assert {key: numbers[key] for key in wanted} == wanted
  for place, wanted in FACTS[name].networks.items():
    assert functools.reduce(lambda node, key: node[key], place.split("."), config.networks) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_schedules_and_optimizer(name):
  config, horizon, _, info = optimizer(name)
  known = {"optim.lr": info["lr"], "optim.weight_decay": info["weight_decay"]}
  for place, wanted in FACTS[name].schedules.items():
    value = known.get(place) or horizon.make(functools.reduce(lambda node, key: node[key], place.split("."), config))
    got = [float(value(step)) for step in (0, horizon.total_steps)]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-12, err_msg=place)
  settings = optim.default_optim_config() | config.optim.to_dict()
  assert {key: settings[key] for key in FACTS[name].optim} == FACTS[name].optim
