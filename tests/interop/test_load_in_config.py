"""Public weights in a config, `networks.<name>.load="mae:/path"`: other positions and channels, and what --explain says."""

import jax
import numpy as np
import pytest

from jssl import interop, networks
from jssl.checkpoint import named_leaves
from jssl.errors import ConfigError
from jssl.explain import explain
from jssl.interop.load import build
from jssl.models.positions import interpolate_positions, sincos
from jssl.networks import Load
from jssl.train import Trainer
from jssl.warm_start import load_network
from tests import methods

WIDTH, HEADS = 16, 2


def state(side=4, cls=0.0, positions=None, patch=4):
  """An encoder of one block in MAE's names."""
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  table = sincos((side, side), WIDTH) if positions is None else positions
  arrays = {
    "cls_token": draw(1, 1, WIDTH),
    "pos_embed": np.concatenate([np.full((1, WIDTH), cls, np.float32), table])[None],
    "patch_embed.proj.weight": draw(WIDTH, 3, patch, patch),
    "patch_embed.proj.bias": draw(WIDTH),
    "blocks.0.attn.qkv.weight": draw(3 * WIDTH, WIDTH),
    "blocks.0.attn.qkv.bias": draw(3 * WIDTH),
    "blocks.0.attn.proj.weight": draw(WIDTH, WIDTH),
    "blocks.0.attn.proj.bias": draw(WIDTH),
    "blocks.0.mlp.fc1.weight": draw(4 * WIDTH, WIDTH),
    "blocks.0.mlp.fc1.bias": draw(4 * WIDTH),
    "blocks.0.mlp.fc2.weight": draw(WIDTH, 4 * WIDTH),
    "blocks.0.mlp.fc2.bias": draw(WIDTH),
  }
  return arrays | {
    f"{norm}.{kind}": draw(WIDTH) for norm in ("blocks.0.norm1", "blocks.0.norm2", "norm") for kind in ("weight", "bias")
  }


@pytest.fixture
def encoder():
  """The network of MAE's small config, and how large its images are."""
  config = methods.small("mae", depth=1, total_steps=2)
  entry = config.networks.encoder
  assert (entry.width, entry.num_heads, entry.position) == (WIDTH, HEADS, "sincos2d")
  return config, entry.image_size // entry.patch_size, entry.patch_size


def loaded(config):
  """The encoder's parameters by name, and what is told of them."""
  spec = networks.build(dict(encoder=config.networks.encoder), None, {})["encoder"]
  like = jax.eval_shape(spec.module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32))
  params, _, record = load_network(spec, like["params"], {})
  return named_leaves(params), str(record)


