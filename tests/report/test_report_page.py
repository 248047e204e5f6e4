"""The page: one file, well formed, everything escaped."""

import html.parser
import math
import re

import numpy as np
import pytest

from jssl.report import reconstruction_grid, write_report
from jssl.report.curves import line_chart, series, short, thin, ticks

EVIL = "<script>alert('x')</script>\"&"


class _Nesting(html.parser.HTMLParser):
  """Checks that tags are closed in order, and collects tags, attributes and text."""

  def __init__(self):
    super().__init__()
    self.open, self.tags, self.attributes, self.text = [], [], [], []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs
    if tag not in ("meta", "img", "br"):
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def _write(path):
  images = np.random.default_rng(0).random((2, 8, 8, 3))
  return write_report(
    path,
    title=EVIL,
    config_text=f"a = {EVIL}",
    history=[{"step": i, "loss": 1 / i, EVIL: float(i), "note": EVIL} for i in range(1, 9)],
    table={EVIL: {EVIL: dict(metrics={EVIL: 0.25}, parameters={EVIL: EVIL})}},
    images=[(EVIL, reconstruction_grid(images, images, images))],
  )


def test_everything_is_escaped_and_the_file_stands_alone(tmp_path):
  path = _write(tmp_path)
  assert path == tmp_path / "report.html"
  text = path.read_text()
  page = _Nesting()
  page.feed(text)
  page.close()
  assert not page.open and "script" not in page.tags
  assert {"svg", "table", "img", "pre"} <= set(page.tags)
  assert "".join(page.text).count("<script>alert('x')</script>") >= 8  # as text, in every place that shows a string
  sources = [value for name, value in page.attributes if name in ("src", "href")]
  assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
  assert not re.search(r"https?:|url\(|@import", text)
  assert ("alt", EVIL) in page.attributes and ("aria-label", f"{EVIL} by step") in page.attributes


def test_a_run_without_history_table_or_images_has_a_page(tmp_path):
  text = write_report(tmp_path / "deep" / "mine.html", title="t", config_text="c").read_text()
  assert "Losses" not in text and "Results" not in text and "Figures" not in text and "<pre>c</pre>" in text


def test_losses_are_apart_from_metrics(tmp_path):
  history = [{"step": i, "loss": 1.0, "rec": 1.0, "rec/hidden": 0.5} for i in (1, 2)]
  text = write_report(tmp_path, title="t", config_text="c", history=history, losses=("loss", "rec")).read_text()
  losses, metrics = text.split("<h2>Metrics</h2>")
  assert [name in losses for name in ("loss by step", "rec by step", "rec/hidden by step")] == [True, True, False]
  assert "rec/hidden by step" in metrics and "rec by step" not in metrics


def test_series_keep_numbers_by_step_only():
  rows = [{"step": 1, "loss": 2.0, "flag": True, "name": "x"}, {"loss": 3.0}, {"step": 2, "loss": math.nan, "k": 1}]
  curves = series(rows)
  assert list(curves) == ["loss", "k"] and curves["k"] == [(2.0, 1.0)]
  assert curves["loss"][0] == (1.0, 2.0) and math.isnan(curves["loss"][1][1])


def test_ticks_and_numbers_are_round():
  assert ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
  assert ticks(0.4, 8.8) == pytest.approx([2, 4, 6, 8])
  assert ticks(-0.13, 0.27) == pytest.approx([-0.1, 0, 0.1, 0.2])
  assert ticks(0, 98000, 3) == [0, 50000]
  assert [short(v) for v in (0.123456, 1500, 20000, 3e6)] == ["0.1235", "1500", "20k", "3M"]


def test_thinning_keeps_spikes():
  points = [(float(i), float(i == 777)) for i in range(5000)]
  kept = thin(points, 50)
  assert len(kept) <= 100 and (777.0, 1.0) in kept and kept == sorted(kept)
  assert thin(points[:10], 50) == points[:10]


def test_a_chart_breaks_at_values_that_are_not_finite():
  chart = line_chart([(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0)], label="x")
  assert chart.count("<polyline") == 2 and "nan" not in chart
  assert "<circle" in line_chart([(5, 3.0)], label="x")  # a single, constant value
  assert "no finite value" in line_chart([(0, math.inf)], label="x")
