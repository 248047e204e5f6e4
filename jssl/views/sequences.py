"""Views of sequences: whatever has time as its first axis, padded behind, with its `length` beside it."""

import jax
import jax.numpy as jnp

from jssl.arrays import without_padding
from jssl.checks import check_arrays, check_values


def random_window(rng: jax.Array, x: jax.Array, length: jax.Array | None = None, *, size: int) -> dict[str, jax.Array]:
  """A random window of a sequence, within what holds data.

  Args:
    rng: the example's key.
    x: `[T, ...]`: a waveform, tokens, vectors, the frames of a clip.
    length: int `[]`, how many entries of T hold data; None for all.
    size: of the window, at most T.

  Returns:
    A dict of `x` `[size, ...]`, zeros from `length` on, and `length` int32 `[]`: `size`, or less where the sequence is
    shorter than that.

  Raises:
    ValueError: if the window is longer than T.

  Example:

    >>> view = random_window(jax.random.key(0), jnp.arange(1, 9), jnp.array(3), size=4)
    >>> view["x"].tolist(), int(view["length"])
    ([1, 2, 3, 0], 3)
  """
  check_arrays("random_window", x=(x, "any [T, ...]"), length=(length, "int []"))
  check_values("random_window", size=(size, f"int [1, {len(x)}]"))
  length = jnp.asarray(len(x) if length is None else length, jnp.int32)
  start = jax.random.randint(rng, (), 0, jnp.maximum(length - size, 0) + 1)
  window = jax.lax.dynamic_slice_in_dim(x, start, size)
  length = jnp.minimum(length, size)
  return dict(x=without_padding(window, length), length=length)
