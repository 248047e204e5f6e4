"""What a config may hold, and what is said when it holds something else."""

import pytest

from jssl import config as configs
from jssl.errors import ConfigError
from jssl.method import Method
from jssl.schedules import Horizon
from tests import methods


def build(config):
  return Method(config, num_examples=64, horizon=Horizon(20, 4, 16))


def test_every_preset_of_every_config_is_checked_and_survives_json():
  for name in methods.NAMES:
    for preset in ("demo", "cifar10", "imagenet"):
      try:
        config = configs.load_config(f"{name}:{preset}")
      except ConfigError as error:  # a method whose paper does not train on ImageNet
        assert preset == "imagenet" and "has no preset" in str(error)
        continue
      configs.check_config(config)
      again = configs.from_json(configs.to_json(config))
      assert configs.flatten(again) == configs.flatten(config)
      build(again)


def test_overrides_change_numbers_of_any_kind():
  config = configs.load_config("mmc:cifar10")
  configs.override(
    config,
    [
      "--config.optim.lr=1e-3",
      "--config.views.a.scale=(0.5,1.0)",
      "--config.losses.md.weight=0",
      "--config.seed=3",
      "--config.optim.weight_decay=0.1",
      "--config.networks.teacher.decay.start=0.9",
      "--config.data.name=folder:/x",
      "--config.optim.clip=None",
    ],
  )
  assert config.optim.lr == 1e-3 and config.views.a.scale == (0.5, 1.0) and config.losses.md.weight == 0.0
  assert config.seed == 3 and config.optim.weight_decay == 0.1 and config.networks.teacher.decay.start == 0.9
  assert config.data.name == "folder:/x" and config.optim.clip is None


def test_a_duration_takes_the_place_of_another():
  config = configs.override(configs.load_config("mae:imagenet"), ["--config.total_steps=10"])
  assert configs.total_steps(config, 10**6) == 10 and config.total_epochs is None
  config.total_epochs = 2.0
  with pytest.raises(ConfigError, match="exactly one of total_steps, total_epochs, total_examples"):
    configs.check_config(config)


def test_durations_in_epochs_and_examples():
  config = methods.small("mae", total_steps=None)
  config.total_epochs = 2.5
  assert configs.total_steps(config, 64) == 10
  config.total_epochs, config.total_examples = None, 100
  assert configs.total_steps(config, 64) == 7


@pytest.mark.parametrize(
  "argument, message",
  [
    ("--config.optim.lrr=1", r"config\.optim\.lrr: unknown key; did you mean 'lr'"),
    ("--config.optim.lr=fast", r"config\.optim\.lr='fast': .* another type"),
    ("--config.losses.l2.weight=0", r"config\.losses\.l2: unknown key"),
    ("--optim.lr=1", r"write --config\.key=value"),
  ],
)
def test_wrong_overrides(argument, message):
  with pytest.raises(ConfigError, match=message):
    configs.override(configs.load_config("mmc:demo"), [argument])


@pytest.mark.parametrize(
  "argument, message",
  [
    ("batch_size=0", "batch_size=0: it must be at least 1"),
    ("accumulate=None", "accumulate=None: it must be a whole number"),
    ("log_every_steps=0", "log_every_steps=0: it must be at least 1"),
    ("data=None", "data=None: it must be a table"),
    ("dtype=float8", "dtype='float8': did you mean 'float32'"),
    ("total_steps=-3", "total_steps=-3: it must be a positive number"),
    ("total_epochs={}", r"total_epochs=\{\}: it must be a positive number"),
    ("views.a=None", r"views\.a=None: it must be a table"),
    ("losses.rec.weight=None", r"losses\.rec\.weight: None is not a number"),
    ("networks.teacher.decay=None", r"networks\.teacher\.decay: None is not a number"),
  ],
)
def test_values_that_cannot_be_used(argument, message):
  with pytest.raises(ConfigError, match=message):
    config = configs.override(configs.load_config("mmc:demo"), [f"--config.{argument}"])
    configs.check_config(config)
    build(config)


