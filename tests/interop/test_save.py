"""Networks in the names of other codes: `load` gives the same arrays back, and torch the same outputs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import interop
from jssl.errors import ConfigError
from jssl.interop.load import build

VIT = dict(fn="vit", image_size=16, patch_size=4, width=16, depth=2, num_heads=2, mlp_ratio=2.0, position_offset=0.0)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)

# Format and numbers of the network.
CASES = {
  "hf vit": ("hf", dict(cls_position=True, gelu="tanh", layer_norm_eps=1e-5, mask_token=True)),
  "hf vit fixed": ("hf", dict(position="sincos2d", qkv_bias=False)),
  "hf dinov2": ("hf", dict(cls_position=True, layer_scale=0.5, mask_token=True)),
  "hf registers": ("hf", dict(registers=2, layer_scale=0.5, mask_token=True, position_antialias=True)),
  "hf ijepa": ("hf", dict(position="sincos", cls_token=False)),
  "hf beit": ("hf", dict(position="relative_bias", mask_token=True, layer_scale=0.1)),
  "hf beit pooled": ("hf", dict(position="block_relative_bias", fc_norm=True)),
  "hf no positions": ("hf", dict(position="none")),
  "timm": ("timm", dict(cls_position=True, gelu="tanh")),
  "timm registers": ("timm", dict(registers=2, layer_scale=0.5, qkv_bias=False)),
  "timm pooled": ("timm", dict(cls_token=False, position="sincos2d", fc_norm=True)),
  "timm no positions": ("timm", dict(position="none")),
  "big_vision": ("big_vision", dict(gelu="exact")),
  "big_vision pooled": ("big_vision", dict(cls_token=False, position="sincos2d", gelu="tanh")),
}


def network(**numbers):
  """A network with weights large enough that every part of it matters; the biases of BEiT's keys are 0, as it has none."""
  entry = VIT | numbers
  module = build(entry)
  shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32))
  rng = np.random.default_rng(1)

  def draw(path, leaf):
    blind = "relative" in entry.get("position", "") + entry.get("position", "").replace("none", "relative")
    blind = blind and jax.tree_util.keystr(path, simple=True, separator="/").endswith("key/bias")
    return 0.0 * np.ones(leaf.shape, np.float32) if blind else 0.3 * rng.normal(size=leaf.shape).astype(np.float32)

  variables = jax.tree_util.tree_map_with_path(draw, shapes)
  return interop.Pretrained("runs/x:teacher", entry, variables, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), {}, (), ())


def tokens(found, images=IMAGES):
  out = jax.jit(found.module.apply)(found.variables, images)
  return {name: np.asarray(out[name]) for name in ("tokens", "features")}


@pytest.mark.parametrize("case", CASES)
def test_what_is_saved_is_loaded(case, tmp_path):
  """The same arrays, bit for bit, the numbers that no array tells, and the colours of images; each format is recognised."""
  form, numbers = CASES[case]
  ours = network(**numbers)
  interop.save(ours, tmp_path / "out", form)
  found = interop.load(tmp_path / "out")
  assert found.source.startswith(f"{form}:") and (found.mean, found.std) == (ours.mean, ours.std)
  jax.tree.map(np.testing.assert_array_equal, found.fitted(ours.module), ours.variables)
  mine, theirs = ours.module.backbone, found.module.backbone
  for name in ("num_heads", "mlp_dim", "gelu", "layer_norm_eps", "qkv_bias"):
    assert getattr(mine.block, name) == getattr(theirs.block, name)
  for name in ("position", "cls_token", "registers", "mask_token", "fc_norm", "image_size"):
    have = getattr(theirs, name)
    assert have == ("sincos2d" if getattr(mine, name) == "sincos" else getattr(mine, name)), name


