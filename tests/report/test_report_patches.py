"""Pictures of patches: what the page's script is given, and colours of components."""

import base64
import json
import re

import numpy as np
from sklearn.decomposition import PCA

from jssl.report import patches
from tests.report import fake_models


def _unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_packed_features_have_the_cosines_of_the_features():
  features = np.random.default_rng(0).standard_normal((3, 20, 24)).astype(np.float32)
  found, error = patches.packed(features)
  assert found.dtype == np.int8 and found.shape == (3, 20, 24)
  directions, again = _unit(features.reshape(60, 24)), _unit(found.reshape(60, 24).astype(np.float64))
  largest = np.abs(directions @ directions.T - again @ again.T).max()
  assert largest < 0.02 and abs(error - largest) < 1e-6


def test_many_dimensions_become_few_and_the_error_is_told():
  rng = np.random.default_rng(0)
  features = rng.standard_normal((2, 30, 5)) @ rng.standard_normal((5, 400)) + 0.05 * rng.standard_normal((2, 30, 400))
  found, error = patches.packed(features)
  assert found.shape == (2, 30, patches.MAX_DIM) and error < 0.02
  noise, wrong = patches.packed(rng.standard_normal((6, 3600, 64)))
  assert noise.size <= 6 * 3600 * 16 and wrong > 0.3  # white noise has no few directions


def test_principal_colors_are_those_of_scikit_learn():
  rng = np.random.default_rng(0)
  features = rng.standard_normal((2, 50, 8)) * np.array([9, 5, 3, 1, 1, 1, 1, 1.0])
  found = patches.principal_colors(features).reshape(-1, 3)
  want = PCA(3).fit_transform(features.reshape(-1, 8))
  for mine, theirs in zip(found.T, want.T, strict=True):
    inner = (mine > 5) & (mine < 250)
    assert inner.sum() > 80 and abs(np.corrcoef(mine[inner], theirs[inner])[0, 1]) > 0.999
  assert patches.principal_colors(np.ones((1, 4, 2))).shape == (1, 4, 3)


def test_the_page_holds_the_features_of_all_models_and_a_still_picture():
  source = fake_models.images()
  made = patches.Patches([fake_models.model("pretrained"), fake_models.noise()], source)
  text = patches.similarity_body(made, (2, 0.9, 0.1))
  found = json.loads(re.search(r"id='similarity-data'>(.*?)</script>", text)[1])
  assert [model["name"] for model in found["models"]] == ["pretrained", "random weights"] and len(found["images"]) == 6
  data = np.frombuffer(base64.b64decode(found["models"][0]["data"]), np.int8).reshape(6, 16, found["models"][0]["dim"])
  chosen = made.source.get(np.arange(6))
  directions = _unit(fake_models.patches(chosen).reshape(-1, 6))
  again = _unit(data.reshape(-1, 6).astype(np.float64))
  np.testing.assert_allclose(again @ again.T, directions @ directions.T, atol=0.02)
  assert found["start"] == [2, 0.9, 0.1] and "class='still'" in text and "If nothing had been learnt" in text


def test_attention_is_shown_where_a_model_tells_it():
  source = fake_models.images()
  plain = patches.Patches([fake_models.model("pretrained")], source)
  assert patches.attention_body(plain) == ""
  evenly = lambda batch: np.full((len(batch["image"]), 2, 16), 1 / 16, np.float32)
  attentive = fake_models.model("pretrained", attention=evenly)
  text = patches.attention_body(patches.Patches([attentive, fake_models.noise()], source))
  assert text.count("class='strip'") == 4 and "pretrained: head 2" in text and "random weights" not in text


def test_models_without_patches_have_no_such_pictures():
  made = patches.Patches([fake_models.model("pretrained", patch_features=None)], fake_models.images())
  assert patches.similarity_body(made) == patches.principal_body(made) == patches.attention_body(made) == ""
