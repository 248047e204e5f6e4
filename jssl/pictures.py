"""Which arrays of a data set are pictures or waveforms, and how they reach the functions of a method.

Pictures travel as uint8 and are float32 in [0, 1] on the device. An array is one if its type is uint8 and

- an example of it has three axes or more: `[height, width, channels]`, `[frames, height, width, channels]`; or
- it has two, and its name has the word `image` in it: `image`, `image_b`, `left_image`, `camera/image`.

Waveforms travel as int16 and are float32 in [-1, 1) on the device. An array is one if its type is int16, an example of it
has an axis at least, and its name has the word `waveform` in it: `waveform`, `noise_waveform`, `target/waveform`.

Every other array stays what it is: labels, tokens and fields of a table in uint8, a map `[height, width]` of classes.
"""

import re

import jax
import jax.numpy as jnp


def is_picture(name: str, array) -> bool:
  """Whether an array `[batch, ...]` of a data set holds pictures.

  Args:
    name: in the data set.
    array: anything with `dtype` and `ndim`.

  Example:

    >>> is_picture("frames", jnp.zeros([8, 32, 32, 3], jnp.uint8)), is_picture("label", jnp.zeros([8], jnp.uint8))
    (True, False)
  """
  return array.dtype == jnp.uint8 and array.ndim >= (3 if _named(name, "image", "images") else 4)


def is_waveform(name: str, array) -> bool:
  """Whether an array `[batch, ...]` of a data set holds waveforms. Arguments as `is_picture`.

  Example:

    >>> is_waveform("waveform", jnp.zeros([8, 100], jnp.int16)), is_waveform("tokens", jnp.zeros([8, 100], jnp.int16))
    (True, False)
  """
  return array.dtype == jnp.int16 and array.ndim >= 2 and _named(name, "waveform", "waveforms")


def _named(name: str, *words: str) -> bool:
  return not set(words).isdisjoint(re.split(r"[^a-z]+", name.lower()))


def as_float(name: str, array) -> jax.Array:
  """An array of a batch as the functions of a method see it.

  Pictures are in float32 in [0, 1], waveforms in float32 in [-1, 1), others are as they are.
  """
  if is_waveform(name, array):
    return array.astype(jnp.float32) / 32768
  return array.astype(jnp.float32) / 255 if is_picture(name, array) else array
