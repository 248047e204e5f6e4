"""Features of a split, batch by batch: every example once, in order, with bounded memory, on any number of devices."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import data
from jssl.data.source import Source
from jssl.errors import ConfigError
from jssl.evaluation import collect, stream, View
from jssl.evaluation.devices import on_devices


class Tracked:
  """A source that makes images as they are read, and knows how many examples are held at once."""

  def __init__(self, count, shape=(4, 6, 3)):
    self.read_indices, self.lock, self.most = [], threading.Lock(), 0
    self.done = 0
    spec = dict(image=jax.ShapeDtypeStruct(shape, np.uint8), label=jax.ShapeDtypeStruct((), np.int32))
    self.source = Source("tracked", count, spec, self._read)

  def _read(self, indices, keys):
    with self.lock:
      self.read_indices += indices.tolist()
      self.most = max(self.most, len(self.read_indices) - self.done)
    image = np.broadcast_to((indices % 251).astype(np.uint8)[:, None, None, None], (len(indices), 4, 6, 3))
    found = dict(image=image, label=indices.astype(np.int32))
    return {key: found[key] for key in keys}


@pytest.mark.parametrize("count", [1, 7, 64, 203])
def test_every_example_is_seen_once_in_order_and_two_batches_are_held(count):
  tracked = Tracked(count)

  def function(batch):
    value = batch["image"][:, 0, 0, :1].astype(np.float32)
    tracked.done += len(value)
    return value

  features, rest = collect(function, tracked.source, View(4), more=("label", "segments"), batch_size=32)
  assert sorted(tracked.read_indices) == list(range(count)) and tracked.most <= 64
  np.testing.assert_array_equal(features[:, 0], np.arange(count) % 251)
  np.testing.assert_array_equal(rest["label"], np.arange(count))
  assert list(rest) == ["label"]


def test_devices_share_a_batch_and_padding_leaves_no_trace():
  seen = []

  def network(scale, batch):
    seen.append(batch["image"].shape)
    return scale * batch["image"].astype(jnp.float32).mean((1, 2))

  images = np.random.default_rng(0).integers(0, 256, (21, 4, 6, 3), dtype=np.uint8)
  call = on_devices(network, jnp.float32(2.0))
  np.testing.assert_allclose(call(images), 2.0 * images.mean((1, 2)), rtol=1e-5)
  np.testing.assert_allclose(call(dict(image=images[:3], label=np.arange(3))), 2.0 * images[:3].mean((1, 2)), rtol=1e-5)
  devices = jax.local_device_count()
  assert seen == [(devices * -(-21 // devices), 4, 6, 3), (devices * -(-3 // devices), 4, 6, 3)]
  with pytest.raises(ConfigError, match="float64 must lie in"):
    call(images.astype(np.float64))


def test_more_images_than_a_batch(monkeypatch):
  monkeypatch.setattr("jssl.evaluation.devices.BATCH", 8)
  images = np.random.default_rng(0).integers(0, 256, (21, 4, 6, 3), dtype=np.uint8)
  call = on_devices(lambda state, batch: batch["image"][:, 0, 0].astype(jnp.float32))
  np.testing.assert_array_equal(call(images), images[:, 0, 0])


def test_what_cannot_be_streamed_is_told():
  nothing = Source("nothing", 0, Tracked(1).source.element_spec, lambda indices, keys: {})
  iterator = data.from_iterator(lambda step: iter([dict(image=np.zeros((2, 4, 4, 3), np.uint8))]), num_examples=4)
  bad = lambda batch: np.full((len(batch["image"]), 2), np.nan)
  for function, source, message in (
    (bad, nothing, "nothing has no examples"),
    (bad, iterator, "iterator is an iterator"),
    (bad, Tracked(3).source, "the features of mine on tracked are not all finite"),
    (lambda batch: np.zeros((1, 2)), Tracked(3).source, "the first axis must be the example"),
  ):
    with pytest.raises(ConfigError, match=message):
      collect(function, source, None, title="mine")


def test_long_splits_have_a_progress_line(monkeypatch, caplog):
  monkeypatch.setattr(stream, "PROGRESS_SECONDS", 0.0)
  with caplog.at_level("INFO", "jssl"):
    collect(lambda batch: np.zeros((len(batch["image"]), 1)), Tracked(40).source, None, title="features", batch_size=16)
  assert [line.split(",")[0] for line in caplog.messages] == [f"features on tracked: {n} of 40 examples" for n in (16, 32)]


def test_errors_of_the_reading_threads_are_those_of_the_evaluation():
  def read(indices, keys):
    raise data.DataError("the disk is gone")

  source = Source("far away", 9, Tracked(1).source.element_spec, read)
  with pytest.raises(data.DataError, match="the disk is gone"):
    collect(lambda batch: batch["image"], source, None)
