"""Networks that start from another run's, in part, under other names, and as teachers."""

import jax
import numpy as np
import pytest

from jssl.checkpoint import load_variables, named_leaves
from jssl.errors import ConfigError
from jssl.explain import explain
from jssl.train import train_and_evaluate, Trainer
from tests import methods


@pytest.fixture(scope="module")
def first(tmp_path_factory):
  """A finished run, and its variables by name."""
  workdir = tmp_path_factory.mktemp("first")
  train_and_evaluate(
    methods.small("mae", depth=1, total_steps=2), workdir, source=methods.source(), devices=jax.devices()[:1]
  )
  return workdir, load_variables(workdir)


def start(config):
  """The variables of a config before its first step, by name."""
  return named_leaves(Trainer(config, methods.source(), devices=jax.devices()[:1]).init_state().variables)


def second(method="mae", network="encoder", **load):
  config = methods.small(method, depth=1, total_steps=2, seed=1)
  config.networks[network].load = load
  return config


def test_a_part_comes_from_there_and_the_rest_is_drawn(first, caplog):
  workdir, before = first
  fresh = start(methods.small("mae", depth=1, total_steps=2, seed=1))
  with caplog.at_level("INFO", "jssl"):
    found = start(second(run=f"{workdir}@2:encoder", only=("^backbone/Transformer/encoderblock",)))
  taken = [name for name in fresh if name.startswith("params/encoder/backbone/Transformer/encoderblock")]
  assert len(taken) > 10 and set(fresh) == set(found)
  for name in fresh:
    np.testing.assert_array_equal(found[name], (before if name in taken else fresh)[name], err_msg=name)
  total = sum(name.startswith("params/encoder") for name in fresh)
  (line,) = [r.getMessage() for r in caplog.records if "tensors come from" in r.getMessage()]
  assert f"network 'encoder': {len(taken)} of {total} tensors come from {workdir}@2:encoder; drawn: backbone/" in line


def test_a_network_of_more_heads_takes_the_backbone(first):
  workdir, before = first
  config = second(run=f"{workdir}:encoder", only=("^backbone/",))
  config.networks.encoder.heads = dict(classes=dict(fn="linear_head", output=4))
  config.losses.classes = dict(fn="softmax_cross_entropy_loss", reads=("e/classes", "label"))
  found = start(config)
  assert [name for name in found if name.startswith("params/encoder/heads_classes/")]
  for name in before:
    if name.startswith("params/encoder/backbone"):
      np.testing.assert_array_equal(found[name], before[name])


@pytest.mark.slow
def test_other_names(first):
  workdir, before = first
  tower = "params/encoder/backbone/Transformer"
  block = ("encoderblock_0/LayerNorm_0", "encoder_norm")
  config = second(run=f"{workdir}:encoder", only=("encoder_norm",), rename=(("encoder_norm", "old_norm"), block))
  found = start(config)
  for leaf in ("scale", "bias"):
    np.testing.assert_array_equal(found[f"{tower}/encoder_norm/{leaf}"], before[f"{tower}/{block[0]}/{leaf}"])
    assert np.any(before[f"{tower}/{block[0]}/{leaf}"] != before[f"{tower}/encoder_norm/{leaf}"])
  config.networks.encoder.load.rename = (block,)
  with pytest.raises(ConfigError, match="`rename` gives two tensors one name: .*LayerNorm_0/.* become .*encoder_norm/"):
    start(config)


def test_it_is_strict_within_what_it_chooses(first):
  workdir, _ = first
  config = second(run=f"{workdir}:encoder", only=("^backbone/",))
  config.networks.encoder.registers = 1
  with pytest.raises(ConfigError, match="only in this config: backbone/registers"):
    start(config)
  config.networks.encoder.load.only = ("^backbone/(?!registers)",)
  assert "params/encoder/backbone/registers" in start(config)
  config.networks.encoder.load.rename = (("Transformer", "Tower"),)
  with pytest.raises(ConfigError, match=r"only in .*:encoder \(params\): backbone/Tower/"):
    start(config)
  config.networks.encoder.load = dict(run=f"{workdir}:encoder", only=("^head/",))
  with pytest.raises(ConfigError, match=r"networks\.encoder\.load: nothing of the network has a name with \^head/"):
    start(config)


def test_a_teacher_may_start_elsewhere_than_its_student(first):
  workdir, before = first
  config = methods.small("data2vec", depth=1, total_steps=2, seed=1)
  (student,) = [name for name, entry in config.networks.items() if "ema" not in entry]
  (teacher,) = [name for name, entry in config.networks.items() if "ema" in entry]
  load = dict(run=f"{workdir}:encoder", only=("block.*/MlpBlock_0/",))
  config.networks[teacher].load = load
  found = start(config)
  inner = [name.partition("/encoder/")[2] for name in before if "params/encoder/" in name and "MlpBlock_0" in name]
  assert inner
  for name in inner:
    np.testing.assert_array_equal(found[f"teachers/{teacher}/{name}"], before[f"params/encoder/{name}"])
    if name.endswith("kernel"):
      assert np.abs(found[f"params/{student}/{name}"] - before[f"params/encoder/{name}"]).max() > 1e-3
  del config.networks[teacher].load
  config.networks[student].load = load
  found = start(config)
  for name in inner:
    np.testing.assert_array_equal(found[f"teachers/{teacher}/{name}"], before[f"params/encoder/{name}"])


@pytest.mark.slow
def test_explain_shows_what_comes_from_where(first, tmp_path):
  workdir, _ = first
  config = second(run=f"{workdir}:encoder", only=("encoder_norm",))
  text = explain(Trainer(config, methods.source()))
  assert f"network 'encoder': 2 of 21 tensors come from {workdir}:encoder; drawn: backbone/" in text
  config.networks.encoder.load.run = f"{tmp_path / 'later'}:encoder"
  assert "holds no checkpoint" in explain(Trainer(config, methods.source()))
  config.networks.encoder.load.run = f"{workdir}:encodr"
  with pytest.raises(ConfigError, match="did you mean 'encoder'"):
    explain(Trainer(config, methods.source()))


@pytest.mark.parametrize(
  "load, message",
  [
    ("runs/mae", "write 'workdir:network'"),
    (dict(only=("a",)), "write 'workdir:network'"),
    (dict(run="runs/a:b", olny=("a",)), "unknown key 'olny'; did you mean 'only'"),
    (dict(run="runs/a:b", only="backbone"), "give regular expressions"),
    (dict(run="runs/a:b", only=("(",)), "is no regular expression"),
    (dict(run="runs/a:b", rename=("a", "b")), "give pairs"),
  ],
)
def test_a_load_that_cannot_work_is_told_before_anything_is_read(load, message):
  config = methods.small("mae", depth=1)
  config.networks.encoder.load = load
  with pytest.raises(ConfigError, match=rf"config\.networks\.encoder\.load.*{message}"):
    Trainer(config, methods.source())
