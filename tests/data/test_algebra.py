"""Sources made of sources: the same of arrays in memory, of a stream, and of image files."""

import dataclasses
import json

import jax
import numpy as np
from PIL import Image
import pytest

from jssl import data, workdirs
from jssl.config import default_config, flatten, from_json, to_json
from jssl.data import algebra
from jssl.data.image_changes import gaussian_noise
from jssl.errors import ConfigError
from jssl.evaluate import evaluate
from jssl.train import train_and_evaluate
from tests import methods


def in_memory(examples: int = 200, classes: int = 5):
  rng = np.random.default_rng(0)
  label = rng.integers(0, classes, examples)
  return data.from_arrays(
    image=rng.integers(0, 256, (examples, 12, 10, 3)).astype(np.uint8),
    extent=np.stack([rng.integers(6, 13, examples), rng.integers(6, 11, examples)], 1),
    label=label,
    group=np.arange(examples) // 10,
    kind=label % 2,
    number=np.arange(examples),
    whole=dict(table=np.arange(4.0)),
  )


def streamed(source, *, labels_only: bool = False):
  """The same examples, read when they are asked for; with `labels_only` it is an error to read anything larger."""

  def read(indices, keys):
    if labels_only and {"image", "extent"} & set(keys):
      raise AssertionError("the stream was read")
    return {key: source.arrays[key][indices] for key in keys}

  return dataclasses.replace(source, arrays=None, read=read)


OTHER = data.from_arrays(
  image=np.full((7, 16, 4, 1), 9, np.uint8), label=[0, 6] * 3 + [2], number=np.arange(7), note=np.zeros(7)
)
DERIVED = {
  "keep_classes": lambda s: algebra.keep_classes(s, classes=(3, 0)),
  "keep_numbers": lambda s: algebra.keep_classes(s, classes=(3, 0), renumber=False),
  "merge_labels": lambda s: algebra.merge_labels(s, groups=((0, 4), (1, 2, 3))),
  "long_tail": lambda s: algebra.long_tail(s, factor=8),
  "fraction": lambda s: algebra.fraction(s, share=0.25),
  "per_class": lambda s: algebra.fraction(s, per_class=3, seed=1),
  "groups": lambda s: algebra.fraction(s, share=0.3, group="group"),
  "hold_out": lambda s: algebra.hold_out(s, share=0.2),
  "tasks": lambda s: algebra.tasks(s, k=2, task=1),
  "concatenate": lambda s: algebra.concatenate(s, others=(OTHER,), domain="domain"),
  "apart": lambda s: algebra.concatenate(s, others=(OTHER, OTHER), labels="apart"),
  "noisy": lambda s: algebra.relabelled(s, noise=0.5),
  "given": lambda s: algebra.relabelled(s, labels=np.arange(200) % 3),
  "multi_labels": lambda s: algebra.multi_labels(s, of=("label", "kind"), share=0.5),
  "corrupt": lambda s: algebra.corrupt(s, kind="gaussian_noise", severity=2),
  "poison": lambda s: algebra.poison(s, share=0.5, target=2),
  "styled": lambda s: algebra.styled(s, styles=("plain", "edges", dict(fn="tinted", color=(1.0, 0.2, 0.0)))),
  "chain": lambda s: algebra.corrupt(
    algebra.fraction(algebra.keep_classes(algebra.long_tail(s, factor=4), classes=(4, 1)), share=0.5), kind="blur"
  ),
}


@pytest.mark.parametrize("name", DERIVED)
def test_a_stream_gives_what_arrays_give_and_is_not_read_before(name):
  source = in_memory()
  whole = DERIVED[name](source)
  lazy = DERIVED[name](streamed(source, labels_only=True))
  stream = DERIVED[name](streamed(source))
  assert whole.name.startswith("arrays.") or whole.name.startswith("concatenate(arrays, ")
  assert stream.name == lazy.name == whole.name != source.name and stream.arrays is None
  assert len(lazy) == len(whole) and stream.num_classes == whole.num_classes
  order = np.random.default_rng(1).permutation(len(whole))
  found, expected = stream.get(order), whole.get(order)
  assert list(found) == list(expected) == list(whole.element_spec) == list(stream.element_spec)
  for key, spec in whole.element_spec.items():
    np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
    np.testing.assert_array_equal(stream.get(order, (key,))[key], expected[key], err_msg=key)
    assert (whole.arrays[key].shape[1:], whole.arrays[key].dtype) == (spec.shape, np.dtype(spec.dtype)), key
    assert found[key].dtype == spec.dtype
  assert whole.whole.keys() == {"table"}
  if whole.num_classes and name != "keep_numbers":
    assert whole.arrays["label"].max() < whole.num_classes
  assert data.fingerprint(whole)["sha256"] != data.fingerprint(source)["sha256"]


