"""Regimes and their controls."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import regime as regime_module
from experiments import regimes
from jssl import data, study
from jssl.config import check_config, load_config
from jssl.evaluation import EvaluationData, parse_protocols, raw_pixel_model, run_protocols, View
from jssl.method import Method
from jssl.schedules import Horizon
from jssl.study.ledger import claims_table

# What the sources of those regimes look like whose data are not on every machine.
SIDES = dict(fashion_mnist=(28, 1), fashion_mnist_shifted=(40, 1), glyphs=(32, 3))


def batch_of(regime):
  if regime.data["name"] in ("scenes", "objects"):
    return data.load(regime.data["name"], **regime.data["options"] | dict(num_examples=2)).get(range(2))
  side, channels = next(SIDES[name] for name in sorted(SIDES, key=len, reverse=True) if regime.name.startswith(name))
  source = data.from_arrays(image=np.zeros((2, side, side, channels), np.uint8), label=[0, 1])
  return source.get(range(2))


@pytest.mark.parametrize("name", regimes.REGIMES)
def test_the_control_with_labels_is_a_method(name):
  regime = regimes.REGIMES[name]
  config = regime.labelled()
  check_config(config)
  method = Method(config, num_examples=256, horizon=Horizon(10, 2, config.batch_size))
  batch = {key: jax.ShapeDtypeStruct(x.shape, x.dtype) for key, x in batch_of(regime).items()}
  shapes = {key: x.shape for key, x in method.abstract_environment(batch).arrays.items()}
  name, shape = ("s/patch_tokens", (2, 256, 64)) if regime.places else ("s/classes", (2, regime.classes))
  assert shapes[name] == shape and ("segments" if regime.places else "label") in method.batch_names


def test_a_method_is_put_on_a_regime():
  regime = regimes.REGIMES["fashion_mnist_shifted"]
  config = regime.put(load_config("simclr"))
  config.views = regime.views("a", "b")
  config.networks.student.update(regime.net)
  check_config(config)
  method = Method(config, num_examples=256, horizon=Horizon(10, 2, config.batch_size))
  batch = {key: jax.ShapeDtypeStruct(x.shape, x.dtype) for key, x in batch_of(regime).items()}
  assert method.abstract_environment(batch).arrays["a"].shape == (2, 32, 32, 3)
  assert config.data.options.canvas == 40 and config.evaluation.size == 40 and config.total_steps == regime.steps


def of_objects(split, num_examples):
  return dict(name="objects", split=split, options=dict(num_examples=num_examples, image_size=16))


def loaded(entry):
  return data.load(entry["name"], split=entry["split"], **entry["options"])


SMALL = dataclasses.replace(
  regimes.REGIMES["fashion_mnist_shifted"],
  name="small",
  data=of_objects("train", 256),
  train=of_objects("train", 128),
  test=of_objects("test", 64),
)
FORMS = {
  "small_long_tail": regimes.long_tailed(SMALL, many=(3, 0, 1), medium=(2, 4, 6, 5), few=(9, 8, 7)),
  "small_styles": regimes.in_styles(SMALL, seen=("plain", "inverted"), unseen="edges"),
  "small_few": regimes.with_few(SMALL, share=0.5),
}


def test_a_long_tail_is_tested_in_balance_and_by_groups_of_classes():
  form = FORMS["small_long_tail"]
  counts = np.bincount(loaded(form.data).arrays["label"], minlength=10)
  whole = np.bincount(loaded(SMALL.data).arrays["label"])
  wanted = np.floor(whole.max() * 100 ** (-np.arange(10) / 9) + 1e-9).clip(1)
  np.testing.assert_array_equal(
    counts[[3, 0, 1, 2, 4, 6, 5, 9, 8, 7]], np.minimum(whole[[3, 0, 1, 2, 4, 6, 5, 9, 8, 7]], wanted)
  )
  assert form.train == SMALL.train
  test = loaded(form.test).arrays
  np.testing.assert_array_equal(test["label"], loaded(SMALL.test).arrays["label"])
  np.testing.assert_array_equal(test["shot"], np.array([0, 0, 1, 0, 1, 1, 1, 2, 2, 2])[test["label"]])


def test_a_style_is_seen_by_tests_alone():
  form = FORMS["small_styles"]
  for entry in (form.data, form.train):
    assert set(loaded(entry).arrays["domain"]) == {0, 1}
  test, plain = loaded(form.test).arrays, loaded(SMALL.test).arrays
  assert set(test["domain"]) == {0, 1, 2}
  np.testing.assert_array_equal(test["unseen"], test["domain"] == 2)
  np.testing.assert_array_equal(test["image"][test["domain"] == 1], 255 - plain["image"][test["domain"] == 1])


def test_few_images_are_those_that_have_labels():
  form = FORMS["small_few"]
  found = loaded(form.data)
  assert form.train == form.data and 120 <= len(found) <= 136 and form.test == SMALL.test


@pytest.mark.parametrize("name", FORMS)
def test_head_room_of_a_form_is_measured_by_what_its_protocols_give(name):
  form = FORMS[name]
  data_of_it = EvaluationData(loaded(form.train), loaded(form.test))
  numbers = parse_protocols(form.protocols)
  numbers["few_labels"] |= dict(per_class=(2,), draws=1)
  numbers["knn"]["k"] = 3
  found = run_protocols(numbers, raw_pixel_model(data_of_it, View(16), None), data_of_it, **numbers)
  given = {f"{protocol}/{metric}" for protocol, result in found.items() for metric in result["metrics"]}
  smaller = lambda metric: metric.replace("k20", "k3").replace("n10", "n2")
  assert {smaller(metric) for metric in form.metrics.values()} <= given


@pytest.mark.slow
def test_patches_find_those_of_their_object():
  rng = np.random.default_rng(0)
  segments = rng.integers(0, 3, (2, 8, 12))
  found = regimes.patch_objects(jnp.asarray(segments, jnp.uint8), patch=4)
  for image, row, column in np.ndindex(2, 2, 3):
    counts = np.bincount(segments[image, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].ravel(), minlength=3)
    assert counts[found[image, 3 * row + column]] == counts.max()
  tokens = rng.normal(size=(2, 6, 5))
  objects = np.array([[0, 0, 1, 1, 0, 2], [3, 3, 3, 0, 0, 0]])
  got, _ = regimes.object_contrast_loss(jnp.asarray(tokens, jnp.float32), jnp.asarray(objects), temperature=0.5)
  want = []
  for x, y in zip(tokens, objects, strict=True):
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    terms = np.exp(x @ x.T / 0.5)
    for i in range(6):
      same = [p for p in range(6) if p != i and y[p] == y[i]]
      others = terms[i].sum() - terms[i, i]
      want.append(-np.mean([np.log(terms[i, p] / others) for p in same]) if same else 0.0)
  np.testing.assert_allclose(got, np.mean(want), rtol=1e-5)


@pytest.mark.slow
def test_controls_are_measured_and_make_head_room(tmp_path, monkeypatch):
  monkeypatch.setattr(regime_module, "HERE", tmp_path)
  monkeypatch.chdir(tmp_path)
  small = dataclasses.replace(
    regimes.REGIMES["glyphs"],
    name="small",
    data=of_objects("train", 64),
    train=of_objects("train", 64),
    test=of_objects("test", 64),
    classes=10,
    net=dict(fn="vit", image_size=16, patch_size=8, width=16, depth=1, num_heads=2),
    view=dict(size=16, scale=(0.5, 1.0)),
    size=16,
    steps=2,
    batch_size=8,
    protocols=("knn:k=5", "few_labels:per_class=2"),
    metrics={"kNN": "knn/k5"},
  )
  ledger = regimes.measure(small, (0,), {}, None)
  (row,) = ledger.rows()
  assert {"knn/k5", "random weights/knn/k5", "raw pixels/few_labels/n2", "chance/knn/k5"} <= row["metrics"].keys()
  assert ledger.head_room() == () and len(ledger.claims()) == 2  # one seed says nothing
  page = (tmp_path / "small/README.md").read_text()
  assert "| chance | 0." in page and "| labels beat raw pixels by kNN |" in page and "2 steps of 8" in page
  assert (tmp_path / "small/examples.png").exists()


@pytest.mark.parametrize("name", regimes.REGIMES)
def test_pages_are_what_the_rows_say(name):
  regime = regimes.REGIMES[name]
  ledger = study.Ledger(regime.folder)
  page = (regime.folder / "README.md").read_text()
  if ledger.rows():
    assert regimes.table(regime, ledger.rows()) in page and claims_table(ledger.verdicts()) in page
    assert [entry.claim for entry in ledger.claims()] == regime.claims()
    assert (regime.folder / "examples.png").exists()
  else:
    assert "Not measured yet." in page and not ledger.head_room()
