"""Nearest neighbours and the map of the test images."""

import re

import numpy as np
import pytest

from jssl.arrays import l2_normalize
from jssl.report import neighbours
from tests.report import fake_models


def _images(**changes):
  models = [fake_models.model("pretrained"), fake_models.noise()]
  settings = dict(test=fake_models.images(15), bank=fake_models.images(30, seed=1)) | changes
  return neighbours.Images(models, **settings)


def test_neighbours_are_those_of_brute_force():
  images = _images()
  test, bank = (
    fake_models.patches(source.get(np.arange(len(source)))).mean(1) for source in (fake_models.images(15), images.bank)
  )
  cosine = (test @ bank.T) / np.linalg.norm(test, axis=1)[:, None] / np.linalg.norm(bank, axis=1)
  np.testing.assert_array_equal(images.nearest(0, 3), np.argsort(-cosine, 1)[:, :3])
  text = neighbours.neighbours_body(images)
  # Three classes are told by their colour, and by chance a third of the neighbours is right.
  assert "pretrained 100 %" in text and "by chance 33 %" in text and text.count("class='query'") == 6
  assert text.count("class='same'") >= 36


def test_without_labels_or_a_training_set_nothing_is_said_of_classes():
  images = _images(test=fake_models.images(15, labels=False), bank=None)
  assert (images.nearest(0, 5) != np.arange(15)[:, None]).all()
  text = neighbours.neighbours_body(images) + neighbours.map_body(images)
  assert "class " not in re.sub(r"<[^>]*>", "", text) and "the other pictures" in text


@pytest.mark.slow
def test_the_map_keeps_what_is_near_and_is_the_same_each_time():
  rng = np.random.default_rng(0)
  features = np.asarray(l2_normalize(np.eye(3))[np.arange(60) % 3] + 0.05 * rng.standard_normal((60, 3)))
  places = neighbours.places_of(features)
  assert places.shape == (60, 2) and places.min() == 0 and places.max() == 1
  distance = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(60)
  assert (distance.argmin(1) % 3 == np.arange(60) % 3).all()
  np.testing.assert_array_equal(places, neighbours.places_of(features))
  with pytest.raises(ValueError, match="all images have the same features"):
    neighbours.places_of(np.ones((20, 3)))


def test_the_map_shows_every_image_in_every_map():
  images = _images()
  text = neighbours.map_body(images)
  assert text.count("<circle class='c") == 2 * 15 and text.count("<figure class='map'") == 2
  assert '"labels":[0,1,2,0' in text and "data:image/jpeg" in text
  assert neighbours.map_body(_images(test=fake_models.images(5))) == ""
