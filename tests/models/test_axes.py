"""Signals, clips and volumes through the models of images: patches, positions, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.arrays import patchify, unpatchify
from jssl.models import jepa_predictor, mae_decoder, positions, reconstruction_head, vit
from jssl.models.transformer import Attention, BlockConfig, causal_bias, EncoderBlock, valid_bias

RNG = np.random.default_rng(0)
# sides, patch and the axes of a convolution
RANKS = [((12,), (4,), "NWC", "WIO"), ((8, 12), (4, 2), "NHWC", "HWIO"), ((4, 6, 8), (2, 3, 4), "NDHWC", "DHWIO")]


def draw(module, *arguments, scale=0.3, **keywords):
  """Variables without a parameter that is 0 or 1."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments, **keywords)
  return jax.tree.map(lambda leaf: jnp.asarray(scale * RNG.normal(size=leaf.shape), leaf.dtype), shapes)


def apply(module, variables, *arguments, **keywords):
  """Compiled as one program, which takes less time here than its operations one by one."""
  return jax.jit(module.apply)(variables, *arguments, **keywords)


def normal(*shape):
  return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def small(sides, patch, **numbers):
  return vit(**dict(dict(image_size=sides, patch_size=patch, width=24, depth=1, num_heads=2, mlp_ratio=2.0), **numbers))


@pytest.mark.parametrize("sides, patch, array, kernel", RANKS)
def test_a_patch_embedding_is_a_strided_convolution(sides, patch, array, kernel):
  module, x = small(sides, patch, position="none", cls_token=False, layer_scale=1.0), normal(2, *sides, 3)
  variables = draw(module, x)
  for name in ("layer_scale_0", "layer_scale_1"):
    variables["params"]["Transformer"]["encoderblock_0"][name] *= 0.0
  embedding = variables["params"]["embedding"]
  wanted = jax.lax.conv_general_dilated(x, embedding["kernel"], patch, "VALID", dimension_numbers=(array, kernel, array))
  found = apply(module, variables, x)[1]["block01"]
  np.testing.assert_allclose(found, wanted.reshape(2, -1, 24) + embedding["bias"], atol=1e-5)
  assert module.grid(x.shape) == wanted.shape[1:-1]


