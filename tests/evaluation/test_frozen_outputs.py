"""What a frozen network gives to protocols beside its features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import views
from jssl.environment import name_key, run_key
from jssl.errors import ConfigError
from jssl.evaluation.choice import evaluated_network, evaluated_view, still_networks
from jssl.evaluation.drawn import training_views
from jssl.evaluation.frozen import Frozen
from jssl.evaluation.view import View
from jssl.models import Network, vit
from jssl.values import tuples
from tests import methods

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)


def _drawn(module, images):
  """Random variables; nothing is compiled to make them."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(module.init, jax.random.key(0), images)
  near = lambda path: 1.0 if path[-1].key in ("scale", "var") else 0.0
  make = lambda path, leaf: jnp.asarray(near(path) + 0.1 * rng.uniform(-1, 1, leaf.shape), leaf.dtype)
  return jax.tree_util.tree_map_with_path(make, shapes)


def _frozen(**numbers):
  module = Network(vit(image_size=8, width=16, depth=2, num_heads=2, patch_size=4, init="mae", **numbers))
  variables = _drawn(module, jnp.zeros((1, 8, 8, 3)))
  return Frozen(module, variables, View(8, channels=3))


@pytest.mark.parametrize("cls_token", [True, False])
def test_the_last_blocks(cls_token):
  frozen = _frozen(cls_token=cls_token, registers=1)
  found = frozen.feature_model("vit").block_features(dict(image=IMAGES))
  outputs = jax.jit(frozen.outputs)(IMAGES)
  assert found.shape == (3, 3, 16)  # two blocks, and the patches of the last one
  np.testing.assert_allclose(found[:, 1], outputs["features"], atol=1e-5)
  np.testing.assert_allclose(found[:, 2], outputs["mean"], atol=1e-5)
  x = np.asarray(outputs["block01"], np.float64)
  norm = frozen.variables["params"]["backbone"]["Transformer"]["encoder_norm"]
  normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]
  np.testing.assert_allclose(found[:, 0], normed[:, 0] if cls_token else normed[:, 1:].mean(1), atol=1e-5)


def _run(config, network):
  """A frozen network of a config with the weights that it begins with."""
  module = still_networks(config)[network].module
  view = evaluated_view(config, network)._replace(channels=3)
  variables = _drawn(module, jnp.zeros((1, *view.shape, 3)))
  return Frozen(module, variables, view, "features", network, 0, config)


@pytest.mark.parametrize(
  "method, network, embedding",
  [
    ("simclr", "student", "z"),
    ("byol", "teacher", "z"),
    ("dino", "teacher", "logits"),
    ("swav", "student", "z"),
    ("nnclr", "student", "z"),  # whose predictor stands on it
    ("densecl", "teacher", "z"),  # its other head is one of places
    ("mae", "encoder", None),
    ("ijepa", "teacher", None),
  ],
)
def test_the_projector_is_what_a_head_gives_to_losses(method, network, embedding):
  frozen = _run(methods.small(method), network)
  model = frozen.feature_model("x")
  assert model.embedding == embedding and (model.embeddings is None) == (embedding is None)


def test_places_by_name():
  """Patches as the network gives them, or as its head does; nothing that is not one vector a patch."""
  config = methods.small("mmc")
  config.evaluation.size = 16
  frozen = _run(config, "teacher")
  outputs = jax.jit(frozen.outputs)(np.zeros((1, 16, 16, 3), np.uint8))
  for name, dim in (("patch_tokens", 16), ("trunk/patch", 8)):
    found = frozen._replace(places=name).feature_model("x").patch_features(dict(image=np.zeros((1, 16, 16, 3), np.uint8)))
    assert found.shape == (1, 16, dim)
    np.testing.assert_allclose(found, outputs[name], atol=1e-5)
  assert frozen._replace(places="trunk/patch").about()["places"] == "trunk/patch" and "places" not in frozen.about()
  for name in ("trunk/cls", "trunk/patches"):
    with pytest.raises(ConfigError, match=f"config.evaluation.places='{name}'.*'trunk/patch'"):
      frozen._replace(places=name).feature_model("x")


