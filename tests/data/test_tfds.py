import io
import json
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from jssl import data, views
from jssl.data import idx, prepare
from jssl.data import tfds as tfds_room
from jssl.errors import ConfigError
from tests import idx_files


def test_a_set_that_is_not_prepared_names_the_command(tmp_path):
  with pytest.raises(data.DataError) as error:
    data.load("tfds:cifar10", data_dir=str(tmp_path))
  assert str(error.value).endswith(f"run: python -m jssl.data.prepare cifar10 --data_dir {tmp_path}")
  assert "\n" not in str(error.value)


def folders(root: pathlib.Path, *names: str) -> None:
  for name in names:
    (root / name).mkdir(parents=True)
    (root / name / "dataset_info.json").write_text(json.dumps({}))


def test_the_newest_version_is_found(tmp_path):
  folders(tmp_path, "mnist/3.0.1", "mnist/3.0.10", "sized/64x64/1.0.0", "sized/32x32/1.0.0", "mnist/incomplete.1")
  found = {
    name: str(tfds_room._prepared_folder(name, str(tmp_path)).relative_to(tmp_path))
    for name in ("mnist", "mnist:3.0.1", "sized/64x64", "sized/64x64:1.0.0")
  }
  assert found == {
    "mnist": "mnist/3.0.10",
    "mnist:3.0.1": "mnist/3.0.1",
    "sized/64x64": "sized/64x64/1.0.0",
    "sized/64x64:1.0.0": "sized/64x64/1.0.0",
  }
  with pytest.raises(ConfigError, match="tfds:sized/32x32, tfds:sized/64x64"):
    data.load("tfds:sized", data_dir=str(tmp_path))
  with pytest.raises(data.DataError, match=r"there are: mnist, sized"):
    data.load("tfds:mnist:9.9.9", data_dir=str(tmp_path))


@pytest.mark.parametrize("missing", ["array_record", "tensorflow_datasets"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing):
  folders(tmp_path, "mnist/3.0.1")
  find_spec = tfds_room.importlib.util.find_spec
  monkeypatch.setattr(tfds_room.importlib.util, "find_spec", lambda name: None if name == missing else find_spec(name))
  with pytest.raises(data.DataError, match=rf"needs {missing}: pip install 'jssl\[tfds\]'"):
    data.load("tfds:mnist", data_dir=str(tmp_path))


def test_preparing_without_tensorflow_says_so_in_one_line(monkeypatch, capsys):
  monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
  assert prepare.main(["cifar10"]) == 2
  assert capsys.readouterr().err == (
    "error: preparing needs tensorflow (reading does not need TensorFlow): pip install 'jssl[prepare]'\n"
  )
  assert prepare.main(["cifar10", "--idx_dir", "x"]) == 2
  assert "--idx_dir is for fashion_mnist" in capsys.readouterr().err


def encoded(array: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(array).save(file, "PNG")
  return file.getvalue()


def write_prepared(root: pathlib.Path, shape, images: list[bytes], file_format: str = "array_record") -> None:
  """What tensorflow-datasets leaves on disk for a split of PNGs with a label, a box of two floats and a text."""
  from array_record.python import array_record_module  # pylint: disable=g-import-not-at-top
  from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2  # pylint: disable=g-import-not-at-top

  folder = root / "tiny" / "1.0.0"
  folder.mkdir(parents=True)
  writer = array_record_module.ArrayRecordWriter(str(folder / "tiny-train.array_record-00000-of-00001"), "group_size:1")
  for number, image in enumerate(images):
    feature = {
      "image": tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[image])),
      "label": tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[number])),
      "box": tf_feature_pb2.Feature(float_list=tf_feature_pb2.FloatList(value=[number, 0.5])),
      "id": tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[b"name"])),
    }
    writer.write(tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=feature)).SerializeToString())
  writer.close()
  kind = "tensorflow_datasets.core.features."
  dimensions = lambda sides: {"dimensions": [str(side) for side in sides]}
  features = {
    "image": {
      "pythonClassName": kind + "image_feature.Image",
      "image": {"dtype": "uint8", "encodingFormat": "png", "shape": dimensions(shape)},
    },
    "label": {"pythonClassName": kind + "class_label_feature.ClassLabel", "classLabel": {"numClasses": "9"}},
    "box": {
      "pythonClassName": kind + "tensor_feature.Tensor",
      "tensor": {"dtype": "float32", "encoding": "none", "shape": dimensions([2])},
    },
    "id": {"pythonClassName": kind + "text_feature.Text", "text": {}},
  }
  (folder / "features.json").write_text(
    json.dumps({"pythonClassName": kind + "features_dict.FeaturesDict", "featuresDict": {"features": features}})
  )
  (folder / "dataset_info.json").write_text(
    json.dumps(
      {
        "name": "tiny",
        "version": "1.0.0",
        "fileFormat": file_format,
        "splits": [
          {
            "name": "train",
            "numBytes": "1",
            "shardLengths": [str(len(images))],
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
          }
        ],
      }
    )
  )


