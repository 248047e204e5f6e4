"""The Vision Transformer: names, masks, dropped tokens, positions, stochastic depth, precision."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import count_parameters, parts, vit
from jssl.models.positions import relative_offsets, sincos
from jssl.models.transformer import attend, relative_bias, Transformer

IMAGES = jax.random.uniform(jax.random.key(1), (3, 8, 12, 3))  # a grid of 2x3 patches


def small(**numbers):
  return vit(**dict(dict(image_size=(8, 12), width=16, depth=2, num_heads=2, patch_size=4, mlp_ratio=2.0), **numbers))


def initialise(module, images=IMAGES, scale=0.2):
  """Random variables, so that no parameter hides behind an initial 0 or 1 (and nothing is compiled to make them)."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), images)
  return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype), shapes)


def run(module, variables, images=IMAGES, **arrays):
  return module.apply(variables, images, **arrays)


def test_parameter_names_are_those_of_big_vision():
  params = jax.eval_shape(small(registers=2, mask_token=True).init, jax.random.key(0), IMAGES)["params"]
  shapes = {"/".join(path): leaf.shape for path, leaf in flax.traverse_util.flatten_dict(params).items()}
  block, attention = "Transformer/encoderblock_1/", "Transformer/encoderblock_1/MultiHeadDotProductAttention_0/"
  wanted = {
    "embedding/kernel": (4, 4, 3, 16),
    "embedding/bias": (16,),
    "cls": (1, 1, 16),
    "registers": (1, 2, 16),
    "mask_token": (1, 1, 16),
    "pos_embedding": (1, 6, 16),
    block + "LayerNorm_0/scale": (16,),
    block + "LayerNorm_1/bias": (16,),
    attention + "query/kernel": (16, 2, 8),
    attention + "key/kernel": (16, 2, 8),
    attention + "value/bias": (2, 8),
    attention + "out/kernel": (2, 8, 16),
    attention + "out/bias": (16,),
    block + "MlpBlock_0/Dense_0/kernel": (16, 32),
    block + "MlpBlock_0/Dense_1/kernel": (32, 16),
    "Transformer/encoder_norm/scale": (16,),
  }
  assert wanted.items() <= shapes.items()
  assert len(shapes) == 2 * 16 + 2 + 2 + 4


@pytest.mark.parametrize(
  "variant, count", [("Ti/16", 5_524_416 - 192), ("S/16", 21_665_664 - 384), ("B/16", 85_798_656 - 768)]
)
def test_parameter_counts(variant, count):
  """timm's numbers without a classifier, less the position of the class token."""
  params = jax.eval_shape(vit(variant=variant).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
  assert count_parameters(params) == count


def test_outputs_by_name():
  module = small(registers=2, readout=(1, 2))
  features, out = run(module, initialise(module))
  shapes = dict(
    tokens=(3, 9, 16),
    cls=(3, 16),
    registers=(3, 2, 16),
    register01=(3, 16),
    register02=(3, 16),
    patch_tokens=(3, 6, 16),
    mean=(3, 16),
    readout=(3, 6, 16),
    readout_tokens=(3, 9, 16),
    block01=(3, 9, 16),
    block02=(3, 9, 16),
  )
  assert {name: array.shape for name, array in out.items()} == shapes
  np.testing.assert_array_equal(features, out["cls"])
  parts_of_it = jnp.concatenate([out["cls"][:, None], out["registers"], out["patch_tokens"]], axis=1)
  np.testing.assert_array_equal(out["tokens"], parts_of_it)
  np.testing.assert_array_equal(out["register02"], out["registers"][:, 1])
  np.testing.assert_allclose(out["mean"], np.mean(out["patch_tokens"], axis=1), atol=1e-6)


def test_without_cls_the_features_are_the_mean():
  module = small(cls_token=False)
  features, out = run(module, initialise(module))
  assert "cls" not in out and out["tokens"].shape == (3, 6, 16)
  np.testing.assert_array_equal(features, out["mean"])


def test_fc_norm_stands_in_the_place_of_the_final_norm():
  module = small(fc_norm=True)
  variables = initialise(module)
  assert "encoder_norm" not in variables["params"]["Transformer"]
  features, out = run(module, variables)
  np.testing.assert_array_equal(out["tokens"], out["block02"])
  norm, x = variables["params"]["fc_norm"], np.float64(out["patch_tokens"]).mean(axis=1)
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]
  np.testing.assert_allclose(features, x, atol=1e-5)
  np.testing.assert_array_equal(features, out["mean"])


