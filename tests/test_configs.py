"""The presets that no CPU can train: they trace, and their numbers are the papers'."""

import functools

import jax
import numpy as np
import pytest

from jssl import optim
from jssl.config import load_config, total_steps
from jssl.method import Method
from jssl.models import count_parameters
from jssl.schedules import Horizon
from tests import methods

EXAMPLES = {"demo": (4096, 64), "cifar10": (50_000, 32), "imagenet": (1_281_167, 256)}

VIT_S, VIT_B = 21_665_280, 85_797_888  # timm's, without the position of the class token
RESNET_50 = 23_508_032
BLOCK = lambda d: 12 * d * d + 13 * d  # of a transformer with biases, hidden 4 d: 4 d^2 + 8 d^2, 4 d + 5 d + two norms


def dense(*widths, bias=True):
  return sum(a * b + bias * b for a, b in zip(widths, widths[1:]))


@functools.cache
def built(name, preset):
  config = load_config(f"{name}:{preset}")
  examples, size = EXAMPLES[preset]
  horizon = Horizon(total_steps(config, examples), examples // config.batch_size, config.batch_size)
  method = Method(config, num_examples=examples, horizon=horizon)
  batch = dict(image=jax.ShapeDtypeStruct((config.batch_size, size, size, 3), np.uint8),
               extent=jax.ShapeDtypeStruct((config.batch_size, 2), np.int32))
  variables = jax.eval_shape(lambda: method.init(jax.random.key(0), batch))
  optimizer, info = optim.make_optimizer(config.optim, variables.params, **horizon._asdict())
  return config, horizon, variables, optimizer, info


@pytest.mark.parametrize("preset", EXAMPLES)
@pytest.mark.parametrize("name", methods.NAMES)
def test_presets_trace(name, preset):
  _, _, variables, optimizer, _ = built(name, preset)
  state = jax.eval_shape(optimizer.init, variables.params)
  assert count_parameters(state) >= count_parameters(variables.params)


# Peak lr, warm-up epochs, epochs, steps of an epoch, lr at the end, weight decay at both ends: the papers' ImageNet runs.
RECIPES = dict(
    mae=(2.4e-3, 40, 1600, 312, 0.0, 0.05, 0.05),
    simmim=(4e-4, 10, 800, 625, 4e-5, 0.05, 0.05),
    dino=(1e-3, 10, 100, 2502, 1e-6, 0.04, 0.4),
    gmml=(5e-4, 10, 801, 5004, 1e-6, 0.04, 0.4),
    sit=(5e-4, 10, 801, 5004, 1e-6, 0.04, 0.1),
    mmc=(1e-3, 10, 800, 2502, 1e-6, 0.04, 0.4),
    barlow_twins=(1.6, 10, 1000, 625, 1.6e-3, 1e-6, 1e-6))


@pytest.mark.parametrize("name", methods.NAMES)
def test_recipes_are_the_papers(name):
  peak, warmup, epochs, epoch, end, decay_start, decay_end = RECIPES[name]
  config, horizon, _, _, info = built(name, "imagenet")
  assert horizon.steps_per_epoch == epoch and horizon.total_steps == epochs * epoch
  assert info["lr"](warmup * epoch) == pytest.approx(peak, rel=1e-5)
  assert info["lr"](warmup * epoch // 2) == pytest.approx(peak / 2, rel=2e-3)
  assert info["lr"](horizon.total_steps) == pytest.approx(end, rel=1e-3, abs=1e-9)
  assert info["weight_decay"](0) == pytest.approx(decay_start)
  assert info["weight_decay"](horizon.total_steps) == pytest.approx(decay_end)
  if name == "simmim":
    assert info["lr"](700 * epoch - 1) == pytest.approx(peak) and info["lr"](700 * epoch) == pytest.approx(peak / 10)
  assert config.dtype == "bfloat16"


SIZES = dict(
    # Learned positions of the patches are among VIT_S and VIT_B; MAE's are fixed, SimMIM's are relative.
    mae=dict(encoder=VIT_B - 196 * 768,
             decoder=dense(768, 512) + 512 + 8 * BLOCK(512) + 2 * 512 + dense(512, 768)),
    simmim=dict(encoder=VIT_B - 196 * 768 + 768 + 27 * 27 * 12 + 3 * 12 + 12 * 2 * 768 + dense(768, 768)),
    dino=dict(student=VIT_S + dense(384, 2048, 2048, 256) + 256 * 65536 + 65536),
    gmml=dict(student=VIT_S + dense(384, 384, 384, 384, 768)),
    sit=dict(student=VIT_S + dense(384, 384, 384, 384, 768) + dense(384, 4096, 4096, 256) + 4 * 4096),
    mmc=dict(student=VIT_S + dense(384, 384, 384, 384, 768) + dense(384, 2048, 2048, 256) + 256 * 8192),
    barlow_twins=dict(student=RESNET_50 + dense(2048, 8192, 8192, 8192, bias=False) + 4 * 8192))


@pytest.mark.parametrize("name", methods.NAMES)
def test_parameter_counts(name):
  _, _, variables, _, _ = built(name, "imagenet")
  assert {net: count_parameters(params) for net, params in variables.params.items()} == SIZES[name]


def test_biases_of_barlow_twins_have_their_own_learning_rate():
  config, *_ = built("barlow_twins", "imagenet")
  (pattern, factor), = config.optim.lr_mults
  assert pattern == "/(bias|scale)$" and factor * 0.2 == pytest.approx(0.0048)


def test_dino_freezes_its_last_layer_for_an_epoch():
  _, _, _, _, info = built("dino", "imagenet")
  assert info["frozen_at_first"] == 2  # direction and gain of the prototypes
