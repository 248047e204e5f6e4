import numpy as np
import pytest

from jssl.data import batch_indices, epoch_permutation, steps_per_epoch


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch():
  orders = [epoch_permutation(seed, epoch, 50) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
  for order in orders:
    np.testing.assert_array_equal(np.sort(order), np.arange(50))
  assert len({order.tobytes() for order in orders}) == 3
  epoch_permutation.cache_clear()
  np.testing.assert_array_equal(epoch_permutation(0, 1, 50), orders[1])


def test_the_order_is_the_same_for_all_time():
  np.testing.assert_array_equal(epoch_permutation(0, 0, 8), [0, 3, 7, 5, 1, 2, 6, 4])


def test_permutations_are_uniform():
  first = np.bincount([epoch_permutation(seed, 0, 4)[0] for seed in range(2000)], minlength=4)
  assert (abs(first - 500) < 5 * np.sqrt(500 * 0.75)).all()


@pytest.mark.parametrize("num_examples, batch_size", [(12, 4), (13, 4), (5, 5), (7, 1)])
def test_each_example_at_most_once_an_epoch_and_the_incomplete_batch_is_dropped(num_examples, batch_size):
  steps = steps_per_epoch(num_examples, batch_size)
  assert steps == num_examples // batch_size
  for epoch in range(3):
    seen = np.concatenate(
      [batch_indices(epoch * steps + i, seed=3, num_examples=num_examples, batch_size=batch_size) for i in range(steps)]
    )
    assert seen.dtype == np.int64 and len(seen) == steps * batch_size == len(set(seen.tolist()))
    np.testing.assert_array_equal(seen, epoch_permutation(3, epoch, num_examples)[: len(seen)])


def test_impossible_batches_are_refused():
  with pytest.raises(ValueError, match="larger than the data set of 4 examples"):
    batch_indices(0, seed=0, num_examples=4, batch_size=5)
  with pytest.raises(ValueError, match="at least 1"):
    steps_per_epoch(4, 0)
