"""Views of waveforms."""

import jax
import jax.numpy as jnp

from jssl.arrays import without_padding
from jssl.checks import check_arrays
from jssl.views.sequences import random_window


def waveform(
  rng: jax.Array, signal: jax.Array, length: jax.Array | None = None, *, size: int, standardize: bool = False
) -> dict[str, jax.Array]:
  """A random window of a waveform.

  Args:
    rng: the example's key.
    signal: float `[T]` or `[T, channels]`.
    length: int `[]`, how many samples hold data; None for all.
    size: samples of the window, at most T.
    standardize: subtract the mean over the window's data and divide by the deviation, each channel by itself:
      `(x - mean) / sqrt(var + 1e-7)`, as wav2vec 2.0 is given its waveforms.

  Returns:
    A dict of `x` `[size, channels]`, zeros from `length` on, and `length` int32 `[]`.

  Raises:
    ValueError: if the window is longer than T.

  References:
    Baevski et al., arXiv 2006.11477; Hugging Face's Wav2Vec2FeatureExtractor (zero_mean_unit_var_norm).
  """
  check_arrays("waveform", signal=(signal, "float [T, ...]"))
  if signal.ndim > 2:
    raise ValueError(f"waveform: signal {list(signal.shape)} must be [T] or [T, channels]")
  view = random_window(rng, signal.reshape(len(signal), -1), length, size=size)
  if not standardize:
    return view
  x, count = view["x"], jnp.maximum(view["length"], 1)
  x = x - jnp.sum(x, axis=0) / count
  x = without_padding(x, view["length"])
  return dict(view, x=x * jax.lax.rsqrt(jnp.sum(x * x, axis=0) / count + 1e-7))