def untouched(found, source, *, but=()):
  """Each example of a source is the one of that number of another, but for some arrays."""
  number = found.arrays["number"]
  for key in source.arrays:
    if key not in but:
      np.testing.assert_array_equal(found.arrays[key], source.arrays[key][number], err_msg=key)


def test_classes_are_kept_renumbered_and_merged():
  source = in_memory()
  kept = algebra.keep_classes(source, classes=(3, 0))
  untouched(kept, source, but=("label",))
  before = source.arrays["label"][kept.arrays["number"]]
  np.testing.assert_array_equal(kept.arrays["label"], np.where(before == 3, 0, 1))
  assert len(kept) == np.isin(source.arrays["label"], (0, 3)).sum() and kept.num_classes == 2
  merged = algebra.merge_labels(source, groups=((0, 4), (1, 2, 3)))
  np.testing.assert_array_equal(merged.arrays["label"], ~np.isin(source.arrays["label"], (0, 4)))
  untouched(merged, source, but=("label",))
  beside = algebra.merge_labels(source, groups=((0, 4), (1, 2, 3)), to="coarse")
  np.testing.assert_array_equal(beside.arrays["coarse"], merged.arrays["label"])
  untouched(beside, source, but=("coarse",))
  assert merged.num_classes == 2 and beside.num_classes == source.num_classes
  of_numbers = algebra.merge_labels(source, groups=(range(1, len(source)), (0,)), of="number", to="first")
  np.testing.assert_array_equal(of_numbers.arrays["first"], source.arrays["number"] == 0)


def test_a_long_tail_has_the_sizes_of_its_formula():
  label = np.repeat(np.arange(5), 100)
  source = data.from_arrays(label=label, number=np.arange(500))
  found = algebra.long_tail(source, factor=100)
  np.testing.assert_array_equal(np.bincount(found.arrays["label"]), [100, 31, 10, 3, 1])
  other = algebra.long_tail(source, factor=100, order=(4, 3, 2, 1, 0))
  np.testing.assert_array_equal(np.bincount(other.arrays["label"]), [1, 3, 10, 31, 100])
  again = algebra.long_tail(source, factor=100, seed=1)
  assert not np.array_equal(again.arrays["number"], found.arrays["number"])
  untouched(found, source)


def test_fractions_are_stratified_and_nested():
  label = np.repeat(np.arange(3), (200, 100, 4))
  source = data.from_arrays(label=label, number=np.arange(304))
  sizes = lambda s: np.bincount(s.arrays["label"], minlength=3).tolist()
  numbers = lambda s: set(s.arrays["number"].tolist())
  tenth, half = algebra.fraction(source, share=0.1), algebra.fraction(source, share=0.5)
  assert (sizes(tenth), sizes(half)) == ([20, 10, 1], [100, 50, 2])
  assert numbers(tenth) < numbers(half)
  assert numbers(tenth) != numbers(algebra.fraction(source, share=0.1, seed=1))
  for count in (1, 4):
    assert sizes(algebra.fraction(source, per_class=count)) == [count] * 3
  assert numbers(algebra.fraction(source, per_class=1)) < numbers(algebra.fraction(source, per_class=4))
  unlabelled = data.from_arrays(number=np.arange(304))
  assert len(algebra.fraction(unlabelled, share=0.25)) == 76
  # Which examples are drawn does not follow their order.
  assert 0.3 < np.mean(algebra.fraction(unlabelled, share=0.5).arrays["number"]) / 303 < 0.7


