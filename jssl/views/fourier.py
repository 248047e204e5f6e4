"""Views in the Fourier domain: the style of an image in its amplitudes, and its low frequencies alone."""

import jax
import jax.numpy as jnp
import numpy as np

from jssl.batch_axis import gather, global_size
from jssl.checks import Number, Range
from jssl.views.geometry import Size, to_pair
from jssl.views.mixing import for_each_example


def replace_low_amplitudes(image: jax.Array, donor: jax.Array, ratio: Number) -> jax.Array:
  """Gives an image the donor's amplitudes at low frequencies, and leaves it its phases.

      A = |F(image)|,   P = angle(F(image)),   out = clip(F^-1( ((1 - M) A + M |F(donor)|) exp(i P) ))

  M is a centred window of the spectrum, with round(sqrt(ratio) * side) frequencies along each side; an even number is
  made odd by one more, so that the window is symmetric about the constant and the image stays real. A ratio of 0 is an
  empty window, one of 1 the whole spectrum.

  Args:
    image: [height, width, channels] in [0, 1], not normalised; each channel is transformed by itself.
    donor: the same shape.
    ratio: share of the spectrum's area in [0, 1]; may be traced.

  Returns:
    [height, width, channels], clipped to [0, 1].
  """
  spectrum, style = (jnp.fft.rfft2(x, axes=(0, 1)) for x in (image, donor))
  window = True
  for axis, side in enumerate(image.shape[:2]):
    frequency = np.abs(np.fft.fftfreq(side, 1 / side)) if axis == 0 else np.fft.rfftfreq(side, 1 / side)
    size = jnp.round(jnp.sqrt(ratio) * side)
    inside = (2 * frequency <= size) & (size > 0)
    window = window & jnp.expand_dims(inside, (1 - axis, 2))
  amplitude = jnp.abs(spectrum)
  phase = jnp.where(amplitude > 0, spectrum / jnp.where(amplitude > 0, amplitude, 1), 1)
  mixed = jnp.where(window, jnp.abs(style) * phase, spectrum)
  return jnp.clip(jnp.fft.irfft2(mixed, image.shape[:2], axes=(0, 1)), 0, 1).astype(image.dtype)


def standardize_styles(rng: jax.Array, image: jax.Array, *, ratio: Range, axis_name: str | None = None) -> jax.Array:
  """Batch Styles Standardization: every image of the batch gets the low amplitudes of one of them (scope="batch").

  One donor and one window are drawn for the whole batch, as in Algorithm 1 of the paper: the images of a view share one
  style, two views have two. Negatives from the same view then cannot be told apart by their style, see
  `same_view_nt_xent_loss`. The donor itself stays as it is.

  Args:
    rng: one key, the same on all devices.
    image: [batch, height, width, channels] in [0, 1], not normalised (`augment(mean=0.0, std=1.0)`); the local part of
      the batch.
    ratio: range (low, high) of the window's share of the spectrum's area, 0 <= low <= high <= 1; drawn uniformly.
    axis_name: None, or the mapped axis over which the global batch is split; the donor comes from all of it.

  Returns:
    [batch, height, width, channels] in [0, 1].

  Raises:
    ValueError: for a range outside [0, 1].

  References:
    Scalbert, Vakalopoulou, Couzinie-Devy 2024, "Towards domain-invariant Self-Supervised Learning with Batch Styles
    Standardization", arXiv 2303.06088; its code was not at hand. Drawing once for all channels is our reading.
  """
  donor, share = _draw_style(rng, image.shape[0], ratio, per_example=False, axis_name=axis_name)
  donor = _one_of_batch(image, donor[0], axis_name)
  return jax.vmap(replace_low_amplitudes, (0, None, None))(image, donor, share[0])


def fourier_augment(rng: jax.Array, image: jax.Array, *, ratio: Range, axis_name: str | None = None) -> jax.Array:
  """Plain Fourier augmentation, the control of `standardize_styles`: each image has a donor and a window of its own.

  Arguments, result and errors as `standardize_styles`. Xu, Zhang, Zhang, Wang, Tian, "A Fourier-based Framework for
  Domain Generalization", arXiv 2105.11120, and Yang and Soatto (FDA), arXiv 2004.05498, exchange amplitudes by pairs.
  """
  donor, share = _draw_style(rng, image.shape[0], ratio, per_example=True, axis_name=axis_name)
  return jax.vmap(replace_low_amplitudes)(image, gather(image, axis_name)[donor], share)


def _draw_style(
  rng: jax.Array, local_batch: int, ratio: Range, *, per_example: bool, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
  """Donors (places in the global batch) and areas of this device's examples, each [local_batch]."""
  low, high = ratio
  if not 0 <= low <= high <= 1:
    raise ValueError(f"ratio must satisfy 0 <= low <= high <= 1, got {ratio}")
  draws = for_each_example(lambda n: jax.random.uniform(rng, (n, 2)), local_batch, per_example, axis_name)
  return jnp.floor(draws[:, 0] * global_size(local_batch, axis_name)).astype(jnp.int32), low + (high - low) * draws[:, 1]


def _one_of_batch(x: jax.Array, place: jax.Array, axis_name: str | None) -> jax.Array:
  """Row `place` of the global batch, without gathering all of it."""
  if axis_name is None:
    return x[place]
  place = place - jax.lax.axis_index(axis_name) * len(x)
  here = (place >= 0) & (place < len(x))
  return jax.lax.psum(jnp.where(here, x[jnp.clip(place, 0, len(x) - 1)], 0), axis_name)


def low_frequency_crop(rng: jax.Array, image: jax.Array, *, size: Size) -> jax.Array:
  """Keeps the lowest frequencies of an image, which makes it smaller: EfficientTrain's view of the early stages.

  The centred `size` of the spectrum, transformed back:

      out = Re F^-1( window(F(image)) * (h w) / (H W) )

  A constant image keeps its value, and there is no aliasing. Of the frequencies at the edge of an even window only the
  negative ones are there, hence the real part. The size of the image changes nothing.

  Args:
    rng: unused; here so that views are interchangeable.
    image: [height, width, channels] float32, of any range; the paper crops normalised images.
    size: side of the result, or its (height, width): even, or that of the image.

  Returns:
    [size, size, channels] in the image's dtype.

  Raises:
    ValueError: for an odd size, or one that exceeds the image.

  References:
    Wang, Yue, Lu, Liu, Zhong, Song, Huang 2023, "EfficientTrain: Exploring Generalized Curriculum Learning for Training
    Visual Backbones", arXiv 2211.09703; LeapLabTH/EfficientTrain.
  """
  del rng
  sides, out = image.shape[:2], to_pair(size)
  if any(new > old or (new % 2 and new != old) for new, old in zip(out, sides, strict=True)):
    raise ValueError(f"low_frequency_crop: size={size} must be even and fit into the image {sides[0]} x {sides[1]}")
  if tuple(out) == tuple(sides):
    return image
  # Frequencies in FFT order: 0, 1, ..., new / 2 - 1, -new / 2, ..., -1.
  rows, columns = (np.fft.fftfreq(new, 1 / new).astype(int) for new in out)
  spectrum = jnp.fft.fft2(image, axes=(0, 1))[rows][:, columns]
  scale = (out[0] * out[1]) / (sides[0] * sides[1])
  return jnp.fft.ifft2(spectrum * scale, axes=(0, 1)).real.astype(image.dtype)