@pytest.mark.parametrize(
  "argument, value",
  [
    ("optim.nesterov=true", True),
    ("optim.nesterov=false", False),
    ("networks.student.qkv_bias=false", False),  # the config does not have the key: nothing tells its type
    ("networks.student.qkv_bias=FALSE", False),
    ("optim.clip=null", None),
    ("optim.clip=none", None),
    ("views.a.scale=(0.5, none)", (0.5, None)),
    ('optim.clip={"per_tensor": 1e-3}', {"per_tensor": 1e-3}),
    ("networks.student.codes=(true, (false, 1_000))", (True, (False, 1000))),
    ("batch_size=1e3", 1000),
    ("batch_size=1_024", 1024),
    ("optim.lr=1", 1.0),
    ("optim.lr=-1e-3", -1e-3),
    ("data.name=2024", "2024"),
    ("data.name=1e3", "1e3"),
    ("data.name='none'", "none"),
    ("data.name=folder:~/none", "folder:~/none"),
    ("data.name=~", "~"),
    ("data.name=null_set", "null_set"),
    ("networks.student.load=runs/a@3:teacher", "runs/a@3:teacher"),
  ],
)
def test_what_texts_of_the_command_line_mean(argument, value):
  config = configs.override(configs.load_config("mmc:demo"), [f"--config.{argument}"])
  *parents, key = argument.partition("=")[0].split(".")
  place = config
  for parent in parents:
    place = place[parent]
  found = place.to_dict()[key]
  assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["no", "off", "1", "0", "'false'", "falsch", "(false,)"])
def test_a_boolean_takes_nothing_else(text):
  with pytest.raises(ConfigError, match=r"config\.optim\.nesterov=.*: write True or False"):
    configs.override(configs.load_config("mmc:demo"), [f"--config.optim.nesterov={text}"])


@pytest.mark.parametrize("text", ["no", "off", "'false'"])
def test_a_boolean_of_a_function_takes_nothing_else(text):
  """The config does not have the key, so that only the function tells its type."""
  for key in ("networks.encoder.qkv_bias", "networks.encoder.frozen", "passes.e.train", "targets.y.normalize"):
    with pytest.raises(ConfigError, match=rf"config\.{key}='{text.strip(chr(39))}': write True or False"):
      build(configs.override(configs.load_config("mae:demo"), [f"--config.{key}={text}"]))


@pytest.mark.parametrize(
  "argument, message",
  [
    ("batch_size=true", r"config\.batch_size=True: "),
    ("batch_size=1.5", r"config\.batch_size=1\.5: "),
    ("losses.md.weight=true", r"config\.losses\.md\.weight=True: "),
    ("data.split=true", r"config\.data\.split=True: "),
    ("views.a.scale=(0.5, x)", r"config\.views\.a\.scale=\(0\.5, x\): cannot be read"),
    ("optim.clip={per_tensor: 1}", r"config\.optim\.clip=\{per_tensor: 1\}: cannot be read"),
  ],
)
def test_texts_that_mean_nothing_there(argument, message):
  with pytest.raises(ConfigError, match=message):
    configs.override(configs.load_config("mmc:demo"), [f"--config.{argument}"])


def test_a_fault_inside_of_a_config_is_shown_as_it_is(tmp_path, monkeypatch):
  path = tmp_path / "mine.py"
  path.write_text(
    "from jssl.configs.images import mae\n"
    "def get_config(preset='demo'):\n"
    "  config = mae.get_config('demo')\n"
    "  size = dict(small=32)[preset]\n"
    "  return dict(views=config.views)[['encoder', 'views', 'nothing'][size // 32]] if size else config\n"
  )
  with pytest.raises(ConfigError, match="has no preset 'large'"):
    configs.load_config(f"{path}:large")
  with pytest.raises(KeyError, match="demo") as error:
    configs.load_config(str(path))
  assert error.traceback[-1].path == path
  path.write_text("def get_config(preset='demo'):\n  return dict(encoder=1)['encodr']\n")
  with pytest.raises(KeyError, match="encodr"):
    configs.load_config(f"{path}:demo")
  path.write_text("def get_config(preset='demo'):\n  pass\n")
  with pytest.raises(ConfigError, match="get_config returned a NoneType"):
    configs.load_config(f"{path}:demo")
  path.write_text("config = 3\n")
  with pytest.raises(ConfigError, match="no function get_config"):
    configs.load_config(str(path))
  monkeypatch.setenv("HOME", str(tmp_path))
  with pytest.raises(ConfigError, match="no function get_config"):
    configs.load_config("~/mine.py")


def test_a_config_that_lacks_keys_of_the_loop():
  config = methods.small("mae")
  del config.nonfinite.limit
  with pytest.raises(ConfigError, match=r"config\.nonfinite\.limit is missing: begin with"):
    configs.check_config(config)