@pytest.mark.parametrize("sides, patch, array, kernel", RANKS)
def test_patches_come_back(sides, patch, array, kernel):
  x = normal(2, *sides, 3)
  grid = tuple(side // p for side, p in zip(sides, patch, strict=True))
  patches = patchify(x, patch=patch)
  np.testing.assert_array_equal(unpatchify(patches, grid=grid, patch=patch), x)
  first = x[(slice(None), *(slice(p) for p in patch))]
  np.testing.assert_array_equal(patches[:, 0], first.reshape(2, -1))
  last = x[(slice(None), *(slice(-p, None) for p in patch))]
  np.testing.assert_array_equal(patches[:, -1], last.reshape(2, -1))


@pytest.mark.parametrize("dim", [24, 16])
def test_sincos_of_three_axes(dim):
  """Place by place, number by number; 16 is not divisible by 6, and the last two of 18 are left out."""
  grid, share = (2, 3, 4), -(-dim // 6)
  found = positions.sincos(grid, dim).reshape(*grid, dim)
  for place in np.ndindex(grid):
    wanted = []
    for axis in (2, 1, 0):
      angles = [place[axis] / 10000 ** (k / share) for k in range(share)]
      wanted += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
    np.testing.assert_allclose(found[place], wanted[:dim], atol=1e-6)


def test_sincos_of_one_axis_is_that_of_the_columns():
  np.testing.assert_array_equal(positions.sincos((5,), 8), positions.sincos((1, 5), 16)[:, :8])
  with pytest.raises(ValueError, match="divisible by 2, not 7"):
    positions.sincos((5,), 7)


@pytest.mark.slow
def test_positions_at_other_grids_of_one_and_three_axes():
  table = normal(1, 24, 6)
  grown = lambda source, target: positions.interpolate_positions(table, source, target, offset=0.0)
  np.testing.assert_allclose(grown((24,), (30,)), grown((1, 24), (1, 30)), atol=1e-6)
  frames = [positions.interpolate_positions(frame[None], (3, 4), (5, 6), offset=0.0) for frame in table.reshape(2, 12, 6)]
  np.testing.assert_allclose(grown((2, 3, 4), (2, 5, 6)), jnp.concatenate(frames, axis=1), atol=1e-6)
  module = small((8, 4, 4), (4, 2, 2))
  variables = draw(module, normal(1, 8, 4, 4, 1))
  assert variables["params"]["pos_embedding"].shape == (1, 8, 24)
  assert apply(module, variables, normal(2, 12, 4, 4, 1))[1]["patch_tokens"].shape == (2, 12, 24)


@pytest.mark.parametrize(
  "sides, patch, numbers",
  [
    ((24,), (4,), dict(position="learned", fc_norm=True)),
    ((24,), (4,), dict(scan=True)),
    ((6, 4, 4), (1, 2, 2), dict(remat=True)),
    ((6, 8), (1, 4), dict()),
  ],
)
def test_padding_is_as_if_it_were_not_there(sides, patch, numbers):
  """The long and the short form, with NaN behind the data; time comes first, and 10 of 24 samples begin a third patch."""
  module = small(sides, patch, depth=2, registers=1, readout=(1, 2), **(dict(position="none") | numbers))
  x = normal(2, *sides, 2)
  used, patches = (10, 12) if len(sides) == 1 else (3, 3)
  data = x.at[:, used:].set(jnp.nan)
  alone = x.at[:, used:].set(0.0)[:, :patches]
  variables = draw(module, x)
  if "pos_embedding" in variables["params"]:  # the same rows for fewer patches, not a table that is resized
    alone = x.at[:, used:].set(0.0)
  features, out = apply(module, variables, data, length=jnp.full(2, used))
  count = int(np.prod(module.grid((1, patches, *sides[1:], 2))))
  if "pos_embedding" in variables["params"]:
    valid = jnp.tile(jnp.arange(int(np.prod(module.grid(x.shape)))) < count, (2, 1))
    expected, wanted = apply(module, variables, alone, valid=valid)
  else:
    expected, wanted = apply(module, variables, alone)
  np.testing.assert_allclose(features, expected, atol=1e-5)
  for name in ("patch_tokens", "readout"):
    np.testing.assert_allclose(out[name][:, :count], wanted[name][:, :count], atol=1e-5)
    assert not out[name][:, count:].any() and out[name].shape[1] > count
  assert not out["block01"][:, 2 + count :].any() and out["block01"][:, 1 + count].any()
  np.testing.assert_allclose(out["mean"], wanted["mean"], atol=1e-5)
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(module.apply(variables, x, length=jnp.full(2, used))[0] ** 2)))(data)
  assert np.isfinite(gradient).all() and not gradient[:, used:].any() and gradient[:, :used].any()


def test_padding_with_dropped_tokens():
  module, x = small((16,), (2,), position="sincos"), normal(2, 16, 1)
  variables = draw(module, x)
  keep = jnp.array([[5, 1, 7, 0], [2, 6, 0, 1]])
  lengths = jnp.array([9, 6])  # 5 and 3 patches
  _, out = apply(module, variables, x, ids_keep=keep, length=lengths)
  assert (np.abs(out["patch_tokens"]).sum(-1) > 0).tolist() == [[False, True, False, True], [True, False, True, True]]
  cut = jnp.where(jnp.arange(16)[:, None] < lengths[:, None, None], x, 0)
  _, wanted = apply(module, variables, cut[:1], ids_keep=keep[:1, 1::2])
  np.testing.assert_allclose(out["patch_tokens"][:1, 1::2], wanted["patch_tokens"], atol=1e-5)


def test_nothing_valid_gives_zeros():
  module, x = small((16,), (2,)), normal(2, 16, 1)
  variables = draw(module, x)
  loss = lambda v: jnp.sum(module.apply(v, x, length=jnp.array([0, 16]))[1]["patch_tokens"][0] ** 2)
  value, gradient = jax.jit(jax.value_and_grad(loss))(variables)
  assert value == 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


CONFIG = BlockConfig(num_heads=2, mlp_dim=16)


def projected(params, x, context):
  split = lambda name, y: jnp.einsum("btd,dhk->bthk", y, params[name]["kernel"]) + params[name]["bias"]
  return split("query", x), split("key", context), split("value", context)


