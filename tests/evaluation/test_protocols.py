"""Protocols by name, and the tables of their results."""

import numpy as np
import pytest

from jssl.errors import ConfigError
from jssl.evaluation import (
  EvaluationData,
  FeatureModel,
  foreground_model,
  format_table,
  parse_protocols,
  position_model,
  Protocol,
  PROTOCOLS,
  raw_pixel_model,
  run_protocols,
  supported_protocols,
  View,
)
from tests.evaluation.scenes_for_tests import GRID, scenes

SMALL = dict(
  knn=dict(k=(1, 3)),
  linear=dict(epochs=2),
  linear_mae=dict(epochs=2, warmup_epochs=1),
  logistic_regression=dict(penalties=1.0),
  attentive_probe=dict(images=30, epochs=1),
  few_labels=dict(per_class=2),
  copy_detection=dict(edits="blur"),
  prompt_segmentation=dict(random_prompts=2, thresholds=(0.0, 0.5)),
  linear_segmentation=dict(steps=10, learning_rates=(0.03,), held_out=0.4),
  neighbour_segmentation=dict(k=5),
)


def _colored(segments, seed=0):
  """Images `[count, H, W, 3]` in which every instance number has its color."""
  palette = np.array([[40, 40, 40], [220, 30, 30], [30, 220, 30], [30, 30, 220]], np.uint8)
  noise = np.random.default_rng(seed).integers(0, 20, (*segments.shape, 3), np.uint8)
  return palette[segments] + noise


def _data():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 60)
  images = _colored(np.broadcast_to((labels + 1)[:, None, None], (60, 8, 8)).astype(np.uint8))
  split = [dict(image=images[part], label=labels[part]) for part in (slice(40), slice(40, 60))]
  segments, label = [scenes(3, seed=seed) for seed in (1, 2)], np.tile([0, 1, 2], (3, 1))
  clips = np.stack([np.roll(scenes(2), 2 * t, 2) for t in range(4)], 1)
  return EvaluationData(
    *split,
    *(dict(image=_colored(s), segments=s, segment_label=label) for s in segments),
    dict(clip=_colored(clips), segments=clips.astype(np.int32)),
  )


@pytest.mark.slow
def test_runs_every_protocol_on_the_pixels_and_those_of_places_on_the_trivial_baselines():
  data = _data()
  model = raw_pixel_model(data, View(32), (8, 8))
  # Pixels are no classifier, have no blocks and no class token, and were trained on no views.
  asking_more = ("accuracy", "linear_dinov2", "lidar", "attention_segmentation")
  names = [name for name in PROTOCOLS if name not in asking_more]
  of_places = [name for name in PROTOCOLS if {"calibration", "scenes", "sequences"} & {*PROTOCOLS[name].splits}]
  assert supported_protocols(model, data) == names
  assert supported_protocols(position_model(GRID), data) == of_places
  results = {model.name: run_protocols(names, model, data, **SMALL)}
  for baseline in (position_model(GRID), foreground_model(GRID)):
    results[baseline.name] = run_protocols(
      supported_protocols(baseline, data), baseline, data, **{name: SMALL[name] for name in of_places if name in SMALL}
    )
  assert not [(model, name) for model, found in results.items() for name in found if "error" in found[name]]
  pixels, position = results["raw pixels"], results["position only"]
  assert pixels["knn"]["metrics"]["k1"] == 1.0 and pixels["linear"]["metrics"]["accuracy"] == 1.0
  assert pixels["few_labels"]["metrics"]["n2"] == 1.0
  iou = lambda result: result["prompt_segmentation"]["metrics"]["miou_random_fixed"]
  assert iou(pixels) > iou(position) > iou(results["everything foreground"])
  assert pixels["object_similarity"]["metrics"]["overlap"] < position["object_similarity"]["metrics"]["overlap"]
  for protocol, metric in dict(neighbour_segmentation="miou", linear_segmentation="miou", mask_propagation="j").items():
    everything = results["everything foreground"][protocol]["metrics"][metric]
    assert pixels[protocol]["metrics"][metric] > max(position[protocol]["metrics"][metric], everything), protocol
  table = format_table(results)
  assert table.startswith("knn: test images whose") and "temperature=0.07" in table
  assert "similarity=position_similarity" in table
  block = table.split("\n\n")[names.index("prompt_segmentation")].splitlines()
  assert len({len(line) for line in block[4:8]}) == 1, block  # the last columns are aligned
  assert all(": " in part.splitlines()[0] for part in table.split("\n\n"))  # what every protocol means


