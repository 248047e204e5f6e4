"""Where the class token looks: as the network computes it, and as masks of objects."""

import jax
import numpy as np
import pytest

from jssl.evaluation import attention_iou
from jssl.evaluation.attention_segmentation import head_ious, mass_masks
from jssl.evaluation.frozen import class_attention, everything
from jssl.models.network import Network
from jssl.models.vit import vit
from tests.evaluation.scenes_for_tests import GRID, scenes


def _slow_mask(attention, mass):
  """Takes the largest until they have the mass."""
  kept, total = np.zeros(len(attention), bool), 0.0
  for i in np.argsort(-attention):
    if total >= mass * attention.sum():
      break
    kept[i] = True
    total += attention[i]
  return kept


def test_masks_are_the_fewest_patches_that_have_the_mass():
  attention = np.random.default_rng(0).random((3, 2, 64)) ** 3
  for mass in (0.3, 0.6, 0.9):
    masks = mass_masks(attention, mass)
    for mask, own in zip(masks.reshape(-1, 64), attention.reshape(-1, 64), strict=True):
      np.testing.assert_array_equal(mask, _slow_mask(own, mass))


def test_ious_equal_a_count_of_pixels():
  segments, attention = scenes(4), np.random.default_rng(1).random((4, 3, 64)).astype(np.float32)
  found = head_ious(attention, segments, grid=GRID)
  for image in range(4):
    for head in range(3):
      mask = np.kron(_slow_mask(attention[image, head], 0.6).reshape(GRID), np.ones((4, 4))) > 0
      truth = segments[image] > 0
      assert found[image, head] == pytest.approx((mask & truth).sum() / (mask | truth).sum(), abs=1e-6)


def test_the_head_is_chosen_on_the_calibration_split_and_the_best_of_each_image_is_an_oracle():
  segments, calibration = scenes(6), scenes(5, seed=1)
  rng = np.random.default_rng(0)

  def attention(scene):
    on_objects = (scene.reshape(len(scene), 8, 4, 8, 4) > 0).mean((2, 4)).reshape(len(scene), -1) + 0.01
    return np.stack([rng.random(on_objects.shape), on_objects, 1.01 - on_objects], 1)

  maps = attention(segments)
  result = attention_iou(maps, segments, attention(calibration), calibration, grid=GRID)
  metrics, iou = result["metrics"], head_ious(maps, segments, grid=GRID)
  assert metrics["head"] == 1 and metrics["miou_chosen"] == pytest.approx(iou[:, 1].mean())
  assert metrics["miou_heads"] == pytest.approx(iou.mean()) and metrics["miou_oracle"] == pytest.approx(iou.max(1).mean())
  assert metrics["miou_oracle"] >= metrics["miou_chosen"] > 0.5 > metrics["miou_heads"]
  assert result["parameters"]["everything"] == pytest.approx((segments > 0).mean(), abs=1e-4)
  # Test masks choose nothing: with the heads' roles changed, the same head is taken, and is bad.
  worse = attention_iou(maps[:, ::-1], segments, attention(calibration), calibration, grid=GRID)["metrics"]
  assert worse["head"] == 1 and worse["miou_oracle"] == pytest.approx(metrics["miou_oracle"])


def test_what_has_no_mask_is_named():
  segments, flat = scenes(2), np.ones((2, 1, 64))
  for attention, of, message in (
    (flat, segments, "all patches get the same attention"),
    (flat * 0, segments, "pays no attention to patches"),
    (flat * np.arange(64), segments * 0, "no image has an object"),
    (flat[:1], segments, "must be .images, heads, patches. of the 2 images"),
  ):
    with pytest.raises(ValueError, match=message):
      head_ious(attention, of, grid=GRID)


@pytest.mark.parametrize(
  "numbers",
  [
    dict(registers=2),
    *(
      pytest.param(more, marks=pytest.mark.slow)
      for more in (dict(scan=True, remat=True), dict(position="block_relative_bias"))
    ),
  ],
)
def test_a_vit_says_its_attention_where_it_is_asked(numbers):
  network = Network(vit(image_size=16, patch_size=4, width=16, depth=2, num_heads=2, layer_scale=0.5, **numbers))
  images = jax.random.normal(jax.random.key(0), (3, 16, 16, 3))
  variables = jax.jit(network.init)(jax.random.key(1), images)
  assert set(variables) == {"params"}
  plain = jax.jit(network.apply)(variables, images)
  asked = jax.jit(lambda variables: everything(network, variables, images))(variables)
  found = class_attention(asked)
  assert found.shape == (3, 2, 16)
  np.testing.assert_allclose(asked["tokens"], plain["tokens"], atol=1e-5)
  # From the parameters of the last block and what enters it; tables of relative positions begin at 0.
  block = variables["params"]["backbone"]["Transformer"]["encoderblock_1"]
  x = np.asarray(plain["block01"])
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  x = x * block["LayerNorm_0"]["scale"] + block["LayerNorm_0"]["bias"]
  part = block["MultiHeadDotProductAttention_0"]
  query, key = (np.einsum("btd,dhk->bthk", x, part[name]["kernel"]) + part[name]["bias"] for name in ("query", "key"))
  weights = np.exp(np.einsum("bhk,bthk->bht", query[:, 0], key) / np.sqrt(8))
  weights = weights / weights.sum(-1, keepdims=True)
  np.testing.assert_allclose(found, weights[:, :, -16:], atol=1e-5)