def test_a_config_starts_from_a_file(encoder, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  config, side, patch = encoder
  weights = state(side, patch=patch)
  np.savez(tmp_path / "mae.npz", **weights)
  config.networks.encoder.load = "mae:~/mae.npz:encoder"
  config.networks.encoder.heads = dict(extra=dict(fn="linear_head", output=4))
  config.losses.extra = dict(fn="softmax_cross_entropy_loss", reads=("e/extra", "label"))
  with pytest.raises(ConfigError, match="only in this config: heads_extra/"):
    loaded(config)
  config.networks.encoder.load = "mae:~/mae.npz:backbone"
  run = Trainer(config, methods.source(), devices=jax.devices()[:1])
  found = named_leaves(run.init_state().variables.params["encoder"])
  kernel = found["backbone/embedding/kernel"]
  np.testing.assert_array_equal(kernel, weights["patch_embed.proj.weight"].transpose(2, 3, 1, 0))
  key = found["backbone/Transformer/encoderblock_0/MultiHeadDotProductAttention_0/key/kernel"]
  np.testing.assert_array_equal(key.reshape(WIDTH, WIDTH), weights["blocks.0.attn.qkv.weight"][WIDTH : 2 * WIDTH].T)
  text = explain(run)
  assert "network 'encoder': 21 of 23 tensors come from mae:~/mae.npz; drawn: heads_extra/" in text
  assert "made for images with mean (0.485, 0.456, 0.406)" in text


def test_other_channels_by_a_rule(encoder, tmp_path):
  config, side, patch = encoder
  weights = state(side, patch=patch)
  weights["patch_embed.proj.weight"] = np.repeat(weights["patch_embed.proj.weight"], 2, axis=1)
  np.savez(tmp_path / "mae.npz", **weights)
  config.networks.encoder.load = dict(run=f"mae:{tmp_path}/mae.npz")
  with pytest.raises(ConfigError, match=r"backbone/embedding/kernel: \(4, 4, 6, 16\) .*, \(4, 4, 3, 16\)"):
    loaded(config)
  config.networks.encoder.load = dict(run=f"mae:{tmp_path}/mae.npz", channels="mean")
  found = loaded(config)[0]["backbone/embedding/kernel"]
  wanted = weights["patch_embed.proj.weight"].mean(axis=1).transpose(1, 2, 0)
  np.testing.assert_allclose(found[:, :, 1], wanted, rtol=1e-5, atol=1e-6)
  config.networks.encoder.load.channels = "sum"
  with pytest.raises(ConfigError, match="channels='sum' makes one channel, not 3"):
    loaded(config)


def test_what_differs_a_little_is_told(encoder, tmp_path):
  config, side, patch = encoder
  np.savez(tmp_path / "mae.npz", **state(side, patch=patch))
  config.networks.encoder.update(load=f"mae:{tmp_path}/mae.npz", layer_norm_eps=1e-5)
  assert "layer_norm_eps=1e-05 here, 1e-06 there" in loaded(config)[1]
  config.networks.encoder.update(gelu="tanh")
  with pytest.raises(ConfigError, match=r"config\.networks\.encoder\.load: .* trained with gelu='exact', not 'tanh'"):
    loaded(config)
  config.networks.encoder.update(gelu="exact", position="learned", image_size=8)
  found, told = loaded(config)
  assert found["backbone/pos_embedding"].shape == (1, 4, WIDTH) and "positions resized from 4x4 to 2x2 patches" in told


def test_positions_in_another_form():
  """Fixed ones, or a learned table at another grid; the class token's in the token or apart."""
  fixed = interop.load(state(), "mae", num_heads=HEADS)
  assert fixed.network["position"] == "sincos2d" and not fixed.network["cls_position"]
  other = build(fixed.network | dict(position="learned", cls_position=True, image_size=(8, 12)))
  found = fixed.fitted(other)["params"]["backbone"]
  table = interpolate_positions(sincos((4, 4), WIDTH)[None], (4, 4), (2, 3), offset=0.0)
  np.testing.assert_allclose(found["pos_embedding"], table, atol=1e-6)
  assert not np.any(found["cls_position"])
  rows = np.random.default_rng(1).normal(size=(16, WIDTH)).astype(np.float32)
  learned = interop.load(state(cls=0.5, positions=rows), "mae", num_heads=HEADS)
  assert learned.network["position"] == "learned"
  joined = learned.fitted(build(learned.network | dict(cls_position=False)))["params"]["backbone"]
  np.testing.assert_allclose(joined["cls"], state()["cls_token"] + 0.5, atol=1e-6)
  with pytest.raises(ConfigError, match="has learned positions, and not those of position='sincos2d'"):
    learned.fitted(fixed.module)


@pytest.mark.parametrize(
  "run, public, place",
  [
    ("mae:/a/b.pth", ("mae", "/a/b.pth", None), None),
    ("dino:b.pth:teacher", ("dino", "b.pth", "teacher"), None),
    ("hf:./folder", ("hf", "./folder", None), None),
    ("mae:encoder", None, ("mae", None, "encoder")),
    ("runs/dino@3:teacher", None, ("runs/dino", 3, "teacher")),
  ],
)
def test_what_a_load_names(run, public, place):
  """A workdir that has a format's name stays one."""
  assert Load(run).public() == public
  assert place is None or Load(run).place() == place


@pytest.mark.parametrize(
  "load, message",
  [
    (dict(run="runs/a:b:backbone", only=("x",)), "':backbone' and `only` both say what is taken"),
    (dict(run="runs/a:b", channels="min"), "channels='min'"),
    ("dion:/a.pth", "'format:path' of hf, dino"),
    ("dino:/nowhere.pth", "there is no such file or folder"),
  ],
)
def test_a_load_that_cannot_work(load, message):
  config = methods.small("mae", depth=1)
  config.networks.encoder.load = load
  with pytest.raises(ConfigError, match=rf"config\.networks\.encoder\.load.*{message}"):
    loaded(config)


def test_the_backbone_of_a_run():
  build_load = lambda load: networks.build(dict(a=dict(fn="vit", variant="Ti/16", load=load)), None, {})["a"].load
  assert build_load("runs/a:teacher:backbone") == Load("runs/a:teacher", ("^backbone/",))
  assert build_load("runs/a:backbone") == Load("runs/a:backbone")