def test_tables_of_the_blocks_are_as_one_where_they_are_equal():
  shared, own = (small(position=position, depth=1) for position in ("relative_bias", "block_relative_bias"))
  variables = initialise(shared)
  params = dict(variables["params"])
  table = params.pop("relative_position_bias")
  params["Transformer"] = dict(params["Transformer"])
  params["Transformer"]["encoderblock_0"] = params["Transformer"]["encoderblock_0"] | dict(relative_position_bias=table)
  np.testing.assert_array_equal(run(shared, variables)[0], run(own, dict(params=params))[0])


def test_readout_is_the_final_norm_of_the_mean_of_blocks():
  module = small(readout=(1, 2))
  variables = initialise(module)
  _, out = run(module, variables)
  norm = variables["params"]["Transformer"]["encoder_norm"]
  x = np.float64(out["block01"] + out["block02"])[:, 1:] / 2
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]
  np.testing.assert_allclose(out["readout"], x, atol=1e-5)
  _, last = run(small(readout=(2,)), variables)
  np.testing.assert_array_equal(last["readout"], last["patch_tokens"])


def test_learned_fusion_is_the_final_norm_of_weighted_projections():
  """MFF's; with the gradients of a sum of it to the weights and to a projection, by the complex step."""
  module = small(readout=(1, 2), readout_fusion="learned", registers=1)
  variables = initialise(module)
  transformer = variables["params"]["Transformer"]
  names = set(transformer) - set(initialise(small(registers=1))["params"]["Transformer"])
  assert names == {"readout_weights", "readout_1"}
  transformer["readout_weights"], moved = jnp.array([0.3, -0.5]), ("readout_weights", "readout_1")
  out = run(module, variables)[1]
  first, last = (np.float64(out[name]) for name in ("block01", "block02"))
  direction = np.random.default_rng(0).normal(size=last.shape)
  norm, bias = transformer["encoder_norm"], np.float64(transformer["readout_1"]["bias"])

  def reference(weights, kernel):
    share = np.exp(weights) / np.exp(weights).sum()
    x = share[0] * (first @ kernel + bias) + share[1] * last
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]

  weights, kernel = np.float64(transformer["readout_weights"]), np.float64(transformer["readout_1"]["kernel"])
  np.testing.assert_allclose(out["readout_tokens"], reference(weights, kernel), atol=1e-5)
  np.testing.assert_array_equal(out["readout"], out["readout_tokens"][:, 2:])

  def loss(leaves):
    params = variables["params"] | dict(Transformer=transformer | leaves)
    return jnp.sum(module.apply(dict(params=params), IMAGES)[1]["readout_tokens"] * direction)

  gradient = jax.jit(jax.grad(loss))({name: transformer[name] for name in moved})
  slope = lambda *moved: (reference(*moved) * direction).sum().imag / 1e-30
  want = [slope(weights + 1e-30j * np.eye(2)[i], kernel) for i in range(2)]
  np.testing.assert_allclose(gradient["readout_weights"], want, rtol=1e-4, atol=1e-4)
  at = np.zeros_like(kernel)
  at[3, 5] = 1
  np.testing.assert_allclose(
    gradient["readout_1"]["kernel"][3, 5], slope(weights, kernel + 1e-30j * at), rtol=1e-4, atol=1e-4
  )


