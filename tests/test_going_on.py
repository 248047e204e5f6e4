"""Presets that go on from a network that exists: `continue` of a method, and distillation."""

import jax
import numpy as np
import pytest

from jssl import config as configs
from jssl import interop, logging, optim
from jssl.checkpoint import load_variables, named_leaves
from jssl.errors import ConfigError
from jssl.interop.pretrained import build, Pretrained
from jssl.train import train_and_evaluate, Trainer
from tests import methods

NET = dict(fn="vit", image_size=16, patch_size=4, width=16, depth=2, num_heads=2)
ONE = dict(devices=jax.devices()[:1])
STUDENT = dict(dinov2="student", mae="encoder", simclr="student")


def released(folder, **numbers):
  """A folder in the manner of Hugging Face's, of a ViT that was drawn."""
  entry = NET | numbers
  image = np.zeros((1, 16, 16, 3), np.float32)
  variables = build(entry).init(jax.random.key(5), image)
  interop.save(Pretrained("x", entry, variables, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), {}, (), ()), folder, "hf")
  return f"hf:{folder}"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  return released(tmp_path_factory.mktemp("released") / "vit")


def small(spec, **changes):
  """A preset with small heads and few steps, without the kinds of arithmetic that hide a difference."""
  config = configs.load_config(spec)
  for network in (config.networks[name] for name in config.networks if name != "teacher"):
    for head in network.get("heads", {}).values():
      head.update(dict(hidden=16) | (dict(bottleneck=8, prototypes=16) if "prototypes" in head else {}))
  if "decoder" in config.networks:
    config.networks.decoder.update(dict(width=16, depth=1, num_heads=2))
  config.update(
    dict(batch_size=16, total_epochs=None, total_steps=20, log_every_steps=1, checkpoint_every_steps=2, dtype="float32")
  )
  config.checkpoint.keep_every = 2
  config.data.name = config.evaluation.train.name = config.evaluation.test.name = "scenes"
  config.update(changes)
  return config


def in_backbone(variables, network):
  place = "params/" if f"params/{network}/backbone/cls" in variables else "teachers/"
  start = f"{place}{network}/backbone/"
  return {name.removeprefix(start): x for name, x in variables.items() if name.startswith(start)}


@pytest.mark.slow
@pytest.mark.parametrize("method", [*STUDENT])
def test_first_the_heads_then_all(method, source, tmp_path):
  config, net = small(f"{method}:continue@{source}"), STUDENT[method]
  assert all(view.mean == (0.4, 0.5, 0.6) and view["size"] in (16, 8) for view in config.views.values())
  start = named_leaves(Trainer(config, methods.source(), **ONE).init_state().variables)
  file = named_leaves(interop.load(source.removeprefix("hf:")).variables["params"]["backbone"])
  for name, x in file.items():
    np.testing.assert_array_equal(in_backbone(start, net)[name], x, err_msg=name)
    if "teacher" in config.networks:
      np.testing.assert_array_equal(in_backbone(start, "teacher")[name], x, err_msg=name)
  assert set(in_backbone(start, net)) - set(file) == ({"mask_token"} if method == "dinov2" else set())
  train_and_evaluate(config, tmp_path, source=methods.source(), **ONE)
  warmed, end = (load_variables(tmp_path, step) for step in (2, 20))
  moved = lambda a, b, where: max(np.abs(a[name] - b[name]).max() for name in a if where(name))
  backbone = lambda name: name.startswith(f"params/{net}/backbone/")
  others = lambda name: name.startswith("params/") and not backbone(name)
  assert moved(warmed, start, backbone) == 0 and moved(warmed, start, others) > 0
  assert 0 < moved(end, warmed, backbone) < moved(end, warmed, others)


@pytest.mark.slow
def test_a_run_goes_on_from_a_run_and_gram_anchors_it(source, tmp_path):
  first = small(f"mae:continue@{source}", total_steps=2)
  train_and_evaluate(first, tmp_path / "first", source=methods.source(), **ONE)
  config = small(f"dinov2:continue,gram@{tmp_path / 'first'}:encoder", total_steps=4)
  config.networks.student.lora_rank = 2
  assert config.networks.gram.frozen and config.networks.gram.width == 16
  before = load_variables(tmp_path / "first")
  state = train_and_evaluate(config, tmp_path / "second", source=methods.source(), **ONE)
  end = named_leaves(state.variables)
  for net in ("student", "gram"):
    for name, x in in_backbone(before, "encoder").items():
      np.testing.assert_array_equal(in_backbone(end, net)[name], x, err_msg=name)
  adapters = [name for name in in_backbone(end, "student") if name.endswith("lora_b")]
  assert len(adapters) == 4 and all(np.any(in_backbone(end, "student")[name]) for name in adapters)


