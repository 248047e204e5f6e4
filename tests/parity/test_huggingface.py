"""Forward passes against Hugging Face's transformers: random weights, saved as on the hub, read by `jssl.interop.load`."""

import jax.numpy as jnp
import numpy as np
import pytest

from jssl import interop
from jssl.interop.load import build
from jssl.losses import mae_loss, masked_l1_loss
from jssl.targets import patch_pixels

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.numpy")
from tests.parity.huggingface import assert_close, fill, flat, IMAGES, ours, theirs  # noqa: E402

WIDTH, EPS = 16, 1e-6
THEIRS = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4)
RNG = np.random.default_rng(0)
MASK = RNG.random((2, 16)) < 0.4


@pytest.fixture
def saved(tmp_path):
  """Fills a model, and returns the folder that it is written to."""

  def save(model):
    fill(model).save_pretrained(tmp_path)
    return tmp_path

  return save


@pytest.mark.parametrize("gelu, act", [("exact", "gelu"), ("tanh", "gelu_pytorch_tanh")])
def test_vit(saved, gelu, act):
  model = transformers.ViTModel(transformers.ViTConfig(**THEIRS, intermediate_size=32, hidden_act=act))
  found = ours(saved(model))
  wanted = theirs(model, IMAGES, output_hidden_states=True)
  assert_close(found["tokens"], wanted.last_hidden_state)
  assert_close(found["block01"], wanted.hidden_states[1])
  assert_close(found["features"], wanted.last_hidden_state[:, 0])


def test_the_class_token_may_have_its_position_in_it(saved):
  apart = interop.load(saved(transformers.ViTModel(transformers.ViTConfig(**THEIRS, intermediate_size=32))))
  assert apart.network["cls_position"]
  module = build(apart.network | dict(cls_position=False))
  joined = apart.fitted(module)
  assert "cls_position" not in joined["params"]["backbone"]
  wanted, found = (m.apply(v, IMAGES)["tokens"] for m, v in ((apart.module, apart.variables), (module, joined)))
  np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_vit_msn(saved):
  model = transformers.ViTMSNModel(transformers.ViTMSNConfig(**THEIRS, intermediate_size=32), use_mask_token=True)
  found = ours(saved(model), mask=MASK)
  assert_close(found["tokens"], theirs(model, IMAGES, bool_masked_pos=MASK).last_hidden_state)


def test_ijepa(saved):
  model = transformers.IJepaModel(transformers.IJepaConfig(**THEIRS, intermediate_size=32))
  found = ours(saved(model))
  wanted = theirs(model, IMAGES).last_hidden_state
  assert_close(found["patch_tokens"], wanted)
  assert_close(found["features"], wanted.mean(dim=1))


@pytest.mark.parametrize("registers", [0, 2])
def test_dinov2(saved, registers):
  """With and without a mask, and at another size: transformers interpolates without DINO's offset."""
  if registers:
    config = transformers.Dinov2WithRegistersConfig(**THEIRS, mlp_ratio=2, num_register_tokens=registers)
    model = transformers.Dinov2WithRegistersModel(config)
  else:
    model = transformers.Dinov2Model(transformers.Dinov2Config(**THEIRS, mlp_ratio=2))
  folder = saved(model)
  found = ours(folder, mask=MASK)
  assert_close(found["tokens"], theirs(model, IMAGES, bool_masked_pos=MASK).last_hidden_state)
  small = IMAGES[:, :8, :12]
  assert_close(ours(folder, small)["tokens"], theirs(model, small).last_hidden_state)


BEIT = dict(**THEIRS, intermediate_size=32, layer_scale_init_value=0.1, layer_norm_eps=EPS)


def test_beit_as_pretrained(saved):
  """One table of biases, mask token, logits of visual tokens."""
  model = transformers.BeitForMaskedImageModeling(
    transformers.BeitConfig(**BEIT, use_mask_token=True, use_shared_relative_position_bias=True, vocab_size=10)
  )
  folder = saved(model)
  found, weights = ours(folder, mask=MASK), safetensors.load_file(folder / "model.safetensors")
  wanted = theirs(model, IMAGES, bool_masked_pos=MASK, output_hidden_states=True)
  assert_close(found["block02"], wanted.hidden_states[-1])
  logits = found["patch_tokens"] @ weights["lm_head.weight"].T + weights["lm_head.bias"]
  assert_close(logits, wanted.logits)


@pytest.mark.parametrize("kind", ["Beit", "Data2VecVision"])
def test_beit_and_data2vec_as_finetuned(saved, kind):
  """A table for each block; the mean of the patches is normalised, not the tokens."""
  config = getattr(transformers, f"{kind}Config")(**BEIT, use_mask_token=True, use_relative_position_bias=True)
  model = getattr(transformers, f"{kind}Model")(config, add_pooling_layer=True)
  found = ours(saved(model), mask=MASK)
  wanted = theirs(model, IMAGES, bool_masked_pos=MASK)
  assert_close(found["tokens"], wanted.last_hidden_state)
  assert_close(found["features"], wanted.pooler_output)


