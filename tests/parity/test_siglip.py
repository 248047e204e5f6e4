"""SigLIP's image tower: forward passes against transformers, and the attention pooler in big_vision's names."""

import json

import jax
import numpy as np
import pytest

from jssl import interop
from jssl.errors import ConfigError
from jssl.models import vit

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.parity.huggingface import assert_close, fill, IMAGES, ours, theirs  # noqa: E402

SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4)


def model(**numbers):
  return fill(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES, **numbers)))


def test_siglip(tmp_path):
  """At the native size, and at another, which is no square."""
  theirs_is = model()
  theirs_is.save_pretrained(tmp_path)
  for images in (IMAGES, IMAGES[:, :8, :12]):
    found, wanted = ours(tmp_path, images), theirs(theirs_is, images, interpolate_pos_encoding=True)
    assert_close(found["tokens"], wanted.last_hidden_state)
    assert_close(found["features"], wanted.pooler_output)
  assert interop.load(tmp_path).network["gelu"] == "tanh"


def test_without_its_head(tmp_path):
  theirs_is = model(vision_use_head=False)
  theirs_is.save_pretrained(tmp_path)
  assert_close(ours(tmp_path)["features"], theirs(theirs_is, IMAGES).last_hidden_state.mean(dim=1))


def test_the_tower_of_a_whole_model(tmp_path):
  """The text tower stays behind; numbers that a `config.json` leaves out are those of transformers."""
  text = dict(vocab_size=8, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
  both = fill(transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=SIZES)))
  both.save_pretrained(tmp_path)
  config = json.loads((tmp_path / "config.json").read_text())
  del config["vision_config"]["hidden_act"], config["vision_config"]["layer_norm_eps"]
  (tmp_path / "config.json").write_text(json.dumps(config))
  assert_close(ours(tmp_path)["features"], theirs(both.vision_model, IMAGES).pooler_output)
  left = interop.load(tmp_path).left
  assert "logit_scale" in left and all(name.startswith(("text_model.", "logit_")) for name in left)


def test_what_is_refused_of_siglip():
  theirs_is = model()
  state, config = theirs_is.state_dict(), theirs_is.config.to_dict()
  without = {name: x for name, x in state.items() if "head.probe" not in name}
  for arrays, numbers, message in (
    (without, {}, "only in the network: params/backbone/MAPHead_0/probe"),
    (state, dict(hidden_act="quick_gelu"), "hidden_act='quick_gelu' is none of gelu"),
    (state, dict(vision_use_head=False), "only in hf:the state dict: params/backbone/MAPHead_0/"),
    (state, dict(model_type="siglip2_vision_model"), "type 'siglip2_vision_model' are not read"),
    (state | {"head.scale": torch.ones(1)}, {}, "no place is known for head.scale"),
  ):
    with pytest.raises(ConfigError, match=message):
      interop.load(arrays, "hf", config=config | numbers)


def test_the_pooler_of_big_vision():
  """The names are jssl's; towers of SigLIP lie under `img/`."""
  network = vit(image_size=16, patch_size=4, width=16, depth=1, num_heads=2, gelu="tanh", cls_token=False, map_head=True)
  rng = np.random.default_rng(1)
  shapes = jax.eval_shape(network.init, jax.random.key(0), IMAGES)["params"]
  params = jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32), shapes)
  names = {
    "params/img/" + jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  found = interop.load(names | {"params/t": np.ones(1), "params/txt/head/bias": np.ones(1)}, num_heads=2)
  assert found.source.startswith("big_vision:") and found.network["map_head"]
  jax.tree.map(np.testing.assert_array_equal, found.variables["params"]["backbone"], params)


def test_padding_is_not_pooled():
  """What comes after a signal's length changes nothing."""
  network = vit(image_size=(16,), patch_size=(4,), width=16, depth=1, num_heads=2, map_head=True)
  signals = np.random.default_rng(2).normal(size=(2, 16, 1)).astype(np.float32)
  variables = network.init(jax.random.key(0), signals)
  apply = jax.jit(lambda x: network.apply(variables, x, length=np.array([8, 16]))[0])
  other = signals.copy()
  other[0, 8:] = 7.0
  np.testing.assert_array_equal(apply(signals), apply(other))
  with pytest.raises(ValueError, match="map_head=True and fc_norm=True are two ways"):
    vit(variant="Ti/16", map_head=True, fc_norm=True)
