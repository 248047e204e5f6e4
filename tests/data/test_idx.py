import gzip

import numpy as np
import pytest

from jssl import data
from jssl.data import sprites
from jssl.errors import ConfigError
from tests.idx_files import idx, write_fashion

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
  for name, n in (("train", 6), ("t10k", 3)):
    write_fashion(tmp_path, name, RNG.integers(0, 256, (n, 28, 28)), np.arange(n), endings=(".gz", ""))
  return tmp_path


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 28, 28)])
def test_idx_files_are_read(tmp_path, shape):
  array = RNG.integers(0, 256, shape).astype(np.uint8)
  for name, content in (("a", idx(array)), ("a.gz", gzip.compress(idx(array)))):
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(data.read_idx(tmp_path / name), array)


@pytest.mark.parametrize(
  "content, message",
  [
    (b"", "starts with nothing"),
    (b"\0\0\x0d\x01" + bytes(8), "starts with 00000d01"),
    (b"\x89PNG....", "starts with 89504e47"),
    (idx(np.zeros((2, 3), np.uint8))[:7], "within its header"),
    (idx(np.zeros((2, 3), np.uint8))[:-1], r"says \[2, 3\], 6 bytes, but holds 5"),
    (idx(np.zeros((2, 3), np.uint8)) + b"\0", "but holds 7"),
    (gzip.compress(idx(np.zeros((20, 30), np.uint8)))[:-12], "cannot be read"),
    (gzip.compress(bytes(100))[:15] + b"garbage garbage garbage", "cannot be read"),
    (None, "cannot be read"),
  ],
)
def test_damaged_files_say_what_is_wrong(tmp_path, content, message):
  if content is not None:
    (tmp_path / "bad").write_bytes(content)
  with pytest.raises(data.DataError, match=message):
    data.read_idx(tmp_path / "bad")


def test_fashion_mnist_is_read_from_its_files(folder):
  source = data.load(f"fashion_mnist:{folder}", split="test")
  assert len(source) == 3 and source.num_classes == 3 and source.name == "fashion_mnist"
  assert source.element_spec["image"].shape == (28, 28, 1)
  np.testing.assert_array_equal(source.arrays["label"], [0, 1, 2])


def test_fashion_mnist_at_random_places(folder):
  plain = data.load(f"fashion_mnist:{folder}").arrays["image"]
  placed = data.load(f"fashion_mnist:{folder}", canvas=40, seed=3, num_examples=5).arrays["image"]
  assert placed.shape == (5, 40, 40, 1)
  corners = set()
  for image, canvas in zip(plain, placed, strict=False):
    (row, column) = next((y, x) for y in range(13) for x in range(13) if (canvas[y : y + 28, x : x + 28] == image).all())
    corners.add((row, column))
    assert canvas.sum() == image.sum(dtype=canvas.sum().dtype)  # nothing beside it
  assert len(corners) > 1
  again = data.load(f"fashion_mnist:{folder}", canvas=40, seed=3).arrays["image"]
  np.testing.assert_array_equal(again[:5], placed)
  assert (data.load(f"fashion_mnist:{folder}", canvas=40, seed=4).arrays["image"] != again).any()
  for options, message in ((dict(canvas=27), "do not fit into it"), (dict(num_examples=7), "there are 6 at most")):
    with pytest.raises(ConfigError, match=message):
      data.load(f"fashion_mnist:{folder}", **options)


def test_missing_and_unfitting_files_are_named(folder, tmp_path_factory):
  with pytest.raises(data.DataError, match="apt-get install dataset-fashion-mnist"):
    data.load(f"fashion_mnist:{tmp_path_factory.mktemp('empty')}")
  (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
  with pytest.raises(data.DataError, match="not Fashion-MNIST"):
    data.load(f"fashion_mnist:{folder}")


def test_fashion_sprites_split_by_sample(folder, monkeypatch):
  monkeypatch.setattr(sprites, "_FASHION_TRAIN", 4)
  parts = {split: sprites.fashion_sprites(split, str(folder)) for split in sprites.SPLITS}
  assert {split: part.sample.tolist() for split, part in parts.items()} == {
    "train": [0, 1, 2, 3],
    "calibration": [4, 5],
    "test": [60000, 60001, 60002],
  }
  assert all(part.alpha.dtype == np.float32 and 0.9 < part.alpha.max() <= 1 for part in parts.values())


def test_scenes_of_fashion_items(folder, monkeypatch):
  monkeypatch.setattr(sprites, "_FASHION_TRAIN", 4)
  arrays = data.load("scenes", num_examples=3, sprites=f"fashion_mnist:{folder}").arrays
  assert arrays["segments"].max() >= 2 and arrays["segment_label"].max() < 4
