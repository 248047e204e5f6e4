"""Models against torch and transformers, with random weights carried over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models import mae_decoder, resnet, vit
from jssl.models.positions import interpolate_positions

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

HEADS, WIDTH = 2, 16
SIZES = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=HEADS, image_size=16, patch_size=4)
MODEL = dict(width=WIDTH, depth=2, num_heads=HEADS, mlp_ratio=2.0, image_size=16, patch_size=4)
IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)


def randomise(model):
  """Weights large enough that every part of the model matters; returns them as NumPy arrays by name."""
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      if parameter.requires_grad:
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
  return {name: array.numpy() for name, array in model.eval().state_dict().items()}


def nchw(images):
  return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def linear(weights, name):
  return dict(kernel=weights[f"{name}.weight"].T, bias=weights[f"{name}.bias"])


def norm(weights, name):
  return dict(scale=weights[f"{name}.weight"], bias=weights[f"{name}.bias"])


def transformer(weights, prefix, last, norms=("layernorm_before", "layernorm_after")):
  """Blocks `{prefix}.{i}` and the final LayerNorm `last` under big_vision's names."""
  blocks, names = {}, dict(query="q_proj", key="k_proj", value="v_proj")
  for i in range(2):
    at = f"{prefix}.{i}"
    attention = {
        ours: dict(kernel=weights[f"{at}.attention.{theirs}.weight"].T.reshape(WIDTH, HEADS, -1),
                   bias=weights[f"{at}.attention.{theirs}.bias"].reshape(HEADS, -1)) for ours, theirs in names.items()}
    out = linear(weights, f"{at}.attention.o_proj")
    attention["out"] = dict(kernel=out["kernel"].reshape(HEADS, -1, WIDTH), bias=out["bias"])
    blocks[f"encoderblock_{i}"] = dict(
        MultiHeadDotProductAttention_0=attention,
        LayerNorm_0=norm(weights, f"{at}.{norms[0]}"), LayerNorm_1=norm(weights, f"{at}.{norms[1]}"),
        MlpBlock_0=dict(Dense_0=linear(weights, f"{at}.mlp.fc1"), Dense_1=linear(weights, f"{at}.mlp.fc2")))
    for scale in ("layer_scale{}.lambda1", "lambda_{}"):  # DINOv2, BEiT
      for j in (0, 1):
        if (name := f"{at}.{scale.format(j + 1)}") in weights:
          blocks[f"encoderblock_{i}"][f"layer_scale_{j}"] = weights[name]
  return blocks | dict(encoder_norm=norm(weights, last))


def embeddings(weights, prefix):
  """The class token carries its position, since ours has none of its own."""
  projection = f"{prefix}patch_embeddings.projection"
  embedding = dict(kernel=weights[f"{projection}.weight"].transpose(2, 3, 1, 0), bias=weights[f"{projection}.bias"])
  cls, table = weights[f"{prefix}cls_token"], weights.get(f"{prefix}position_embeddings")
  if table is None:
    return dict(cls=cls, embedding=embedding)
  return dict(cls=cls + table[:, :1], pos_embedding=table[:, 1:], embedding=embedding)


@pytest.mark.parametrize("gelu, act", [("exact", "gelu"), ("tanh", "gelu_pytorch_tanh")])
def test_vit(gelu, act):
  model = transformers.ViTModel(transformers.ViTConfig(
      **SIZES, intermediate_size=32, hidden_act=act, layer_norm_eps=1e-6), add_pooling_layer=False)
  weights = randomise(model)
  params = embeddings(weights, "embeddings.") | dict(Transformer=transformer(weights, "layers", "layernorm"))
  with torch.no_grad():
    wanted = model(nchw(IMAGES), output_hidden_states=True)
  features, out = vit(**MODEL, gelu=gelu).apply(dict(params=params), IMAGES)
  np.testing.assert_allclose(out["tokens"], wanted.last_hidden_state.numpy(), atol=2e-5)
  np.testing.assert_allclose(out["block01"], wanted.hidden_states[1].numpy(), atol=2e-5)
  np.testing.assert_allclose(features, wanted.last_hidden_state[:, 0].numpy(), atol=2e-5)