def test_the_backbones_rate_is_low_rises_late_and_falls_with_depth(source):
  config = small(f"mae:continue@{source}", total_steps=100)
  config.optim.update(dict(name="sgd", momentum=0.0, lr=1.0, lr_scale=None, lr_schedule="constant", warmup_fraction=None))
  with config.optim.ignore_type():
    config.optim.weight_decay = 0.0
  block = dict(kernel=np.zeros((2, 2), np.float32))
  encoder = dict(Transformer=dict(encoderblock_0=block, encoderblock_1=block, encoder_norm=block), embedding=block)
  params = dict(encoder=dict(backbone=encoder), decoder=dict(backbone=dict(head=block)))
  tx, _ = optim.make_optimizer(config.optim, params, total_steps=100, steps_per_epoch=10, batch_size=16)
  start, ones = tx.init(params), jax.tree.map(np.ones_like, params)
  for step, factor in ((9, 0.0), (15, 0.05), (20, 0.1), (90, 0.1)):
    updates, _ = tx.update(ones, start._replace(count=np.int32(step)), params)
    found = {name: -float(x[0, 0]) for name, x in named_leaves(updates).items()}
    place = "encoder/backbone/Transformer"
    want = {
      "encoder/backbone/embedding/kernel": factor * 0.75**3,
      f"{place}/encoderblock_0/kernel": factor * 0.75**2,
      f"{place}/encoderblock_1/kernel": factor * 0.75,
      f"{place}/encoder_norm/kernel": factor,
      "decoder/backbone/head/kernel": 1.0,
    }
    assert found == pytest.approx(want, abs=1e-6), step


@pytest.mark.parametrize(
  "spec, message",
  [
    ("dinov2:continue", "dinov2:continue: name the network after an @: dinov2:continue@hf:/folder"),
    ("mae:continue", "mae:continue@runs/x:teacher"),
    ("distill:demo", "distill:demo: name the network after an @"),
    ("mae:continue@hf:/nowhere", "mae:continue@hf:/nowhere: .*there is no such file or folder"),
    ("mae:continue@nowhere", "mae:continue@nowhere: source: write 'workdir:network'"),
    ("dinov2:continue,gran@hf:/x", "there may come sinkhorn and separate_heads and gram, not gran"),
    ("distill:demo,head,cls@hf:/x", "there may come one of cls, patches, head"),
    ("distill:cifar10@hf:/x", "there are demo, imagenet"),
  ],
)
def test_a_source_that_cannot_be(spec, message):
  with pytest.raises(ConfigError, match=message):
    configs.load_config(spec)


def test_a_teacher_without_a_head_has_none_to_distil(source):
  with pytest.raises(ConfigError, match="the teacher has no head of prototypes"):
    configs.load_config(f"distill:demo,head@{source}")


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["", ",cls"])
def test_distilled_from_a_file(choice, source, tmp_path):
  config = small(f"distill:demo{choice}@{source}", total_steps=30)
  config.optim.lr = 3e-3
  student = config.networks.student
  student.update(dict(width=24, depth=1))  # narrower in depth, and of another width than the teacher
  if choice:
    student.update(dict(fn="resnet", depth=18, stem="cifar", width=8))
    for key in ("num_heads", "init", "patch_size", "image_size"):
      del student[key]
  state = train_and_evaluate(config, tmp_path, source=methods.source(), **ONE)
  file = named_leaves(interop.load(source.removeprefix("hf:")).variables["params"]["backbone"])
  end = named_leaves(state.variables)
  for name, x in file.items():
    np.testing.assert_array_equal(in_backbone(end, "teacher")[name], x, err_msg=name)
  rows = logging.read_metrics(tmp_path)
  losses = [name for name in ("cls", "patch") if name in rows[0]]
  assert losses == (["cls"] if choice else ["cls", "patch"])
  for name in losses:
    assert rows[-1][name] < rows[0][name] - 0.2


@pytest.mark.slow
def test_distilled_from_a_head_of_a_run(tmp_path):
  first = methods.small("dino", total_steps=2)
  train_and_evaluate(first, tmp_path / "dino", source=methods.source(), **ONE)
  config = small(f"distill:demo,head@{tmp_path / 'dino'}:teacher", total_steps=20)
  config.networks.student.update(dict(width=24, depth=1))
  assert config.networks.student.heads.logits.prototypes == first.networks.student.heads.logits.prototypes == 16
  state = train_and_evaluate(config, tmp_path / "student", source=methods.source(), **ONE)
  before, end = load_variables(tmp_path / "dino"), named_leaves(state.variables)
  names = [name for name in before if name.startswith("teachers/teacher/")]
  assert any("heads_logits" in name for name in names)
  for name in names:
    np.testing.assert_array_equal(end[name], before[name])
