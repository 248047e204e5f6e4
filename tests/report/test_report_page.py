"""The page: one file, well formed, everything escaped."""

import base64
import hashlib
import html.parser
import json
import math
import re

import numpy as np
import pytest

from jssl.report import curves, reconstruction_grid, write_report
from jssl.report.curves import line_chart, series, short, thin, ticks
from jssl.report.meanings import loss_meanings, meaning
from tests import methods

EVIL = "<script>alert('x')</script>\"&"


class _Nesting(html.parser.HTMLParser):
  """Checks that tags are closed in order, and collects tags, attributes and text."""

  def __init__(self):
    super().__init__()
    self.open, self.tags, self.attributes, self.text, self.scripts = [], [], [], [], []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    if tag == "script":
      self.scripts.append([dict(attrs).get("type"), ""])
    self.attributes += attrs
    if tag not in ("meta", "img", "br"):
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open[-1:] == ["script"]:
      self.scripts[-1][1] += data
    else:
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
  assert not page.open and {"svg", "table", "img", "pre"} <= set(page.tags)
  assert "".join(page.text).count("<script>alert('x')</script>") >= 8  # as text, in every place that shows a string
  sources = [value for name, value in page.attributes if name in ("src", "href") and not value.startswith("#")]
  assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
  assert not re.search(r"https?:|@import|import\(|fetch\(", text.replace("http://www.w3.org/2000/svg", ""))
  # Data, which is inert, and the one script whose hash the page's policy allows.
  (kind, curves), (none, script) = page.scripts
  assert kind == "application/json" and none is None and json.loads(curves)[0][0][0] == EVIL
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  policy = next(value for name, value in page.attributes if name == "content")
  assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
  assert ("alt", EVIL) in page.attributes and ("aria-label", f"{EVIL} by step") in page.attributes


def test_a_run_without_history_table_or_images_has_a_page(tmp_path):
  text = write_report(tmp_path / "deep" / "mine.html", title="t", config_text="c").read_text()
  assert "Losses" not in text and "Results" not in text and "Figures" not in text and "<pre>c</pre>" in text


def test_what_a_curve_means_stands_below_it(tmp_path):
  config = methods.small("dino")
  words = loss_meanings(config)
  assert list(words) == ["dino"] and words["dino"].startswith("dino_loss: ") and words["dino"].endswith(".")
  assert "`" not in words["dino"] and meaning("dino", words) == words["dino"]
  known = (
    "loss",
    "gradient_norm",
    "spread/s_a/z",
    "dino/teacher_entropy",
    "dino/kl",
    "monitor/knn/k20",
    "monitor/rankme/rankme",
  )
  assert all(meaning(name) for name in known) and len({meaning(name) for name in known}) == len(known)
  assert meaning("mine/other") == "Reported by 'mine'." and meaning("other") == ""


def test_losses_are_apart_from_metrics(tmp_path):
  history = [{"step": i, "loss": 1.0, "rec": 1.0, "rec/hidden": 0.5} for i in (1, 2)]
  text = write_report(tmp_path, title="t", config_text="c", history=history, losses=("loss", "rec")).read_text()
  losses, metrics = text.split("<h3>Metrics</h3>")
  assert [name in losses for name in ("loss by step", "rec by step", "rec/hidden by step")] == [True, True, False]
  assert "rec/hidden by step" in metrics and "rec by step" not in metrics


def test_monitors_are_first_and_runs_lie_over_each_other():
  rows = [{"step": i, "loss": 1.0 / i, "monitor/knn/k20": 0.1 * i} for i in (1, 2, 3)]
  text = curves.body({"a": rows, "b": rows[:2] + [{"step": 3, "loss": math.nan}]})
  assert text.index("monitor/knn/k20 by step") < text.index("loss by step") and text.count("<svg") == 2
  assert text.count("<polyline class='run0'") == text.count("<polyline class='run1'") == 2 and "1 not finite" in text
  shown = json.loads(re.search(r"id='curves-data'>(.*?)</script>", text)[1])
  assert shown[1] == [["a", 0, [1, 2, 3], [1, 0.5, 0.3333]], ["b", 1, [1, 2, 3], [1, 0.5, None]]]


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
  chart = line_chart(dict(a=[(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0)]), label="x")
  assert chart.count("<polyline") == 2 and "nan" not in chart
  assert "<circle" in line_chart(dict(a=[(5, 3.0)]), label="x")  # a single, constant value
  assert "no finite value" in line_chart(dict(a=[(0, math.inf)]), label="x")