def _pixels(batch):
  return batch["image"].reshape(len(batch["image"]), -1).astype(np.float32)


def test_features_are_computed_once_for_all_protocols():
  calls = []

  def image_features(batch):
    calls.append(len(batch["image"]))
    return _pixels(batch)[:, :5]

  embeddings = lambda batch: batch["image"][:, 0, 0].astype(np.float32)
  data, model = _data(), FeatureModel("mine", image_features, embeddings=embeddings)
  results = run_protocols(
    ["knn", "linear", "rankme"], model, data, knn=SMALL["knn"], linear=SMALL["linear"], rankme=dict(images=30)
  )
  assert calls == [40, 20]
  told = dict(n=30, dim=5, eps=1e-7, center=False, of="features and embeddings", embeddings_dim=3, seed=0)
  assert results["rankme"]["parameters"] == told


def test_unknown_names_are_refused_before_anything_is_run():
  data, model = _data(), FeatureModel("mine", _pixels)
  with pytest.raises(ConfigError, match="'kn'.*'knn'"):
    run_protocols(["kn"], model, data)
  with pytest.raises(ConfigError, match="no number 'temprature'.*'temperature'"):
    run_protocols(["knn"], model, data, knn=dict(temprature=1.0))
  with pytest.raises(ConfigError, match="'linear', which is not run"):
    run_protocols(["knn"], model, data, linear=dict(epochs=1))
  for number, message in (
    (dict(k="many"), "knn:k='many': it must be a whole number"),
    (dict(k=0), "knn:k=0: it must be at least 1"),
    (dict(k=()), r"knn:k=\(\): give at least one"),
    (dict(temperature=True), "knn:temperature=True: it must be a number"),
  ):
    with pytest.raises(ConfigError, match=message):
      run_protocols(["knn"], model, data, knn=number)


def _error(name, model, data):
  """Why a protocol cannot be run; that it does not keep the others from being run."""
  results = run_protocols([name, "rankme"] if name != "rankme" else ["rankme", "knn"], model, data)
  assert len(results) == 2 and not results[name]["metrics"]
  assert format_table(dict(mine=results)).count("mine: could not be run: ") >= 1
  return results[name]["error"]


def test_what_is_missing_is_named_and_the_other_protocols_are_run():
  whole, model = _data(), FeatureModel("mine", _pixels)
  train = whole.source("train")
  assert _error("object_similarity", model, whole) == "'mine' has no patch_features and 'mine' has no grid"
  assert _error("knn", model, EvaluationData(train=train)) == "the data has no test"
  unlabelled = dict(image=whole.array("train", "image"))
  data = EvaluationData(unlabelled, whole.source("test"))
  assert _error("knn", model, data) == "train has no 'label' (train); it has image"
  broken = FeatureModel("broken", lambda batch: np.full((len(batch["image"]), 2), np.nan))
  assert "'broken' on train are not all finite" in _error("rankme", broken, whole)
  results = run_protocols(["object_similarity", "rankme"], model, whole)
  assert results["rankme"]["metrics"]["rankme"] > 1


def _labelled(train, test):
  rng = np.random.default_rng(0)
  make = lambda labels: dict(
    image=np.broadcast_to(40 * np.asarray(labels)[:, None, None, None] % 251, (len(labels), 4, 4, 3)).astype(np.uint8)
    + rng.integers(0, 3, (len(labels), 4, 4, 3), dtype=np.uint8),
    label=np.asarray(labels),
  )
  return EvaluationData(make(train), make(test))