def test_more_blocks_behind_the_last_class_token_and_early_patches():
  """BEiT v2's: a transformer of its own on the two, with the same positions and the same final LayerNorm."""
  module = small(depth=3, readout=(1,), readout_fusion="class_token", position="relative_bias", registers=1, init="beit")
  variables = initialise(module)
  ours = variables["params"]["Transformer"]
  assert {name for name in ours if name.startswith("readout")} == {"readout_0", "readout_1"}
  bias = relative_bias(variables["params"]["relative_position_bias"], relative_offsets((2, 3), (2, 3), 2)[None])
  params = dict(encoderblock_0=ours["readout_0"], encoderblock_1=ours["readout_1"], encoder_norm=ours["encoder_norm"])
  behind = Transformer(2, module.block)

  @jax.jit
  def both(shift):
    _, out = run(module, variables, IMAGES + shift)
    x = jnp.concatenate([out["block03"][:, :1], out["block01"][:, 1:]], axis=1)
    return out["readout_tokens"], out["readout"], behind.apply(dict(params=params), x, bias=bias)[0]

  tokens, patches, want = both(0.0)
  np.testing.assert_allclose(tokens, want, atol=1e-5)
  np.testing.assert_array_equal(patches, tokens[:, 2:])
  weights = np.random.default_rng(0).normal(size=want.shape)
  got, want = jax.jacfwd(lambda shift: jnp.stack([jnp.sum(x * weights) for x in both(shift)[::2]]))(0.0)
  np.testing.assert_allclose(got, want, rtol=1e-4)


def test_numbers_override_a_variant():
  module = vit(variant="S/16", num_heads=12, patch_size=8, image_size=32)
  assert (module.width, module.depth, module.block.num_heads, module.patch_size) == (384, 12, 12, (8, 8))


@pytest.mark.parametrize(
  "numbers, message",
  [
    (dict(variant="S16"), "unknown variant 'S16'"),
    (dict(variant="XL/16"), "unknown variant"),
    (dict(width=16), "needs width, depth"),
    (dict(variant="S/16", num_heads=7), "not divisible by num_heads"),
    (dict(variant="S/16", position="rotary"), "position must be"),
    (dict(variant="S/16", readout=(0,)), "outside 1..12"),
    (dict(variant="S/16", readout=(3, 3)), "names a block twice"),
    (dict(variant="S/16", readout=(3, 12), readout_fusion="sum"), "'learned' or 'class_token', not 'sum'"),
    (dict(variant="S/16", readout=(3, 9), readout_fusion="class_token"), "a readout of one block"),
    (dict(variant="S/16", readout=(3,), readout_fusion="class_token", cls_token=False), "needs cls_token=True"),
    (dict(variant="S/15"), "image size 224x224 is not divisible by the patch size 15"),
  ],
)
def test_wrong_numbers(numbers, message):
  with pytest.raises(ValueError, match=message):
    vit(**numbers)


def test_grid():
  module = small()
  assert module.grid((8, 12, 3)) == module.grid((5, 8, 12, 3)) == (2, 3)
  with pytest.raises(ValueError, match="image size 8x10 is not divisible by the patch size 4"):
    module.grid((8, 10, 3))


def test_mask_token_goes_before_positions():
  """A hidden patch has no content but keeps its place."""
  module = small(depth=1, mask_token=True)
  variables = initialise(module)
  mask = jnp.zeros((3, 6), bool).at[:, 2].set(True)
  changed = IMAGES.at[:, :4, 8:].set(0.0)  # patch 2: row 0, column 2
  _, out = run(module, variables, mask=mask)
  np.testing.assert_array_equal(out["tokens"], run(module, variables, changed, mask=mask)[1]["tokens"])
  assert np.abs(out["tokens"] - run(module, variables)[1]["tokens"]).max() > 1e-3
  _, hidden = run(module, variables, mask=jnp.ones((3, 6), bool))
  assert np.abs(hidden["patch_tokens"][:, 0] - hidden["patch_tokens"][:, 1]).max() > 1e-3
  np.testing.assert_array_equal(hidden["tokens"][0], hidden["tokens"][1])


