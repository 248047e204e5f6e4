"""DINOv3: forward passes against transformers, in its names and in those of facebookresearch/dinov3, with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import interop
from jssl.errors import ConfigError
from jssl.interop.load import build
from jssl.models.rope import periods

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.parity.huggingface import assert_close, fill, IMAGES, ours, theirs  # noqa: E402

MASK = np.random.default_rng(1).random((2, 16)) < 0.4
SMALL = IMAGES[:, :8, :12]


def model(**numbers):
  numbers = dict(num_register_tokens=2, intermediate_size=24, hidden_act="gelu") | numbers
  sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4)
  return fill(transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**sizes | numbers)))


GATED = dict(use_gated_mlp=True, hidden_act="silu")
CASES = dict(
  small={},
  gated=GATED,
  bare=dict(num_register_tokens=0, query_bias=False, value_bias=False, rope_theta=10.0, layer_norm_eps=1e-6),
  biased=dict(key_bias=True),
)


@pytest.mark.parametrize("case", CASES)
def test_dinov3_of_transformers(case, tmp_path):
  """At the native size with a mask, and at another, which is no square."""
  theirs_is = model(**CASES[case])
  theirs_is.save_pretrained(tmp_path)
  found, wanted = ours(tmp_path, mask=MASK), theirs(theirs_is, IMAGES, bool_masked_pos=MASK)
  assert_close(found["tokens"], wanted.last_hidden_state)
  assert_close(found["features"], wanted.pooler_output)
  assert_close(ours(tmp_path, SMALL)["tokens"], theirs(theirs_is, SMALL).last_hidden_state)
  assert interop.load(tmp_path).network["rope_rescale"] == 2.0


def authors(state, *, dtype="float32", mask=0.0):
  """A state dict of transformers in the names of facebookresearch/dinov3 vision_transformer.py."""
  found = {}
  rename = {
    "embeddings.patch_embeddings": "patch_embed.proj",
    "embeddings.register_tokens": "storage_tokens",
    "embeddings.": "",
    "layer.": "blocks.",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
  }
  gated = any("gate_proj" in name for name in state)
  rename |= {"gate_proj": "w1", "up_proj": "w2" if gated else "fc1", "down_proj": "w3" if gated else "fc2"}
  state = {name.removeprefix("model."): x for name, x in state.items()}
  for name, array in state.items():
    for old, new in rename.items():
      name = name.replace(old, new, 1)
    if ".attention." not in name:
      found[name] = array[0] if name == "mask_token" else array
  for name, query in state.items():
    if ".attention.q_proj." in name:
      key, value = (state.get(name.replace("q_proj", kind), torch.full((16,), 7.0)) for kind in ("k_proj", "v_proj"))
      place = name.replace("layer.", "blocks.").replace("attention.q_proj", "attn.qkv")
      found[place] = torch.cat([query, key, value])
      if name.endswith("bias"):
        found[place + "_mask"] = torch.cat([torch.ones(16), torch.full((16,), mask), torch.ones(16)])
  found["rope_embed.periods"] = torch.from_numpy(periods(100.0, 4, dtype))
  return found


@pytest.mark.parametrize("numbers", [{}, GATED])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dinov3_of_its_authors(numbers, dtype):
  """A bias that the mask hides, and periods as they were released: a reader of transformers' has others."""
  theirs_is = model(num_attention_heads=1, **numbers)
  theirs_is.rope_embeddings.inv_freq.copy_(1 / torch.from_numpy(periods(100.0, 4, dtype)))
  state = authors(theirs_is.state_dict(), dtype=dtype) | {"local_cls_norm.weight": torch.ones(16)}
  found = interop.load(state)
  assert found.source == "dinov3:the state dict" and found.left == ("local_cls_norm.weight",)
  assert (found.network["num_heads"], found.network["rope_dtype"], found.network["key_bias"]) == (1, dtype, False)
  for images in (IMAGES, SMALL):
    tokens = jax.jit(found.module.apply)(found.variables, images)["tokens"]
    assert_close(tokens, theirs(theirs_is, images).last_hidden_state)
  inside = {"teacher.backbone." + name: x for name, x in state.items()} | {"teacher.dino_head.mlp.0.weight": torch.ones(2)}
  jax.tree.map(np.testing.assert_array_equal, interop.load(inside).variables, found.variables)


def test_a_key_bias_that_no_mask_hides():
  theirs_is = model(num_attention_heads=1, key_bias=True)
  found = interop.load(authors(theirs_is.state_dict(), mask=1.0))
  assert found.network["key_bias"]
  tokens = jax.jit(found.module.apply)(found.variables, IMAGES)["tokens"]
  assert_close(tokens, theirs(theirs_is, IMAGES).last_hidden_state)


