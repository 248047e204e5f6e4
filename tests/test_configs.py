"""The presets that no CPU can train: they trace, and their numbers are the papers'."""

import functools
import itertools
import pathlib

import jax
import numpy as np
import pytest

from jssl import optim
from jssl.config import config_modules, load_config, total_steps
from jssl.configs import common
from jssl.errors import ConfigError
from jssl.method import Method
from jssl.models import count_parameters
from jssl.schedules import Horizon, linear
from tests import methods

EXAMPLES = {"demo": (4096, 64), "cifar10": (50_000, 32), "imagenet": (1_281_167, 256)}

VIT_S, VIT_B, VIT_L = 21_665_280, 85_797_888, 303_300_608  # timm's, without the position of the class token (`+ 384`)
RESNET_18, RESNET_50 = 11_176_512, 23_508_032
BLOCK = lambda d: 12 * d * d + 13 * d  # of a transformer with biases, hidden 4 d: 4 d^2 + 8 d^2, 4 d + 5 d + two norms


def dense(*widths, bias=True):
  return sum(a * b + bias * b for a, b in itertools.pairwise(widths))


REGEXES = ("no_decay", "decay", "lr_mults", "constant_lr", "freeze", "clip", "layer_decay", "groups")  # of `config.optim`


def horizon_of(config, preset):
  examples, _ = EXAMPLES[preset]
  return Horizon(total_steps(config, examples), examples // config.batch_size, config.batch_size)


@functools.cache
def built(name, preset):
  config = load_config(f"{name}:{preset}")
  examples, size = EXAMPLES[preset]
  horizon = horizon_of(config, preset)
  method = Method(config, num_examples=examples, horizon=horizon)
  batch = dict(
    image=jax.ShapeDtypeStruct((config.batch_size, size, size, 3), np.uint8),
    extent=jax.ShapeDtypeStruct((config.batch_size, 2), np.int32),
    index=jax.ShapeDtypeStruct((config.batch_size,), np.int32),
    label=jax.ShapeDtypeStruct((config.batch_size,), np.int32),
  )
  variables = jax.eval_shape(lambda: method.init(jax.random.key(0), batch))
  optimizer, info = optim.make_optimizer(config.optim, variables.params, **horizon._asdict())
  return config, horizon, variables, optimizer, info


def has_preset(name, preset):
  try:
    return bool(load_config(f"{name}:{preset}"))
  except ConfigError:
    return False


IMAGENET = [name for name in methods.NAMES if has_preset(name, "imagenet")]


def test_the_readme_names_every_method():
  text = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
  places = {name: module.removeprefix("jssl.").replace(".", "/") + ".py" for name, module in config_modules().items()}
  assert sorted(places) == sorted(methods.NAMES + methods.OF_A_NETWORK)
  assert [place for place in places.values() if place not in text] == []


def test_names_of_configs_are_unique():
  files = [path for path in (pathlib.Path(__file__).parents[1] / "configs").glob("*/*.py") if path.stem != "__init__"]
  assert len({path.stem for path in files}) == len(files) > 40


def test_methods_without_imagenet():
  """Those whose papers do not train on it; a typing mistake in a preset would put another one here."""
  assert set(methods.NAMES) - set(IMAGENET) == {"bss_simclr", "isogclr", "random_teacher", "sit_mtl"}


def presets():
  """All; only those of some methods are quick."""
  for name in methods.NAMES:
    for preset in EXAMPLES:
      if preset == "imagenet" and name not in IMAGENET:
        continue
      yield pytest.param(name, preset, marks=[] if name in methods.QUICK else [pytest.mark.slow])


@pytest.mark.parametrize("name, preset", [*presets()])
def test_presets_trace(name, preset):
  _, _, variables, optimizer, _ = built(name, preset)
  state = jax.eval_shape(optimizer.init, variables.params)
  assert count_parameters(state) >= count_parameters(variables.params)


def test_a_presets_numbers_are_named():
  presets = dict(demo=dict(hidden=256, temp=0.2), imagenet=dict(hidden=2048, temp=0.1))
  assert common.pick("imagenet", **presets).hidden == 2048 and common.pick("demo", **presets).temp == 0.2
  with pytest.raises(KeyError, match="'cifar'; there are demo, imagenet"):
    common.pick("cifar", **presets)
  with pytest.raises(ValueError, match="do not have the same fields: width"):
    common.pick("demo", **presets, cifar10=dict(hidden=1, temp=1, width=1))


# Peak lr, warm-up epochs, epochs, steps of an epoch, lr at the end, weight decay at both ends: the papers' ImageNet runs.
RECIPES = dict(
  mae=(2.4e-3, 40, 1600, 312, 0.0, 0.05, 0.05),
  cmae=(2.4e-3, 40, 1600, 312, 0.0, 0.05, 0.05),
  mff=(2.4e-3, 40, 800, 312, 0.0, 0.05, 0.05),
  efficient_train=(2.4e-3, 40, 1600, 312, 0.0, 0.05, 0.05),  # those of MAE
  simmim=(4e-4, 10, 800, 625, 4e-5, 0.05, 0.05),
  dino=(1e-3, 10, 100, 2502, 1e-6, 0.04, 0.4),
  esvit=(1e-3, 10, 300, 2502, 1e-6, 0.04, 0.4),  # of its command for Swin-T
  ibot=(2e-3, 10, 800, 1251, 1e-6, 0.04, 0.4),
  dinov2=(4e-3 * 2**0.5, 20, 200, 625, 1e-6, 0.04, 0.4),  # 100 "epochs" of 1250 steps
  # Both cosines are as long as 1000 epochs would be.
  msn=(1e-3, 15, 800, 1251, 1e-6 + 999e-6 * np.sin(np.pi / 2 * 200 / 985) ** 2, 0.04, 0.4 - 0.36 * np.sin(np.pi / 10) ** 2),
  gmml=(5e-4, 10, 801, 5004, 1e-6, 0.04, 0.4),
  sit=(5e-4, 10, 801, 5004, 1e-6, 0.04, 0.1),
  mmc=(1e-3, 10, 800, 2502, 1e-6, 0.04, 0.4),
  barlow_twins=(1.6, 10, 1000, 625, 1.6e-3, 1e-6, 1e-6),
  byol=(3.2, 10, 1000, 312, 0.0, 1.5e-6, 1.5e-6),
  deepcluster_v2=(4.8, 10, 800, 312, 4.8e-3, 1e-6, 1e-6),
  mc_ssl=(1e-3, 10, 800, 2502, 1e-6, 0.04, 0.4),
  ressl=(0.05, 5, 200, 5004, 0.0, 1e-4, 1e-4),
  simsiam=(0.1, 0, 100, 2502, 0.0, 1e-4, 1e-4),
  swav=(4.8, 10, 800, 312, 4.8e-3, 1e-6, 1e-6),
  simclr=(4.8, 10, 1000, 312, 0.0, 1e-6, 1e-6),
  moco_v2=(0.03, 0, 200, 5004, 0.0, 1e-4, 1e-4),
  densecl=(0.03, 0, 200, 5004, 0.0, 1e-4, 1e-4),
  moco_v3=(2.4e-3, 40, 300, 312, 0.0, 0.1, 0.1),
  nnclr=(4.8, 10, 1000, 312, 0.0, 1e-6, 1e-6),
  supcon=(9.6, 12, 350, 208, 0.0, 1e-3, 1e-3),
  sogclr=(1.2, 10, 800, 5004, 0.0, 1e-6, 1e-6),
  vicreg=(1.6, 10, 1000, 625, 1.6e-3, 1e-6, 1e-6),
  mixed_barlow_twins=(0.8, 10, 300, 1251, 8e-4, 1e-6, 1e-6),
  w_mse=(2e-3, 500 / 2502, 240, 2502, 8e-5, 1e-6, 1e-6),
  tico=(0.2, 10, 100, 5004, 0.0, 1.5e-6, 1.5e-6),
  lejepa=(5e-4, 10, 100, 2502, 5e-7, 0.05, 0.05),
  rotation=(0.01, 0, 50, 6672, 1e-5, 5e-4, 5e-4),
  relative_position=(1e-3, 10, 70, 2502, 0.0, 0.05, 0.05),
  jigsaw=(5e-4, 10, 70, 5004, 0.0, 0.05, 0.05),
  colorization=(2e-3, 10, 100, 1251, 0.0, 0.05, 0.05),
  beit=(1.5e-3, 10, 800, 625, 1e-5, 0.05, 0.05),
  beit_v2=(1.5e-3, 10, 1600, 625, 1e-5, 0.05, 0.05),
  data2vec=(2e-3, 10, 800, 625, 1e-5, 0.05, 0.05),
  ijepa=(1e-3, 40, 600, 625, 1e-6, 0.04, 0.4),
  maskfeat=(1.6e-3, 30, 300, 625, 8e-6, 0.05, 0.05),
  mixmim=(1.2e-3, 40, 600, 625, 0.0, 0.05, 0.05),
  tokenizer=(8e-4, 5, 100, 1251, 0.0, 0.05, 0.05),  # ours
  inpainting=(2e-3, 10, 100, 1251, 0.0, 0.05, 0.05),
  context_encoder=(2e-3, 10, 100, 1251, 0.0, 0.05, 0.05),
)


@pytest.mark.parametrize("name", IMAGENET)
def test_recipes_are_the_papers(name):
  peak, warmup, epochs, epoch, end, decay_start, decay_end = RECIPES[name]
  config = load_config(f"{name}:imagenet")
  horizon = horizon_of(config, "imagenet")
  numbers = {key: value for key, value in config.optim.items() if key not in REGEXES}
  _, info = optim.make_optimizer(numbers, dict(kernel=jax.ShapeDtypeStruct((2, 2), np.float32)), **horizon._asdict())
  assert horizon.steps_per_epoch == epoch and horizon.total_steps == epochs * epoch
  assert info["lr"](warmup * epoch) == pytest.approx(peak, rel=1e-5)
  if warmup:
    assert info["lr"](warmup * epoch // 2) == pytest.approx((float(info["lr"](0)) + peak) / 2, rel=2e-3)
  assert info["lr"](horizon.total_steps) == pytest.approx(end, rel=1e-3, abs=1e-9)
  assert info["weight_decay"](0) == pytest.approx(decay_start)
  assert info["weight_decay"](horizon.total_steps) == pytest.approx(decay_end)
  if name == "simmim":
    assert info["lr"](700 * epoch - 1) == pytest.approx(peak) and info["lr"](700 * epoch) == pytest.approx(peak / 10)
  assert config.dtype == "bfloat16"


SIZES = dict(
  # Learned positions of the patches are among VIT_S and VIT_B; MAE's are fixed, SimMIM's are relative.
  mae=dict(encoder=VIT_B - 196 * 768, decoder=dense(768, 512) + 512 + 8 * BLOCK(512) + 2 * 512 + dense(512, 768)),
  simmim=dict(encoder=VIT_B - 196 * 768 + 768 + 27 * 27 * 12 + 3 * 12 + 12 * 2 * 768 + dense(768, 768)),
  beit=dict(encoder=VIT_B - 196 * 768 + 768 + 27 * 27 * 12 + 3 * 12 + 12 * 2 * 768 + dense(768, 8192)),
  data2vec=dict(student=VIT_B - 196 * 768 + 768 + 27 * 27 * 12 + 3 * 12 + 12 * 2 * 768 + dense(768, 768)),
  maskfeat=dict(encoder=VIT_B + 768 + 768 + dense(768, 108)),
  mixmim=dict(
    encoder=VIT_B - 196 * 768 - 768 + 2 * 768, decoder=dense(768, 512) + 512 + 8 * BLOCK(512) + 2 * 512 + dense(512, 768)
  ),
  ijepa=dict(student=VIT_B - 196 * 768 - 768, predictor=dense(768, 384) + 384 + 6 * BLOCK(384) + 2 * 384 + dense(384, 768)),
  tokenizer=dict(
    tokenizer=dense(768, 384) + 196 * 384 + 6 * BLOCK(384) + 2 * 384 + dense(384, 32) + 8192 * 32,
    decoder=dense(32, 384) + 3 * BLOCK(384) + 2 * 384 + dense(384, 768),
  ),
  dino=dict(student=VIT_S + 384 + dense(384, 2048, 2048, 256) + 256 * 65536),
  esvit=dict(student=VIT_S + 384 + 2 * (dense(384, 2048, 2048, 256) + 256 * 65536 + 65536)),
  ibot=dict(student=VIT_S + 384 + 384 + dense(384, 2048, 2048, 256) + 256 * 8192 + 8192),
  dinov2=dict(student=VIT_L + 1024 + 1024 + 24 * 2 * 1024 + dense(1024, 2048, 2048, 256) + 256 * 65536 + 65536),
  msn=dict(student=VIT_S + 384 + dense(384, 2048, 2048, 256) + 2 * 2 * 2048, prototypes=256 * 1024),
  gmml=dict(student=VIT_S + 384 + dense(384, 384, 384, 384, 768)),
  sit=dict(student=VIT_S + 384 + dense(384, 384, 384, 384, 768) + dense(384, 4096, 4096, 256) + 4 * 4096),
  mmc=dict(student=VIT_S + dense(384, 384, 384, 384, 768) + dense(384, 2048, 2048, 256) + 256 * 8192),
  barlow_twins=dict(student=RESNET_50 + dense(2048, 8192, 8192, 8192, bias=False) + 4 * 8192),
  byol=dict(
    student=RESNET_50 + dense(2048, 4096) + dense(4096, 256, bias=False) + 2 * 4096,
    predictor=dense(256, 4096) + dense(4096, 256, bias=False) + 2 * 4096,
  ),
  deepcluster_v2=dict(student=RESNET_50 + dense(2048, 2048, 128) + 2 * 2048),
  mc_ssl=dict(student=VIT_S + 384 + dense(384, 384, 384, 768) + dense(384, 2048, 2048, 256) + 2 * 256 * 8192),
  ressl=dict(student=RESNET_50 + dense(2048, 4096, 512)),
  simsiam=dict(
    student=RESNET_50 + dense(2048, 2048, 2048, 2048, bias=False) + 4 * 2048,
    predictor=dense(2048, 512, bias=False) + 2 * 512 + dense(512, 2048),
  ),
  swav=dict(student=RESNET_50 + dense(2048, 2048, 128) + 2 * 2048, prototypes=128 * 3000),
  simclr=dict(student=RESNET_50 + dense(2048, 2048, 128, bias=False) + 2 * 2048),
  moco_v2=dict(student=RESNET_50 + dense(2048, 2048, 128)),
  densecl=dict(student=RESNET_50 + 2 * dense(2048, 2048, 128)),
  moco_v3=dict(
    student=VIT_S - 196 * 384 + dense(384, 4096, 4096, 256, bias=False) + 4 * 4096,
    predictor=dense(256, 4096, 256, bias=False) + 2 * 4096,
  ),
  nnclr=dict(student=RESNET_50 + dense(2048, 2048, 2048, 256) + 2 * (2048 + 2048 + 256) + dense(256, 4096, 256) + 2 * 4096),
  supcon=dict(student=RESNET_50 + dense(2048, 2048) + dense(2048, 128, bias=False)),
  sogclr=dict(student=RESNET_50 + dense(2048, 2048, 128, bias=False) + 2 * 2048),
  vicreg=dict(student=RESNET_50 + dense(2048, 8192, 8192) + dense(8192, 8192, bias=False) + 4 * 8192),
  w_mse=dict(student=RESNET_18 + dense(512, 1024, 128) + 2 * 1024),
  tico=dict(student=RESNET_50 + dense(2048, 4096, bias=False) + 2 * 4096 + dense(4096, 256)),
  # Patches of 14 px in the place of 16: 60 more of them, each with a kernel of 3 x 60 pixels less.
  lejepa=dict(student=VIT_L + 1024 + (1 - 3) * 60 * 1024 + dense(1024, 2048, 2048, 512) + 4 * 2048),
  rotation=dict(student=RESNET_50 + dense(2048, 4)),
  relative_position=dict(student=VIT_S - 180 * 384, relation=dense(768, 4096, 8) + 2 * 4096),
  jigsaw=dict(student=VIT_S - 180 * 384, solver=dense(9 * 384, 4096, 1000) + 2 * 4096),
  colorization=dict(student=VIT_S + dense(384, 16 * 262)),
  inpainting=dict(student=VIT_S + dense(384, 384, 384, 384, 768)),
)

SIZES["efficient_train"] = SIZES["mae"]
SIZES["cmae"] = dict(
  student=SIZES["mae"]["encoder"],
  decoder=SIZES["mae"]["decoder"],
  features=SIZES["mae"]["decoder"] - 6 * BLOCK(512),
  projector=dense(768, 1536) + dense(1536, 256, bias=False) + 2 * 1536,
  predictor=dense(256, 1536) + dense(1536, 256, bias=False) + 2 * 1536,
)
SIZES["mff"] = SIZES["mae"] | dict(encoder=SIZES["mae"]["encoder"] + 5 * dense(768, 768) + 6)
SIZES["beit_v2"] = dict(
  encoder=SIZES["beit"]["encoder"] - dense(768, 8192) + 2 * (BLOCK(768) + 2 * 768), words=dense(768, 8192)
)
SIZES["context_encoder"] = SIZES["inpainting"] | dict(
  discriminator=16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 64 + 2 * (128 + 256 + 512) + dense(7 * 7 * 512, 1)
)
SIZES["mixed_barlow_twins"] = SIZES["barlow_twins"]


@pytest.mark.parametrize("name", methods.each_method(names=IMAGENET))
def test_parameter_counts(name):
  _, _, variables, _, _ = built(name, "imagenet")
  assert {net: count_parameters(params) for net, params in variables.params.items()} == SIZES[name]


def test_biases_of_barlow_twins_have_their_own_learning_rate():
  config, *_ = built("barlow_twins", "imagenet")
  ((pattern, factor),) = config.optim.lr_mults
  assert pattern == "/(bias|scale)$" and factor * 0.2 == pytest.approx(0.0048)


def test_the_learning_rate_of_simsiams_predictor_stays():
  config, *_ = built("simsiam", "imagenet")
  assert config.optim.constant_lr == ("^predictor/",)


@pytest.mark.slow
@pytest.mark.parametrize("name,count", [("swav", 1), ("mc_ssl", 1), ("esvit", 4)])
def test_prototypes_are_frozen_at_first(name, count):
  assert built(name, "imagenet")[-1]["frozen_at_first"] == count


def test_the_patch_projection_of_moco_v3_stays_random():
  assert built("moco_v3", "imagenet")[-1]["frozen"] == 2  # kernel and bias


def test_dinov2s_choices():
  shared, *_ = built("dinov2", "imagenet")
  assert set(shared.optim.groups) == {"head"} and shared.targets.y.fn == "centered_softmax"
  config = load_config("dinov2:imagenet,sinkhorn,separate_heads")
  assert {config.targets.y.fn, config.targets.y_patch.fn} == {"sinkhorn"}
  assert set(config.networks.student.heads) == set(config.optim.groups) == {"cls_logits", "patch_logits"}
  with pytest.raises(ConfigError, match="not sinkorn"):
    load_config("dinov2:imagenet,sinkorn")


@pytest.mark.slow
def test_learning_rates_of_dinov2_fall_with_depth():
  config, horizon, variables, _, _ = built("dinov2", "imagenet")
  params = variables.params["student"]["backbone"]
  names = ("encoderblock_0", "encoderblock_23")
  factors = optim.layer_factors(config.optim.layer_decay, [f"student/backbone/Transformer/{n}/x" for n in names])
  assert len([n for n in params["Transformer"] if n.startswith("encoderblock")]) == 24
  np.testing.assert_allclose(list(factors.values()), [0.9**24, 0.9])


@pytest.mark.slow
def test_msn_starts_from_a_learning_rate_and_spares_the_prototypes_decay():
  config, _, _, _, info = built("msn", "imagenet")
  assert info["lr"](0) == pytest.approx(2e-4) and config.optim.no_decay == ("^prototypes/",)


def test_dino_freezes_its_last_layer_for_an_epoch():
  _, _, _, _, info = built("dino", "imagenet")
  assert info["frozen_at_first"] == 1  # the directions of the prototypes, whose gains are 1


def test_dinos_longer_run_trains_and_decays_the_prototypes_gain():
  config = load_config("dino:imagenet,boost")
  assert not config.networks.student.heads.logits.norm_last_layer and config.optim.decay == ("prototypes/gain$",)
  assert config.total_epochs == 300 and config.targets.y.temp.to_dict() == linear(0.04, 0.07, epochs=30)
  for wrong in ("dino:imagenet,bost", "dino:demo,boost"):
    with pytest.raises(ConfigError, match="after imagenet there may come ',boost'"):
      load_config(wrong)