def out(params, y):
  return jnp.einsum("bthk,hkd->btd", y, params["out"]["kernel"]) + params["out"]["bias"]


@pytest.mark.parametrize("causal", [False, True])
def test_attention_with_padding_is_jaxs(causal):
  module, x = Attention(CONFIG, 1), normal(3, 5, 8)
  params = draw(module, x, None)["params"]
  valid = jnp.arange(5) < jnp.array([5, 3, 1])[:, None]
  bias = valid_bias(valid) + (causal_bias(5) if causal else 0.0)
  found = apply(module, dict(params=params), x, bias)
  y = jax.nn.dot_product_attention(*projected(params, x, x), mask=valid[:, None, None, :], is_causal=causal)
  np.testing.assert_allclose(found, out(params, y), atol=1e-5)


def test_cross_attention_is_jaxs():
  module, x, context = Attention(CONFIG, 1), normal(3, 4, 8), normal(3, 6, 10)
  params = draw(module, x, None, context)["params"]
  assert params["key"]["kernel"].shape == (10, 2, 4)
  valid = jnp.arange(6) < jnp.array([6, 2, 4])[:, None]
  found = apply(module, dict(params=params), x, valid_bias(valid), context)
  y = jax.nn.dot_product_attention(*projected(params, x, context), mask=valid[:, None, None, :])
  np.testing.assert_allclose(found, out(params, y), atol=1e-5)


def test_a_gate_multiplies_the_weights_and_nothing_is_normalised_again():
  module, x, gate = Attention(CONFIG, 1), normal(2, 4, 8), jnp.asarray(RNG.uniform(size=(2, 4)), jnp.float32)
  params = draw(module, x, None)["params"]
  query, key, value = projected(params, x, x)
  weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) / 2.0) * gate[:, None, None, :]
  wanted = out(params, jnp.einsum("bhqk,bkhd->bqhd", weights, value))
  np.testing.assert_allclose(apply(module, dict(params=params), x, None, gate=gate), wanted, atol=1e-5)
  block = EncoderBlock(CONFIG, 1)
  variables = draw(block, x, None, None)
  found = [apply(block, variables, x, None, None, gate=g) for g in (None, jnp.ones((2, 4)), gate)]
  np.testing.assert_allclose(found[1], found[0], atol=1e-6)
  assert np.abs(found[2] - found[0]).max() > 1e-3


@pytest.mark.parametrize("grid, patch", [((6,), (4,)), ((2, 3, 1), (2, 4, 4)), (None, (4,)), ((2, 3), 4)])
def test_decoders_of_other_axes(grid, patch):
  module = mae_decoder(grid=grid, patch_size=patch, width=24, depth=0, num_heads=2, channels=2)
  tokens, restore = jnp.zeros((2, 1 + 2, 8)), jnp.array([[0, 2, 3, 1, 4, 5], [5, 2, 3, 1, 4, 0]])
  variables = draw(module, tokens, restore)
  found = apply(module, variables, tokens, restore)
  sides = len(grid or patch)
  entries = int(np.prod(patch)) if isinstance(patch, tuple) else patch**sides
  assert found["pixels"].shape == (2, 6, entries * 2)
  # At depth 0 hidden patches are LN(mask token + position).
  params = jax.tree.map(np.asarray, variables["params"])
  x = params["mask_token"][0] + positions.sincos(grid or (6,), 24)
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  norm = params["Transformer"]["encoder_norm"]
  hidden = np.array([1, 2, 4, 5])
  np.testing.assert_allclose(found["tokens"][0, hidden], (x * norm["scale"] + norm["bias"])[hidden], atol=1e-5)


def test_a_decoder_does_not_see_padding():
  module = mae_decoder(patch_size=(4,), width=16, depth=1, num_heads=2, channels=1)
  tokens, restore = normal(1, 1 + 3, 8), jnp.array([[0, 3, 1, 4, 2, 5]])
  valid = jnp.arange(6)[None] < 4
  variables = draw(module, tokens, restore)
  found = apply(module, variables, tokens, restore, valid=valid)
  other = apply(module, variables, tokens.at[:, 3].set(7.0), restore, valid=valid)  # the token of patch 4
  np.testing.assert_array_equal(found["tokens"], other["tokens"])
  assert not found["tokens"][:, 4:].any() and found["tokens"][:, :4].all()
  assert np.abs(found["tokens"] - apply(module, variables, tokens, restore)["tokens"])[:, :4].max() > 1e-3


