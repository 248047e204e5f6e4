import io
import logging
import struct
import zlib

import numpy as np
from PIL import Image
import pytest

from jssl import data
from jssl.data import images
from jssl.errors import ConfigError

RED, GREEN, BLUE = (250, 10, 20), (10, 250, 20), (20, 10, 250)


def write(path, color=RED, size=(6, 4), **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", size, color).save(path, **options)


def bytes_of(image: Image.Image, kind: str, **options) -> bytes:
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def decode(content: bytes, canvas: int = 8, channels: int = 3):
  """The valid part of what a file decodes to."""
  picture = images.Picture(content, channels)
  image, _ = picture.decode(images.shrink_to(picture.size, (canvas, canvas)))
  array, (height, width) = images.on_canvas(image, (canvas, canvas))
  assert array.shape == (canvas, canvas, channels) and array.dtype == np.uint8
  assert not array[height:].any() and not array[:, width:].any()
  return array[:height, :width]


def test_class_folders_give_sorted_labels(tmp_path):
  for name, color in (("dog", RED), ("cat", GREEN), ("ant", BLUE)):
    for i in range(2):
      write(tmp_path / name / f"{i}.png", color)
  (tmp_path / "dog" / "notes.txt").write_text("no image")
  write(tmp_path / "dog" / "._0.png")  # macOS leaves such files beside the true ones
  source = data.load(f"folder:{tmp_path}", canvas=8)
  assert len(source) == 6 and source.num_classes == 3 and source.arrays is None
  assert {key: (spec.shape, spec.dtype) for key, spec in source.element_spec.items()} == {
    "image": ((8, 8, 3), np.uint8),
    "extent": ((2,), np.int32),
    "label": ((), np.int32),
  }
  batch = source.get([5, 0, 2])
  assert batch["label"].tolist() == [2, 0, 1] and batch["extent"].tolist() == [[4, 6]] * 3
  assert batch["image"][:, 3, 5].tolist() == [list(RED), list(BLUE), list(GREEN)] and not batch["image"][:, 4:].any()
  assert source.get([5, 0], keys=("label",))["label"].tolist() == [2, 0]
  assert source.unreadable == {}


def test_flat_and_deep_folders_have_no_labels_unless_asked(tmp_path):
  write(tmp_path / "flat" / "a.jpg")
  for name in ("x/1/a.png", "x/2/b.png", "y/c.png"):
    write(tmp_path / "deep" / name)
  for name, count in (("flat", 1), ("deep", 3)):
    source = data.load(f"folder:{tmp_path / name}", canvas=8)
    assert len(source) == count and source.num_classes is None and "label" not in source.element_spec
  source = data.load(f"folder:{tmp_path / 'deep'}", canvas=8, labels=True)
  assert source.get(range(3), keys=("label",))["label"].tolist() == [0, 0, 1]
  with pytest.raises(data.DataError, match="a.jpg lies in no class folder"):
    data.load(f"folder:{tmp_path / 'flat'}", labels=True)


def test_splits_are_subfolders(tmp_path):
  for name in ("train/a/0.png", "train/b/0.png", "val/a/0.png", "val/b/0.png", "val/b/1.png"):
    write(tmp_path / name)
  assert len(data.load(f"folder:{tmp_path}")) == 2 and len(data.load(f"folder:{tmp_path}", split="val")) == 3
  with pytest.raises(ConfigError, match="did you mean 'val'"):
    data.load(f"folder:{tmp_path}", split="vall")


def test_folders_without_images_say_so(tmp_path):
  with pytest.raises(data.DataError, match=f"{tmp_path} has no images; looked for .jpg .jpeg .png"):
    data.load(f"folder:{tmp_path}")
  with pytest.raises(data.DataError, match="there is no folder"):
    data.load(f"folder:{tmp_path}/nowhere")
  write(tmp_path / "a.png")
  for options in (dict(canvas=0), dict(channels=2)):
    with pytest.raises(ConfigError):
      data.load(f"folder:{tmp_path}", **options)


def test_the_broken_are_named_and_replaced_by_the_next(tmp_path, caplog):
  for i, color in enumerate((RED, GREEN, BLUE)):
    write(tmp_path / "ab"[i % 2] / f"{i}.png", color)  # in order: a/0 red, a/2 blue, b/1 green
  (tmp_path / "a" / "1.png").write_bytes(b"")
  (tmp_path / "b" / "2.jpg").write_bytes(bytes_of(Image.effect_noise((64, 64), 90), "JPEG")[:400])
  source = data.load(f"folder:{tmp_path}", canvas=8)
  with caplog.at_level(logging.WARNING, "jssl"):
    batch = source.get([0, 1, 2, 3, 4, 1])
  colors = [list(RED), list(BLUE), list(BLUE), list(GREEN), list(RED), list(BLUE)]
  assert batch["image"][:, 0, 0].tolist() == colors and batch["label"].tolist() == [0, 0, 0, 1, 0, 0]
  assert set(source.unreadable) == {str(tmp_path / "a" / "1.png"), str(tmp_path / "b" / "2.jpg")}
  assert "truncated" in source.unreadable[str(tmp_path / "b" / "2.jpg")]
  assert len(caplog.records) == 2  # once each
  again = data.load(f"folder:{tmp_path}", canvas=8).get([4, 1])  # whatever was read before
  np.testing.assert_array_equal(again["image"], batch["image"][[4, 1]])


def test_all_broken_is_an_error(tmp_path):
  for i in range(3):
    (tmp_path / f"{i}.png").write_bytes(b"no image")
  with pytest.raises(data.DataError, match="none of its 3 images can be read; the first is .*1.png"):
    data.load(f"folder:{tmp_path}").get([1])


def test_too_many_broken_are_an_error():
  def read_one(index):
    if index % 8 == 0:
      raise OSError("broken")
    return index

  reader = images.TolerantReader("mine", 1000, read_one, str)
  assert [reader.get(i) for i in range(96)][:2] == [(1, 1), (1, 1)] and len(reader.unreadable) == 12
  with pytest.raises(data.DataError, match="mine: 1[34] of the 1.. images read so far cannot be read; the first is 0"):
    for i in range(96, 120):
      reader.get(i)


def test_threads_agree_on_what_is_unreadable(tmp_path):
  for i in range(40):
    write(tmp_path / f"{i:02d}.png", (i, i, i))
  for i in (3, 17):
    (tmp_path / f"{i:02d}.png").write_bytes(b"x")
  found = []
  for threads in (0, 4):
    source = data.load(f"folder:{tmp_path}", canvas=8)
    found.append(
      [b["image"] for b in data.batches(source, batch_size=10, seed=0, start_step=0, stop_step=8, threads=threads)]
    )
    assert len(source.unreadable) == 2
  np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
  "size, extent",
  [
    ((6, 4), (4, 6)),
    ((1, 1), (1, 1)),
    ((16, 8), (4, 8)),
    ((8, 16), (8, 4)),
    ((9, 8), (7, 8)),
    ((400, 1), (1, 8)),
    ((8, 8), (8, 8)),
  ],
)
def test_images_are_shrunk_to_fit_and_never_enlarged(size, extent):
  for kind in ("PNG", "JPEG"):
    array = decode(bytes_of(Image.new("RGB", size, RED), kind))
    assert array.shape[:2] == extent
    assert abs(array.astype(int) - RED).max() <= (0 if kind == "PNG" else 4)