@pytest.mark.parametrize(
  "case", [c if c == "hf vit" else pytest.param(c, marks=pytest.mark.slow) for c in CASES if "hf" in c]
)
def test_transformers(case, tmp_path):
  """As `AutoModel` reads it; at another size, which is no square, where its positions are made as ours are."""
  torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
  _, numbers = CASES[case]
  ours = network(**numbers)
  interop.save(ours, tmp_path / "out", "hf")
  model, told = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
  pooler = {"pooler.dense.weight", "pooler.dense.bias"}
  assert set(told["missing_keys"]) <= pooler and set(told["unexpected_keys"]) <= {"embeddings.mask_token"}
  learned = ours.module.backbone.position == "learned"
  for images in (IMAGES, IMAGES[:, :8, :12]) if learned else (IMAGES,):
    interpolate = dict(interpolate_pos_encoding=True) if case == "hf vit" else {}
    with torch.no_grad():
      wanted = model.eval()(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), **interpolate)
    found = tokens(ours, images)
    np.testing.assert_allclose(found["tokens"], wanted.last_hidden_state.numpy(), rtol=1e-5, atol=1e-5)
    if numbers.get("fc_norm"):
      np.testing.assert_allclose(found["features"], wanted.pooler_output.numpy(), rtol=1e-5, atol=1e-5)


def test_timm_names(tmp_path):
  """The state dict of a ViT in torch, all of it, gives the same outputs."""
  torch = pytest.importorskip("torch")
  from jssl.interop.files import read
  from tests.interop import torch_vit as reference

  ours = network(registers=2, layer_scale=0.5)
  interop.save(ours, tmp_path / "out", "timm")
  weights = read(tmp_path / "out").weights
  model = reference.ViT(reference.by_size(True), cls_position=False, registers="reg_token", layer_scale=True)
  model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
  np.testing.assert_allclose(tokens(ours)["tokens"], reference.run(model, IMAGES), rtol=1e-5, atol=1e-5)


def test_positions_for_another_size(tmp_path):
  """Fixed ones are made anew, learned ones as the network itself resizes them, with DINO's offset."""
  for numbers in (dict(position="sincos2d"), dict(position_offset=0.1)):
    ours = network(**numbers)
    interop.save(ours, tmp_path / str(len(numbers)) / numbers.get("position", "learned"), "hf", size=24)
    found = interop.load(tmp_path / str(len(numbers)) / numbers.get("position", "learned"))
    images = RNG.normal(size=(1, 24, 24, 3)).astype(np.float32)
    assert found.module.backbone.image_size == (24, 24)
    np.testing.assert_allclose(tokens(found, images)["tokens"], tokens(ours, images)["tokens"], atol=1e-5)
  with pytest.raises(
    ConfigError, match=r"position='relative_bias' cannot be made for images of size=\(24, 24\), only 16x16"
  ):
    interop.save(network(position="relative_bias"), tmp_path / "b", "hf", size=24)


def test_the_names_of_vision_transformer(tmp_path):
  """Older numbers of its modules, the class token's position in the table; and blocks that were trained in a loop."""
  ours = network(cls_position=True, gelu="tanh")
  params = ours.variables["params"]["backbone"]
  interop.save(ours._replace(), tmp_path / "out", "big_vision")
  names = dict(np.load(tmp_path / "out" / "model.npz"))
  assert names["params/Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel"].shape == (16, 32)
  np.testing.assert_allclose(names["params/cls"], params["cls"] + params["cls_position"])

  bare = {name.removeprefix("params/"): array for name, array in names.items()}
  table = np.concatenate([params["cls_position"], bare.pop("pos_embedding")], axis=1)
  old = bare | {"Transformer/posembed_input/pos_embedding": table, "cls": params["cls"], "head/bias": np.zeros(3)}
  for here, there in (("Attention_0", "Attention_1"), ("MlpBlock_0", "MlpBlock_3"), ("LayerNorm_1", "LayerNorm_2")):
    old = {name.replace(here, there): array for name, array in old.items()}
  jax.tree.map(np.testing.assert_array_equal, interop.load(old).variables, ours.variables)

  stacked = {name: array for name, array in names.items() if "encoderblock" not in name}
  for name in names:
    if "encoderblock_0" in name:
      stacked[name.replace("_0", "", 1)] = np.stack([names[name], names[name.replace("_0", "_1", 1)]])
  folded = interop.load(stacked, "big_vision")
  jax.tree.map(np.testing.assert_array_equal, folded.variables, interop.load(tmp_path / "out").variables)