@pytest.mark.parametrize("grid", [(6,), (2, 1, 3)])
def test_predictors_of_other_axes(grid):
  module = jepa_predictor(grid=grid, width=12, depth=0, num_heads=2)
  tokens, context, target = normal(2, 3, 5), jnp.array([[5, 0, 3], [1, 2, 4]]), jnp.array([[[1, 2]], [[0, 3]]])
  variables = draw(module, tokens, context, target)
  params = jax.tree.map(np.asarray, variables["params"])
  x = params["mask_token"] + positions.sincos(grid, 12)[np.asarray(target)]
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  norm = params["Transformer"]["encoder_norm"]
  wanted = (x * norm["scale"] + norm["bias"]) @ params["head"]["kernel"] + params["head"]["bias"]
  np.testing.assert_allclose(apply(module, variables, tokens, context, target)["tokens"], wanted, atol=1e-5)


def test_a_head_of_other_axes():
  head = reconstruction_head(patch_size=(2, 4, 4), channels=3, layers=0)
  shape = jax.eval_shape(lambda: head.init_with_output(jax.random.key(0), jnp.zeros((2, 5, 8)))[0]).shape
  assert shape == (2, 5, 2 * 4 * 4 * 3)


@pytest.mark.parametrize(
  "numbers, message",
  [
    (dict(image_size=(16,), patch_size=(4,), position="relative_bias"), "for images, not for a signal: write 'sincos'"),
    (dict(image_size=(8, 8, 8), patch_size=4, position="sincos2d"), "for images, not for a clip or volume"),
    (dict(image_size=(16,), patch_size=(4,), stem=(8, 8)), "stem of convolutions is for images, not for a signal"),
    (dict(image_size=(16,), patch_size=(4, 4)), r"patch_size=\(4, 4\) has 2 numbers for 1 axes of a signal"),
    (dict(image_size=(4, 4, 4, 4), patch_size=2), "have 4 axes: give 1 for signals"),
    (dict(image_size=(16,), patch_size=(5,)), "signal size 16 is not divisible by the patch size 5"),
    (dict(image_size=(4, 6, 8), patch_size=(2, 4, 4)), "clip or volume size 4x6x8 is not divisible by the patch size 2x4x4"),
  ],
)
def test_what_does_not_fit(numbers, message):
  with pytest.raises(ValueError, match=message):
    small(numbers.pop("image_size"), numbers.pop("patch_size"), **numbers)


@pytest.mark.parametrize(
  "arrays, message",
  [
    (dict(images=jnp.zeros((2, 16, 1, 1))), r"are for a signal \[batch, \*sides, channels\], which \[2, 16, 1, 1\] is not"),
    (dict(images=jnp.zeros((2, 16, 1)), length=jnp.zeros(2, int), valid=jnp.ones((2, 4), bool)), "say the same"),
    (dict(images=jnp.zeros((2, 16, 1)), length=jnp.zeros((2, 1), int)), r"length must have the shape \[batch\] = \(2,\)"),
    (dict(images=jnp.zeros((2, 16, 1)), valid=jnp.ones((2, 16), bool)), r"valid must have the shape \[batch, tokens\]"),
  ],
)
def test_arrays_that_do_not_fit(arrays, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(small((16,), (4,)).init, jax.random.key(0), arrays.pop("images"), **arrays)


@pytest.mark.slow
def test_blocks_with_tables_of_their_own_take_no_padding():
  module = small((8, 8), 4, position="block_relative_bias")
  with pytest.raises(ValueError, match="take no padding"):
    jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((2, 8, 8, 3)), length=jnp.array([4, 8]))
  shared, x = small((8, 8), 4, position="relative_bias"), normal(2, 8, 8, 3)
  variables = draw(shared, x)
  top = apply(shared, variables, x, length=jnp.array([4, 4]))[1]["patch_tokens"]
  np.testing.assert_allclose(top[:, :2], apply(shared, variables, x[:, :4])[1]["patch_tokens"], atol=1e-5)