def test_mix_embedding_tells_whose_patch_it_is():
  """Its second row reaches the patches of the mixture; without one, all are the image's own."""
  module = small(depth=1, mix_embedding=True)
  variables = initialise(module)
  run_mixed = lambda mix, v=variables: run(module, v, mix=mix)[1]["tokens"]
  nothing, some = jnp.zeros((3, 6), bool), jnp.zeros((3, 6), bool).at[:, 2].set(True)
  np.testing.assert_array_equal(run(module, variables)[1]["tokens"], run_mixed(nothing))
  assert np.abs(run_mixed(some) - run_mixed(nothing)).max() > 1e-3
  params = variables["params"]
  alike = params | dict(mix_embedding=jnp.tile(params["mix_embedding"][:1], (2, 1)))
  np.testing.assert_array_equal(run_mixed(some, dict(params=alike)), run_mixed(nothing, dict(params=alike)))
  with pytest.raises(ValueError, match="mix_embedding=True"):
    jax.eval_shape(small().init, jax.random.key(0), IMAGES, mix=some)


def test_mask_errors():
  module, hidden = small(), jnp.ones((3, 6), bool)
  with pytest.raises(ValueError, match="mask_token=True"):
    jax.eval_shape(module.init, jax.random.key(0), IMAGES, mask=hidden)
  with pytest.raises(ValueError, match="must have the shape"):
    jax.eval_shape(small(mask_token=True).init, jax.random.key(0), IMAGES, mask=hidden[:, :1])


@pytest.mark.parametrize("position", ["learned", "sincos2d", "relative_bias", "block_relative_bias"])
def test_keeping_all_tokens_in_any_order_changes_nothing(position):
  module = small(position=position, registers=1)
  variables = initialise(module, scale=0.5)
  order = jnp.stack([jax.random.permutation(jax.random.key(i), 6) for i in range(3)])
  _, full = run(module, variables)
  _, out = run(module, variables, ids_keep=order)
  np.testing.assert_allclose(out["cls"], full["cls"], atol=2e-5)
  np.testing.assert_allclose(out["patch_tokens"], jnp.take_along_axis(full["patch_tokens"], order[:, :, None], 1), atol=2e-5)
  _, fewer = run(module, variables, ids_keep=order[:, :2])
  assert fewer["patch_tokens"].shape == (3, 2, 16)


def test_dropped_tokens_do_not_matter():
  module = small()
  variables = initialise(module)
  keep = jnp.tile(jnp.array([5, 0]), (3, 1))
  changed = IMAGES.at[:, :, 4:8].set(0.0)  # patches 1 and 4
  np.testing.assert_array_equal(run(module, variables, ids_keep=keep)[0], run(module, variables, changed, ids_keep=keep)[0])