def changed(**arrays):
  state = authors(model().state_dict()) | {name.replace("__", "."): array for name, array in arrays.items()}
  return {name: array for name, array in state.items() if array is not None}


@pytest.mark.parametrize(
  "state, message",
  [
    (lambda: changed(rope_embed__periods=None), "there is no rope_embed.periods"),
    (lambda: changed(rope_embed__periods=torch.tensor([1.0, 7.3])), r"rope_embed.periods \[1.0, 7.3.*\] are not theta"),
    (lambda: changed(rope_embed__periods=torch.ones(3)), "3 periods of a network of width 16 are not those of"),
    (
      lambda: changed(blocks__0__attn__qkv__bias_mask=torch.full((48,), torch.nan)),
      "bias_mask has other numbers than 0 and 1",
    ),
    (lambda: changed(cls_norm__weight=torch.ones(16)), "no place is known for cls_norm.weight"),
    (lambda: changed(norm__bias=None), r"only in the network: params/backbone/Transformer/encoder_norm/bias \(16,\)"),
    (lambda: changed(norm__bias=torch.ones(3)), r"encoder_norm/bias: \(3,\) float32 in dinov3:"),
    (lambda: changed(rope_embed__more=torch.ones(1)), "no place is known for rope_embed.more"),
  ],
)
def test_what_is_refused_of_dinov3(state, message):
  with pytest.raises(ConfigError, match=message):
    interop.load(state(), "dinov3")


def test_what_is_refused_of_transformers_dinov3():
  """Numbers that a vit has not, and names that are missing or left over."""
  theirs_is = model()
  state, config = theirs_is.state_dict(), theirs_is.config.to_dict()
  for numbers, message in (
    (dict(value_bias=False), "query_bias and value_bias differ"),
    (dict(use_gated_mlp=True), "hidden_act='gelu' of a gated MLP is not silu"),
    (dict(hidden_act="relu"), "hidden_act='relu' is none of gelu"),
    (dict(num_attention_heads=8), "make no network: position='rope' needs heads of a width divisible by 4, not 2"),
  ):
    with pytest.raises(ConfigError, match=message):
      interop.load(state, "hf", config=config | numbers)
  with pytest.raises(ConfigError, match="no place is known for layer.0.attention.q_norm.weight"):
    interop.load(state | {"layer.0.attention.q_norm.weight": torch.ones(16)}, "hf", config=config)
  with pytest.raises(ConfigError, match="only in the network: params/backbone/Transformer/encoderblock_0/layer_scale_0"):
    interop.load({name: x for name, x in state.items() if "0.layer_scale1" not in name}, "hf", config=config)


def test_other_positions_are_another_function():
  theirs_is = model()
  found = interop.load(theirs_is.state_dict(), "hf", config=theirs_is.config.to_dict())
  for numbers, message in (
    (dict(position="none", rope_rescale=None), "has position='rope', not 'none': write position='rope'"),
    (dict(rope_theta=10.0), "was trained with rope_theta=100.0, not 10.0"),
  ):
    with pytest.raises(ConfigError, match=message):
      found.fitted(build(found.network | numbers))
  other = build(found.network | dict(image_size=8, rope_rescale=None, rope_dtype="bfloat16"))
  jax.tree.map(np.testing.assert_array_equal, found.fitted(other), found.variables)
  assert interop.fit.told_differences(found.module, other) == ("rope_dtype='bfloat16' here, 'float32' there",)


def test_moves_of_training_are_transformers(monkeypatch):
  """The same shift, jitter and rescaling of the same numbers."""
  from transformers.models.dinov3_vit.modeling_dinov3_vit import augment_patches_center_coordinates as move

  from jssl.models import rope

  drawn, given = np.random.default_rng(3).uniform(size=5), []
  monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, low, high: self.copy_(low + (high - low) * next(given)))
  given = iter(torch.tensor(drawn, dtype=torch.float32).split((2, 2, 1)))
  where = rope.places((2, 3))
  wanted = move(torch.from_numpy(where), shift=0.3, jitter=1.5, rescale=2.0)
  values = iter(np.split(drawn, (2, 4)))
  fake = lambda key, shape=(), minval=0.0, maxval=1.0: jnp.asarray(minval + (maxval - minval) * next(values)).reshape(shape)
  monkeypatch.setattr(jax.random, "uniform", fake)
  config = rope.Rope(100.0, "float32", 0.3, 1.5, 2.0)
  assert_close(rope.moved(jnp.asarray(where), jax.random.split(jax.random.key(0), 1), config)[0], wanted)
