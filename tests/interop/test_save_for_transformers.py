"""DINOv3, Swin, ConvNeXt, ResNet and MAE with its decoder for transformers: the same outputs there, the same arrays back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import interop
from jssl.errors import ConfigError
from jssl.interop.load import build
from jssl.losses import mae_loss
from jssl.targets import patch_pixels

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)
LARGE = RNG.normal(size=(2, 32, 64, 3)).astype(np.float32)
VIT = dict(fn="vit", image_size=16, patch_size=4, width=16, depth=2, num_heads=2, mlp_ratio=2.0)
ROPE = VIT | dict(position="rope", registers=2, mask_token=True, layer_scale=0.5, key_bias=False, layer_norm_eps=1e-5)
SWIN = dict(fn="swin", patch_size=2, window=4, width=8, depths=(2, 2), num_heads=(1, 2))
CONVNEXT = dict(fn="convnext", width=8, depths=(1, 2, 1))
# The entry, images beside those that it is made for, and what transformers calls it.
CASES = dict(
  dinov3=(ROPE | dict(rope_theta=50.0, rope_rescale=2.0), (IMAGES, IMAGES[:, :8, :12]), "DINOv3ViTModel"),
  dinov3_gated=(ROPE | dict(mlp="swiglu", qkv_bias=False), (IMAGES[:, :8, :12],), "DINOv3ViTModel"),
  dinov3_bare=(VIT | dict(position="rope"), (IMAGES, IMAGES[:, :8, :12]), "DINOv3ViTModel"),
  swin=(SWIN | dict(mask_token=True), (LARGE, LARGE[:, :26, :36]), "SwinModel"),
  convnext=(CONVNEXT | dict(layer_scale=0.5, mask_token=True), (LARGE,), "ConvNextModel"),
  convnext_bare=(CONVNEXT | dict(layer_scale=None, gelu="tanh"), (LARGE,), "ConvNextModel"),
  convnextv2=(CONVNEXT | dict(layer_scale=None, grn=True), (LARGE,), "ConvNextV2Model"),
  resnet=(dict(fn="resnet", depth=18, width=4), (LARGE, LARGE[:, :27, :45]), "ResNetModel"),
  resnet_deep=(dict(fn="resnet", depth=50, width=4), (LARGE[:, :27, :45],), "ResNetModel"),
)
QUICK = ("dinov3", "swin", "convnext")


def network(entry, *inputs, **numbers):
  """A network with weights large enough that every part of it matters."""
  module = build(entry | numbers)
  shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    x = 0.3 * rng.normal(size=leaf.shape).astype(np.float32)
    return np.abs(x) + 0.5 if jax.tree_util.keystr(path, simple=True, separator="/").endswith("/var") else x

  variables = jax.tree_util.tree_map_with_path(draw, shapes)
  return interop.Pretrained("runs/x:student", entry | numbers, variables, None, None, {}, (), ())


def without(tree, *names):
  """A tree of a backbone without these entries."""
  params = {name: x for name, x in tree["params"]["backbone"].items() if name not in names}
  return tree | dict(params=dict(backbone=params))


@pytest.mark.parametrize("case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def test_features_in_transformers(case, tmp_path):
  """It reads every array, and has none that is not read; at sizes that are no square."""
  torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
  entry, several, kind = CASES[case]
  ours = network(entry, several[0])
  size = None if entry["fn"] == "vit" else 32
  interop.save(ours, tmp_path / "out", "hf", size=size)
  model, told = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
  assert type(model).__name__ == kind
  assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
  for images in several:
    with torch.no_grad():
      wanted = model.eval()(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
    found = jax.jit(ours.module.apply)(ours.variables, images)
    pooled = wanted.pooler_output.numpy().reshape(2, -1)
    scale = max(np.abs(pooled).max(), 1.0)
    np.testing.assert_allclose(found["features"] / scale, pooled / scale, rtol=1e-5, atol=1e-5)
    if entry["fn"] in ("vit", "swin"):
      tokens = found["tokens" if entry["fn"] == "vit" else "patch_tokens"]
      np.testing.assert_allclose(tokens, wanted.last_hidden_state.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c == "resnet_deep" else c for c in CASES])
def test_the_same_arrays_come_back(case, tmp_path):
  """And the numbers that no array tells; what the format must have and the network has not, is added and does nothing."""
  entry, several, _ = CASES[case]
  ours = network(entry, several[0])
  written = interop.save(ours, tmp_path / "out", "hf", size=None if entry["fn"] == "vit" else 32)
  found = interop.load(tmp_path / "out")
  bare = case == "dinov3_bare"
  theirs = without(found.variables, "mask_token") if bare else found.variables
  if bare:
    blocks = theirs["params"]["backbone"]["Transformer"]
    blocks = {n: {k: x for k, x in b.items() if not k.startswith("layer_scale")} for n, b in blocks.items()}
    theirs = theirs | dict(params=dict(backbone=theirs["params"]["backbone"] | dict(Transformer=blocks)))
    assert found.network["key_bias"]
  jax.tree.map(np.testing.assert_array_equal, theirs, without(ours.variables, *written.left))
  for name in ("num_heads", "gelu", "window", "layer_norm_eps", "rope_theta", "rope_rescale", "mlp", "key_bias", "depths"):
    if name in entry:
      assert found.network[name] == entry[name], name
  assert entry["fn"] in (tmp_path / "out" / "README.md").read_text()


MAE_DECODER = dict(fn="mae_decoder", patch_size=4, width=24, depth=1, num_heads=2, mlp_ratio=2.0)
TOKENS, RESTORE = np.zeros((2, 5, 16), np.float32), np.tile(np.arange(16), (2, 1))


def mae(encoder=None, decoder=None):
  """An encoder with MAE's fixed positions, and a decoder."""
  first = network(VIT | dict(position="sincos2d") | (encoder or {}), IMAGES)
  return first, network(MAE_DECODER | (decoder or {}), TOKENS, RESTORE)