def test_the_projector_by_name():
  config = methods.small("simclr")
  config.evaluation.embedding = "mean"
  frozen = _run(config, "student")
  model = frozen.feature_model("x")
  assert (model.embedding, model.embedding_dims) == ("mean", 16) and model.embeddings is not None
  config.evaluation.embedding = "zz"
  with pytest.raises(ConfigError, match="config.evaluation.embedding='zz'.*'z'"):
    _run(config, "student").feature_model("x")


IMAGE = np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), np.uint8)


@pytest.mark.slow
def test_drawn_views_are_those_of_the_runs_config():
  config = methods.small("simclr")
  frozen = _run(config, "student")
  drawn = training_views(config, "student", 4, 3)
  assert drawn.names == ("a", "b") and hash(drawn) != hash(training_views(config, "student", 4, 4))
  batch = dict(image=IMAGE, index=np.arange(5, dtype=np.int32))
  found = frozen.feature_model("x").drawn("embeddings", 4, seed=3)(batch)
  assert found.shape[:2] == (5, 4)
  key = jax.random.fold_in(jax.random.fold_in(run_key(3), 1 << 20), 2)
  image = jnp.asarray(IMAGE[2] / 255, jnp.float32)
  for name in ("object", "b"):  # a crop that both views are made of, and the second view
    entry = tuples(config.views[name].to_dict())
    image = views.augment(name_key(key, name), image, **{k: v for k, v in entry.items() if k not in ("fn", "reads")})
  wanted = frozen.module.apply(frozen.variables, image[None], train=False)["z"][0]
  np.testing.assert_allclose(found[2, 1], wanted, atol=1e-3)


def test_drawn_views_do_not_depend_on_the_batch():
  frozen = _run(methods.small("dino"), "teacher")
  look = frozen.feature_model("x").drawn("image_features", 3, seed=0)
  index = np.arange(5, dtype=np.int32)
  whole, part = look(dict(image=IMAGE, index=index)), look(dict(image=IMAGE[3:], index=index[3:]))
  np.testing.assert_allclose(whole[3:], part, atol=1e-5)
  assert np.abs(whole[:, 0] - whole[:, 1]).max() > 1e-3


def test_edits_are_of_what_the_network_is_shown():
  frozen = _run(methods.small("dino"), "teacher")
  model = frozen.feature_model("x")
  batch = dict(image=IMAGE, index=np.arange(5, dtype=np.int32))
  found = model.edited("image_features", (lambda key, x: x, lambda key, x: x[:, ::-1]), seed=0)(batch)
  np.testing.assert_allclose(found[:, 0], model.image_features(IMAGE), atol=1e-5)
  np.testing.assert_allclose(found[:, 1], model.image_features(IMAGE[:, :, ::-1]), atol=1e-4)


def test_views_that_cannot_be_drawn_alone_are_told():
  with pytest.raises(ConfigError, match="no view in training that is drawn for one image"):
    training_views(methods.small("bss_simclr"), "student", 2, 0)


@pytest.mark.slow
def test_every_methods_views_can_be_drawn_or_it_is_told():
  for name in methods.NAMES:
    config = methods.small(name)
    try:
      network = evaluated_network(config)
      drawn = training_views(config, network, 2, 0)
    except ConfigError as error:
      assert "config.views" in str(error) or "config.evaluation" in str(error), name
      continue
    batch = dict(image=jnp.zeros((2, 20, 24, 3), jnp.uint8), index=jnp.arange(2))
    shape = jax.eval_shape(lambda batch, drawn=drawn: drawn(batch, 1), batch).shape
    assert shape[:1] == (2,) and shape[3:] in ((3,), (1,)), name
