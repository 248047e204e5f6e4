"""Which arrays are pictures, in training as in evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import data
from jssl.config import default_config
from jssl.method import Method
from jssl.pictures import as_float, is_picture, is_waveform
from jssl.schedules import Horizon

KEY = jax.random.key(0, impl="threefry2x32")


@pytest.mark.parametrize(
  "name, shape, expected",
  [
    ("image", (4, 8, 8, 3), True),
    ("image", (4, 8, 8), True),
    ("left_image", (4, 8, 8), True),
    ("camera/image", (4, 8, 8), True),
    ("images", (4, 8, 8), True),
    ("frames", (4, 5, 8, 8, 3), True),
    ("photo", (4, 8, 8, 1), True),
    ("label", (4,), False),
    ("image_label", (4,), False),
    ("tokens", (4, 77), False),
    ("image_tokens", (4, 77), False),
    ("fields", (4, 12), False),
    ("segments", (4, 8, 8), False),
    ("imagenet_classes", (4, 8, 8), False),
  ],
)
def test_which_arrays_are_pictures(name, shape, expected):
  values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
  assert is_picture(name, values) == expected
  seen = as_float(name, jnp.asarray(values))
  if expected:
    np.testing.assert_allclose(seen, values / 255, rtol=1e-6)
  else:
    assert seen.dtype == jnp.uint8 and np.array_equal(seen, values)
  for other in (np.float32, np.int32):
    assert as_float(name, jnp.asarray(values.astype(other))).dtype == other


@pytest.mark.parametrize(
  "name, shape, expected",
  [
    ("waveform", (4, 9), True),
    ("target/waveform", (4, 2, 9), True),
    ("noise_waveform", (4, 9), True),
    ("tokens", (4, 9), False),
    ("waveform", (4,), False),
    ("waveforms_of", (4, 9), True),
    ("waveformat", (4, 9), False),
  ],
)
def test_which_arrays_are_waveforms(name, shape, expected):
  values = np.random.default_rng(0).integers(-(2**15), 2**15, shape).astype(np.int16)
  values.flat[0] = -(2**15)
  seen = as_float(name, jnp.asarray(values))
  assert is_waveform(name, values) == expected
  if expected:
    np.testing.assert_array_equal(seen, values / np.float32(2**15))
    assert seen.dtype == jnp.float32 and seen.min() == -1 and seen.max() < 1
  else:
    assert seen.dtype == jnp.int16


def test_uint8_tokens_reach_a_loss_as_they_are():
  """All values of a byte: a table of 256 rows is read at the right rows, where pictures are divided by 255."""
  tokens = np.arange(256, dtype=np.uint8).reshape(64, 4)
  image = np.arange(64 * 12, dtype=np.uint8).reshape(64, 2, 2, 3)
  source = data.from_arrays(image=image, tokens=tokens)
  config = default_config()
  loss = lambda image, tokens: (jnp.sum(image), {"tokens": jnp.sum(jnp.arange(256)[tokens])})
  config.update(dict(total_steps=1, batch_size=64, losses=dict(l=dict(fn=loss, reads=("image", "tokens")))))
  method = Method(config, num_examples=64, horizon=Horizon(1))
  total, (_, metrics) = method.loss({}, method.init(KEY, source.arrays), source.arrays, key=KEY, step=0)
  np.testing.assert_allclose(total, image.sum() / 255, rtol=1e-6)
  assert metrics["l/tokens"] == 255 * 128