def test_class_token_has_no_position():
  """With attention and MLP silenced, the first block's output is what went in."""
  module = small(depth=1, layer_scale=1.0, registers=1)
  variables = initialise(module)
  for name in ("layer_scale_0", "layer_scale_1"):
    variables["params"]["Transformer"]["encoderblock_0"][name] *= 0.0
  params = variables["params"]
  block = run(module, variables)[1]["block01"]
  np.testing.assert_array_equal(block[:, :1], jnp.tile(params["cls"], (3, 1, 1)))
  np.testing.assert_array_equal(block[:, 1:2], jnp.tile(params["registers"], (3, 1, 1)))
  convolution = jax.lax.conv_general_dilated(
    IMAGES, params["embedding"]["kernel"], (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  patches = convolution.reshape(3, 6, 16) + params["embedding"]["bias"] + params["pos_embedding"]
  np.testing.assert_allclose(block[:, 2:], patches, atol=1e-5)


@pytest.mark.parametrize("position", ["learned", "sincos2d", "relative_bias", "none"])
def test_another_image_size(position):
  module = small(position=position, image_size=(12, 12))
  features, out = run(module, initialise(module, jnp.zeros((1, 12, 12, 3))))
  assert out["patch_tokens"].shape == (3, 6, 16) and np.isfinite(features).all()


def test_without_positions_the_order_of_patches_does_not_matter():
  module = small(position="none")
  variables = initialise(module)
  np.testing.assert_allclose(run(module, variables)[0], run(module, variables, jnp.roll(IMAGES, 4, axis=2))[0], atol=1e-5)


def test_sincos_values():
  table = sincos((2, 3), 8)
  row, column = 1, 2
  wanted = [
    np.sin(column),
    np.sin(column / 100),
    np.cos(column),
    np.cos(column / 100),
    np.sin(row),
    np.sin(row / 100),
    np.cos(row),
    np.cos(row / 100),
  ]
  np.testing.assert_allclose(table[row * 3 + column], wanted, atol=1e-7)
  with pytest.raises(ValueError, match="divisible by 4"):
    sincos((2, 2), 6)


def test_relative_offsets():
  index = relative_offsets((2, 3), (2, 3), 1)
  assert index[0, 0] == 17 and set(index[0, 1:]) == {15} and set(index[1:, 0]) == {16}
  patches = index[1:, 1:]
  assert len(np.unique(patches)) == 15 and set(np.diag(patches)) == {7}
  assert patches[0, 1] == patches[3, 4] != patches[1, 0]
  np.testing.assert_array_equal(relative_offsets((2, 3), (2, 2), 0), patches[np.ix_([0, 1, 3, 4], [0, 1, 3, 4])])
  with pytest.raises(ValueError, match="2x3 patches, not 3x3"):
    relative_offsets((2, 3), (3, 3), 1)


def test_drop_path_keeps_the_expectation():
  keys = jax.random.split(jax.random.key(0), 4000)
  dropped = parts.drop_path(jnp.ones((4000, 2, 3)), keys, rate=0.25, number=1)
  values = np.asarray(dropped[:, 0, 0])
  np.testing.assert_array_equal(dropped, values[:, None, None] * np.ones((1, 2, 3)))
  assert set(np.unique(values)) == {np.float32(0.0), np.float32(1 / 0.75)}
  assert abs(values.mean() - 1.0) < 4 * np.sqrt(0.25 / 0.75 / 4000)
  other = parts.drop_path(jnp.ones((4000, 2, 3)), keys, rate=0.25, number=2)[:, 0, 0]
  assert abs(np.corrcoef(values, other)[0, 1]) < 0.07


def test_drop_path_is_off_without_keys_and_follows_the_example():
  module = small(drop_path=0.9)
  variables = initialise(module)
  plain = run(small(), variables)[0]
  np.testing.assert_array_equal(run(module, variables)[0], plain)
  keys = jax.random.split(jax.random.key(3), 3)
  whole = run(module, variables, keys=keys)[0]
  assert np.abs(whole - plain).max() > 1e-3
  pieces = [module.apply(variables, IMAGES[i : i + 1], keys=keys[i : i + 1])[0] for i in range(3)]
  np.testing.assert_allclose(whole, jnp.concatenate(pieces), atol=1e-5)


def test_drop_path_rate_grows_from_zero():
  """The first block never drops; at rate 1 - tiny the last is the identity for every example."""
  module = small(drop_path=0.999999)
  variables = initialise(module)
  keys = jax.random.split(jax.random.key(3), 3)
  _, plain = run(module, variables)
  _, out = run(module, variables, keys=keys)
  np.testing.assert_array_equal(out["block01"], plain["block01"])
  np.testing.assert_array_equal(out["block02"], out["block01"])
  _, uniform = run(small(drop_path=(0.999999, 0.999999)), variables, keys=keys)
  assert np.abs(uniform["block01"] - plain["block01"]).max() > 1e-3
  np.testing.assert_array_equal(uniform["block02"], uniform["block01"])


def test_remat_gives_the_same_gradients():
  variables = initialise(small(depth=1))
  grads = [
    jax.jit(jax.grad(lambda v, m=m: jnp.sum(m.apply(v, IMAGES)[0] ** 2)))(variables)
    for m in (small(depth=1), small(depth=1, remat=True))
  ]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *grads)


@pytest.mark.parametrize(
  "numbers",
  [
    dict(),
    dict(remat=True),
    dict(remat=True, drop_path=(0.2, 0.6), layer_scale=0.5, position="block_relative_bias", readout=(1, 2)),
  ],
)
def test_a_loop_over_the_blocks_is_the_blocks(numbers):
  """Outputs, what stochastic depth draws, gradients by the same names."""
  plain, loop = small(**numbers), small(**numbers, scan=True)
  variables, keys = initialise(loop), jax.random.split(jax.random.key(1), 3)
  jax.tree.map(np.testing.assert_array_equal, variables, initialise(plain))

  @functools.partial(jax.jit, static_argnums=0)
  def run_with_gradient(module, variables):
    def loss(variables):
      features, out = module.apply(variables, IMAGES, keys=keys)
      return jnp.sum(features**2), out

    return jax.value_and_grad(loss, has_aux=True)(variables)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    run_with_gradient(plain, variables),
    run_with_gradient(loop, variables),
  )


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_remat_policies_keep_more_and_more(scan):
  """The same gradients; from policy to policy fewer products in the whole of the program."""
  variables = initialise(small())

  def grad(remat):
    module = small(remat=remat, scan=scan)
    return jax.grad(lambda v: jnp.sum(module.apply(v, IMAGES)[0] ** 2))

  wanted, products = jax.jit(grad(False))(variables), []
  for remat in (True, *parts.REMAT_POLICIES, False):
    products.append(str(jax.make_jaxpr(grad(remat))(variables)).count("dot_general["))
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), jax.jit(grad(remat))(variables), wanted
    )
  every, nothing, weights, dots, everything, plain = products
  assert every == nothing > weights > dots == everything == plain
  with pytest.raises(ValueError, match="remat must be True, False or one of nothing_saveable, .*'dots'"):
    small(remat="dots", scan=scan).apply(variables, IMAGES)


