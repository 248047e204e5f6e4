"""What was learnt, in words: against which controls, and which of two values is better."""

import re

import pytest

from jssl.evaluation import PROTOCOLS
from jssl.report import results

KNN = "test images whose k nearest training images vote for their class; higher is better, chance is below"


def _knn(value, **more):
  return dict(knn=dict(metrics=dict(k10=0.0, k20=value), parameters=dict(chance=0.1), meaning=KNN), **more)


def _overlap(value):
  return dict(object_similarity=dict(metrics=dict(overlap=value, mean_in=0.5), parameters={}, meaning="lower is better"))


def _said(found, runs=("pretrained",)):
  text = results.headline_body(found, runs)
  return re.findall(r"<p class='say (\w+)'>(.*?)</p>", text), re.findall(r"<p class='verdict'>(.*?)</p>", text), text


def test_a_run_is_held_against_its_best_control():
  said, verdict, text = _said({"pretrained": _knn(0.78), "random weights": _knn(0.55), "raw pixels": _knn(0.70)})
  assert said == [("better", "8.0 points better than the best control, raw pixels.")]
  assert verdict == ["Better than every control in 1 of 1 measures."]
  assert "78.0 %" in text and "chance at 10.0 %" in text and KNN in text and text.count("class='fill'") == 3


def test_a_control_that_wins_is_told():
  said, verdict, _ = _said({"pretrained": _knn(0.6), "random weights": _knn(0.5), "raw pixels": _knn(0.7)})
  assert said == [("worse", "10.0 points worse than raw pixels: a control wins.")]
  assert verdict == ["Better than every control in 0 of 1 measures, worse than a control in 1."]


def test_lower_may_be_better_and_a_point_is_nothing():
  said, verdict, _ = _said(
    {"pretrained": _knn(0.7) | _overlap(0.3), "raw pixels": _knn(0.5) | _overlap(0.5), "position only": _overlap(0.305)}
  )
  assert said[1] == ("same", "About the same as position only: nothing is claimed here.")
  assert verdict == ["Better than every control in 1 of 2 measures, about the same as the best control in 1."]
  said, _, _ = _said({"pretrained": _overlap(0.3), "raw pixels": _overlap(0.2)})
  assert said == [("worse", "10.0 points worse than raw pixels: a control wins.")]


def test_what_cannot_be_compared_is_not():
  said, verdict, _ = _said({"pretrained": _knn(0.7)})
  assert said == [("none", "No control was measured.")] and verdict[0].startswith("There is no control")
  rank = lambda value: dict(rankme=dict(metrics=dict(rankme=value), parameters={}, meaning="dimensions"))
  said, verdict, text = _said({"pretrained": rank(12.5), "random weights": rank(80.0)})
  assert verdict[0].startswith("No value of these is better by itself")
  assert said == [("none", "No value is better by itself.")] and "12.50" in text and "1250" not in text
  broken = dict(knn=dict(metrics={}, parameters={}, error="no labels"))
  text = results.headline_body({"pretrained": broken}, ["pretrained"], ["python -m jssl.evaluate --workdir <a>"])
  assert "Nothing was measured yet" in text and "--workdir &lt;a&gt;" in text
  assert "no labels" in results.body({"pretrained": broken})
  text = results.headline_body({"a": _knn(0.7), "raw pixels": _knn(0.5)}, ["a"], ["measure b"])
  assert "Not all of it was measured yet" in text and "<pre>measure b</pre>" in text


@pytest.mark.parametrize(
  "meaning, kind",
  [
    ("higher is better", "better"),
    ("a score; more than controls and a constant answer is better", "better"),
    ("a distance; lower is better", "worse"),
    ("", "none"),
  ],
)
def test_a_protocol_of_the_users_own_is_read_by_its_meaning(meaning, kind):
  of = lambda value: {"mine:probe": dict(metrics=dict(score=value), parameters={}, meaning=meaning)}
  said, _, text = _said({"pretrained": of(0.9), "raw pixels": of(0.5)})
  assert said[0][0] == kind and "Mine: probe" in text


def test_runs_side_by_side_share_the_controls_that_agree():
  a = {"pretrained": _knn(0.8), "random weights": _knn(0.5), "raw pixels": _knn(0.7)}
  b = {"pretrained": _knn(0.6), "random weights": _knn(0.75), "raw pixels": _knn(0.7)}
  found = results.merged(dict(a=a, b=b))
  assert list(found) == ["a", "b", "a: random weights", "b: random weights", "raw pixels"]
  said, verdict, text = _said(found, ["a", "b"])
  # The random weights of one run are no control of another.
  assert [kind for kind, _ in said] == ["better", "worse"] and "5.0" not in said[0][1] and "15.0 points" in said[1][1]
  assert verdict[0].startswith("a: ") and "run run1" in text
  assert list(results.merged(dict(a=a))) == ["a", "random weights", "raw pixels"]


def test_every_measure_is_of_a_protocol():
  assert results.MEASURES.keys() <= PROTOCOLS.keys()
