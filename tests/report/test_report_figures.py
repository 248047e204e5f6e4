"""Pictures: sizes, colors and marks."""

import io

import matplotlib
import numpy as np
from PIL import Image
import pytest

from jssl.report import heatmap, image_grid, mark_patch, picture, reconstruction_grid, similarity_figure, similarity_panels
from jssl.report.figures import to_rgb, VIRIDIS


def _decode(png):
  return np.asarray(Image.open(io.BytesIO(png)))


def test_grid_places_every_image_and_leaves_the_gap_white():
  black, white, gray = np.zeros((2, 3), np.uint8), np.ones((2, 3, 1), np.float32), np.full((2, 3, 3), 128, np.uint8)
  picture = _decode(image_grid([[black, white], [gray]], scale=2, gap=1))
  assert picture.shape == (9, 13, 3)
  assert (picture[:4, :6] == 0).all() and (picture[:4, 6:] == 255).all()
  assert (picture[5:, :6] == 128).all() and (picture[4] == 255).all() and (picture[5:, 6:] == 255).all()


def test_images_of_other_shapes_and_empty_grids_are_refused():
  with pytest.raises(ValueError, match="must be"):
    to_rgb(np.zeros((2, 2, 4), np.uint8))
  with pytest.raises(ValueError, match="at least one image"):
    image_grid([])
  with pytest.raises(ValueError):
    reconstruction_grid(np.zeros((2, 4, 4, 3)), np.zeros((3, 4, 4, 3)))


def test_examples_of_any_kind_are_pictures():
  rising = picture(np.linspace(-1.0, 1.0, 200)[:, None], low=-1.0, high=1.0)
  black = (rising == 0).all(-1)
  assert rising.shape == (60, 200, 3) and black.any(0).all()
  middle = [np.flatnonzero(column).mean() for column in black.T]
  np.testing.assert_allclose(middle, np.linspace(59, 0, 200), atol=1)
  clip = np.zeros((3, 4, 5, 1)) + np.array([0.0, 0.5, 1.0])[:, None, None, None]
  frames = picture(clip)
  assert frames.shape == (4, 15, 3) and frames[0, ::5, 0].tolist() == [0, 128, 255]
  assert picture(np.ones((4, 4, 2)), low=0.0, high=2.0)[0, 0].tolist() == [128] * 3


def test_heatmap_runs_from_blue_to_yellow_and_brightens_all_the_way():
  colors = heatmap(np.linspace(-1, 1, 101))
  np.testing.assert_array_equal(colors[0], VIRIDIS[0])
  np.testing.assert_array_equal(colors[-1], VIRIDIS[-1])
  lightness = colors @ np.array([0.2126, 0.7152, 0.0722])
  assert (np.diff(lightness) > 0).all()
  np.testing.assert_array_equal(heatmap(np.array([-5.0, 5.0, np.nan])), [VIRIDIS[0], VIRIDIS[-1], (255, 255, 255)])
  reference = matplotlib.colormaps["viridis"]((np.linspace(-1, 1, 10) + 1) / 2)[:, :3] * 255
  np.testing.assert_allclose(heatmap(np.linspace(-1, 1, 10)), reference, atol=1.0)


def test_a_mark_is_drawn_on_the_border_of_its_patch_only():
  image = np.full((32, 24, 3), 100, np.uint8)
  marked = mark_patch(image, 5, (4, 3))  # row 1, column 2: pixels 8..15, 16..23
  changed = (marked != image).any(-1)
  assert changed[8:16, 16:24].sum() == 64 - 16 and changed.sum() == 64 - 16
  assert (marked[8, 16:24] == 0).all() and (marked[9, 17:23] == 255).all() and (image == 100).all()


def test_similarity_panels_show_the_clicked_object_beside_the_prediction():
  image = np.zeros((16, 16, 3), np.uint8)
  segments = np.zeros((16, 16), np.uint8)
  segments[4:12, 4:12] = 7
  similarity = np.where(np.pad(np.ones((2, 2)), 1) > 0, 1.0, -1.0)
  panels = similarity_panels(image, similarity, segments, 5, threshold=0.0, scale=2)
  assert [panel.shape for panel in panels] == [(32, 32, 3)] * 4
  truth = (panels[3] == 0).all(-1)
  np.testing.assert_array_equal(truth, np.repeat(np.repeat(segments == 7, 2, 0), 2, 1))
  assert np.mean((panels[2] == 0).all(-1) == truth) > 0.95
  png = similarity_figure(image[None], similarity[None], segments[None], [5], scale=2)
  assert _decode(png).shape == (32, 3 * 32 + 2 * 4, 3)
