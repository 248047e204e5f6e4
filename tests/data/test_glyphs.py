"""Glyphs of fonts: which faces count, how they are split, and what is drawn."""

import pathlib

import matplotlib
import numpy as np
from PIL import ImageFont
import pytest

from jssl import data
from jssl.data.worlds import faces
from jssl.data.worlds import glyphs as world
from jssl.errors import ConfigError

# Matplotlib's own: DejaVu, STIX, Computer Modern, and faces that have no letters.
FONTS = str(pathlib.Path(matplotlib.get_data_path()) / "fonts/ttf")
TEST_FAMILIES = ("stixgeneral", "cmr10", "cmtt10")


@pytest.fixture(autouse=True)
def split(monkeypatch):
  """By their names all of these are training faces."""
  monkeypatch.setattr(faces, "in_test", lambda family: family in TEST_FAMILIES)
  faces.load_faces.cache_clear()
  world._make.cache_clear()
  yield
  faces.load_faces.cache_clear()
  world._make.cache_clear()


def test_families_are_on_one_side_and_faces_without_letters_on_none():
  train, test = (faces.load_faces(name, "ABC", FONTS) for name in ("train", "test"))
  first_words = lambda found: {faces.family_of(name) for name in found.names}
  assert first_words(train) == {"dejavu", "cmb10", "cmmi10", "cmss10", "cmti10"}  # neither boxes nor symbols
  assert first_words(test) <= set(TEST_FAMILIES) and not set(train.family) & set(test.family)
  assert "DejaVu Serif Bold Italic" in train.names and "DejaVu Sans Oblique" not in train.names
  assert np.all(np.diff(train.family) >= 0) and np.all(np.diff(test.family) >= 0)
  heights = [[np.ptp(np.nonzero(mask > 64)[0]) + 1 for mask in face] for face in train.masks]
  assert abs(np.median(heights) - faces.CAPITAL) <= 1


def test_a_face_that_lacks_a_character_or_draws_two_alike_is_left_out():
  draw = lambda name, characters: faces.draw_characters(ImageFont.truetype(f"{FONTS}/{name}", 64), characters)
  assert draw("DejaVuSans.ttf", "ABC").shape == (3, 64, 64)
  assert draw("DejaVuSans.ttf", "A \x01") is None and draw("cmr10.ttf", "AЖ") is None
  assert draw("LastResortHE-Regular.ttf", "ABC") is None and draw("STIXSizOneSymReg.ttf", "ABC") is None


def test_the_split_is_by_a_hash_of_the_family(monkeypatch):
  monkeypatch.undo()
  assert faces.family_of("Noto Sans Display") == faces.family_of("noto-serif") == "noto"
  share = np.mean([faces.in_test(f"family{i}") for i in range(4000)])
  assert share == pytest.approx(0.25, abs=0.03)
  assert [faces.in_test(name) for name in ("dejavu", "last", "stixnonunicode", "cmr10")] == [False, True, True, False]


def test_metric_clones_are_left_out(monkeypatch):
  rng = np.random.default_rng(0)
  masks = rng.integers(0, 256, (3, 2, 8, 8)).astype(np.uint8)
  other = masks[:1].copy()
  other[0, 0, 0, 0] ^= 255
  assert faces.clones(masks, other).tolist() == [True, False, False]
  assert faces.clones(masks, masks[:0]).tolist() == [False] * 3
  kept = faces.load_faces("test", "ABC", FONTS).names
  monkeypatch.setattr(faces, "CLONE", 0.6)
  faces.load_faces.cache_clear()
  with pytest.raises(data.DataError, match="apt-get install fonts-freefont-ttf"):
    assert len(faces.load_faces("test", "ABC", FONTS).names) < len(kept)


def test_examples_depend_on_their_number_alone():
  load = lambda **options: data.load(f"glyphs:{FONTS}", characters="ABCD", **options)
  source = load(num_examples=64)
  assert source.num_classes == 4 and source.element_spec["image"].shape == (32, 32, 3)
  assert set(source.arrays) == {"image", "extent", "label", "family", "face"}
  assert np.bincount(source.arrays["label"], minlength=4).min() > 8 and len(np.unique(source.arrays["family"])) == 5
  fewer = load(num_examples=16)
  for name, array in fewer.arrays.items():
    np.testing.assert_array_equal(array, source.arrays[name][:16])
  assert (load(num_examples=16, seed=1).arrays["image"] != fewer.arrays["image"]).any()
  assert load(split="test", num_examples=8, image_size=16).arrays["image"].shape == (8, 16, 16, 3)


def boxes(alpha):
  rows, columns = np.nonzero(alpha > 0.25)
  return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize(
  "where, box", [((0, 0), (0, 18, 0, 10)), ((1, 1), (22, 40, 30, 40)), ((0.5, 0.5), (11, 29, 15, 25))]
)
def test_a_character_lies_where_it_is_put(where, box):
  mask = np.zeros((64, 64), np.uint8)
  mask[14:50, 22:42] = 255  # 36 x 20
  alpha = world.place(mask, 40, 0.5, 0.0, np.array(where))
  assert boxes(alpha) == box and alpha.sum() == pytest.approx(18 * 10, rel=0.05)
  turned = world.place(mask, 40, 0.5, np.pi / 2, np.array((0.5, 0.5)))
  assert boxes(turned) == (15, 25, 11, 29)


def test_the_angle_turns_and_the_middle_stays():
  mask = np.zeros((64, 64), np.uint8)
  mask[14:50, 29:35] = 255
  mask[14:20, 29:46] = 255  # an L upside down
  straight, turned = (world.place(mask, 64, 1.0, angle, np.array((0.5, 0.5))) for angle in (0.0, np.pi / 2))
  errors = [np.mean(np.abs(np.rot90(straight, k) - turned)) for k in range(4)]
  assert min(errors) < 0.1 * max(errors) and np.argmin(errors) in (1, 3)


@pytest.mark.parametrize("ink", world.INKS)
def test_ink_differs_from_paper(ink):
  alpha = np.zeros((500, 2, 2), np.float32)
  alpha[:, 0] = 1
  colours = np.random.default_rng(0).uniform(size=(500, 16, 2, 3))
  image = world.paint(alpha, colours, ink, 60.0) @ np.array([0.299, 0.587, 0.114])
  difference = image[:, 1, 0] - image[:, 0, 0]
  assert np.mean(np.abs(difference) > 59) > 0.99
  assert (difference > 0).all() if ink != "any" else 0.4 < np.mean(difference > 0) < 0.6
  if ink == "black":
    np.testing.assert_allclose(difference, 255)


def test_mistakes_are_named(tmp_path):
  with pytest.raises(data.DataError, match=r"fewer than two families .* for train; Debian has hundreds .*glyphs:/path"):
    data.load(f"glyphs:{tmp_path}")
  for options, message in (
    (dict(split="tets"), "no split 'tets'; did you mean 'test'"),
    (dict(ink="drak"), "ink is 'drak'; did you mean 'dark'"),
    (dict(characters="AA"), "two characters or more, all different"),
    (dict(height=(0.9, 0.5)), r"heights in \(0, 1\]"),
    (dict(colour="red"), "no option 'colour'"),
  ):
    with pytest.raises(ConfigError, match=message):
      data.load("glyphs", **options)
