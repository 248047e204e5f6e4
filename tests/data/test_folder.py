import io
import logging

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
  array, (height, width) = images.decode(content, (canvas, canvas), channels)
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
