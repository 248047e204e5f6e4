"""What a workdir says of its run, and what must agree with it when the run goes on."""

import json
import math

import ml_collections
import numpy as np
import pytest

from jssl import config as configs
from jssl import data, logging, workdirs
from jssl.errors import ConfigError
from jssl.train import train_and_evaluate
from tests import methods


def claim(workdir, config=None, source=None, given=True):
  with workdirs.claimed(workdir, config or methods.small("mae"), source, given=given):
    return workdirs.read_record(workdir)


def edit(workdir, change):
  """Applies `change` to what `config.json` holds."""
  record = json.loads((workdir / "config.json").read_text())
  change(record)
  (workdir / "config.json").write_text(json.dumps(record))


def images(examples=8, size=12, seed=0, **more):
  array = np.random.default_rng(seed).integers(0, 255, (examples, size, size, 3), dtype=np.uint8)
  return data.from_arrays(image=array, **more)


def test_the_record_tells_what_the_run_is_trained_on(tmp_path):
  record = claim(tmp_path / "arrays", source=images())
  assert record["data"]["given"] and record["data"]["examples"] == 8
  assert record["data"]["arrays"] == {"image": "uint8[12, 12, 3]", "extent": "int32[2]"}
  named = claim(tmp_path / "named", source=data.load("objects", num_examples=4), given=False)
  assert not named["data"]["given"] and named["data"]["name"] == "objects/train"


@pytest.mark.parametrize(
  "other, message",
  [
    (images(9), "examples: 8 there, 9 now"),
    (images(size=16), r"image: uint8\[12, 12, 3\] there, uint8\[16, 16, 3\] now"),
    (images(label=np.zeros(8, np.int64)), r"label: None there, int32\[\] now"),
    (images(seed=1), "as many of the same shapes, with other contents"),
    (data.load("objects", num_examples=8), "name: arrays there, objects/train now"),
  ],
)
def test_other_data_in_the_same_workdir(other, message, tmp_path):
  claim(tmp_path, source=images())
  with pytest.raises(ConfigError, match=f"holds a run on other data .*{message}"):
    claim(tmp_path, source=other)
  claim(tmp_path, source=images())
  edit(tmp_path, lambda record: record.pop("data"))  # as runs of older versions are
  claim(tmp_path, source=other)


def test_a_set_that_is_not_in_memory_is_known_by_some_examples():
  def streamed(changed=None):
    array = images(100).arrays["image"].copy()
    if changed is not None:
      array[changed] = 0
    spec = images().element_spec
    return data.Source("set", 100, {"image": spec["image"]}, lambda index, keys: {key: array[index] for key in keys})

  assert data.fingerprint(streamed()) == data.fingerprint(streamed())
  assert data.fingerprint(streamed(0)) != data.fingerprint(streamed())
  assert data.fingerprint(streamed(99)) != data.fingerprint(streamed())


def test_an_iterator_is_told_by_what_it_says_of_itself(tmp_path, caplog):
  def iterator(examples=64, seed=0):
    batches = lambda start: iter([{"image": images(seed=seed).arrays["image"]}] * 10)
    return data.from_iterator(batches, num_examples=examples)

  claim(tmp_path, source=iterator())
  claim(tmp_path, source=iterator())
  assert not caplog.text
  claim(tmp_path, source=iterator(seed=1))
  assert "the iterator's first batch is not the one that the run began with" in caplog.text
  with pytest.raises(ConfigError, match="examples: 64 there, 32 now"):
    claim(tmp_path, source=iterator(examples=32))


def test_other_code_is_told_in_one_line(tmp_path, caplog):
  claim(tmp_path)
  claim(tmp_path)
  assert not caplog.text
  edit(tmp_path, lambda record: record.update(commit="abc") or record["versions"].update(jax="0.1"))
  claim(tmp_path)
  (message,) = [record.getMessage() for record in caplog.records]
  assert "jax 0.1 -> " in message and "commit abc -> " in message and "\n" not in message


def test_keys_that_an_older_version_did_not_have(tmp_path):
  """They count as today's defaults: those of the loop's keys and those of the functions that entries name."""
  config = methods.small("mae")
  claim(tmp_path, config)

  def forget(record):
    old = record["config"]
    for place, key in (
      (old, "phases"),
      (old, "nonfinite"),
      (old["optim"], "lars_clip"),
      (old["parallel"], "compiler_options"),
      (old["evaluation"], "grayscale"),
      (old["networks"]["encoder"], "position"),
    ):
      del place[key]

  config.networks.encoder.position = "learned"  # what `vit` takes without it
  edit(tmp_path, lambda record: record["config"]["networks"]["encoder"].update(position="learned"))
  edit(tmp_path, forget)
  claim(tmp_path, config)
  assert workdirs.read_config(tmp_path).optim.lars_clip is False
  assert workdirs.read_config(tmp_path).nonfinite.to_dict() == configs.default_config().nonfinite.to_dict()
  config.networks.encoder.position = "sincos2d"
  with pytest.raises(ConfigError, match=r"networks\.encoder\.position: absent there, sincos2d now"):
    claim(tmp_path, config)
  config.networks.encoder.position = "learned"
  config.optim.lars_clip = True
  with pytest.raises(ConfigError, match=r"optim\.lars_clip: False there, True now"):
    claim(tmp_path, config)