def test_equal_sizes_are_held_in_memory(tmp_path):
  arrays = [np.full((4, 6, 3), i, np.uint8) for i in range(5)]
  write_prepared(tmp_path, (4, 6, 3), [encoded(array) for array in arrays])
  source = data.load("tfds:tiny", data_dir=str(tmp_path))
  assert (len(source), source.num_classes, source.name, source.unreadable) == (5, 9, "tfds:tiny/train", {})
  assert {key: (value.shape, value.dtype) for key, value in source.arrays.items()} == {
    "image": ((5, 4, 6, 3), np.uint8),
    "extent": ((5, 2), np.int32),
    "label": ((5,), np.int32),
    "box": ((5, 2), np.float32),
  }
  batch = source.get([3, 1])
  np.testing.assert_array_equal(batch["image"], np.stack(arrays)[[3, 1]])
  assert batch["label"].tolist() == [3, 1] and batch["box"].tolist() == [[3, 0.5], [1, 0.5]]
  assert batch["extent"].tolist() == [[4, 6]] * 2
  assert len(data.load("tfds:tiny", data_dir=str(tmp_path), split="train[:40%]")) == 2
  with pytest.raises(ConfigError, match="did you mean 'train'"):
    data.load("tfds:tiny", data_dir=str(tmp_path), split="tran[:40%]")


def test_different_sizes_are_streamed_and_the_broken_replaced(tmp_path):
  images = [encoded(np.full(shape, i + 1, np.uint8)) for i, shape in enumerate([(4, 6, 3), (16, 8, 3), (1, 1, 3)])]
  write_prepared(tmp_path, (-1, -1, 3), [*images, b"broken"])  # -1: sizes differ
  source = data.load("tfds:tiny", data_dir=str(tmp_path), canvas=8)
  assert source.arrays is None and source.element_spec["image"].shape == (8, 8, 3)
  batch = source.get([1, 3, 2])
  assert batch["extent"].tolist() == [[8, 4], [4, 6], [1, 1]] and batch["label"].tolist() == [1, 0, 2]
  assert batch["image"][:, 0, 0, 0].tolist() == [2, 1, 3] and not batch["image"][:, :, 6:].any()
  assert list(source.unreadable) == ["tfds:tiny/train#3"]


def test_streamed_images_are_cropped_at_their_own_size(tmp_path):
  rng = np.random.default_rng(0)
  arrays = [rng.integers(0, 256, shape, np.uint8) for shape in [(40, 60, 3), (90, 30, 3)]]
  write_prepared(tmp_path, (-1, -1, 3), [*map(encoded, arrays), b"broken"])
  source = data.load("tfds:tiny", data_dir=str(tmp_path), canvas=8)

  def draw(places, extents):
    return {"middle": views.Crop(np.concatenate([extents // 4, extents // 2], 1), (12, 10), "bicubic", around=False)}

  batch = source.get([1, 2, 0], ("label",), draw)
  assert batch["label"].tolist() == [1, 0, 0]
  for found, array in zip(batch["middle"], (arrays[1], arrays[0], arrays[0]), strict=True):
    height, width = array.shape[:2]
    box = (width // 4, height // 4, width // 4 + width // 2, height // 4 + height // 2)
    np.testing.assert_array_equal(found, Image.fromarray(array).crop(box).resize((10, 12), Image.Resampling.BICUBIC))


def test_large_sets_are_streamed(tmp_path, monkeypatch):
  monkeypatch.setattr(tfds_room, "_IN_MEMORY_BYTES", 100)
  write_prepared(tmp_path, (4, 6, 1), [encoded(np.full((4, 6), i, np.uint8)) for i in range(4)])
  source = data.load("tfds:tiny", data_dir=str(tmp_path))
  assert source.arrays is None
  batches = list(data.batches(source, batch_size=2, seed=0, start_step=0, stop_step=2, keys=("image",)))
  for batch in batches:
    np.testing.assert_array_equal(batch["image"][:, 1, 1, 0], batch["index"])


def test_what_cannot_be_read_is_refused(tmp_path):
  write_prepared(tmp_path / "rgba", (4, 4, 4), [encoded(np.zeros((4, 4, 4), np.uint8))])
  with pytest.raises(data.DataError, match="only uint8 images of 1 or 3 channels"):
    data.load("tfds:tiny", data_dir=str(tmp_path / "rgba"))
  write_prepared(tmp_path / "tfrecord", (4, 4, 3), [encoded(np.zeros((4, 4, 3), np.uint8))], file_format="tfrecord")
  with pytest.raises(data.DataError, match="not in the ArrayRecord format"):
    data.load("tfds:tiny", data_dir=str(tmp_path / "tfrecord"))


def test_reading_needs_no_tensorflow(tmp_path):
  write_prepared(tmp_path, (4, 6, 3), [encoded(np.zeros((4, 6, 3), np.uint8))] * 2)
  code = (
    "import sys; from jssl import data; data.load('tfds:tiny', data_dir=sys.argv[1]).get([0, 1]); "
    "sys.exit('tensorflow' in sys.modules)"
  )
  subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_local_builder_is_prepared_and_read(tmp_path, monkeypatch):
  pytest.importorskip("tensorflow")
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (7, 28, 28)).astype(np.uint8)
  labels = np.arange(7, dtype=np.uint8)
  for name in ("train", "t10k"):
    idx_files.write_fashion(tmp_path, name, images, labels, endings=("", ""))
  spec = prepare.prepare("fashion_mnist", data_dir=str(tmp_path / "tfds"), idx_dir=str(tmp_path))
  assert spec == "tfds:fashion_mnist_idx"
  source = data.load(spec, data_dir=str(tmp_path / "tfds"), split="test")
  expected = idx.load_fashion_mnist(str(tmp_path), split="test")
  for key in expected.arrays:
    np.testing.assert_array_equal(source.arrays[key], expected.arrays[key])
  assert source.num_classes == 10 and len(data.load(spec, data_dir=str(tmp_path / "tfds"), split="train[:3]")) == 3
  with pytest.raises(ConfigError, match="did you mean 'train'"):
    data.load(spec, data_dir=str(tmp_path / "tfds"), split="tran")
