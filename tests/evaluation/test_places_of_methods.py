"""Every network that is evaluated has vectors of patches on a grid, whatever the method and the backbone."""

import math

import jax
import jax.numpy as jnp
import pytest

from jssl.evaluation import View
from jssl.evaluation.choice import evaluated_network, still_networks
from jssl.evaluation.frozen import Frozen
from tests import methods


def _shapes(module, image):
  """Of what a module says of images, and of its variables."""
  key = jax.random.key(0, impl="threefry2x32")
  return jax.eval_shape(lambda image: module.init_with_output(key, image, train=False), image)


@pytest.mark.slow
def test_the_evaluated_network_of_every_method_has_patches_on_a_grid():
  for name in methods.NAMES:
    config = methods.small(name)
    module = still_networks(config)[evaluated_network(config)].module
    channels = 1 if name == "colorization" else 3  # it sees the lightness alone
    image = jax.ShapeDtypeStruct((2, 16, 16, channels), jnp.float32)
    outputs, _ = _shapes(module, image)
    assert outputs["patch_tokens"].shape[:2] == (2, math.prod(module.grid(image.shape))), name


BACKBONES = dict(
  vit=dict(fn="vit", image_size=16, patch_size=4, width=16, depth=1, num_heads=2),
  swin=dict(fn="swin", patch_size=2, window=2, width=8, depths=(1, 1), num_heads=(1, 2)),
  convnext=dict(fn="convnext", stem="cifar", width=8, depths=(1, 1)),
  resnet=dict(fn="resnet", depth=18, stem="cifar", width=4),
)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_is_a_model_of_places(name):
  config = methods.small("simsiam")
  config.networks = dict(student=BACKBONES[name])
  module = still_networks(config)["student"].module
  outputs, variables = _shapes(module, jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32))
  variables = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), variables)
  model = Frozen(module, variables, View(16)).feature_model("mine")
  assert model.patch_features is not None and min(model.grid) > 1
  assert math.prod(model.grid) == outputs["patch_tokens"].shape[1]
  assert (model.attention is not None) == (name == "vit")