def test_shrinking_averages():
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[::2] = 200
  assert abs(decode(bytes_of(Image.fromarray(stripes), "PNG")).astype(int) - 100).max() <= 8


def test_large_jpegs_are_shrunk_as_well_as_png():
  y, x = np.mgrid[:512, :384] / 512
  smooth = Image.fromarray((255 * np.stack([y, x, y * x], -1)).astype(np.uint8))
  one, other = (decode(bytes_of(smooth, kind, **o), 32) for kind, o in (("PNG", {}), ("JPEG", dict(quality=95))))
  assert one.shape == other.shape == (32, 24, 3) and abs(one.astype(int) - other).max() <= 6


def test_modes():
  cases = {
    "cmyk": (bytes_of(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    "cmyk jpeg": (bytes_of(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
    "palette": (bytes_of(Image.new("RGB", (4, 4), GREEN).quantize(4), "PNG"), GREEN),
    "grey": (bytes_of(Image.new("L", (4, 4), 77), "PNG"), (77, 77, 77)),
    "bilevel": (bytes_of(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255)),
    "16 bit": (bytes_of(Image.fromarray(np.full((4, 4), 257 * 99, np.uint16)), "PNG"), (99, 99, 99)),
    "32 bit": (bytes_of(Image.fromarray(np.full((4, 4), 257 * 99, np.int32)), "TIFF"), (99, 99, 99)),
    "float": (bytes_of(Image.fromarray(np.full((4, 4), 0.2, np.float32)), "TIFF"), (51, 51, 51)),
    "float 255": (bytes_of(Image.fromarray(np.full((4, 4), 51.2, np.float32)), "TIFF"), (51, 51, 51)),
    "transparent": (bytes_of(Image.new("RGBA", (4, 4), (200, 0, 0, 0)), "PNG"), (255, 255, 255)),
    "half transparent": (bytes_of(Image.new("LA", (4, 4), (0, 128)), "PNG"), (127, 127, 127)),
    "transparent palette": (bytes_of(Image.new("P", (4, 4), 0), "PNG", transparency=0), (255, 255, 255)),
  }
  for name, (content, color) in cases.items():
    assert abs(decode(content).astype(int) - color).max() <= 2, name
  assert decode(cases["transparent"][0], channels=1).shape == (4, 4, 1)
  assert decode(cases["16 bit"][0], channels=1)[0, 0, 0] == 99


def test_the_first_frame_of_an_animation():
  frames = [Image.new("RGB", (4, 4), color) for color in (RED, GREEN)]
  for kind in ("GIF", "PNG", "TIFF"):
    content = bytes_of(frames[0], kind, save_all=True, append_images=frames[1:])
    assert abs(decode(content).astype(int) - RED).max() <= 4


def test_orientation_is_undone():
  upright = np.zeros((4, 6, 3), np.uint8)
  upright[:2, :3] = 200  # upper left
  exif = Image.Exif()
  exif[0x0112] = 6  # stored turned by 90 degrees counterclockwise
  turned = decode(bytes_of(Image.fromarray(np.rot90(upright)), "PNG", exif=exif))
  np.testing.assert_array_equal(turned, upright)


def test_decompression_bombs_are_refused(monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
  assert decode(bytes_of(Image.new("L", (10, 10)), "PNG"), 16).shape == (10, 10, 3)
  with pytest.raises((ValueError, Image.DecompressionBombError)), pytest.warns(Image.DecompressionBombWarning):
    decode(bytes_of(Image.new("L", (11, 10)), "PNG"))
  with pytest.raises(Image.DecompressionBombError):
    decode(bytes_of(Image.new("L", (30, 30)), "PNG"))


def test_a_file_that_vanishes_is_named_and_replaced(tmp_path):
  for i in range(3):
    write(tmp_path / f"{i}.png", (i, i, i))
  source = data.load(f"folder:{tmp_path}", canvas=8)
  assert source.get([1])["image"].max() == 1
  (tmp_path / "1.png").unlink()
  assert source.get([1])["image"].max() == 2
  assert "No such file" in source.unreadable[str(tmp_path / "1.png")]


def touch(root, *names, color=RED):
  for name in names:
    write(root / name, color)


def labels_of(source):
  return source.get(range(len(source)), keys=("label",))["label"].tolist()


@pytest.mark.parametrize("train, val", [("train", "val"), ("training", "Validation"), ("TRAIN", "eval"), ("Train", "valid")])
def test_splits_go_by_several_names(tmp_path, train, val):
  touch(tmp_path, *(f"{train}/{name}/0.png" for name in "ab"), *(f"{val}/{name}/{i}.png" for name in "ab" for i in "01"))
  for split, count in dict(train=2, val=4, validation=4, valid=4, training=2).items():
    source = data.load(f"folder:{tmp_path}", split=split)
    assert (len(source), source.num_classes) == (count, 2), split
  with pytest.raises(ConfigError, match="no subfolder for the split 'test'"):
    data.load(f"folder:{tmp_path}", split="test")


def test_a_split_of_two_names_is_asked_for(tmp_path):
  touch(tmp_path, "train/a.png", "val/a.png", "valid/a.png")
  assert len(data.load(f"folder:{tmp_path}", split="val")) == 1  # as it is written
  with pytest.raises(ConfigError, match="may be any of 'val', 'valid'"):
    data.load(f"folder:{tmp_path}", split="validation")


@pytest.mark.parametrize("test", ["test", "Testing", "val"])
def test_a_split_beside_class_folders_is_not_trained_on(tmp_path, caplog, test):
  touch(tmp_path, "cat/0.png", "dog/0.png", f"{test}/dog/0.png", f"{test}/dog/1.JPG")
  source = data.load(f"folder:{tmp_path}")
  assert labels_of(source) == [0, 1] and source.num_classes == 2
  assert f"'{test}' is taken for another split and left out" in caplog.text
  assert labels_of(data.load(f"folder:{tmp_path}", split=test)) == [1, 1]


def test_only_other_splits_are_no_training_set(tmp_path):
  touch(tmp_path, "val/a/0.png", "val/b/0.png", "test/a/0.png")
  with pytest.raises(ConfigError, match="no split 'train', only 'test', 'val'"):
    data.load(f"folder:{tmp_path}")


def test_a_class_called_train_is_not_taken_for_all_in_silence(tmp_path, caplog):
  touch(tmp_path, "car/0.png", "plane/0.png", "train/0.png")
  assert len(data.load(f"folder:{tmp_path}")) == 1
  assert "'train' is the split; 'car', 'plane' beside it is no part of it" in caplog.text


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("place", ["", "val"])
def test_one_class_has_one_number_in_all_splits(tmp_path, caplog, empty, place):
  touch(tmp_path, *(f"train/{name}/0.png" for name in ("ant", "bee", "cat")), "val/cat/0.png", "test/bee/0.png")
  touch(tmp_path, "test/cat/0.png", "val/bee/0.png")
  if empty:
    (tmp_path / "val" / "ant").mkdir()
  source = data.load(f"folder:{tmp_path}/val") if place else data.load(f"folder:{tmp_path}", split="val")
  assert labels_of(source) == [1, 2] and source.num_classes == 3
  assert "no image of 1 of its 3 classes: 'ant'" in caplog.text
  assert labels_of(data.load(f"folder:{tmp_path}")) == [0, 1, 2]
  assert labels_of(data.load(f"folder:{tmp_path}", split="test")) == [1, 2]


def test_a_split_may_hold_one_class_and_classes_of_its_own(tmp_path):
  touch(
    tmp_path,
    *(f"train/{name}/0.png" for name in "bcd"),
    "val/c/0.png",
    "test/images/0.png",
    "extra/a/0.png",
    "extra/b/0.png",
  )
  numbers = {split: labels_of(data.load(f"folder:{tmp_path}", split=split)) for split in ("train", "val", "extra")}
  assert numbers == dict(train=[0, 1, 2], val=[1], extra=[3, 0])  # a class of `extra` alone moves no other one's number
  assert data.load(f"folder:{tmp_path}", split="test").num_classes is None  # one folder of no class's name


@pytest.mark.parametrize(
  "hidden", [".ipynb_checkpoints", "cat/.ipynb_checkpoints", "__MACOSX", "dog/@eaDir", ".git/objects"]
)
def test_hidden_folders_are_no_classes_and_hold_no_images(tmp_path, hidden):
  touch(tmp_path, "cat/0.png", "dog/0.png", f"{hidden}/0.png")
  source = data.load(f"folder:{tmp_path}", canvas=8)
  assert labels_of(source) == [0, 1] and source.num_classes == 2


def test_a_hidden_folder_above_is_none_of_our_business(tmp_path):
  touch(tmp_path / ".cache" / "set", "cat/0.png", "dog/0.png")
  assert len(data.load(f"folder:{tmp_path}/.cache/set")) == 2


def test_links_are_followed_but_not_in_circles(tmp_path, caplog):
  touch(tmp_path, "store/ant/0.png", "store/bee/0.png", "store/cat/0.png", "set/train/ant/0.png")
  for name in ("bee", "cat"):
    (tmp_path / "set" / "train" / name).symlink_to(tmp_path / "store" / name)
  (tmp_path / "set" / "val").symlink_to(tmp_path / "store")
  (tmp_path / "set" / "train" / "ant" / "1.png").symlink_to(tmp_path / "store" / "ant" / "0.png")
  for split, expected in dict(train=[0, 0, 1, 2], val=[0, 1, 2]).items():
    assert labels_of(data.load(f"folder:{tmp_path}/set", split=split)) == expected
  assert not caplog.text
  (tmp_path / "store" / "cat" / "again").symlink_to(tmp_path / "store")
  (tmp_path / "store" / "bee" / "1.png").symlink_to(tmp_path / "nowhere.png")
  assert labels_of(data.load(f"folder:{tmp_path}/set", split="val")) == [0, 1, 2]
  assert "cannot follow the link" in caplog.text and "and 1 more" in caplog.text


@pytest.mark.parametrize(
  "names, message",
  [
    (["one/0.png", "one/1.png"], "they lie in one subfolder, 'one'; labels=True"),
    (["a/0.png", "b/0.png", "c.png"], "c.png lies beside the subfolders"),
    (["a/0.png", "b/0.png", "b/more/0.png"], "b/more/0.png lies deeper than in a class folder; labels=True"),
  ],
)
def test_who_has_no_labels_is_told_why(tmp_path, caplog, names, message):
  touch(tmp_path, *names)
  assert data.load(f"folder:{tmp_path}").num_classes is None
  assert message in caplog.text and len(caplog.records) == 1
  caplog.clear()
  assert data.load(f"folder:{tmp_path}", labels=False).num_classes is None and not caplog.text


def test_one_image_a_class_and_capital_suffixes(tmp_path, caplog):
  touch(tmp_path, "a/0.JPG", "b/0.JPEG", "c/0.Png", "d/0.jpeg")
  source = data.load(f"folder:{tmp_path}", canvas=8)
  assert labels_of(source) == [0, 1, 2, 3] and not caplog.text
  assert source.get(range(4))["image"].max() > 200 and not source.unreadable
  touch(tmp_path, "C/0.png")
  assert data.load(f"folder:{tmp_path}").num_classes == 5
  assert "the classes 'C' and 'c' differ in capital letters alone" in caplog.text


def write_deep(path, largest: int) -> None:
  values = np.linspace(0, largest, 4096).astype(np.uint16)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(values.reshape(64, 64)).save(path)


def test_twelve_bits_of_sixteen_keep_their_greys(tmp_path, caplog):
  for name, largest in (("dark.png", 1000), ("light.png", 4000), ("light.tif", 4095)):
    write_deep(tmp_path / name, largest)
  source = data.load(f"folder:{tmp_path}", canvas=64, channels=1)
  assert "values up to 4095, so 4095 is taken for white" in caplog.text and len(caplog.records) == 1
  images_of = source.get(range(3))["image"]
  assert images_of.max((1, 2, 3)).tolist() == [62, 249, 255]  # dark stays dark: of 4095, not of its own largest value
  assert np.unique(images_of[1]).size == 250 and len(caplog.records) == 1
  assert data.load(f"folder:{tmp_path}", white=65535).get([1])["image"].max() == 16
  with pytest.raises(ConfigError, match="white is 0"):
    data.load(f"folder:{tmp_path}", white=0)


def test_all_sixteen_bits_are_scaled_as_ever(tmp_path, caplog):
  for name, largest in (("a.png", 65535), ("b.png", 700)):
    write_deep(tmp_path / name, largest)
  found = data.load(f"folder:{tmp_path}", canvas=64).get([0, 1])["image"]
  assert found.max((1, 2, 3)).tolist() == [255, 3] and not caplog.text


@pytest.mark.parametrize("largest, told", [(4000, True), (65535, False)])
def test_dim_colours_of_sixteen_bits_are_told(tmp_path, caplog, largest, told):
  chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
  row = b"\0" + np.linspace(0, largest, 24).astype(">u2").tobytes()
  parts = (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(8 * row)), (b"IEND", b"")
  (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
  assert data.load(f"folder:{tmp_path}").get([0])["image"].max() == largest >> 8
  assert ("colour pictures of 16 bits use 16 of the 256 values" in caplog.text) == told
