"""What a train step of the main demos costs, counted rather than timed: whoever makes one dearer has to say so here.

The counts are of the program as JAX hands it to XLA. Those of the compiled one would be nearer to what a machine does,
but they change with XLA's version, its backend and the flags of the tests, and take a compilation each. So the bytes are
of all operations before any are fused, several times what moves, and the body of a loop counts once.
"""

import re

import jax
import pytest

from jssl.config import load_config
from jssl.train import Trainer
from tests import methods

# FLOPs, bytes read and written by all operations, and matrix products and convolutions, of a step of one device.
COSTS = dict(
  mmc=(16.37e9, 9.33e9, 135),
  mae=(4.807e9, 2.15e9, 130),
  dino=(40.26e9, 14.60e9, 267),
  simclr=(6.397e9, 2.58e9, 111),
  barlow_twins=(6.544e9, 2.80e9, 223),
  ibot=(17.56e9, 9.18e9, 215),
)
FLOPS, BYTES, PRODUCTS = 0.05, 0.15, 0.03  # how far off they may be; what is cheaper than that deserves new numbers, too


def cost(config) -> tuple[float, float, int]:
  """FLOPs, bytes and products of the step that `config` describes."""
  lowered = Trainer(config, methods.source(64, size=64), devices=jax.devices()[:1]).lower_single()
  found = lowered.cost_analysis()
  return found["flops"], found["bytes accessed"], count_products(lowered.as_text())


def count_products(text: str) -> int:
  """Matrix products and convolutions of a StableHLO module, those of a function once for each of its calls."""
  bodies = dict(re.findall(r"^  func\.func \w+ @([\w.]+)\((.*?)^  }", text, re.M | re.S))

  def count(name):
    body = bodies[name]
    own = len(re.findall(r"stablehlo\.(?:dot_general|convolution)\b", body))
    return own + sum(count(callee) for callee in re.findall(r"\bcall @([\w.]+)", body))

  return count("main")


QUICK = ("mae", "barlow_twins")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COSTS])
def test_a_step_costs_what_it_did(name):
  flops, moved, products = cost(load_config(f"{name}:demo"))
  expected = COSTS[name]
  assert flops == pytest.approx(expected[0], rel=FLOPS)
  assert moved == pytest.approx(expected[1], rel=BYTES)
  assert products == pytest.approx(expected[2], rel=PRODUCTS)


@pytest.mark.slow
def test_crops_encoded_one_by_one_are_seen():
  config = load_config("dino:demo")
  for node in config.passes.values():
    del node["join"]
  _, _, products = cost(config)
  assert products > (1 + 2 * PRODUCTS) * COSTS["dino"][2]


def test_a_gradient_of_the_teacher_is_seen(monkeypatch):
  config = load_config("dino:demo")
  config.networks.teacher = config.networks.student.copy_and_resolve_references()
  monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
  monkeypatch.setattr("jssl.gradients.check", lambda nodes, networks: None)  # which would not let it begin
  flops, _, _ = cost(config)
  assert flops > (1 + 2 * FLOPS) * COSTS["dino"][0]
