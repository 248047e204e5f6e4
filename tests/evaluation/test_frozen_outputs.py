"""What a frozen network gives to protocols beside its features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.evaluation.frozen import Frozen
from jssl.evaluation.view import View
from jssl.models import Network, vit

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)


def _frozen(**numbers):
  module = Network(vit(image_size=8, width=16, depth=2, num_heads=2, patch_size=4, init="mae", **numbers))
  variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  return Frozen(module, variables, View(8, channels=3))


@pytest.mark.parametrize("cls_token", [True, False])
def test_the_last_blocks(cls_token):
  frozen = _frozen(cls_token=cls_token, registers=1)
  found = frozen.feature_model("vit").block_features(dict(image=IMAGES))
  outputs = frozen.outputs(IMAGES)
  assert found.shape == (3, 3, 16)  # two blocks, and the patches of the last one
  np.testing.assert_allclose(found[:, 1], outputs["features"], atol=1e-5)
  np.testing.assert_allclose(found[:, 2], outputs["mean"], atol=1e-5)
  x = np.asarray(outputs["block01"], np.float64)
  normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)  # the norm's parameters are 1 and 0
  np.testing.assert_allclose(found[:, 0], normed[:, 0] if cls_token else normed[:, 1:].mean(1), atol=1e-5)