def mae_positions(side, dim):
  """facebookresearch/mae util/pos_embed.py in short: zeros for the class token, then (column, row) for each patch."""
  grid = np.stack(np.meshgrid(np.arange(side, dtype=float), np.arange(side, dtype=float))).reshape(2, -1)
  omega = 1.0 / 10000 ** (np.arange(dim // 4) / (dim / 4.0))
  halves = [np.concatenate([np.sin(m[:, None] * omega), np.cos(m[:, None] * omega)], axis=1) for m in grid]
  return np.concatenate([np.zeros((1, dim)), np.concatenate(halves, axis=1)])


@pytest.mark.parametrize("normalize", [False, True])
def test_mae(saved, normalize):
  """Encoder, decoder and loss, from the noise that orders the patches."""
  model = transformers.ViTMAEForPreTraining(
    transformers.ViTMAEConfig(
      **THEIRS,
      intermediate_size=32,
      decoder_hidden_size=WIDTH,
      decoder_num_hidden_layers=2,
      decoder_num_attention_heads=2,
      decoder_intermediate_size=32,
      layer_norm_eps=EPS,
      norm_pix_loss=normalize,
    )
  )
  table = torch.from_numpy(mae_positions(4, WIDTH)[None])
  for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
    positions.data.copy_(table)  # transformers 5 leaves them at zero in a model that loads no checkpoint
  folder = saved(model)
  noise = np.random.default_rng(2).random((2, 16)).astype(np.float32)
  wanted = theirs(model, IMAGES, noise=noise)
  order = jnp.argsort(noise, axis=1)
  restore = jnp.argsort(order, axis=1)

  assert interop.load(folder, part="encoder").network["position"] == "sincos2d"
  encoder = ours(folder, part="encoder", ids_keep=order[:, :4])
  out = ours(folder, encoder["tokens"], part="decoder", ids_restore=restore)
  assert_close(out["pixels"], wanted.logits)
  loss, _ = mae_loss(out["pixels"], patch_pixels(jnp.asarray(IMAGES), patch=4, normalize=normalize), restore >= 4)
  assert_close(loss, wanted.loss)


SWIN = dict(patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(32, 32), (26, 36), (16, 16)])
def test_swin(saved, size):
  """Whole windows; windows and a merging that must be padded; a last map of a single window."""
  images = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
  model = transformers.SwinModel(transformers.SwinConfig(image_size=size[0], **SWIN))
  found, wanted = ours(saved(model), images), theirs(model, images)
  assert_close(found["patch_tokens"], wanted.last_hidden_state)
  assert_close(found["features"], wanted.pooler_output)


@pytest.mark.slow
def test_simmim_with_swin(saved):
  """Masks of the cells of the last map, pixels of its stride, the loss up to SimMIM's normaliser."""
  model = transformers.SwinForMaskedImageModeling(transformers.SwinConfig(image_size=32, encoder_stride=4, **SWIN))
  folder, images = saved(model), np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
  mask = np.random.default_rng(2).random((2, 8, 8)) < 0.6
  patches = mask.repeat(2, axis=1).repeat(2, axis=2).reshape(2, -1)
  wanted = theirs(model, images, bool_masked_pos=patches)
  weights = safetensors.load_file(folder / "model.safetensors")
  by_patch, by_cell = (ours(folder, images, mask=m) for m in (patches, mask.reshape(2, -1)))
  np.testing.assert_array_equal(by_patch["patch_tokens"], by_cell["patch_tokens"])
  # torch's pixel shuffle has channel, row, column.
  order = lambda array: array.reshape(3, 16, -1).transpose(1, 0, 2).reshape(48, -1)
  pixels = by_cell["patch_tokens"] @ order(weights["decoder.0.weight"]).T + order(weights["decoder.0.bias"])[:, 0]
  loss, _ = masked_l1_loss(pixels, patch_pixels(jnp.asarray(images), patch=4), mask.reshape(2, -1))
  assert_close(loss, wanted.loss)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_convnext(saved, version):
  sizes = dict(hidden_sizes=[8, 16, 32], depths=[1, 2, 1], num_stages=3, layer_norm_eps=EPS)
  if version == 1:
    model = transformers.ConvNextModel(transformers.ConvNextConfig(**sizes))
  else:
    model = transformers.ConvNextV2Model(transformers.ConvNextV2Config(**sizes))
  images = np.random.default_rng(1).normal(size=(2, 32, 48, 3)).astype(np.float32)
  found, wanted = ours(saved(model), images), theirs(model, images)
  assert_close(found["stage3"].reshape(2, 6, 32), flat(wanted.last_hidden_state))
  assert_close(found["features"], wanted.pooler_output)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 50])
def test_resnet(saved, depth):
  """Odd sizes, so that the padding matters."""
  factor, kind, depths = {18: (1, "basic", [2, 2, 2, 2]), 50: (4, "bottleneck", [3, 4, 6, 3])}[depth]
  model = transformers.ResNetModel(
    transformers.ResNetConfig(
      embedding_size=4, hidden_sizes=[factor * 4 * 2**i for i in range(4)], depths=depths, layer_type=kind
    )
  )
  images = np.random.default_rng(1).normal(size=(2, 67, 45, 3)).astype(np.float32)
  folder = saved(model)
  found, wanted = ours(folder, images), theirs(model, images)
  scale = float(wanted.last_hidden_state.abs().max())
  assert_close(found["patch_tokens"] / scale, flat(wanted.last_hidden_state) / scale)
  assert_close(found["features"] / scale, wanted.pooler_output[:, :, 0, 0] / scale)
  assert interop.load(folder).module.grid(images.shape) == wanted.last_hidden_state.shape[2:]