def test_labels_may_be_any_integers():
  model = FeatureModel("mine", lambda batch: np.concatenate([_pixels(batch), np.full((len(batch["image"]), 1), 50)], 1))
  first = run_protocols(
    ["knn", "linear"], model, _labelled([1, 2, 3] * 8, [1, 2, 3, 3]), knn=dict(k=3), linear=SMALL["linear"]
  )
  assert first["knn"]["metrics"] == {"k3": 1.0}
  assert first["knn"]["parameters"]["classes"] == 3 and first["linear"]["parameters"]["chance"] == 0.5
  apart = run_protocols(["knn"], model, _labelled([1, 200, 3000] * 8, [1, 200, 3000]), knn=dict(k=3))
  assert apart["knn"]["parameters"]["classes"] == 3 and "of_classes_not_in_train" not in apart["knn"]["parameters"]
  # A class that training has not seen cannot be right, and of one class there is nothing to tell.
  for name in ("knn", "linear", "few_labels", "logistic_regression", "linear_mae", "clusters"):
    unseen = run_protocols([name], model, _labelled([0, 2] * 12, [0, 1, 2, 5]))[name]
    assert not unseen["metrics"] and "2 of 4 test examples are of classes that train does not have" in unseen["error"]
    one = run_protocols([name], model, _labelled([4] * 30, [4, 4]))[name]
    assert not one["metrics"] and "all examples of train are of one class" in one["error"]
  negative = run_protocols(["knn"], model, _labelled([0, 1] * 12, [-1, -1]))["knn"]
  assert "2 labels of test are negative" in negative["error"]


def test_a_bank_of_fewer_images_than_neighbours_votes_with_all_of_them():
  model = FeatureModel("mine", _pixels)
  result = run_protocols(["knn"], model, _labelled([0, 5] * 4, [0, 5]))["knn"]
  assert list(result["metrics"]) == ["k8"] and result["parameters"]["k"] == (8,)
  assert result["parameters"]["k_asked"] == (10, 20)


def test_classes_of_objects_add_scores_by_class():
  data, segments = _data(), scenes(3, seed=1)
  label = np.array([[0, 1, 1]] * 3, np.int32)
  split = dict(image=_colored(segments), segments=segments, segment_label=label)
  found = run_protocols(
    ["prompt_segmentation", "object_similarity"],
    position_model(GRID),
    EvaluationData(calibration=data.source("calibration"), scenes=split),
    prompt_segmentation=SMALL["prompt_segmentation"],
  )
  assert 0 < found["prompt_segmentation"]["metrics"]["class_miou_random_fixed"] < 1
  assert {"overlap_same_class", "overlap_other_class"} <= found["object_similarity"]["metrics"].keys()
  none = dict(split, segment_label=np.full((3, 3), -1, np.int32))
  data = EvaluationData(calibration=data.source("calibration"), scenes=none)
  found = run_protocols(["prompt_segmentation", "object_similarity"], position_model(GRID), data)
  assert not any("class" in name for result in found.values() for name in result["metrics"])
  few = dict(split, segment_label=np.zeros((3, 1), np.int32))
  error = run_protocols(["object_similarity"], position_model(GRID), EvaluationData(scenes=few))["object_similarity"][
    "error"
  ]
  assert "segment_label [3, 1] must be [images, instances], of instances up to" in error


def test_classes_of_pixels_are_those_of_objects():
  data, segments = _data(), scenes(3, seed=1)

  def run(label):
    split = dict(image=_colored(segments), segments=segments) | ({} if label is None else dict(segment_label=label))
    both = EvaluationData(calibration=data.source("calibration"), scenes=split)
    return run_protocols(["neighbour_segmentation"], position_model(GRID), both)["neighbour_segmentation"]

  found = run(np.array([[0, 7, -1]] * 3))["parameters"]
  assert found["classes"] == 5 and found["classes_not_in_calibration"] == 1
  assert found["constant_pixel_accuracy"] == round((segments == 0).sum() / (segments != 3).sum(), 4)
  assert "has no 'segment_label' (scenes)" in run(None)["error"]
  assert "must be [images, instances], of instances up to 3" in run(np.zeros((3, 1), int))["error"]
  none = dict(image=_colored(segments), segments=segments, segment_label=np.full((3, 3), -1))
  error = run_protocols(["neighbour_segmentation"], position_model(GRID), EvaluationData(calibration=none, scenes=none))
  assert "no object has a class" in error["neighbour_segmentation"]["error"]