@pytest.mark.slow
def test_a_loop_with_remat_keeps_one_block():
  """What a compiled gradient holds beside its arguments hardly grows with the depth; unrolled it does."""

  def held(depth, scan):
    module = small(depth=depth, remat=True, scan=scan, width=64, image_size=32)
    images = jnp.zeros((8, 32, 32, 3))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), images))
    grad = jax.jit(jax.grad(lambda v: jnp.sum(module.apply(v, images)[0] ** 2)))
    memory = grad.lower(variables).compile().memory_analysis()
    return memory.temp_size_in_bytes - 2 * memory.argument_size_in_bytes  # the stacked parameters and gradients

  loop, unrolled = (held(6, scan) - held(2, scan) for scan in (True, False))
  assert loop < unrolled / 3


def test_bfloat16_computes_in_half_and_returns_float32():
  module = small(depth=1, dtype="bfloat16", layer_scale=0.5, position="relative_bias")
  variables = initialise(module)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  features, out = run(module, variables)
  assert {array.dtype for array in out.values()} == {jnp.dtype("float32")}
  exact = run(small(depth=1, layer_scale=0.5, position="relative_bias"), variables)[0]
  assert 0 < np.abs(features - exact).max() < 0.1
  grads = jax.jit(jax.grad(lambda v: jnp.sum(module.apply(v, IMAGES)[0] ** 2)))(variables)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_attention_is_that_of_jax(dtype, tolerance):
  *arrays, cotangent = 3.0 * jax.random.normal(jax.random.key(0), (4, 2, 5, 2, 8))
  bias = jax.random.normal(jax.random.key(1), (1, 2, 5, 5))
  value, pull = jax.vjp(lambda *x: attend(*(a.astype(dtype) for a in x), bias).astype(jnp.float32), *arrays)
  expected, expected_pull = jax.vjp(lambda *x: jax.nn.dot_product_attention(*x, bias), *arrays)
  results, references = (value, *pull(cotangent)), (expected, *expected_pull(cotangent))
  for result, reference in zip(results, references, strict=True):
    np.testing.assert_allclose(result, reference, atol=tolerance * float(jnp.abs(reference).max()))
  assert np.isfinite(attend(*(100.0 * a for a in arrays))).all()