def test_dinov2_with_layer_scale_and_mask():
  model = transformers.Dinov2Model(transformers.Dinov2Config(**SIZES, mlp_ratio=2))
  weights = randomise(model)
  params = embeddings(weights, "embeddings.") | dict(
      mask_token=weights["embeddings.mask_token"][None],
      Transformer=transformer(weights, "encoder.layer", "layernorm", ("norm1", "norm2")))
  mask = np.random.default_rng(1).random((2, 16)) < 0.4
  module = vit(**MODEL, layer_scale=1.0, mask_token=True)
  for hidden in (None, mask):
    with torch.no_grad():
      wanted = model(nchw(IMAGES), bool_masked_pos=None if hidden is None else torch.from_numpy(hidden))
    _, out = module.apply(dict(params=params), IMAGES, mask=hidden)
    np.testing.assert_allclose(out["tokens"], wanted.last_hidden_state.numpy(), atol=2e-5)


def test_beit_with_relative_positions():
  """The model of BEiT, SimMIM and data2vec. It has no bias on keys, to which softmax is blind."""
  model = transformers.BeitModel(transformers.BeitConfig(
      **SIZES, intermediate_size=32, use_mask_token=True, use_shared_relative_position_bias=True,
      layer_scale_init_value=0.1, use_mean_pooling=False, layer_norm_eps=1e-6), add_pooling_layer=False)
  weights = randomise(model)
  weights |= {f"layers.{i}.attention.k_proj.bias": np.ones(WIDTH, np.float32) for i in range(2)}
  params = embeddings(weights, "embeddings.") | dict(
      mask_token=weights["embeddings.mask_token"], Transformer=transformer(weights, "layers", "layernorm"),
      relative_position_bias=weights["shared_position_bias.relative_position_bias_table"])
  mask = np.random.default_rng(1).random((2, 16)) < 0.4
  with torch.no_grad():
    wanted = model(nchw(IMAGES), bool_masked_pos=torch.from_numpy(mask))
  module = vit(**MODEL, position="relative_bias", layer_scale=0.1, mask_token=True)
  _, out = module.apply(dict(params=params), IMAGES, mask=jnp.asarray(mask))
  np.testing.assert_allclose(out["tokens"], wanted.last_hidden_state.numpy(), atol=2e-5)


