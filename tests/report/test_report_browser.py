"""The page in a real browser: what happens at a click, at a key and under the pointer."""

import pathlib
import re
import shutil

import pytest

from jssl.report import curves, neighbours, patches
from jssl.report.page import Section, write_page
from tests.report import fake_models

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> pathlib.Path:
  models = [fake_models.model("pretrained"), fake_models.noise()]
  source = fake_models.images(24)
  images = neighbours.Images(models, source)
  rows = [{"step": i, "loss": 1.0 / i, "spread/x": 0.5} for i in range(1, 11)]
  sections = [
    Section("similarity", "Click a patch", patches.similarity_body(patches.Patches(models, source))),
    Section("map", "Map", neighbours.map_body(images) + neighbours.neighbours_body(images)),
    Section("curves", "Curves", curves.body({"<b>a</b>": rows, "b": rows[:5]})),
  ]
  return write_page(tmp_path_factory.mktemp("page"), "Test", sections)


@pytest.fixture(scope="module")
def browser():
  with sync_api.sync_playwright() as playwright:
    found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
    yield found
    found.close()


@pytest.fixture(params=[1400, pytest.param(380, marks=pytest.mark.slow)])
def page(request, browser, page_file):
  """The page, open; whatever the browser complains of fails the test."""
  context = browser.new_context(viewport=dict(width=request.param, height=900), has_touch=request.param < 500)
  found, complaints = context.new_page(), []
  found.on("console", lambda message: complaints.append(message.text))
  found.on("pageerror", lambda error: complaints.append(str(error)))
  found.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else complaints.append(asked.url))
  found.goto(page_file.as_uri())
  found.wait_for_function("document.querySelector('.tile .note').textContent.startsWith('from')")
  yield found
  assert not complaints
  context.close()


def _map(page, tile: int) -> str:
  return page.locator(".tile").nth(tile).locator("canvas").nth(1).evaluate("canvas => canvas.toDataURL()")


def _readout(page) -> str:
  return page.locator("#similarity-readout").inner_text()


def test_a_click_changes_every_map_and_a_patch_is_like_itself(page):
  assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
  assert page.locator(".still").is_hidden()
  assert "picture 1, row 3, column 3. Similarity to itself 1.00" in _readout(page)
  before = [_map(page, tile) for tile in range(6)]
  canvas = page.locator(".tile").nth(1).locator("canvas").first
  box = canvas.bounding_box()
  press = canvas.tap if page.viewport_size["width"] < 500 else canvas.click
  press(position=dict(x=box["width"] * 0.1, y=box["height"] * 0.9))
  assert "pretrained: picture 2, row 4, column 1. Similarity to itself 1.00" in _readout(page)
  assert all(_map(page, tile) != old for tile, old in enumerate(before))
  # What is told is what NumPy says: the similarity to its own picture, on average.
  told = float(re.search(r"to its picture (-?[\d.]+)", _readout(page))[1])
  source = fake_models.images(24)
  made = patches.Patches([fake_models.model("pretrained")], source)
  features = made.features[0][1]
  cosine = features @ features[12] / (abs(features[12] @ features[12]) ** 0.5 * (features**2).sum(-1) ** 0.5)
  assert told == pytest.approx(cosine.mean(), abs=0.02)


@pytest.mark.slow
def test_other_weights_and_other_scales_are_a_choice_away(page):
  before = _map(page, 0)
  page.get_by_text("random weights", exact=True).first.click()
  assert "random weights: picture 1" in _readout(page) and "itself 1.00" in _readout(page) and _map(page, 0) != before
  own = _map(page, 3)
  page.get_by_text("−1 to 1").click()
  assert _map(page, 3) != own and page.locator(".key").inner_text().split() == ["-1.00", "1.00"]


@pytest.mark.slow
def test_arrow_keys_move_the_clicked_patch(page):
  page.locator(".tile").nth(0).focus()
  page.keyboard.press("ArrowRight")
  page.keyboard.press("ArrowUp")
  assert "picture 1, row 2, column 4." in _readout(page)
  page.locator(".tile").nth(4).focus()
  page.keyboard.press("Enter")
  assert "picture 5, row 3, column 3." in _readout(page)


def test_a_point_of_the_map_shows_its_image(page):
  svg, tip = page.locator(".map svg").first, page.locator("#tip")
  svg.scroll_into_view_if_needed()
  assert tip.is_hidden()
  svg.locator("circle.c2").first.hover()
  assert tip.inner_text().strip() == "class 2" and tip.locator(".thumbnail").count() == 1
  assert page.locator("circle.mark").evaluate_all("marks => marks.every(mark => mark.cx.baseVal.value > 0)")
  page.mouse.move(1, 1)
  svg.focus()
  page.keyboard.press("ArrowRight")
  assert tip.inner_text().strip().startswith("class ")
  page.keyboard.press("Escape")
  assert tip.is_hidden()


def test_values_stand_beside_a_curve_under_the_pointer(page):
  svg, tip = page.locator(".chart svg").first, page.locator("#tip")
  svg.scroll_into_view_if_needed()
  box = svg.bounding_box()
  page.mouse.move(box["x"] + box["width"] * 48 / 320, box["y"] + box["height"] / 2)
  assert tip.inner_text().split("\n") == ["step 1", "<b>a</b>: 1", "b: 1"]
  svg.focus()
  page.keyboard.press("ArrowRight")
  assert tip.inner_text().split("\n") == ["step 2", "<b>a</b>: 0.5", "b: 0.5"]
  right, left = tip.bounding_box(), page.viewport_size["width"]
  assert right["x"] >= 0 and right["x"] + right["width"] <= left


def test_without_script_the_first_click_is_a_still_picture(browser, page_file):
  context = browser.new_context(java_script_enabled=False)
  page = context.new_page()
  page.goto(page_file.as_uri())
  assert page.locator(".still img").is_visible() and not page.locator("#similarity-maps").is_visible()
  context.close()