@pytest.mark.parametrize("normalize", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_mae_with_its_decoder_in_transformers(normalize, tmp_path):
  """The same pixels and the same loss under the same mask; both come back."""
  torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
  encoder, decoder = mae()
  interop.save(encoder, tmp_path / "out", "hf", decoder=decoder, norm_pix_loss=normalize)
  read = transformers.ViTMAEForPreTraining.from_pretrained
  model, told = read(tmp_path / "out", output_loading_info=True)
  assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
  noise = RNG.random((2, 16)).astype(np.float32)
  with torch.no_grad():
    nchw = torch.from_numpy(np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)))
    wanted = model.eval()(nchw, noise=torch.from_numpy(noise))
  restore = jnp.argsort(order := jnp.argsort(noise, axis=1), axis=1)
  tokens = jax.jit(encoder.module.apply)(encoder.variables, IMAGES, ids_keep=order[:, :4])["tokens"]
  pixels = jax.jit(decoder.module.apply)(decoder.variables, tokens, restore)["pixels"]
  np.testing.assert_allclose(pixels, wanted.logits.numpy(), rtol=1e-5, atol=1e-5)
  loss, _ = mae_loss(pixels, patch_pixels(jnp.asarray(IMAGES), patch=4, normalize=normalize), restore >= 4)
  np.testing.assert_allclose(loss, wanted.loss.numpy(), rtol=1e-5)
  for part, ours in (("encoder", encoder), ("decoder", decoder)):
    jax.tree.map(np.testing.assert_array_equal, interop.load(tmp_path / "out", part=part).variables, ours.variables)
  assert 'transformers.ViTMAEForPreTraining.from_pretrained("' in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
  "encoder, decoder, numbers, message",
  [
    ({}, {}, dict(format="timm", norm_pix_loss=True), "timm holds a backbone alone, not a decoder beside it"),
    ({}, {}, {}, "whether the decoder predicts normalised pixels is in no array: give norm_pix_loss"),
    (dict(registers=1), {}, dict(norm_pix_loss=True), r"hf \(vit_mae\) holds no ViT of registers=1, only of 0"),
    (dict(position="rope"), {}, dict(norm_pix_loss=True), r"hf \(vit_mae\) holds no ViT of position='rope'"),
    ({}, dict(gelu="tanh"), dict(norm_pix_loss=True), "holds no decoder of gelu='tanh' for this encoder, only of 'exact'"),
    ({}, dict(patch_size=8), dict(norm_pix_loss=True), r"holds no decoder of patch_size=\(8, 8\) for this encoder"),
    ({}, dict(output=7), dict(norm_pix_loss=True), "holds no decoder of output=7 for this encoder, only of None"),
  ],
)
def test_decoders_that_are_refused(encoder, decoder, numbers, message, tmp_path):
  first, second = mae(encoder, decoder)
  with pytest.raises(ConfigError, match=message):
    interop.save(first, tmp_path / "out", decoder=second, **dict(format="hf") | numbers)
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  "entry, form, message",
  [
    (ROPE, "timm", "^timm holds no ViT of position='rope', only of 'learned' or"),
    (ROPE, "big_vision", "^big_vision holds no ViT of position='rope', only of 'learned' or"),
    (
      ROPE | dict(rope_dtype="bfloat16"),
      "hf",
      r"^hf \(dinov3_vit\) holds no ViT of rope_dtype='bfloat16', only of 'float32'$",
    ),
    (ROPE | dict(cls_token=False), "hf", r"^hf \(dinov3_vit\) holds no ViT of cls_token=False, only of True$"),
    (ROPE | dict(fc_norm=True), "hf", r"^hf \(dinov3_vit\) holds no ViT of fc_norm=True, only of False$"),
    (VIT | dict(mlp="swiglu"), "timm", "^timm holds no ViT of mlp='swiglu', only of 'gelu'$"),
    (VIT | dict(key_bias=False), "hf", "^hf holds no ViT of key_bias=False, only of True$"),
    (VIT | dict(map_head=True), "hf", "^hf holds no ViT of map_head=True, only of False$"),
    (dict(fn="resnet", depth=18, width=4, stem="cifar"), "hf", r"^hf \(resnet\) holds no resnet of stem='cifar'"),
    (CONVNEXT | dict(stem="cifar"), "hf", r"^hf \(convnext\) holds no convnext of stem='cifar', only of 'imagenet'$"),
    (CONVNEXT | dict(grn=True), "hf", r"^hf \(convnextv2\) holds no convnext of layer_scale=1e-06, only of None$"),
    (SWIN, "timm", "^timm is written of fn='vit', not of fn='swin'$"),
  ],
)
def test_networks_that_are_refused(entry, form, message, tmp_path):
  with pytest.raises(ConfigError, match=message):
    interop.save(network(entry, LARGE if entry["fn"] != "vit" else IMAGES), tmp_path / "out", form, size=16)
  assert not (tmp_path / "out").exists()


def test_the_size_of_images_must_be_told(tmp_path):
  ours = network(SWIN, LARGE)
  with pytest.raises(ConfigError, match="fn='swin' is for images of any size: give the `size`"):
    interop.save(ours, tmp_path / "out", "hf")