def mae_positions(side, dim):
  """facebookresearch/mae util/pos_embed.py in short: zeros for the class token, then (column, row) for each patch."""
  grid = np.stack(np.meshgrid(np.arange(side, dtype=float), np.arange(side, dtype=float))).reshape(2, -1)
  omega = 1.0 / 10000 ** (np.arange(dim // 4) / (dim / 4.0))
  halves = [np.concatenate([np.sin(m[:, None] * omega), np.cos(m[:, None] * omega)], axis=1) for m in grid]
  return np.concatenate([np.zeros((1, dim)), np.concatenate(halves, axis=1)])


def test_mae_encoder_and_decoder():
  model = transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(
      **SIZES, intermediate_size=32, decoder_hidden_size=WIDTH, decoder_num_hidden_layers=2,
      decoder_num_attention_heads=HEADS, decoder_intermediate_size=32, mask_ratio=0.75, layer_norm_eps=1e-6))
  table = torch.from_numpy(mae_positions(4, WIDTH)[None])
  for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
    positions.data.copy_(table)  # transformers 5 leaves them at zero in a model that loads no checkpoint
  weights = randomise(model)
  encoder = embeddings(weights, "vit.embeddings.") | dict(
      Transformer=transformer(weights, "vit.layers", "vit.layernorm"))
  encoder.pop("pos_embedding")
  decoder = dict(
      mask_token=weights["decoder.mask_token"], embedding=linear(weights, "decoder.decoder_embed"),
      Transformer=transformer(weights, "decoder.decoder_layers", "decoder.decoder_norm"),
      head=linear(weights, "decoder.decoder_pred"))
  noise = np.random.default_rng(2).random((2, 16)).astype(np.float32)
  with torch.no_grad():
    wanted = model(nchw(IMAGES), noise=torch.from_numpy(noise))
  order = np.argsort(noise, axis=1)

  _, out = vit(**MODEL, position="sincos2d").apply(dict(params=encoder), IMAGES, ids_keep=jnp.asarray(order[:, :4]))
  out = mae_decoder(patch_size=4, width=WIDTH, depth=2, num_heads=HEADS, mlp_ratio=2.0).apply(
      dict(params=decoder), out["tokens"], jnp.asarray(np.argsort(order, axis=1)))
  np.testing.assert_allclose(out["pixels"], wanted.logits.numpy(), atol=1e-4)


def torch_interpolation(table, source, target, *, offset, antialias):
  """As DINO's interpolate_pos_encoding and DINOv2's (with registers: no offset, antialias) call torch."""
  grid = torch.from_numpy(table.reshape(1, *source, -1)).permute(0, 3, 1, 2)
  arguments = dict(mode="bicubic", antialias=antialias)
  if offset:
    arguments["scale_factor"] = [(new + offset) / old for new, old in zip(target, source)]
  else:
    arguments["size"] = target
  return torch.nn.functional.interpolate(grid, **arguments).permute(0, 2, 3, 1).reshape(1, -1, table.shape[-1]).numpy()


@pytest.mark.parametrize("source, target", [((14, 14), (6, 6)), ((7, 7), (16, 5)), ((8, 4), (8, 4)), ((8, 8), (9, 9))])
@pytest.mark.parametrize("offset, antialias", [(0.1, False), (0.0, True)])
def test_position_interpolation(source, target, offset, antialias):
  table = np.random.default_rng(3).normal(size=(1, source[0] * source[1], 3)).astype(np.float32)
  found = interpolate_positions(jnp.asarray(table), source, target, offset=offset, antialias=antialias)
  wanted = table if source == target else torch_interpolation(
      table, source, target, offset=offset, antialias=antialias)
  np.testing.assert_allclose(found, wanted, atol=1e-5)


def torch_resnet(variables, images, bottleneck, train):
  """torchvision's forward pass in torch functions; returns features and the batch statistics of every BatchNorm."""
  functional, statistics = torch.nn.functional, {}

  def convolve(x, at, stride):
    kernel = at["kernel"].transpose(3, 2, 0, 1)
    return functional.conv2d(x, torch.from_numpy(np.ascontiguousarray(kernel)), stride=stride,
                             padding=kernel.shape[-1] // 2)

  def normalise(x, path):
    at, saved = variables["params"], variables["batch_stats"]
    for name in path:
      at, saved = at[name], saved[name]
    mean, var = (torch.from_numpy(saved[name].copy()) for name in ("mean", "var"))
    y = functional.batch_norm(
        x, mean, var, torch.from_numpy(at["scale"]), torch.from_numpy(at["bias"]), train, momentum=0.1, eps=1e-5)
    statistics[path] = mean.numpy(), var.numpy(), saved["var"], x.numel() // x.shape[1]
    return y

  def block(x, name, stride):
    at, y = variables["params"][name], x
    strides = (1, stride, 1) if bottleneck else (stride, 1)
    for i, s in enumerate(strides, start=1):
      y = normalise(convolve(y, at[f"conv{i}"], s), (name, f"bn{i}"))
      y = y if i == len(strides) else functional.relu(y)
    if "downsample_0" in at:
      x = normalise(convolve(x, at["downsample_0"], stride), (name, "downsample_1"))
    return functional.relu(x + y)

  x = functional.relu(normalise(convolve(nchw(images), variables["params"]["conv1"], 2), ("bn1",)))
  x = functional.max_pool2d(x, 3, 2, 1)
  for stage, blocks in enumerate((3, 4, 6, 3) if bottleneck else (2, 2, 2, 2)):
    for i in range(blocks):
      x = block(x, f"layer{stage + 1}_{i}", 2 if stage and not i else 1)
  return x.mean(dim=(2, 3)).numpy(), statistics


@pytest.mark.parametrize("depth, train", [(18, True), (50, False)])
def test_resnet(depth, train):
  """Odd sizes, so that the padding matters. torch's running variance is unbiased, ours is not: n / (n - 1)."""
  module = resnet(depth=depth, width=4)
  images = np.random.default_rng(4).normal(size=(4, 67, 45, 3)).astype(np.float32)
  shapes, rng = jax.eval_shape(module.init, jax.random.key(0), images), np.random.default_rng(5)
  # Kernels at He's scale; scales and variances around 1, means and biases around 0.
  variables = jax.tree_util.tree_map_with_path(
      lambda path, leaf: (rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim == 4 else
                          (path[-1].key in ("scale", "var")) + 0.1 * rng.normal(size=leaf.shape)).astype(np.float32),
      shapes)
  wanted, statistics = torch_resnet(variables, images, depth == 50, train)
  (features, _), updates = jax.jit(
      lambda v: module.apply(v, images, train=train, mutable=["batch_stats"]))(variables)
  np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-4)
  for path, (mean, var, old, count) in statistics.items():
    found = updates["batch_stats"]
    for name in path:
      found = found[name]
    np.testing.assert_allclose(found["mean"], mean, atol=1e-4)
    biased = var if not train else 0.9 * old + (var - 0.9 * old) * (count - 1) / count
    np.testing.assert_allclose(found["var"], biased, rtol=1e-4, atol=1e-5)
