"""Public weights in the names of DINO, DINOv2, iBOT, I-JEPA, MAE, MoCo v3 and timm: the same outputs as a ViT in torch."""

import argparse
import os

import jax
import numpy as np
import pytest

from jssl import interop
from jssl.errors import ConfigError
from jssl.interop.load import build
from jssl.models.positions import sincos

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from tests.interop import torch_vit as reference  # noqa: E402
from tests.interop.torch_vit import by_factor, by_size, ViT  # noqa: E402

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)


def prefixed(prefix, state):
  return {prefix + name: array for name, array in state.items()}


def momentum(state):
  head = {"head.0.weight": torch.ones(2, 2)}
  other = {name: 2 * array for name, array in state.items()}
  both = prefixed("module.base_encoder.", other | head) | prefixed("module.momentum_encoder.", state | head)
  return dict(epoch=3, state_dict=both | {"module.predictor.0.weight": torch.ones(2)})


# Format, the ViT, what its file holds, the part, and whether the names tell the format.
CASES = dict(
  dino=("dino", ViT(by_factor(0.1)), dict, None, False),
  timm=("timm", ViT(by_size(True), cls_position=False, registers="reg_token"), dict, None, False),
  dinov2=("dinov2", ViT(by_factor(0.1), mask="mask_token", layer_scale=True), dict, None, True),
  registers=(
    "dinov2",
    ViT(by_size(True), mask="mask_token", layer_scale=True, registers="register_tokens"),
    dict,
    None,
    True,
  ),
  mae=("mae", ViT(by_size(False)), lambda state: dict(model=state), None, False),
  ibot=("ibot", ViT(by_factor(0.1), mask="masked_embed"), lambda state: dict(state_dict=state), None, True),
  moco_v3=("moco_v3", ViT(by_size(True)), momentum, "teacher", True),
  ijepa=(
    "ijepa",
    ViT(by_factor(0.0), cls=False),
    lambda state: dict(target_encoder=prefixed("module.", state), encoder=prefixed("module.", state), lr=0.1),
    "teacher",
    True,
  ),
)


@pytest.mark.parametrize("case", CASES)
def test_the_same_outputs(case):
  """At the native size and at another, which is no square."""
  form, model, wrap, part, told = CASES[case]
  state = wrap(model.state_dict())
  found = interop.load(state, None if told else form, part=part, num_heads=reference.HEADS)
  assert found.source.startswith(f"{form}:")
  look = jax.jit(found.module.apply)
  for images in (IMAGES, IMAGES[:, :8, :12]):
    np.testing.assert_allclose(look(found.variables, images)["tokens"], reference.run(model, images), rtol=1e-5, atol=1e-5)
  if not told:
    with pytest.raises(ConfigError, match="is of no format that is told by its names: give `format`, one of hf, dino,"):
      interop.load(state, num_heads=reference.HEADS)


def dino_checkpoint(norm):
  """Student and teacher, and a head of torch's for the teacher."""
  backbone = ViT(by_factor(0.1))
  mlp = nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4))
  last = nn.utils.weight_norm(nn.Linear(4, 6, bias=False))
  for module in (mlp, last):
    reference.fill(module)
  if norm is not None:
    last.weight_g.data.fill_(norm)

  def logits(images):
    return last(nn.functional.normalize(mlp(backbone(images)[:, 0]), dim=-1))

  state = prefixed("backbone.", backbone.state_dict()) | prefixed("head.mlp.", mlp.state_dict())
  state |= prefixed("head.last_layer.", last.state_dict())
  student = prefixed("module.", {name: 2 * array for name, array in state.items()})
  return logits, dict(
    teacher=state,
    student=student,
    optimizer=dict(state={0: dict(exp_avg=torch.ones(3))}),
    epoch=100,
    args=argparse.Namespace(lr=0.1),
    dino_loss=dict(center=torch.full((1, 6), 0.25)),
  )