def test_gelu_forms():
  x = jnp.linspace(-6, 6, 101)
  np.testing.assert_allclose(parts.gelu(x), jax.nn.gelu(x, approximate=False), atol=1e-6)
  assert 1e-4 < np.abs(parts.gelu(x) - parts.gelu(x, "tanh")).max() < 5e-4
  assert parts.gelu(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
  with pytest.raises(ValueError, match="'exact' or 'tanh'"):
    parts.gelu(x, "fast")


# Of N(0, 0.02) between -0.02 and 0.02: the variance is 0.02^2 (1 - 2 phi(1) / (2 Phi(1) - 1)).
CUT = 0.02 * (1 - 2 * 0.24197072 / 0.68268949) ** 0.5


@pytest.mark.parametrize(
  "init, numbers, deviation",
  [
    ("dino", {}, 0.02),
    ("dino", dict(joint=3, layer=2), 0.02),
    ("mae", {}, (2 / (96 + 64)) ** 0.5),
    ("mae", dict(layer=2), (2 / (96 + 64)) ** 0.5),
    ("moco_v3", dict(joint=3), (2 / (96 + 64)) ** 0.5),
    ("normal", dict(joint=3, layer=2), 0.02),
    ("normal_rescaled", dict(joint=3), 0.02),
    ("normal_rescaled", dict(layer=2), 0.01),
    ("beit", dict(joint=3), CUT),
    ("beit", dict(layer=2), CUT / 2),
  ],
)
def test_kernel_init_deviations(init, numbers, deviation):
  kernel = parts.kernel_init(init, **numbers)(jax.random.key(0), (96, 64))
  assert abs(kernel.std() / deviation - 1) < 0.05


def test_a_position_of_the_class_token_is_added_to_it():
  """The same function as without, for the token that is the sum; and both get the gradient of the sum."""
  module, plain = small(cls_position=True), small()
  variables = initialise(module)
  assert variables["params"]["cls_position"].shape == (1, 1, 16)
  params = dict(variables["params"])
  params["cls"] = params["cls"] + params.pop("cls_position")
  want, got = run(plain, dict(params=params)), run(module, variables)
  jax.tree.map(np.testing.assert_array_equal, got, want)
  grads = jax.grad(lambda v: module.apply(v, IMAGES)[0].sum())(variables)["params"]
  np.testing.assert_array_equal(grads["cls"], grads["cls_position"])
  assert np.abs(grads["cls"]).max() > 1e-3
  with pytest.raises(ValueError, match="cls_position=True needs a class token"):
    small(cls_position=True, cls_token=False)


def test_mae_counts_query_key_and_value_as_one_matrix():
  kernel = parts.kernel_init("mae", joint=3)(jax.random.key(0), (64, 64))
  bound = (6 / (64 + 3 * 64)) ** 0.5
  assert 0.99 * bound < np.abs(kernel).max() <= bound
  with pytest.raises(ValueError, match="dino, .*mae, moco_v3, beit, .* not 'xavier'"):
    parts.kernel_init("xavier")


def test_beit_cuts_off_at_one_standard_deviation():
  for array in (
    parts.kernel_init("beit")(jax.random.key(0), (96, 64)),
    parts.token_init("beit", "cls")(jax.random.key(1), (99, 64)),
  ):
    assert 0.0199 < np.abs(array).max() <= 0.02 and abs(array.std() / CUT - 1) < 0.03


@pytest.mark.parametrize(
  "init, kernel, bias",
  [
    ("dino", (3 * 768) ** -0.5, (3 * 768) ** -0.5),
    ("mae", (2 / (768 + 64)) ** 0.5, (3 * 768) ** -0.5),
    ("moco_v3", (2 / (768 + 64)) ** 0.5, 0.0),
    ("beit", CUT, 0.0),
    ("normal", 0.02, 0.0),
    ("normal_rescaled", 0.02, 0.0),
    ("msn", (2 / 768) ** 0.5, 0.0),
    ("maskfeat", 0.02, (3 * 768) ** -0.5),
  ],
)
def test_patch_embedding_init_deviations(init, kernel, bias):
  inits = parts.patch_embedding_init(init, 768)
  got = [fn(jax.random.key(i), shape).std() for i, (fn, shape) in enumerate(zip(inits, ((768, 64), (9999,)), strict=True))]
  np.testing.assert_allclose(got, [kernel, bias], rtol=0.03)


def test_maskfeats_biases_start_at_a_fiftieth():
  """Those of linear layers and of LayerNorms in blocks, not that of the last LayerNorm, which is its head's."""
  params = jax.jit(small(init="maskfeat", depth=1).init)(jax.random.key(0), IMAGES)["params"]["Transformer"]
  biases = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params["encoderblock_0"])}
  assert {name.split("'")[-2] for name in biases} == {"kernel", "bias", "scale"}
  assert all((leaf == np.float32(0.02)).all() for name, leaf in biases.items() if "bias" in name)
  assert not params["encoder_norm"]["bias"].any()


