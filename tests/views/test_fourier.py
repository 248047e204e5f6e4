"""Styles and low frequencies in the Fourier domain, against NumPy's full transforms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import views

RATIO = (0.05, 0.5)


def make_images(number=8, height=12, width=10, seed=0):
  """Near middle grey, so that nothing is clipped."""
  return np.random.default_rng(seed).uniform(0.45, 0.55, (number, height, width, 3)).astype(np.float32)


def swapped(image, donor, ratio):
  """The paper's Algorithm 1 with shifted spectra and an explicit window; also the window."""
  shape = image.shape[:2]
  spectra = [np.fft.fftshift(np.fft.fft2(x.astype(np.float64), axes=(0, 1)), axes=(0, 1)) for x in (image, donor)]
  window = np.ones(shape, bool)
  for axis, side in enumerate(shape):
    size = round(np.sqrt(ratio) * side)
    odd = size + 1 if size and size % 2 == 0 else size
    reach = np.abs(np.arange(side) - side // 2) <= (odd - 1) / 2
    window &= np.expand_dims(reach, 1 - axis)
  amplitude = np.where(window[..., None], np.abs(spectra[1]), np.abs(spectra[0]))
  mixed = amplitude * np.exp(1j * np.angle(spectra[0]))
  return np.fft.ifft2(np.fft.ifftshift(mixed, axes=(0, 1)), axes=(0, 1)), window


@pytest.mark.parametrize("ratio", [0.0, 0.001, 0.03, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("height, width", [(12, 10), (9, 16)])
def test_low_amplitudes_are_the_donors(ratio, height, width):
  image, donor = make_images(2, height, width)
  want, window = swapped(image, donor, ratio)
  assert np.abs(want.imag).max() < 1e-6 and 0 < want.real.min() and want.real.max() < 1
  got = views.replace_low_amplitudes(image, donor, ratio)
  np.testing.assert_allclose(got, want.real, atol=2e-6)
  assert window.all() == (ratio == 1) and window.any() == (ratio > 0.001)
  spectra = [np.fft.fftshift(np.fft.fft2(np.asarray(x), axes=(0, 1)), axes=(0, 1)) for x in (got, donor, image)]
  amplitudes = np.abs(spectra)
  np.testing.assert_allclose(amplitudes[0][window], amplitudes[1][window], rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(amplitudes[0][~window], amplitudes[2][~window], rtol=1e-3, atol=1e-4)


def test_images_without_structure_stay_finite_and_results_in_range():
  black, white, noise = jnp.zeros((8, 8, 3)), jnp.ones((8, 8, 3)), jax.random.uniform(jax.random.key(0), (8, 8, 3))
  for image in (black, white, noise):
    for donor in (black, white, noise):
      out = views.replace_low_amplitudes(image, donor, 0.3)
      assert bool(jnp.isfinite(out).all()) and float(out.min()) >= 0 and float(out.max()) <= 1
  np.testing.assert_allclose(views.replace_low_amplitudes(black, white, 0.3), white, atol=1e-6)


def test_a_batch_gets_one_style():
  images, key = make_images(), jax.random.key(3)
  out = np.asarray(views.standardize_styles(key, images, ratio=RATIO))
  (donor,) = [i for i in range(8) if np.allclose(out[i], images[i], atol=1e-5)]
  other = (donor + 1) % 8
  fits = lambda ratio: np.allclose(out[other], swapped(images[other], images[donor], ratio)[0], atol=1e-5)
  fitting = [ratio for ratio in np.linspace(*RATIO, 200) if fits(ratio)]
  assert fitting
  want = [swapped(image, images[donor], fitting[0])[0].real for image in images]
  np.testing.assert_allclose(out, want, atol=1e-5)


def test_donors_and_areas_are_drawn_uniformly():
  draws = jax.jit(
    jax.vmap(lambda key: jnp.stack(views.fourier._draw_style(key, 4, RATIO, per_example=False, axis_name=None))[:, 0])
  )
  donors, areas = np.asarray(draws(jax.random.split(jax.random.key(0), 2000))).T
  counts = np.bincount(donors.astype(int), minlength=4)
  assert counts.min() > 430 and counts.max() < 570
  assert RATIO[0] <= areas.min() < 0.06 and 0.49 < areas.max() <= RATIO[1] and abs(areas.mean() - 0.275) < 0.01


def test_plain_augmentation_gives_each_image_a_style_of_its_own():
  images = make_images()
  donors, areas = views.fourier._draw_style(jax.random.key(2), 8, RATIO, per_example=True, axis_name=None)
  assert len(set(np.asarray(donors))) > 2 and len(set(np.asarray(areas))) == 8
  out = views.fourier_augment(jax.random.key(2), images, ratio=RATIO)
  want = [swapped(image, images[k], float(r))[0].real for image, k, r in zip(images, donors, areas, strict=True)]
  np.testing.assert_allclose(out, want, atol=1e-5)


def split(fn, images, devices=4):
  """`fn(images, axis_name)` on shards of the batch."""
  shards = images.reshape(devices, -1, *images.shape[1:])
  out = jax.vmap(functools.partial(fn, axis_name="devices"), axis_name="devices")(shards)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), out)


@pytest.mark.slow
@pytest.mark.parametrize("fn", [views.standardize_styles, views.fourier_augment])
def test_styles_do_not_depend_on_the_split(fn):
  images, key = jnp.asarray(make_images()), jax.random.key(5)
  run = lambda x, axis_name: fn(key, x, ratio=RATIO, axis_name=axis_name)
  np.testing.assert_allclose(split(run, images), run(images, None), atol=1e-6)


@pytest.mark.parametrize("size, out", [(6, (6, 6)), ((4, 8), (4, 8)), ((12, 6), (12, 6)), ((2, 2), (2, 2))])
def test_low_frequency_crop_is_the_centre_of_the_spectrum(size, out):
  image = np.random.default_rng(1).normal(size=(12, 10, 3)).astype(np.float32)
  shifted = np.fft.fftshift(np.fft.fft2(image.astype(np.float64), axes=(0, 1)), axes=(0, 1))
  top, left = (side // 2 - new // 2 for side, new in zip((12, 10), out, strict=True))
  centre = np.fft.ifftshift(shifted[top : top + out[0], left : left + out[1]], axes=(0, 1))
  want = np.fft.ifft2(centre * (out[0] * out[1]) / 120, axes=(0, 1)).real
  np.testing.assert_allclose(views.low_frequency_crop(None, image, size=size), want, atol=1e-6)


def test_low_frequency_crop_keeps_constants_and_low_waves():
  rows = 2 * np.pi * np.arange(16) / 16
  image = (0.3 + np.sin(3 * rows))[:, None, None] * np.ones((1, 16, 1))
  rows = 2 * np.pi * np.arange(10) / 10
  want = (0.3 + np.sin(3 * rows))[:, None, None] * np.ones((1, 10, 1))
  np.testing.assert_allclose(views.low_frequency_crop(None, jnp.asarray(image), size=10), want, atol=1e-5)
  full = jnp.asarray(image, jnp.float32)
  np.testing.assert_array_equal(views.low_frequency_crop(None, full, size=16), full)


def test_batch_color_jitter_changes_all_images_alike():
  images = jnp.full((5, 4, 4, 3), 0.4)
  fn = functools.partial(views.batch_color_jitter, jitter=(0.5, 0.2, 0.2, 0.1), prob=0.5)
  out = np.asarray(jax.jit(jax.vmap(fn, (0, None)))(jax.random.split(jax.random.key(0), 300), images))
  assert np.all(out == out[:, :1])
  assert abs(np.mean(np.abs(out[:, 0, 0, 0, 0] - 0.4) > 1e-6) - 0.5) < 0.1
  one = views.batch_color_jitter(jax.random.key(3), images, jitter=(0.5, 0.2, 0.2, 0.1))
  np.testing.assert_allclose(one[2], views.color_jitter(jax.random.key(3), images[2], 0.5, 0.2, 0.2, 0.1), atol=1e-6)


def test_errors():
  images = make_images(2)
  for fn in (views.standardize_styles, views.fourier_augment):
    for ratio in ((-0.1, 0.5), (0.5, 0.2), (0.5, 1.5)):
      with pytest.raises(ValueError, match="ratio"):
        fn(jax.random.key(0), images, ratio=ratio)
  for size in (5, 14, (12, 12)):
    with pytest.raises(ValueError, match="must be even"):
      views.low_frequency_crop(None, images[0], size=size)
