"""Functions that tests name in their configs as `tests.functions:name`."""

import jax
import jax.numpy as jnp


def exploding_loss(prediction, target, mask, *, scale):
  """A squared error that is not finite once `scale` is above 1."""
  error = jnp.mean(mask[..., None] * (prediction - target) ** 2)
  return jnp.where(scale > 1, jnp.inf, 1.0) * error, {}


def nearest_center(rng, features, *, count):
  """One step of clustering: random examples as centers, and which of them is nearest to each example."""
  centers = features[jax.random.permutation(rng, len(features))[:count]]
  distances = jnp.sum((features[:, None] - centers[None]) ** 2, -1)
  return {"assignments": jnp.argmin(distances, -1), "centers": centers}


def rows(table, index):
  return table[index]


def classify_loss(features, centers_by_example):
  return jnp.mean((features - centers_by_example) ** 2), {}


def poisoned_loss(prediction, target, mask, index, *, poison):
  """A squared error that is not finite for the batch that begins with the examples `poison`."""
  error = jnp.mean(mask[..., None] * (prediction - target) ** 2)
  return jnp.where(jnp.all(index[: len(poison)] == jnp.array(poison)), jnp.nan, 1.0) * error, {}


def normalized_images(rng, images):
  """Each pixel with the mean and the variance of its batch, as a BatchNorm in training has them."""
  del rng
  return (images - images.mean(0)) / jnp.sqrt(images.var(0) + 1e-5)


def spoilt(rng, image, *, scale):
  """The image, or NaN once `scale` is above 1."""
  del rng
  return image * jnp.where(scale > 1, jnp.nan, 1.0)


def steep_loss(prediction, target, mask, *, scale):
  """A squared error whose value is always finite, and whose gradient is not once `scale` is above 1."""
  error = jnp.mean(mask[..., None] * (prediction - target) ** 2)
  return error + jnp.sqrt(jnp.where(scale > 1, 0.0, 1.0) * jnp.sum(prediction**2)), {}