def test_groups_are_in_or_out_as_a_whole():
  source = in_memory()
  found = algebra.fraction(source, share=0.3, group="group")
  assert len(found) == 60 and (np.unique(found.arrays["group"], return_counts=True)[1] == 10).all()
  # Where a group has one label, each class gives its share of the groups.
  group = np.repeat(np.arange(20), 5)
  one_label = data.from_arrays(label=group // 10, group=group, number=np.arange(100))
  found = algebra.fraction(one_label, per_class=2, group="group")
  assert np.bincount(found.arrays["label"]).tolist() == [10, 10] and len(np.unique(found.arrays["group"])) == 4
  with pytest.raises(ConfigError, match="the groups 'group' have examples of several classes; give a share"):
    algebra.fraction(source, per_class=2, group="group")


@pytest.mark.parametrize("numbers", [dict(share=0.2), dict(per_class=4), dict(share=0.25, group="group")])
def test_parts_of_a_hold_out_make_up_the_set(numbers):
  source = in_memory()
  rest, held = (algebra.hold_out(source, part=part, **numbers) for part in ("rest", "held"))
  numbers = [set(part.arrays["number"].tolist()) for part in (rest, held)]
  assert not numbers[0] & numbers[1] and numbers[0] | numbers[1] == set(range(200)) and 0 < len(held) < len(rest)
  assert rest.name != held.name


def test_tasks_share_no_class_and_cover_all():
  source = in_memory()
  parts = [algebra.tasks(source, k=2, task=i) for i in range(2)]
  assert [sorted(set(part.arrays["label"].tolist())) for part in parts] == [[0, 1, 2], [3, 4]]
  assert sum(map(len, parts)) == len(source) and {part.num_classes for part in parts} == {5}
  assert len(algebra.tasks(source, k=2, task=1, cumulative=True)) == len(source)
  drawn = [algebra.tasks(source, k=5, task=i, shuffled=True, seed=3) for i in range(5)]
  classes = [set(part.arrays["label"].tolist()) for part in drawn]
  assert set().union(*classes) == set(range(5)) and classes != [{i} for i in range(5)]


def test_concatenated_sources_keep_their_examples_on_one_canvas():
  source = in_memory()
  found = algebra.concatenate(source, others=(OTHER,), domain="domain")
  assert found.element_spec["image"].shape == (16, 10, 3) and found.num_classes == 7 and len(found) == 207
  np.testing.assert_array_equal(found.arrays["domain"], [0] * 200 + [1] * 7)
  np.testing.assert_array_equal(found.arrays["image"][:200, :12, :10], source.arrays["image"])
  assert (found.arrays["image"][200:, :16, :4] == 9).all() and not found.arrays["image"][200:, :, 4:].any()
  assert not found.arrays["image"][:200, 12:].any()
  np.testing.assert_array_equal(found.arrays["extent"][200:], [[16, 4]] * 7)
  assert {"group", "note"}.isdisjoint(found.element_spec)
  apart = algebra.concatenate(source, others=(OTHER, OTHER), labels="apart")
  np.testing.assert_array_equal(apart.arrays["label"][-7:], OTHER.arrays["label"] + 12)
  assert apart.num_classes == 19
  with pytest.raises(ConfigError, match=r"'number' is not the same in all: arrays: int32\[\]; arrays: float32\[2\]"):
    algebra.concatenate(source, others=(data.from_arrays(number=np.zeros((3, 2))),))


def test_wrong_labels_are_as_many_as_asked_for():
  label = np.arange(1000) % 4
  source = data.from_arrays(label=label)
  noisy = algebra.relabelled(source, noise=0.3).arrays["label"]
  assert (noisy != label).sum() == 300 and set(noisy.tolist()) == {0, 1, 2, 3}
  matrix = np.histogram2d(label, noisy, bins=4)[0] / 250
  assert (np.abs(matrix[~np.eye(4, dtype=bool)] - 0.1) < 0.06).all()
  permuted = algebra.relabelled(source, noise=0.6, permuted=True).arrays["label"]
  np.testing.assert_array_equal(np.bincount(permuted), np.bincount(label))
  assert 350 < (permuted != label).sum() < 550


def test_labels_may_come_from_a_file(tmp_path):
  np.save(tmp_path / "labels.npy", np.arange(8) % 3)
  source = data.from_arrays(x=np.zeros(8))
  found = algebra.relabelled(source, labels=str(tmp_path / "labels.npy"))
  assert found.arrays["label"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1] and found.num_classes == 3
  with pytest.raises(ConfigError, match=r"labels must be integers >= 0 \[8\]"):
    algebra.relabelled(source, labels=[0, 1])
  with pytest.raises(ConfigError, match="No such file"):
    algebra.relabelled(source, labels=str(tmp_path / "lables.npy"))


def test_several_labels_are_one_vector_where_they_are_known():
  source = in_memory()
  found = algebra.multi_labels(source, of=("label", "kind"), share=0.4)
  vector, known = found.arrays["multi_label"], found.arrays["known"]
  assert vector.shape == (200, 7) and known.sum() == 80
  label, kind = source.arrays["label"], source.arrays["kind"]
  np.testing.assert_array_equal(vector, np.concatenate([np.eye(5)[label], np.eye(2)[kind]], 1) * known[:, None])


def test_images_are_changed_within_their_extent_and_only_where_asked_for():
  source = in_memory()
  poisoned = algebra.poison(source, share=0.5, target=2, trigger=dict(fn="patch", side=3, margin=0))
  marked = poisoned.arrays["poisoned"]
  assert marked.sum() == round(0.5 * (source.arrays["label"] == 2).sum()) and (source.arrays["label"][marked] == 2).all()
  np.testing.assert_array_equal(poisoned.arrays["image"][~marked], source.arrays["image"][~marked])
  for image, before, (height, width) in zip(
    poisoned.arrays["image"][marked], source.arrays["image"][marked], source.arrays["extent"][marked], strict=True
  ):
    board = image[height - 3 : height, width - 3 : width, 0]
    np.testing.assert_array_equal(board, [[255, 0, 255], [0, 255, 0], [255, 0, 255]])
    image, before = image.copy(), before.copy()
    image[height - 3 : height, width - 3 : width] = before[height - 3 : height, width - 3 : width] = 0
    np.testing.assert_array_equal(image, before)
  noisy = algebra.corrupt(source, kind="gaussian_noise", severity=1).arrays["image"]
  height, width = source.arrays["extent"][0]
  np.testing.assert_array_equal(noisy[0, height:], source.arrays["image"][0, height:])
  difference = np.float64(noisy) - source.arrays["image"]
  middle = (source.arrays["image"] > 80) & (source.arrays["image"] < 175) & (difference != 0)
  assert abs(difference[middle].std() / (0.08 * 255) - 1) < 0.05  # ImageNet-C's first severity


def test_styles_are_the_functions_of_their_names():
  source = in_memory()
  found = algebra.styled(source, styles=("plain", "inverted"))
  style = found.arrays["domain"]
  assert 60 < style.sum() < 140
  height, width = source.arrays["extent"][style == 1][0]
  np.testing.assert_array_equal(found.arrays["image"][style == 0], source.arrays["image"][style == 0])
  before, after = (s.arrays["image"][style == 1][0] for s in (source, found))
  np.testing.assert_array_equal(after[:height, :width], 255 - before[:height, :width])


@pytest.mark.parametrize("kind", ["impulse_noise", "blur", "contrast", "brightness", "pixelate", "jpeg"])
def test_a_corruption_is_worse_at_a_higher_severity(kind):
  smooth = np.repeat(np.repeat(np.random.default_rng(0).integers(40, 160, (4, 4, 4, 3)), 8, 1), 8, 2).astype(np.uint8)
  source = data.from_arrays(image=smooth)
  far = [
    np.abs(np.float64(algebra.corrupt(source, kind=kind, severity=s).arrays["image"]) - smooth).mean() for s in (1, 3, 5)
  ]
  assert 0 < far[0] < far[1] < far[2] or kind == "pixelate"  # which falls on the edges of the squares at some severities
  assert algebra.corrupt(data.from_arrays(image=smooth[..., :1]), kind=kind).element_spec["image"].shape == (32, 32, 1)


def classes_of_files(folder, count: int = 24):
  """A folder of classes 0 to 2 of images of different sizes, whose red value is their number."""
  for i in range(count):
    path = folder / f"{i % 3}" / f"{i:03}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((20 + i, 18, 3), np.uint8)
    image[..., 0] = i
    Image.fromarray(image).save(path)
  return data.load(f"folder:{folder}", canvas=32)


def crop(places, extents):
  from jssl.views.crops import Crop  # pylint: disable=g-import-not-at-top

  whole = np.concatenate([np.zeros((len(places), 2)), extents], 1)
  return {"image@v": Crop(whole, (4, 4), "bicubic", False)}


def test_files_stay_files(tmp_path):
  """Crops are cut out of the right file, and what cannot be read is replaced by an example of the same part."""
  source = classes_of_files(tmp_path / "a")
  kept = algebra.fraction(algebra.keep_classes(source, classes=(2, 0)), share=0.5)
  assert kept.encoded is not None and kept.arrays is None and len(kept) == 8
  found = kept.get(np.arange(8), ("label", "image", "extent"), crop)
  red = found["image"][:, 0, 0, 0]
  np.testing.assert_array_equal(found["label"], np.where(red % 3 == 2, 0, 1))
  np.testing.assert_array_equal(found["image@v"][:, 2, 2, 0], red)
  np.testing.assert_array_equal(kept.get(np.arange(8), ("label",))["label"], found["label"])
  both = algebra.concatenate(kept, others=(classes_of_files(tmp_path / "b", 6),), domain="of")
  assert both.encoded is not None
  found = both.get([3, 9], ("image", "of", "label"), crop)
  np.testing.assert_array_equal(found["image@v"][:, 2, 2, 0], [red[3], 3])
  assert found["of"].tolist() == [0, 1] and found["label"].tolist() == [0 if red[3] % 3 == 2 else 1, 0]
  assert algebra.corrupt(kept, kind="blur").encoded is None
  broken = sorted((tmp_path / "a" / "0").iterdir())[0]
  broken.write_bytes(b"no image")
  part = algebra.keep_classes(data.load(f"folder:{tmp_path}/a", canvas=32), classes=(0,))
  found = part.get(np.arange(len(part)), ("image", "label"))
  assert found["image"][0, 0, 0, 0] == 3 and not found["label"].any() and list(part.unreadable) == [str(broken)]


@pytest.mark.parametrize(
  "make, message",
  [
    (lambda s: algebra.keep_classes(s, classes=(0, 9)), "no example of class 9"),
    (lambda s: algebra.keep_classes(s, classes=(0, 0)), "different labels"),
    (lambda s: algebra.merge_labels(s, groups=((0, 1), (2, 3))), "class 4 is in no group"),
    (lambda s: algebra.merge_labels(s, groups=((0, 1),), of="number"), "merge_labels: number 2 is in no group"),
    (lambda s: algebra.long_tail(s, factor=0.1), "at least 1"),
    (lambda s: algebra.long_tail(s, factor=2, order=(0, 1)), "each of the classes"),
    (lambda s: algebra.fraction(s), "one of share and per_class"),
    (lambda s: algebra.fraction(s, share=1.5), r"a share lies in \(0, 1\]"),
    (lambda s: algebra.fraction(s, per_class=150), "has only"),
    (lambda s: algebra.fraction(s, share=0.5, group="grup"), "did you mean 'group'"),
    (lambda s: algebra.hold_out(s, share=0.5, part="hold"), "did you mean 'held'"),
    (lambda s: algebra.tasks(s, k=9, task=0), "has 5 classes"),
    (lambda s: algebra.tasks(s, k=2, task=2), "there are 0 to 1"),
    (lambda s: algebra.relabelled(s), "give labels, a noise"),
    (lambda s: algebra.corrupt(s, kind="blurr"), "did you mean 'blur'"),
    (lambda s: algebra.corrupt(s, kind="os:remove"), r"write dict\(fn='os:remove'\)"),
    (lambda s: algebra.corrupt(s, kind="blur", severity=6), "one of 1 to 5"),
    (lambda s: algebra.corrupt(data.from_arrays(x=np.zeros(3)), kind="blur"), "has no 'image'"),
    (lambda s: algebra.poison(s, trigger=dict(fn="patch", side=40)), "does not fit"),
    (lambda s: algebra.poison(s, trigger=dict(fn="patch", size=4)), "patch has no number 'size'; did you mean 'side'"),
    (lambda s: algebra.styled(s, styles="edges"), "give a tuple"),
    (
      lambda s: algebra.fraction(data.from_iterator(lambda k: iter([dict(s.arrays)]), num_examples=200), share=0.5),
      "iterator",
    ),
  ],
)
def test_what_cannot_be_is_told(make, message):
  with pytest.raises(ConfigError, match=message) as error:
    make(in_memory())
  assert "\n" not in str(error.value)


def test_a_config_names_derived_data(tmp_path):
  """In training and in evaluation; the config goes through JSON and the command line."""
  config = methods.small("mae", total_steps=2)
  objects = lambda n: dict(name="objects", options=dict(num_examples=n, image_size=16))
  both = dict(fn="concatenate", others=(objects(32),))
  config.data.update(dict(name="derived", options=dict(of=objects(64), by=(both, dict(fn="long_tail", factor=4)))))
  config.evaluation.train.update(
    dict(name="derived", options=dict(of=objects(128), by=(dict(fn="keep_classes", classes=(3, 5)),)))
  )
  config.evaluation.test.update(
    dict(name="derived", options=dict(of=objects(64), by=(dict(fn="keep_classes", classes=(3, 5)),)))
  )
  config.evaluation.protocols = ("knn:k=3",)
  assert flatten(from_json(to_json(config))) == flatten(config)
  train_and_evaluate(config, tmp_path, devices=jax.devices()[:1])
  about = json.loads((tmp_path / "config.json").read_text())["data"]
  assert about["name"] == "concatenate(objects/train, objects/train).long_tail(factor=4, seed=0)" and about["examples"] < 96
  train_and_evaluate(from_json(to_json(config)), tmp_path, devices=jax.devices()[:1])
  found = evaluate(tmp_path)
  assert found["pretrained"]["knn"]["parameters"]["classes"] == 2
  assert found.about["data"]["test"]["name"] == "objects/test.keep_classes(classes=(3, 5))"


@pytest.mark.parametrize("step", [dict(fn="evil:fn"), dict(fn="corrupt", kind=dict(fn="evil:fn"))])
def test_code_of_others_is_not_imported(step, tmp_path):
  config = methods.small("mae")
  config.evaluation.train.update(dict(name="derived", options=dict(of=dict(name="objects"), by=(step,))))
  (tmp_path / "config.json").write_text(json.dumps(dict(config=json.loads(to_json(config)))))
  with pytest.raises(ConfigError, match=r"config\.evaluation\.train\.options\.by.*--modules=evil"):
    workdirs.trusted_config(tmp_path)


@pytest.mark.parametrize(
  "options, message",
  [
    ({}, "option 'of' is missing"),
    (dict(of=dict(nam="objects")), "unknown key 'nam'; did you mean 'name'"),
    (dict(of=dict(name="objects"), by=(dict(share=0.5),)), r"by\[0\]: 'fn' is missing"),
    (dict(of=dict(name="objects"), by=(dict(fn="fractoin", share=0.5),)), r"by\[0\]: .* did you mean 'fraction'"),
    (dict(of=dict(name="objects"), by=(dict(fn="fraction", shares=0.5),)), r"by\[0\]: .* did you mean 'share'"),
  ],
)
def test_a_config_that_misspells_derived_data_is_told(options, message):
  config = default_config()
  config.data.update(dict(name="derived", options=options))
  with pytest.raises(ConfigError, match=message):
    data.load(config.data.name, split="test", **config.data.options)


def test_noise_depends_on_its_entropy_alone():
  image = np.full((6, 5, 3), 128, np.uint8)
  np.testing.assert_array_equal(gaussian_noise(image, (0, 1, 2)), gaussian_noise(image, (0, 1, 2)))
  assert not np.array_equal(gaussian_noise(image, (0, 1, 2)), gaussian_noise(image, (0, 1, 3)))