@pytest.mark.parametrize("norm", [1.0, None])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_full_checkpoint_of_dino(tmp_path, norm):
  """As torch saves it, with arguments beside the weights; norms of the prototypes fixed and trained."""
  logits, tree = dino_checkpoint(norm)
  torch.save(tree, tmp_path / "full.pth")
  with pytest.raises(ConfigError, match="which network is meant is not said; known: student, teacher"):
    interop.load(tmp_path / "full.pth", num_heads=2)
  found = interop.load(tmp_path / "full.pth", part="teacher", num_heads=2)
  assert found.network["heads"]["logits"]["norm_last_layer"] is (norm == 1.0)
  out = jax.jit(found.module.apply)(found.variables, IMAGES)
  np.testing.assert_allclose(out["logits"], reference.run(logits, IMAGES), rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(found.extras["center"], np.full((1, 6), 0.25))
  assert found.left == ("optimizer.state.0.exp_avg",) and found.std == (0.229, 0.224, 0.225)


class Decoder(nn.Module):
  """facebookresearch/mae models_mae.py (forward_decoder) in short."""

  def __init__(self, width=8):
    super().__init__()
    self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
    self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 17, width))
    self.decoder_embed = nn.Linear(16, width)
    self.decoder_blocks = nn.ModuleList([reference.Block(width)])
    self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
    self.decoder_pred = nn.Linear(width, 48)
    reference.fill(self)
    self.decoder_pos_embed.data.copy_(torch.from_numpy(np.pad(sincos((4, 4), width), ((1, 0), (0, 0)))[None]))

  def forward(self, tokens, restore):
    x = self.decoder_embed(tokens)
    mask = self.mask_token.repeat(len(x), 17 - x.shape[1], 1)
    patches = torch.cat([x[:, 1:], mask], dim=1)
    patches = torch.gather(patches, 1, restore[:, :, None].repeat(1, 1, x.shape[2]))
    x = torch.cat([x[:, :1], patches], dim=1) + self.decoder_pos_embed
    return self.decoder_pred(self.decoder_norm(self.decoder_blocks[0](x)))[:, 1:]


def test_mae_with_its_decoder():
  encoder, decoder = ViT(by_size(False)), Decoder()
  positions = np.pad(sincos((4, 4), 16), ((1, 0), (0, 0)))[None]
  encoder.pos_embed.data.copy_(torch.from_numpy(positions))
  state = dict(model={**encoder.state_dict(), **decoder.state_dict()})
  found = interop.load(state, part="decoder", num_heads=2)
  tokens, restore = RNG.normal(size=(2, 5, 16)).astype(np.float32), np.stack([RNG.permutation(16) for _ in range(2)])
  with torch.no_grad():
    wanted = decoder(torch.from_numpy(tokens), torch.from_numpy(restore)).numpy()
  pixels = jax.jit(found.module.apply)(found.variables, tokens, restore)["pixels"]
  np.testing.assert_allclose(pixels, wanted, rtol=1e-5, atol=1e-5)
  assert interop.load(state, "mae", part="encoder", num_heads=2).network["position"] == "sincos2d"
  state["model"]["decoder_pos_embed"] = 2 * state["model"]["decoder_pos_embed"]
  with pytest.raises(ConfigError, match="mae:the state dict: the decoder's positions are not the fixed ones"):
    interop.load(state, part="decoder", num_heads=2)


def changed(**arrays):
  """A DINO state dict with other arrays, without those that are None."""
  state = CASES["dino"][1].state_dict() | {name.replace("__", "."): array for name, array in arrays.items()}
  return {name: array for name, array in state.items() if array is not None}


@pytest.mark.parametrize(
  "state, form, message",
  [
    (changed(tail__weight=torch.ones(1)), "dino", "dino:the state dict: no place is known for tail.weight"),
    (changed(norm__bias=None), "dino", r"only in the network: params/backbone/Transformer/encoder_norm/bias \(16,\)"),
    (changed(norm__bias=torch.ones(3)), "dino", r"encoder_norm/bias: \(3,\) float32 in dino:the state dict, \(16,\)"),
    (changed(patch_embed__proj__weight=None), "dino", "there is no patch_embed.proj.weight"),
    (changed(pos_embed=torch.ones(1, 7, 16)), "dino", "positions of 7 patches, which are no square grid"),
    (changed(), "dion", "there is no format 'dion' of weights; did you mean 'dino'"),
    (changed(), "mae2", "there is no format 'mae2'"),
    (changed(), "moco_v3", "no place is known for cls_token"),
    (changed(), "hf", "no place is known for cls_token"),
    ({"embeddings.cls_token": np.ones((1, 1, 16))}, "hf", "there is no config.json with a model_type"),
  ],
)
def test_what_is_refused(state, form, message):
  with pytest.raises(ConfigError, match=message):
    interop.load(state, form, num_heads=2)


