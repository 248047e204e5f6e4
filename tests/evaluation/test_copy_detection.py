"""Copies and their originals: scores against scikit-learn's, edits, and the protocol on pixels."""

import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jssl.evaluation import copy_detection_scores, EvaluationData, raw_pixel_model, run_protocols, View
from jssl.evaluation.edits import EDITS, edits_by_name

RNG = np.random.default_rng(0)


def _unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def _copies(noise=1.0):
  database = RNG.normal(size=(30, 6)).astype(np.float32)
  database[7] = database[3]  # equal scores
  rows = np.array([3, 7, 3, 0, 12, 29, -1, -1, -1])
  queries = np.where(rows[:, None] >= 0, database[rows], RNG.normal(size=(9, 6))) + noise * RNG.normal(size=(9, 6))
  return queries.astype(np.float32), rows, database


@pytest.mark.parametrize("chunk", [4, 128])
def test_equals_scikit_learn_over_all_pairs_and_by_query(chunk):
  queries, rows, database = _copies()
  kinds = ["a", "b", "b"] * 3
  found = copy_detection_scores(queries, rows, database, kinds=kinds, chunk=chunk)
  cosine = (_unit(queries) @ _unit(database).T).round(5)
  right = np.arange(30) == rows[:, None]
  assert found["metrics"]["micro_ap"] == pytest.approx(average_precision_score(right.ravel(), cosine.ravel()), abs=1e-6)
  each = [average_precision_score(r, c) for r, c in zip(right[:6], cosine[:6], strict=True)]
  assert found["metrics"]["map"] == pytest.approx(np.mean(each), abs=1e-6)
  assert found["by_edit"] == pytest.approx(dict(a=np.mean(each[::3]), b=np.mean([each[i] for i in (1, 2, 4, 5)])), abs=1e-6)
  assert found["parameters"]["queries"] == 6 and found["parameters"]["queries_without_original"] == 3


def test_copies_that_are_equal_are_all_found_and_random_features_are_at_chance():
  database = RNG.normal(size=(200, 64))
  same = copy_detection_scores(database[:20], np.arange(20), database)
  assert same["metrics"] == dict(micro_ap=1.0, map=1.0, r1=1.0)
  found = [copy_detection_scores(RNG.normal(size=(100, 64)), np.arange(100), database) for _ in range(10)]
  chance = np.mean([x["metrics"]["map"] for x in found])
  assert chance == pytest.approx(same["parameters"]["chance"], abs=0.006)
  assert np.mean([x["metrics"]["micro_ap"] for x in found]) == pytest.approx(1 / 200, abs=0.004)


def test_queries_without_an_original_cost_precision_over_all_pairs_alone():
  database = RNG.normal(size=(50, 16))
  queries, rows = np.concatenate([database[:10] + 0.8 * RNG.normal(size=(10, 16)), database[40:]]), np.arange(20)
  alone = copy_detection_scores(queries[:10], rows[:10], database[:40])
  strangers = np.concatenate([queries[:10], database[:10]])  # each as sure of a wrong one as can be
  both = copy_detection_scores(strangers, np.where(rows < 10, rows, -1), database[:40])
  assert both["metrics"]["map"] == alone["metrics"]["map"]
  assert both["metrics"]["micro_ap"] < alone["metrics"]["micro_ap"]


@pytest.mark.parametrize(
  "arguments, message",
  [
    ((np.ones((3, 2)), [0, 1, 2], np.ones((4, 2))), "are the same: the network has collapsed"),
    ((RNG.normal(size=(3, 2)), [-1, -1, -1], RNG.normal(size=(4, 2))), "not all of them -1"),
    ((RNG.normal(size=(3, 2)), [0, 1], RNG.normal(size=(4, 2))), "3 queries, 2 originals"),
    ((np.full((3, 2), np.nan), [0, 1, 2], RNG.normal(size=(4, 2))), "NaN"),
  ],
)
def test_what_cannot_be_scored_is_told(arguments, message):
  with pytest.raises(ValueError, match=message):
    copy_detection_scores(*arguments)


@pytest.mark.parametrize("name", EDITS)
def test_edits_change_images_and_keep_their_kind(name):
  (edit,) = edits_by_name((name,))
  edit = jax.jit(edit)
  for shape in ((24, 24, 3), (16, 20, 1)):
    assert jax.eval_shape(edit, jax.random.key(1), jax.ShapeDtypeStruct(shape, np.float32)).shape == shape
  image = np.asarray(jax.random.uniform(jax.random.key(0), (24, 24, 3)))
  edited = np.asarray(edit(jax.random.key(1), image))
  assert edited.min() >= 0 and edited.max() <= 1.0 + 1e-6 and np.abs(edited - image).mean() > 0.02
  np.testing.assert_array_equal(edited, edit(jax.random.key(1), image))
  if name == "rotation":  # a ramp along the turned axis stays a ramp in the middle
    ramp = np.broadcast_to(np.linspace(0, 1, 33)[:, None, None], (33, 33, 1)).astype(np.float32)
    turned = np.asarray(edit(jax.random.key(1), ramp))[12:21, 12:21, 0]
    slope = np.hypot(np.diff(turned, axis=0).mean(), np.diff(turned, axis=1).mean())
    assert slope == pytest.approx(1 / 32, rel=1e-3)
    assert 10 <= np.degrees(np.arctan2(abs(np.diff(turned, axis=1).mean()), np.diff(turned, axis=0).mean())) <= 30


def _data(count=24):
  coarse = np.random.default_rng(0).uniform(0, 255, (count, 4, 4, 3))
  images = np.repeat(np.repeat(coarse, 4, 1), 4, 2).astype(np.uint8)
  return EvaluationData(train=dict(image=images), test=dict(image=images))


def test_the_protocol_on_pixels():
  data = _data()
  model = raw_pixel_model(data, View(16), None)
  run = lambda **numbers: run_protocols(["copy_detection"], model, data, copy_detection=numbers)["copy_detection"]
  result = run(edits=("blur", "flip"), copied=5, strangers=4)
  assert result["parameters"]["queries"] == 10 and result["parameters"]["queries_without_original"] == 8
  assert result["parameters"]["database"] == 20 and list(result["parameters"]["edits"]) == ["blur", "flip"]
  assert result["by_edit"]["blur"] == 1.0 > result["by_edit"]["flip"]  # pixels know a blurred image, not a mirrored one
  assert result["metrics"] == run(edits=("blur", "flip"), copied=5, strangers=4)["metrics"]
  assert "there is no edit 'flp'; did you mean 'flip'" in run(edits=("flp",))["error"]
  few = _data(2)
  assert "too few" in run_protocols(["copy_detection"], model, few)["copy_detection"]["error"]