@pytest.mark.parametrize(
  "form, numbers, message",
  [
    ("hf", dict(stem=(8,)), r"^hf holds no ViT of stem=\(8,\), only of \(\)$"),
    ("timm", dict(mix_embedding=True), "^timm holds no ViT of mix_embedding=True, only of False$"),
    ("timm", dict(position="relative_bias"), "^timm holds no ViT of position='relative_bias', only of 'learned' or"),
    ("timm", dict(layer_norm_eps=1e-5), "^timm holds no ViT of layer_norm_eps=1e-05, only of 1e-06$"),
    ("timm", dict(image_size=(8, 16)), "positions of 8 patches, which are no square grid"),
    ("hf", dict(image_size=(8, 16)), r"^hf holds no ViT of image_size=\(8, 16\)"),
    ("hf", dict(position="none", registers=1), r"^hf \(beit\) holds no ViT of registers=1, only of 0$"),
    ("hf", dict(layer_scale=1.0, mlp_ratio=1.5), r"^hf \(dinov2\) holds no ViT of mlp_ratio=1.5, only of whole numbers"),
    ("hf", dict(readout=(1, 2), readout_fusion="learned"), "^hf holds no ViT of readout_fusion='learned'"),
    ("big_vision", dict(registers=1), "^big_vision holds no ViT of registers=1, only of 0$"),
    ("big_vision", dict(layer_scale=1.0), "^big_vision holds no ViT of layer_scale=1.0, only of None$"),
    ("dino", {}, "^networks are not written as 'dino'; known: big_vision, hf, timm"),
  ],
)
def test_what_is_refused(form, numbers, message, tmp_path):
  """In one line that names it, before anything is written."""
  with pytest.raises(ConfigError, match=message):
    interop.save(network(**numbers), tmp_path / "out", form)
  assert not (tmp_path / "out").exists()


def test_heads_and_networks_of_other_kinds_are_refused(tmp_path):
  ours = network(heads=dict(logits=dict(fn="linear_head", reads=("features",), output=4)))
  with pytest.raises(ConfigError, match=r"^timm holds a backbone alone, not heads\.logits: write ':backbone'$"):
    interop.save(ours, tmp_path / "out", "timm")
  interop.save(ours.backbone(), tmp_path / "out", "timm")
  with pytest.raises(ConfigError, match=r"out is there already: name another folder"):
    interop.save(ours.backbone(), tmp_path / "out", "timm")
  other = ours._replace(network=dict(fn="resnet", depth=18))
  with pytest.raises(ConfigError, match="^timm is written of fn='vit', not of fn='resnet'$"):
    interop.save(other, tmp_path / "b", "timm")


def test_the_card_and_the_view(tmp_path):
  ours = network(mask_token=True)
  seen = interop.Preprocessing((16, 16), ours.mean, ours.std, resize_to=18, interpolation="bilinear")
  interop.save(ours, tmp_path / "out", "timm", preprocessing=seen, license="mit", about=("## Data", "", "scenes"))
  card = (tmp_path / "out" / "README.md").read_text()
  assert card.startswith("---\nlibrary_name: timm\n") and "license: mit" in card and card.endswith("## Data\n\nscenes\n")
  assert "shorter side to 18 pixels (bilinear), centre crop 16x16, mean (0.4, 0.5, 0.6)" in card
  assert "`mask_token` stays behind" in card and "num_heads=2" in card
  view = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
  assert view["size"] == dict(shortest_edge=18) and view["resample"] == 2 and view["image_mean"] == [0.4, 0.5, 0.6]
