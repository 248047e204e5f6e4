import dataclasses
import threading
import time

import numpy as np
import pytest

from jssl import data

SOURCE = data.from_arrays(image=np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), label=np.arange(10))
NUMBERS = dict(batch_size=4, seed=1)


def indices(start, stop, **options):
  return [batch["index"] for batch in data.batches(SOURCE, start_step=start, stop_step=stop, **NUMBERS, **options)]


@pytest.mark.parametrize("options", [{}, dict(threads=0), dict(threads=3, prefetch=1), dict(threads=1, prefetch=5)])
def test_steps_read_their_own_examples_in_order(options):
  found = list(data.batches(SOURCE, start_step=0, stop_step=5, **NUMBERS, **options))
  assert len(found) == 5
  for step, batch in enumerate(found):
    index = data.batch_indices(step, seed=1, num_examples=10, batch_size=4)
    np.testing.assert_array_equal(batch["index"], index)
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], index)
    np.testing.assert_array_equal(batch["label"], index)
    assert batch["index"].dtype == np.int32 and batch["extent"].shape == (4, 2)


def test_a_resumed_run_goes_on_where_it_was():
  whole = indices(0, 9)
  np.testing.assert_array_equal(whole[4:], indices(4, 9))
  assert indices(9, 9) == [] and indices(9, 3) == []


def test_any_step_is_reached_at_once():
  start = time.perf_counter()
  assert len(indices(10**9, 10**9 + 1)) == 1
  assert time.perf_counter() - start < 5


def test_processes_split_each_batch():
  parts = [indices(0, 4, process_index=i, process_count=2) for i in range(2)]
  for whole, first, second in zip(indices(0, 4), *parts, strict=True):
    np.testing.assert_array_equal(whole, np.concatenate([first, second]))


def test_only_the_asked_keys_are_read():
  asked = []
  spy = dataclasses.replace(SOURCE, read=lambda i, keys: asked.append(keys) or SOURCE.read(i, keys))
  batch = next(data.batches(spy, start_step=0, stop_step=1, keys=("label", "index"), **NUMBERS))
  assert set(batch) == {"label", "index"} and asked == [("label",)]


@pytest.mark.parametrize(
  "options, message",
  [
    (dict(keys=("lable",)), "did you mean 'label'"),
    (dict(process_count=3), "split evenly"),
    (dict(process_index=1), "process_index is 1"),
    (dict(start_step=-1), "start_step"),
    (dict(batch_size=11), "larger"),
  ],
)
def test_wrong_numbers_raise_at_once(options, message):
  with pytest.raises(ValueError, match=message):
    data.batches(SOURCE, **(dict(start_step=0, stop_step=2, **NUMBERS) | options))


@pytest.mark.parametrize("threads", [0, 2])
def test_errors_of_the_background_reach_the_consumer(threads):
  def read(index, keys):
    if 3 in index:
      raise data.DataError("example 3 is broken")
    return SOURCE.read(index, keys)

  bad = next(step for step, index in enumerate(indices(0, 5)) if 3 in index)
  iterator = data.batches(dataclasses.replace(SOURCE, read=read), start_step=0, stop_step=5, threads=threads, **NUMBERS)
  for _ in range(bad):
    next(iterator)
  with pytest.raises(data.DataError, match="example 3 is broken"):
    next(iterator)


def test_closing_stops_the_threads():
  before = set(threading.enumerate())
  iterator = data.batches(SOURCE, start_step=0, stop_step=10**6, threads=2, prefetch=4, **NUMBERS)
  next(iterator)
  started = set(threading.enumerate()) - before
  assert started
  iterator.close()
  for thread in started:
    thread.join(timeout=5)
    assert not thread.is_alive()


def batches_from(start, **extra):
  for step in range(start, 6):
    yield {"image": np.full((4, 2, 2, 3), step, np.uint8)} | {key: np.full(4, value) for key, value in extra.items()}


def test_an_iterator_is_resumed_by_its_step():
  source = data.from_iterator(lambda start: batches_from(start, label=2), num_examples=10, num_classes=3)
  assert {key: spec.shape for key, spec in source.element_spec.items()} == {"image": (2, 2, 3), "label": (), "extent": (2,)}
  found = list(data.batches(source, start_step=2, stop_step=5, process_index=1, process_count=2, **NUMBERS))
  assert [int(batch["image"][0, 0, 0, 0]) for batch in found] == [2, 3, 4]
  np.testing.assert_array_equal(found[0]["index"], [0, 1])  # 10 and 11 of the stream, modulo 10
  assert found[0]["label"].dtype == np.int32 and found[0]["extent"].tolist() == [[2, 2]] * 2


def test_an_iterator_may_number_its_examples():
  source = data.from_iterator(lambda start: batches_from(start, index=7), num_examples=10)
  assert "index" not in source.element_spec
  batch = next(data.batches(source, start_step=0, stop_step=1, keys=("index",), **NUMBERS))
  assert list(batch) == ["index"] and batch["index"].tolist() == [7] * 4 and batch["index"].dtype == np.int32


def test_an_iterator_that_falls_short_says_so():
  source = data.from_iterator(batches_from, num_examples=10, name="mine")
  with pytest.raises(data.DataError, match="mine ended before step 6"):
    list(data.batches(source, start_step=5, stop_step=8, **NUMBERS))
  with pytest.raises(data.DataError, match="gave 4 examples at step 0; the global batch is 5"):
    next(data.batches(source, start_step=0, stop_step=1, batch_size=5, seed=0))
  with pytest.raises(ValueError, match="no random access"):
    source.get([0])
  changing = data.from_iterator(lambda start: batches_from(start, label=2), num_examples=10)
  short = dataclasses.replace(changing, make_iterator=batches_from)
  with pytest.raises(data.DataError, match="gave no 'label' at step 0"):
    next(data.batches(short, start_step=0, stop_step=1, **NUMBERS))


@pytest.mark.parametrize(
  "batch, message",
  [
    (np.zeros(3), "dicts of arrays"),
    ({"a": np.zeros(3), "b": np.zeros(2)}, "differ in length"),
    ({"image": np.zeros((2, 3, 3, 1))}, r"\(image \* 255\)"),
  ],
)
def test_wrong_batches_are_refused_before_training(batch, message):
  with pytest.raises(ValueError, match=message):
    data.from_iterator(lambda start: iter([batch]), num_examples=4)