def test_unknown_configs_presets_and_keys():
  with pytest.raises(ConfigError, match="no such config; did you mean 'mae'"):
    configs.load_config("maee")
  with pytest.raises(ConfigError, match="mae has no preset .*there are demo, cifar10, imagenet"):
    configs.load_config("mae:cifar100")
  with pytest.raises(ConfigError, match="there is no such file"):
    configs.load_config("nowhere/mae.py")
  config = methods.small("mae")
  config.optim.learning_rate = 1.0
  with pytest.raises(ConfigError, match=r"config\.optim\.learning_rate: unknown key"):
    configs.check_config(config)


def changed(name, path, value):
  config = methods.small(name)
  *parents, key = path.split(".")
  place = config
  for parent in parents:
    place = place[parent]
  with place.ignore_type():
    place[key] = value
  return config


@pytest.mark.parametrize(
  "name, path, value, message",
  [
    ("mae", "losses.rec.fn", "mae_lss", r"config\.losses\.rec: jssl\.losses has no 'mae_lss'; did you mean 'mae_loss'"),
    ("mae", "losses.rec.fn", "nowhere:loss", r"config\.losses\.rec: fn='nowhere:loss': No module named 'nowhere'"),
    ("mae", "views.v.sise", 3, r"config\.views\.v: augment has no number 'sise'; did you mean 'size'"),
    ("mae", "masking.m.rate", 0.5, r"config\.masking\.m: .* no number 'rate'"),
    ("mae", "passes.d.nett", "decoder", r"config\.passes\.d: unknown key 'nett'; did you mean 'net'"),
    ("mae", "passes.d.net", "decodr", r"config\.passes\.d: no network 'decodr'; did you mean 'decoder'"),
    ("mae", "networks.encoder.widht", 3, r"config\.networks\.encoder: vit has no number 'widht'; did you mean 'width'"),
    ("dino", "networks.teacher.ema", "studnt", r"config\.networks\.teacher: ema='studnt' is not a trained network"),
    ("dino", "networks.spare", dict(fn="vit", variant="Ti/4", image_size=16), r"config\.networks\.spare: no pass uses it"),
    ("mae", "views.w", dict(fn="augment", reads=("image",), size=16), r"config\.views\.w: no loss reads 'w'"),
    ("mae", "targets.v", dict(fn="patch_pixels", reads=("v",), patch=4), r"another entry is called 'v' too"),
    ("mae", "passes.e.reads", ("d/tokens",), r"read each other in a circle"),
    ("mae", "passes.e.reads", "v", r"config\.passes\.e\.reads: 'v' is a string; write \('v',\)"),
    (
      "dino",
      "targets.y.temp",
      dict(schedule="cosin", start=0, end=1),
      r"schedule 'cosin' is not known; did you mean 'cosine'",
    ),
  ],
)
def test_mistakes_are_named_with_their_place(name, path, value, message):
  with pytest.raises(ConfigError, match=message):
    build(changed(name, path, value))


@pytest.mark.parametrize(
  "name, path, value, message",
  [
    ("mae", "views.v.size", 18, r"image size 18x18 is not divisible by the patch size 4"),
    ("mae", "masking.m.ratio", 0.0, r"config\.masking\.m: .*ratio=0\.0 must lie in \(0, 1\)"),
    ("mae", "masking.m.ratio", 1.0, r"config\.masking\.m: .*ratio=1\.0 must lie in \(0, 1\)"),
    ("gmml", "masking.drop_a.area", 0.0, r"config\.masking\.drop_a: .*area"),
    (
      "mae",
      "losses.rec.reads",
      ("d/pixel", "y", "m/mask"),
      r"reads 'd/pixel', which nothing writes; did you mean 'd/pixels'",
    ),
    ("mae", "views.v.reads", ("imge",), r"config\.views\.v reads 'imge', which neither .* did you mean 'image'"),
    ("mae", "masking.m.ratio", dict(schedule="cosine", start=0.5, end=0.75), r"config\.masking\.m: .*cannot be a schedule"),
  ],
)
def test_what_only_shapes_can_tell(name, path, value, message):
  spec = {k: v for k, v in methods.source(16).arrays.items()}
  with pytest.raises(ConfigError, match=message):
    build(changed(name, path, value)).abstract_environment(spec)