def test_keys_that_today_has_no_more(tmp_path):
  claim(tmp_path)
  edit(tmp_path, lambda record: record["config"]["optim"].update(rate=3))
  with pytest.raises(ConfigError, match=r"1 keys differ: optim\.rate: 3 there, absent now"):
    claim(tmp_path)


def test_options_that_say_what_holds_without_them_are_no_difference(tmp_path):
  config = methods.small("mae")
  claim(tmp_path, config)
  config.losses.rec.weight = 1.0
  config.networks.encoder.frozen = False
  claim(tmp_path, config)
  config.losses.rec.weight = 0.5
  with pytest.raises(ConfigError, match=r"losses\.rec\.weight: absent there, 0\.5 now"):
    claim(tmp_path, config)


def test_what_may_change_is_taken_over(tmp_path):
  """Evaluation reads `config.json`: keys of a later call, as of a finished run, count."""
  config = methods.small("mae")
  before = claim(tmp_path, config, images())
  config.evaluation.train.options = dict(num_examples=64)
  config.log_every_steps = 7
  after = claim(tmp_path, config, images())
  found = workdirs.read_config(tmp_path)
  assert found.evaluation.train.options.num_examples == 64 and found.log_every_steps == 7
  assert {**after, "config": None} == {**before, "config": None}
  config.evaluation.train.options = {}
  claim(tmp_path, config, images())
  assert not workdirs.read_config(tmp_path).evaluation.train.options
  config.optim.lr = 0.5
  config.log_every_steps = 8
  with pytest.raises(ConfigError, match="1 keys differ: optim.lr"):
    claim(tmp_path, config, images())
  assert workdirs.read_config(tmp_path).log_every_steps == 7


def test_checkpoints_without_a_config_belong_to_nobody(tmp_path):
  (tmp_path / "checkpoints" / "4").mkdir(parents=True)
  with pytest.raises(ConfigError, match="holds checkpoints but no config.json"):
    claim(tmp_path)
  (tmp_path / "checkpoints" / "4").rmdir()
  claim(tmp_path)


def a_loss(prediction, target, mask):
  return ((prediction - target) ** 2).mean(), {}


@pytest.mark.parametrize(
  "value, message",
  [
    (a_loss, r"config\.losses\.rec\.fn: .* cannot hold a function .* write '(tests.)?test_workdirs:a_loss'"),
    (lambda *arrays: (0.0, {}), r"config\.losses\.rec\.fn: .* write 'module:name', after defining it"),
    ({1, 2}, r"config\.losses\.rec\.fn=\{1, 2\}: .* cannot hold a set"),
    (math.inf, r"config\.losses\.rec\.fn=inf: "),
  ],
)
def test_what_a_config_file_cannot_hold_is_told_first(value, message, tmp_path):
  config = methods.small("mae")
  with config.losses.rec.ignore_type():
    config.losses.rec.fn = value
  with pytest.raises(ConfigError, match=message):
    train_and_evaluate(config, tmp_path / "run", source=methods.source())
  assert not (tmp_path / "run").exists()


def test_numbers_of_numpy_are_kept_as_numbers():
  config = ml_collections.ConfigDict(dict(a=np.float32(0.5), b=np.int64(3), c=(np.bool_(True), np.arange(2))))
  assert configs.flatten(configs.from_json(configs.to_json(config))) == dict(a=0.5, b=3, c=(True, (0, 1)))


def test_metrics_are_json_that_any_reader_knows(tmp_path):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n[1]\n{"step"\n')  # as older versions wrote them
  writer = logging.MetricsWriter(tmp_path, 1)
  writer.write(2, {"loss": math.inf, "x": 1.0})
  writer.close()

  def refuse(name):
    raise ValueError(name)

  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(line, parse_constant=refuse) for line in lines] == [
    {"step": 1, "loss": None},
    {"step": 2, "loss": None, "x": 1.0},
  ]
  first, second = logging.read_metrics(tmp_path)
  assert math.isnan(first["loss"]) and math.isnan(second["loss"]) and second["x"] == 1.0