def test_scenes_are_scored_where_the_patches_lie():
  """Scenes in the corner of a larger canvas score as alone, through the view of their valid part."""
  segments = scenes(3, seed=1)
  small = dict(image=_colored(segments), segments=segments)
  large = {key: np.pad(x, [(0, 0), (0, 16), (0, 24)] + [(0, 0)] * (x.ndim - 3)) for key, x in small.items()}
  large["extent"] = np.array([[32, 32]] * 3)
  score = lambda split: run_protocols(["object_similarity"], position_model(GRID, View(32)), EvaluationData(scenes=split))[
    "object_similarity"
  ]
  assert score(small)["metrics"] == score(large)["metrics"] and score(small)["metrics"]["overlap"] < 1


def fraction_of_class(model, data, features, *, label, scale=1.0):
  """The share of test images of one class.

  More about it.
  """
  del model, features
  return dict(metrics=dict(share=scale * float((data.array("test", "label") == label).mean())))


OBJECT = Protocol(lambda model, data, features: dict(metrics=dict(one=1.0)), {}, (), ("test",), "always one")
NUMBER = 3


def test_protocols_of_the_users_own():
  data, model, name = _data(), FeatureModel("mine", _pixels), "tests.evaluation.test_protocols:fraction_of_class"
  results = run_protocols([name], model, data, **{name: dict(label=1, scale=2)})
  assert results[name]["metrics"]["share"] == 2 * (data.array("test", "label") == 1).mean()
  assert format_table(dict(mine=results)).startswith(f"{name}: The share of test images of one class.\n")
  with pytest.raises(ConfigError, match=f"needs a number 'label': write {name}:label="):
    run_protocols([name], model, data)
  assert run_protocols([f"{__name__}:OBJECT"], model, data)[f"{__name__}:OBJECT"]["metrics"] == dict(one=1.0)
  for wrong, message in (
    (f"{__name__}:NUMBER", "neither"),
    (f"{__name__}:fractoin_of_class", "fraction_of_class"),
    ("no_mod:f", "no_mod"),
  ):
    with pytest.raises(ConfigError, match=message):
      run_protocols([wrong], model, data)


@pytest.mark.parametrize(
  "specs, expected",
  [
    (["knn"], {"knn": {}}),
    (["knn:k=200,linear:epochs=20"], {"knn": dict(k=200), "linear": dict(epochs=20)}),
    (["knn:k=(10,20),temperature=0.1,rankme"], {"knn": dict(k=(10, 20), temperature=0.1), "rankme": {}}),
    (["knn : k = [1, 2] , linear:standardize=false"], {"knn": dict(k=(1, 2)), "linear": dict(standardize=False)}),
    (["a.b:probe", "a.b:other:x=1e-3,y=word"], {"a.b:probe": {}, "a.b:other": dict(x=1e-3, y="word")}),
    (["knn,", " "], {"knn": {}}),
  ],
)
def test_how_protocols_and_numbers_are_written(specs, expected):
  assert parse_protocols(specs) == expected


@pytest.mark.parametrize(
  "spec, message",
  [
    ("k=3", "a number of which protocol"),
    ("knn:k", "no protocol|knn:k"),
    ("knn:k=", "write knn:number=value"),
    ("knn:k=1,k=2", "each number once"),
    ("knn,knn", "'knn' is named twice"),
    ("knn:k=(1,2", "cannot be read"),
    ("kn n", "write protocol"),
  ],
)
def test_what_cannot_be_read_is_one_line(spec, message):
  data, model = _data(), FeatureModel("mine", _pixels)
  with pytest.raises(ConfigError, match=message) as caught:
    numbers = parse_protocols([spec])
    run_protocols(numbers, model, data, **numbers)
  assert "\n" not in str(caught.value)


def test_a_table_shows_missing_values_and_unlike_parameters():
  results = dict(
    a=dict(knn=dict(metrics=dict(k1=0.5, k20=12.345), parameters=dict(t=0.1, k=(1, 20)))),
    b=dict(knn=dict(metrics=dict(k1=1), parameters=dict(t=0.1, k=(1,)))),
  )
  assert format_table(results).splitlines() == [
    "knn",
    "       k1    k20",
    "a  0.5000  12.35",
    "b       1      -",
    "  t=0.1",
    "  a: k=(1, 20)",
    "  b: k=(1,)",
  ]
