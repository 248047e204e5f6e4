"""Views of image files are crops of the files themselves, and a run with them is a run like any other."""

import jax
import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from jssl import data, explain, tables, views
from jssl.config import default_config
from jssl.environment import name_key, run_key
from jssl.errors import ConfigError
from jssl.host_crops import crop_name, HostCrops
from jssl.method import Method, Variables
from jssl.schedules import Horizon
from jssl.train import train_and_evaluate, Trainer
from tests import methods
from tests.test_resume import forget_after
from tests.test_train import assert_identical

SEED, STEP = 3, 7
PHOTOS = tuple(datasets.load_sample_images().images)


def photo(number: int, longest: int) -> Image.Image:
  """A photograph with a longer side of so many pixels; a large one is made of several, so that it is as sharp."""
  picture = Image.fromarray(np.tile(PHOTOS[number % 2], (1 + longest // 700, 1 + longest // 700, 1)))
  scale = longest / max(picture.size)
  picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
  return picture.crop((0, 0, picture.width, round(picture.height * (0.6 + 0.2 * (number % 3)))))


def write_photos(folder, sides, suffix="jpg", **options):
  for i, side in enumerate(sides):
    photo(i, side).save(folder / f"{i:02d}.{suffix}", **options)


IMAGE = ("image", "extent=extent")
slow = lambda **entries: pytest.param(entries, marks=pytest.mark.slow)
PLAIN = dict(fn="augment", reads=IMAGE, mean=0.0, std=1.0)


def make_method(entries, *, host: bool) -> Method:
  config = default_config()
  config.views = entries
  reads = tuple(
    name + {"rotate": "/image", "tile_pair": "/first", "jigsaw_tiles": "/4", "shifted_pair": "/second"}.get(view["fn"], "")
    for name, view in entries.items()
  )
  config.losses = dict(none=dict(fn=no_loss, reads=(reads,)))
  return Method(config, num_examples=8, horizon=Horizon(10), crops_on_host=host)


def no_loss(seen):
  del seen
  return 0.0, {}


def look(method, batch):
  run = lambda batch: method.environment(Variables({}, {}, {}, {}, {}), batch, key=run_key(SEED), step=STEP)
  return {name: np.asarray(x) for name, x in jax.jit(run)(batch).items()}


def read(source, entries, indices, keys=()):
  """What these views of these examples show, and the batch that they were made of."""
  method = make_method(entries, host=True)
  crops = HostCrops(method.cropped, seed=SEED, channels=source.encoded.channels)
  batch = source.get(indices, keys, crops.at(STEP, np.arange(len(indices))))
  spec = {key: (x.shape, x.dtype) for key, x in crops.specs(len(indices)).items()}
  assert spec == {name: (batch[name].shape, batch[name].dtype) for name in spec}
  return look(method, batch), batch


def drawn_box(name: str, position: int, size, **numbers) -> tuple[int, ...]:
  key = name_key(jax.random.fold_in(jax.random.fold_in(run_key(SEED), STEP), position), name)
  top, left, height, width = views.random_crop_box(jax.random.split(key, 6)[0], size[::-1], **numbers)
  return int(left), int(top), int(left + width), int(top + height)


FILTERS = dict(bicubic=Image.Resampling.BICUBIC, bilinear=Image.Resampling.BILINEAR)


@pytest.mark.parametrize(
  "numbers",
  [
    dict(size=224, scale=(0.05, 0.2)),
    dict(size=96, scale=(0.05, 1.0)),
    dict(size=(64, 48), scale=(0.3, 1.0), interpolation="bilinear"),
  ],
  ids=str,
)
def test_a_view_is_a_crop_of_the_original_resized_by_pillow(tmp_path, numbers):
  sides = (300, 500, 640, 1000, 1400, 2000, 2000, 1700, 800)
  write_photos(tmp_path, sides, quality=92)
  entries = {name: PLAIN | dict(flip=0.0, **numbers) for name in "ab"}
  source = data.load(f"folder:{tmp_path}", canvas=64)
  shown, _ = read(source, entries, np.arange(len(sides)))
  worst = 0.0
  for i in range(len(sides)):
    original = Image.open(tmp_path / f"{i:02d}.jpg").convert("RGB")
    for name in "ab":
      box = drawn_box(name, i, original.size, scale=numbers["scale"])
      height, width = shown[name][i].shape[:2]
      expected = original.crop(box).resize((width, height), FILTERS[numbers.get("interpolation", "bicubic")])
      worst = max(worst, np.abs(np.asarray(expected) - 255 * shown[name][i]).mean())
  assert worst <= 2


def test_the_evaluation_view_of_the_original(tmp_path):
  write_photos(tmp_path, (640, 1200, 300), quality=92)
  view = dict(fn="resize_view", reads=IMAGE, size=224, resize_to=256, mean=0.0, std=1.0)
  shown, _ = read(data.load(f"folder:{tmp_path}", canvas=64), dict(v=view), np.arange(3))
  for i, got in enumerate(shown["v"]):
    original = Image.open(tmp_path / f"{i:02d}.jpg")
    scale = 256 / min(original.size)
    resized = original.resize([int(side * scale) for side in original.size], Image.Resampling.BICUBIC)
    left, top = (round((side - 224) / 2) for side in resized.size)
    expected = np.asarray(resized.crop((left, top, left + 224, top + 224)))
    assert np.abs(expected - 255 * got).mean() <= 2


@pytest.mark.parametrize(
  "entries",
  [
    dict(
      a=PLAIN | dict(size=48, jitter=(0.4, 0.4, 0.2, 0.1)),
      b=PLAIN | dict(size=48, jitter=(0.4, 0.4, 0.2, 0.1)),
      c=PLAIN | dict(size=(24, 32), scale=(0.1, 0.3)),
    ),
    dict(a=dict(fn="resize_view", reads=("image", "extent"), size=40, resize_to=44, grayscale=True)),
    dict(a=dict(fn="tile_pair", reads=IMAGE, size=16, gap=8, jitter=2)),
    slow(a=dict(fn="jigsaw_tiles", reads=IMAGE, permutations=6, size=16, gap=8, jitter=2)),
    slow(a=dict(fn="shifted_pair", reads=IMAGE, size=40, shift=4)),
    dict(a=dict(fn="random_resized_crop", reads=IMAGE, size=24, scale=(0.2, 1.0))),
  ],
  ids=["augment", "resize_view", "tile_pair", "jigsaw_tiles", "shifted_pair", "random_resized_crop"],
)
def test_host_and_device_show_the_same_of_what_fits_the_canvas(tmp_path, entries):
  write_photos(tmp_path, (120, 90, 110), suffix="png")
  source = data.load(f"folder:{tmp_path}", canvas=128)
  host, batch = read(source, entries, np.arange(3))
  assert set(batch) == {crop_name(name) for name in entries}
  device = look(make_method(entries, host=False), source.get(np.arange(3)))
  for name in set(device) - {"image", "extent"}:
    scale = 1 if host[name].dtype == np.int32 else 4.5  # of normalised colours, between the extremes
    assert np.abs(host[name] - device[name]).mean() <= 2 / 255 * scale / 2, name
    assert host[name].dtype == device[name].dtype and host[name].shape == device[name].shape


def test_views_of_equal_numbers_stay_one_compiled_loop():
  entries = {name: PLAIN | dict(size=8) for name in "abcdef"} | dict(g=PLAIN | dict(size=8, flip=0.0))
  method = make_method(entries, host=True)
  assert sorted(len(unit) for unit in method.units) == [1, 1, 6]


def test_what_reads_the_image_otherwise_finds_it_on_its_canvas(tmp_path):
  write_photos(tmp_path, (120, 90), suffix="png")
  entries = dict(a=PLAIN | dict(size=16), b=dict(fn="rotate", reads=("image",)))
  method = make_method(entries, host=True)
  assert method.batch_names == ("image", "image@a") and set(method.cropped) == {"a"}
  source = data.load(f"folder:{tmp_path}", canvas=32)
  shown, batch = read(source, entries, np.arange(2), keys=("image",))
  np.testing.assert_array_equal(batch["image"], source.get(np.arange(2))["image"])
  assert shown["b/image"].shape == (2, 32, 32, 3)


def test_a_turned_photograph_is_cropped_upright(tmp_path):
  upright = photo(0, 120)
  exif = Image.Exif()
  exif[0x0112] = 6
  upright.save(tmp_path / "a.png")
  upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png", exif=exif)
  view = dict(a=PLAIN | dict(size=40, scale=(0.3, 0.6)))
  source = data.load(f"folder:{tmp_path}")
  draw = HostCrops(make_method(view, host=True).cropped, seed=SEED, channels=3).at(STEP, np.zeros(2, int))
  first, second = source.get([0, 1], (), draw)["image@a"]
  np.testing.assert_array_equal(first, second)


def test_a_damaged_file_is_replaced_in_everything(tmp_path):
  for i, name in enumerate(("a/0.png", "a/1.jpg", "b/2.jpg")):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    photo(i, 200 + 90 * i).save(tmp_path / name)
  whole = (tmp_path / "a" / "1.jpg").read_bytes()
  (tmp_path / "a" / "1.jpg").write_bytes(whole[: len(whole) // 2])  # its size can be read, its pixels cannot
  source = data.load(f"folder:{tmp_path}", canvas=64)
  view = dict(a=PLAIN | dict(size=32, scale=(0.3, 0.6)))
  _, batch = read(source, view, np.array([0, 1, 2]), keys=("image", "extent", "label"))
  assert batch["label"].tolist() == [0, 1, 1] and list(source.unreadable) == [str(tmp_path / "a" / "1.jpg")]
  np.testing.assert_array_equal(batch["image"][1], batch["image"][2])
  box = drawn_box("a", 1, Image.open(tmp_path / "b" / "2.jpg").size, scale=(0.3, 0.6))
  expected = Image.open(tmp_path / "b" / "2.jpg").crop(box).resize((32, 32), FILTERS["bicubic"])
  assert np.abs(np.asarray(expected) - batch["image@a"][1].astype(int)).mean() <= 2


def test_what_is_drawn_depends_on_the_place_in_the_global_batch_alone(tmp_path):
  write_photos(tmp_path, range(60, 100, 2))
  source = data.load(f"folder:{tmp_path}")
  crops = HostCrops(make_method(dict(a=PLAIN | dict(size=16)), host=True).cropped, seed=SEED, channels=3)
  options = dict(batch_size=12, seed=1, start_step=4, stop_step=6, keys=(), crops=crops.at)
  whole = list(data.batches(source, threads=0, **options))
  for threads in (1, 3):
    parts = [list(data.batches(source, threads=threads, process_index=i, process_count=2, **options)) for i in range(2)]
    for batch, *halves in zip(whole, *parts, strict=True):
      for name in ("image@a", "index"):
        np.testing.assert_array_equal(batch[name], np.concatenate([half[name] for half in halves]))
  assert not np.array_equal(whole[0]["image@a"], whole[1]["image@a"])


def small_run(tmp_path, name: str = "mae", **changes):
  write_photos(tmp_path, range(40, 80, 2))
  config = methods.small(name, depth=1, batch_size=16, **changes)
  return config, data.load(f"folder:{tmp_path}", canvas=24)


@pytest.mark.slow
def test_a_run_goes_on_bit_for_bit_and_says_where_it_crops(tmp_path, caplog):
  (tmp_path / "photos").mkdir()
  config, source = small_run(tmp_path / "photos", total_steps=4, checkpoint_every_steps=2)
  entries = config.views.to_dict()
  with caplog.at_level("INFO", logger="jssl"):
    whole = train_and_evaluate(config, tmp_path / "run", source=source, devices=jax.devices()[:1])
  cropped = ", ".join(name for name, view in entries.items() if view["reads"] == IMAGE)
  assert f"views cropped on the host, out of the files at full resolution: {cropped}" in caplog.text
  forget_after(tmp_path / "run", 2)
  assert_identical(whole, train_and_evaluate(config, tmp_path / "run", source=source, devices=jax.devices()[:1]))


@pytest.mark.slow
def test_eight_devices_are_one(tmp_path):
  config, source = small_run(tmp_path)
  losses = []
  for devices in (1, 8):
    trainer = Trainer(config, source, devices=jax.devices()[:devices])
    state = trainer.init_state()
    step = trainer.compile_step(state)
    for batch in trainer.batches(0, 1):
      _, metrics = step(state, trainer.arrays, batch)
    losses.append(float(metrics["loss"]))
  assert losses[0] == pytest.approx(losses[1], rel=1e-5)
  assert trainer.cropping() in explain._run(trainer).splitlines()


def test_the_switch(tmp_path):
  config, source = small_run(tmp_path)
  config.data.full_resolution = False
  trainer = Trainer(config, source, devices=jax.devices()[:1])
  assert trainer.cropping() == "views are cropped on the device, out of images shrunk into 24 x 24 pixels"
  assert trainer.method.batch_names == ("extent", "image")
  assert Trainer(config, methods.source(), devices=jax.devices()[:1]).cropping() == ""


def test_a_phase_changes_the_size_of_the_crops(tmp_path):
  config, source = small_run(tmp_path, total_steps=4)
  config.networks.encoder.position = "sincos2d"
  config.phases = dict(late=dict(start_steps=2, override=dict(views=dict(v=dict(size=8)))))
  trainer = Trainer(config, source, devices=jax.devices()[:1])
  sizes = []
  for start in (0, 2):
    trainer.start_phase(start)
    (batch,) = trainer.batches(start, start + 1)
    sizes.append(batch["image@v"].shape)
    assert trainer.spec["image@v"].shape == sizes[-1][1:]
  assert [size[-2] for size in sizes] == [16, 8]


def test_refresh_sees_crops_of_each_example(tmp_path):
  config, source = small_run(tmp_path)
  trainer = Trainer(config, source, devices=jax.devices()[:1])
  name = next(iter(trainer.method.cropped))
  found = tables.collect(trainer, trainer.init_state(), [crop_name(name)], 0)[crop_name(name)]
  index = np.array([3, 17])  # whatever batch they were in
  expected = trainer.read(index, step=0, positions=index)[crop_name(name)]
  np.testing.assert_allclose(255 * found[index], expected, atol=1e-3)


def test_a_wrong_number_of_a_crop_is_told_with_its_place(tmp_path):
  config, source = small_run(tmp_path)
  name = next(name for name, view in config.views.items() if view.reads == IMAGE)
  config.views[name].scale = (0.0, 1.0)
  with pytest.raises(ConfigError, match=f"config.views.{name}: scale must satisfy"):
    Trainer(config, source, devices=jax.devices()[:1])