@pytest.mark.parametrize(
  "init, cls, mask", [("dino", 0.02, 0.02), ("ibot", 0.02, 0.0), ("dinov2", 1e-6, 0.0), ("beit", CUT, CUT)]
)
def test_token_init_deviations(init, cls, mask):
  wanted = dict(cls=cls, registers=cls, mask_token=mask, pos_embedding=CUT if init == "beit" else 0.02)
  for name, deviation in wanted.items():
    token = parts.token_init(init, name)(jax.random.key(0), (1, 16, 512))
    np.testing.assert_allclose(token.std(), deviation, rtol=0.03, err_msg=name)


def test_where_the_initialisation_counts(monkeypatch):
  """Block 2 asks for three joint kernels, and for two that write to the residual stream."""
  asked, original = [], parts.kernel_init

  def record(init, **numbers):
    asked.append((init, *numbers.items()))
    return original(init, **numbers)

  monkeypatch.setattr(parts, "kernel_init", record)
  jax.eval_shape(small(init="beit").init, jax.random.key(0), IMAGES)
  assert asked[0] == ("beit",)  # the patch embedding
  for layer in (1, 2):
    block = [("beit", ("joint", 3))] * 3 + [("beit", ("layer", layer))] + [("beit",), ("beit", ("layer", layer))]
    assert asked[6 * layer - 5 : 6 * layer + 1] == block


def test_stem_halves_the_image_before_the_patches():
  module = small(patch_size=8, image_size=(16, 24), stem=(4, 6))
  images = jax.random.normal(jax.random.key(1), (2, 16, 24, 3))
  variables = initialise(module, images)
  assert variables["params"]["embedding"]["kernel"].shape == (2, 2, 6, 16)
  _, out = run(module, variables, images)
  x = images
  for i in (1, 2):
    p = variables["params"][f"stem{i}"]
    layout = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, p["kernel"], (2, 2), ((1, 1), (1, 1)), dimension_numbers=layout)
    x = x + p["bias"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    x = jax.nn.gelu(
      x * variables["params"][f"stem{i}_norm"]["scale"] + variables["params"][f"stem{i}_norm"]["bias"], approximate=False
    )
  plain = small(patch_size=2, image_size=(4, 6))
  rest = dict(params={k: v for k, v in variables["params"].items() if not k.startswith("stem")})
  _, expected = run(plain, rest, x)
  np.testing.assert_allclose(out["tokens"], expected["tokens"], atol=1e-5)


def test_a_stem_refuses_to_hide_patches():
  module = small(patch_size=8, image_size=(16, 24), stem=(4,), mask_token=True)
  images = jnp.zeros((2, 16, 24, 3))
  for hidden in (dict(mask=jnp.zeros((2, 6), bool)), dict(ids_keep=jnp.zeros((2, 3), int))):
    with pytest.raises(ValueError, match="stem"):
      jax.eval_shape(module.init, jax.random.key(0), images, **hidden)
  with pytest.raises(ValueError, match="stride 8"):
    small(patch_size=4, stem=(4, 4, 4))
