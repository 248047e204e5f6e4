"""Random erasing: what is erased, by counting over many draws."""

import jax
import jax.numpy as jnp
import numpy as np

from jssl import views

HEIGHT, WIDTH, DRAWS = 24, 32, 3000


def erase(**numbers):
  keys = jax.random.split(jax.random.key(0), DRAWS)
  image = jnp.full((HEIGHT, WIDTH, 3), 7.0)  # which no noise is
  return np.asarray(jax.jit(jax.vmap(lambda key: views.random_erasing(key, image, **numbers)))(keys))


def rectangles(images):
  """Which images are erased, and top, left, height, width of what is; checks that it is a rectangle in all channels."""
  erased = (images != 7.0).any(-1)
  np.testing.assert_array_equal(erased, (images != 7.0).all(-1))
  rows, columns = erased.any(2), erased.any(1)
  np.testing.assert_array_equal(erased, rows[:, :, None] & columns[:, None])
  top, left, high, wide = rows.argmax(1), columns.argmax(1), rows.sum(1), columns.sum(1)
  for first, count, line in ((top, high, rows), (left, wide, columns)):
    places = np.arange(line.shape[1])
    np.testing.assert_array_equal(line, (places >= first[:, None]) & (places < (first + count)[:, None]))
  return erased.any((1, 2)), top, left, high, wide


def test_a_share_of_the_images_has_a_rectangle_of_noise():
  images = erase(prob=0.25)
  found, *_ = rectangles(images)
  assert abs(found.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / DRAWS)
  noise = images[images != 7.0]
  assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


def test_area_shape_and_place_are_those_of_timm():
  """Against the same draws made one by one, with rejection: quantiles of area and aspect, and of the places."""
  found, top, left, high, wide = rectangles(erase(prob=1.0))
  assert found.all() and high.max() < HEIGHT and wide.max() < WIDTH
  rng, ours = np.random.default_rng(0), np.stack([high * wide / (HEIGHT * WIDTH), np.log(high / wide)])
  ours = np.concatenate([ours, [top / (HEIGHT - high), left / (WIDTH - wide)]])
  theirs = []
  while len(theirs) < DRAWS:
    area, ratio = rng.uniform(0.02, 1 / 3) * HEIGHT * WIDTH, np.exp(rng.uniform(np.log(0.3), -np.log(0.3)))
    h, w = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
    if h < HEIGHT and w < WIDTH:
      y, x = rng.integers(0, HEIGHT - h + 1), rng.integers(0, WIDTH - w + 1)
      theirs.append((h * w / (HEIGHT * WIDTH), np.log(h / w), y / (HEIGHT - h), x / (WIDTH - w)))
  at = (0.1, 0.25, 0.5, 0.75, 0.9)
  for mine, other, tolerance in zip(ours, np.transpose(theirs), (0.02, 0.1, 0.06, 0.06), strict=True):
    np.testing.assert_allclose(np.quantile(mine, at), np.quantile(other, at), atol=tolerance)


def test_what_fits_nowhere_is_left():
  assert not rectangles(erase(prob=1.0, area=(1.0, 1.0), aspect=(1.0, 1.0)))[0].any()
