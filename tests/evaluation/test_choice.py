"""Which network and which view are evaluated: by what its passes read, whatever the order of a config's keys."""

import ml_collections
import numpy as np
import pytest

from jssl import config as configs
from jssl.errors import ConfigError
from jssl.evaluation.choice import evaluated_network, evaluated_view, trained_config

NAMES = sorted(configs.config_modules())
CROP = dict(fn="augment", reads=("image",), size=32, mean=0.5, std=0.25)


def _config(views, passes, networks=None, **evaluation):
  config = configs.default_config()
  config.views, config.passes = views, passes
  config.networks = networks or {spec["net"]: dict(fn="vit") for spec in passes.values()}
  with config.evaluation.ignore_type():
    config.evaluation.update(evaluation)
  return config


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_says_what_is_evaluated(name):
  for preset in ("demo", "cifar10", "imagenet"):
    try:
      config = configs.load_config(f"{name}:{preset}")
    except ConfigError:
      continue
    network = evaluated_network(config)
    view = evaluated_view(config, network)
    again = configs.from_json(configs.to_json(config))
    assert (evaluated_network(again), evaluated_view(again, network)) == (network, view)
    assert config.networks[network].get("ema") or not config.networks[network].get("frozen")
    if preset == "imagenet":
      assert (view.size, view.resize_to, view.interpolation) == (224, 256, "bicubic")
    else:
      assert view.resize_to is None
    assert np.shape(view.mean) == np.shape(view.std) and np.shape(view.mean) in ((), (3,))  # SimCLR's code shows [0, 1]
    assert np.max(view.mean) < 1


@pytest.mark.parametrize("names", [dict(small="a", large="b"), dict(small="b", large="a")])
def test_of_crops_of_several_sizes_it_is_the_largest_that_the_network_sees(names):
  views = {names["small"]: CROP | dict(size=16, mean=0.1), names["large"]: CROP, "other": CROP | dict(size=96)}
  passes = {f"s_{v}": dict(net="student", reads=(v,)) for v in names.values()} | dict(o=dict(net="tokens", reads=("other",)))
  view = evaluated_view(_config(views, passes), "student")
  assert (view.size, view.mean, view.std) == (32, 0.5, 0.25)


def test_views_that_differ_are_not_chosen_between():
  views = dict(a=CROP, b=CROP | dict(mean=0.0))
  passes = {f"s_{v}": dict(net="student", reads=(v,)) for v in views}
  with pytest.raises(ConfigError, match=r"config.evaluation.mean: the views that 'student' sees have several \(0.5, 0.0\)"):
    evaluated_view(_config(views, passes), "student")
  assert evaluated_view(_config(views, passes, mean=0.5), "student").mean == 0.5
  wide = dict(a=CROP | dict(size=(32, 64)), b=CROP | dict(size=(64, 32)))
  with pytest.raises(ConfigError, match="config.evaluation.size: .* have several"):
    evaluated_view(_config(wide, passes), "student")


def test_a_view_made_of_others_has_their_size_and_its_own_colours():
  views = dict(
    z=dict(CROP, size=48, mean=0.0, std=1.0), a=dict(fn="color_view", reads=("z",)), r=dict(fn="rotate", reads=("a",))
  )
  found = evaluated_view(_config(views, dict(s=dict(net="student", reads=("r/image",)))), "student")
  assert found.size == 48
  # What a view leaves to its function's default counts as if it stood there.
  assert found.mean == pytest.approx((0.485, 0.456, 0.406))


def test_masks_are_looked_through():
  config = _config(dict(v=CROP), dict(s=dict(net="student", reads=("m/image",))))
  config.masking = dict(m=dict(fn="hole", reads=("v",), side=0.5))
  assert evaluated_network(config) == "student" and evaluated_view(config, "student").size == 32


def test_a_view_without_a_size_is_an_error():
  config = _config(dict(a=dict(fn="rotate", reads=("image",))), dict(s=dict(net="student", reads=("a/image",))))
  with pytest.raises(ConfigError, match="config.evaluation.size: .* have none; set it"):
    evaluated_view(config, "student")


def test_crops_and_filters_that_cannot_be():
  config = _config(dict(a=CROP), dict(s=dict(net="student", reads=("a",))), resize_to=20)
  with pytest.raises(ConfigError, match="config.evaluation.resize_to=20: config.evaluation.size=32 x 32 does not fit"):
    evaluated_view(config, "student")
  config.evaluation.update(dict(resize_to=40, interpolation="bicubik"))
  with pytest.raises(ConfigError, match="did you mean 'bicubic'"):
    evaluated_view(config, "student")
  config.evaluation.update(dict(interpolation="bilinear", size=0))
  with pytest.raises(ConfigError, match="config.evaluation.size=0"):
    evaluated_view(config, "student")


@pytest.mark.parametrize("swap", [False, True])
def test_the_network_is_the_teacher_that_sees_images_or_else_the_trained_one(swap):
  name = dict(zip("abc", "cba" if swap else "abc", strict=True))
  networks = {name["a"]: dict(fn="vit"), name["b"]: dict(fn="mlp_head"), name["c"]: dict(fn="vit", frozen=True)}
  passes = {
    "x": dict(net=name["a"], reads=("v",)),
    "y": dict(net=name["b"], reads=("x/features",)),
    "w": dict(net=name["c"], reads=("v",)),
  }
  assert evaluated_network(_config(dict(v=CROP), passes, networks)) == name["a"]
  with_teacher = dict(networks, t=dict(ema=name["a"], decay=0.9), u=dict(ema=name["b"], decay=0.9))
  passes |= dict(t_x=dict(net="t", reads=("v",)), t_y=dict(net="u", reads=("t_x/features",)))
  assert evaluated_network(_config(dict(v=CROP), passes, with_teacher)) == "t"


def test_several_networks_are_not_chosen_between():
  passes = dict(x=dict(net="a", reads=("v",)), y=dict(net="b", reads=("v",)))
  with pytest.raises(ConfigError, match="config.evaluation.network: several networks see images; set it to one of a, b"):
    evaluated_network(_config(dict(v=CROP), passes))
  assert evaluated_network(_config(dict(v=CROP), passes, network="b")) == "b"
  with pytest.raises(ConfigError, match="config.evaluation.network='c'"):
    evaluated_network(_config(dict(v=CROP), passes, network="c"))


def test_what_a_later_phase_has_changed_counts():
  config = configs.load_config("mae:demo")
  config.total_steps = 10
  config.phases = ml_collections.ConfigDict(
    dict(
      late=dict(start_steps=6, override=dict(views=dict(v=dict(size=40)))),
      early=dict(start_fraction=0.3, override=dict(views=dict(v=dict(size=24)))),
    )
  )
  config.evaluation.size = None
  size = lambda step, examples=None: evaluated_view(trained_config(config, step, examples), "encoder").size
  # Weights of step 3 were last trained by the step before it.
  assert [size(step) for step in (0, 3, 4, 6, 7, 10, 99)] == [32, 32, 24, 24, 40, 40, 40]
  config.phases.late.start_steps = None
  config.phases.late.start_epochs = 2.0
  with pytest.raises(ConfigError, match="config.phases: when they begin depends on the data"):
    size(10)
  assert size(10, 3 * config.batch_size) == 40 and size(6, 3 * config.batch_size) == 24