def test_numbers_that_no_file_tells_are_not_guessed():
  with pytest.raises(ConfigError, match="how many heads a network of width 16 has is not known: give num_heads"):
    interop.load(changed(), "dino")
  found = interop.load(changed(), "dino", num_heads=4)
  for number in (dict(gelu="tanh"), dict(num_heads=2)):
    (name, value), *_ = number.items()
    other = build(found.network | number)
    with pytest.raises(ConfigError, match=f"was trained with {name}=.*, not {value!r}: write {name}="):
      found.fitted(other)


class Runs:
  """A pickle that runs a program when it is read."""

  def __reduce__(self):
    return os.system, ("touch was_run",)


def test_files_that_want_to_run_code_are_refused(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  torch.save(dict(teacher=Runs()), tmp_path / "bad.pth")
  with pytest.raises(ConfigError, match=r"bad\.pth is refused: it wants to run (posix|nt)\.system"):
    interop.load(tmp_path / "bad.pth", "dino")
  np.savez(tmp_path / "bad.npz", cls_token=np.array([Runs()], dtype=object))
  with pytest.raises(ConfigError, match=r"bad\.npz cannot be read: .*pickle"):
    interop.load(tmp_path / "bad.npz", "dino")
  (tmp_path / "weights.pkl").write_bytes(b"")
  with pytest.raises(ConfigError, match=r"weights are read from \.safetensors, \.npz and"):
    interop.load(tmp_path / "weights.pkl", "dino")
  with pytest.raises(ConfigError, match="there is no such file or folder"):
    interop.load(tmp_path / "none.pth", "dino")
  assert not (tmp_path / "was_run").exists()


def test_safetensors(tmp_path):
  """What the official library writes, every dtype; and a file that was cut off."""
  safetensors = pytest.importorskip("safetensors.torch")
  from jssl.interop.files import read

  kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
  arrays = {f"a.{i}": torch.arange(6).reshape(2, 3).to(kind) for i, kind in enumerate(kinds)} | {"b": torch.tensor(2.5)}
  path = tmp_path / "a.safetensors"
  safetensors.save_file(arrays, path, metadata={"format": "pt"})
  found = read(path).weights
  assert found.keys() == arrays.keys()
  for name, array in arrays.items():
    assert found[name].shape == tuple(array.shape) and str(found[name].dtype) in str(array.dtype)
    np.testing.assert_array_equal(found[name].astype(np.float64), array.double().numpy())
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ConfigError, match=r"a\.safetensors cannot be read: .* does not lie at bytes"):
    read(path)
  path.write_bytes(b"\xff" * 16)
  with pytest.raises(ConfigError, match="the table is longer than the file"):
    read(path)


def test_channels():
  kernel = RNG.normal(size=(2, 2, 3, 4)).astype(np.float32)
  grey = np.einsum("hw,hwio->o", kernel[:, :, 0, 0], kernel)
  np.testing.assert_allclose(
    np.einsum("hw,hwio->o", kernel[:, :, 0, 0], interop.adapt_channels(kernel, 1, "sum")), grey, 1e-5
  )
  four = interop.adapt_channels(kernel, 4, "repeat")
  np.testing.assert_allclose(four[:, :, 3], 0.75 * kernel[:, :, 0], rtol=1e-6)
  np.testing.assert_allclose(interop.adapt_channels(kernel, 2, "mean")[:, :, 1], kernel.mean(axis=2), rtol=1e-6)
  with pytest.raises(ValueError, match="makes one channel, not 2"):
    interop.adapt_channels(kernel, 2, "sum")
