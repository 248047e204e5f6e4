"""Reconstruction at hidden patches and pixels."""

import functools

import jax.numpy as jnp
from loss_checks import absolute, check_loss, finite, normals, uncoupled
import numpy as np
import pytest

from jssl.losses import mae_loss, masked_l1_loss, masked_mse_loss, smooth_l1_loss
from jssl.targets import patch_pixels, patchify_mask

PATCHES = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], bool)


def smooth(e, beta):
  size = absolute(e)
  return np.where(size.real < beta, 0.5 * e * e / beta, size - 0.5 * beta)


ERRORS = dict(
  l1=(masked_l1_loss, absolute),
  mse=(masked_mse_loss, lambda e: e * e),
  smooth=(functools.partial(smooth_l1_loss, beta=0.7), lambda e: smooth(e, 0.7)),
)


@pytest.mark.parametrize("kind", list(ERRORS))
def test_errors_are_pooled_over_hidden_patches_of_the_batch(kind):
  loss, error = ERRORS[kind]
  reference = lambda x, y, mask: error(x - y)[mask].mean()
  check_loss(loss, reference, [*normals((4, 3, 6), (4, 3, 6)), PATCHES], moving=(0, 1))


@pytest.mark.parametrize("kind", list(ERRORS))
def test_without_a_mask_everything_counts(kind):
  loss, error = ERRORS[kind]
  check_loss(loss, lambda x, y: error(x - y).mean(), normals((4, 2, 3), (4, 2, 3)))


def test_views_are_pooled_and_pixel_masks_group_channels():
  arrays = normals(*[(4, 3, 6)] * 4)
  rng = np.random.default_rng(1)
  masks = [rng.random((4, 3, 2)) < p for p in (0.3, 0.8)]  # two pixels of three channels a patch

  def reference(a, b, x, y, m, n):
    m, n = np.repeat(m, 3, -1), np.repeat(n, 3, -1)
    return (absolute(a - x)[m].sum() + absolute(b - y)[n].sum()) / (m.sum() + n.sum())

  def loss(a, b, x, y, m, n, axis_name):
    return masked_l1_loss([a, b], [x, y], [m, n], axis_name=axis_name)

  check_loss(loss, reference, [*arrays, *masks], moving=(0, 1, 2, 3))
  metrics = loss(*arrays, *masks, axis_name=None)[1]
  np.testing.assert_allclose(metrics["hidden"], np.mean(masks), rtol=1e-6)


def test_a_pixel_mask_hides_the_same_pixels_in_images_and_patches():
  rng = np.random.default_rng(0)
  image, other = (jnp.asarray(x, jnp.float32) for x in normals((2, 4, 6, 3), (2, 4, 6, 3)))
  mask = jnp.asarray(rng.random((2, 4, 6)) < 0.5)
  in_images = masked_l1_loss(other, image, mask)[0]
  cut = lambda x: patch_pixels(x, patch=2)
  in_patches = masked_l1_loss(cut(other), cut(image), patchify_mask(mask, patch=2))[0]
  np.testing.assert_allclose(in_patches, in_images, rtol=1e-6)


def test_mae_averages_the_hidden_patches_of_each_image():
  def reference(x, y, mask):
    errors = ((x - y) ** 2).mean(-1)
    return sum(errors[b][mask[b]].mean() for b in (0, 2, 3)) / 4

  check_loss(uncoupled(mae_loss), reference, [*normals((4, 3, 6), (4, 3, 6)), PATCHES], moving=(0, 1))


def test_smooth_l1_meets_l1_and_l2():
  x, y = (jnp.asarray(a, jnp.float32) for a in normals((4, 3), (4, 3)))
  np.testing.assert_allclose(smooth_l1_loss(x, y, beta=100.0)[0], masked_mse_loss(x, y)[0] / 200, rtol=1e-5)
  np.testing.assert_allclose(smooth_l1_loss(x, y, beta=1e-6)[0], masked_l1_loss(x, y)[0], rtol=1e-5)


def test_degenerate_inputs():
  x = jnp.ones((1, 3, 4))
  nothing = jnp.zeros((1, 3), bool)
  for loss in (masked_l1_loss, masked_mse_loss, smooth_l1_loss, uncoupled(mae_loss)):
    finite(lambda a, b, axis_name, loss=loss: loss(a, b, nothing, axis_name=axis_name), [x, x])
    value, metrics = loss(x, 0 * x, nothing, axis_name=None)
    assert value == 0 and metrics["hidden"] == 0
    finite(lambda a, b, axis_name, loss=loss: loss(a, b, ~nothing, axis_name=axis_name), [x, x])


@pytest.mark.parametrize("mask", [np.ones((4, 2), bool), np.ones((4, 3, 5), bool), np.ones((3,), bool)])
def test_masks_that_do_not_fit_are_refused(mask):
  x = jnp.zeros((4, 3, 6))
  with pytest.raises(ValueError, match="does not fit"):
    masked_l1_loss(x, x, mask)


def test_shapes_that_differ_are_refused():
  with pytest.raises(ValueError, match="differ in shape"):
    masked_l1_loss(jnp.zeros((4, 3, 6)), jnp.zeros((4, 3, 5)))
  with pytest.raises(ValueError, match="2 predictions, 1 targets"):
    masked_l1_loss([jnp.zeros(3)] * 2, jnp.zeros(3))
