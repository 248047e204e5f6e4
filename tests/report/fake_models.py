"""Models of features and data in which everything is known, for tests of pictures."""

import numpy as np

from jssl import data
from jssl.evaluation import FeatureModel

SIDE, GRID = 16, (4, 4)


def images(count: int = 12, labels: bool = True, seed: int = 0) -> data.Source:
  """Images of three colours, which are their classes, with noise, and of an object of another colour in the middle."""
  rng = np.random.default_rng(seed)
  label = np.arange(count) % 3
  image = rng.integers(0, 40, (count, SIDE, SIDE, 3))
  image[np.arange(count), :, :, label] += 150
  image[:, 4:8, 4:12] = 230
  return data.from_arrays(image=image.astype(np.uint8), **(dict(label=label) if labels else {}))


def patches(batch) -> np.ndarray:
  """The mean colour of each patch and its deviation: `[n, N, 6]`."""
  x = np.asarray(batch["image"], np.float32).reshape(-1, GRID[0], SIDE // GRID[0], GRID[1], SIDE // GRID[1], 3) / 255 - 0.5
  return np.concatenate([x.mean((2, 4)), x.std((2, 4))], -1).reshape(len(x), -1, 6)


def model(name: str, **fields) -> FeatureModel:
  """Features are mean colours; there is no view, so that no program is compiled."""
  settings = dict(image_features=lambda batch: patches(batch).mean(1), patch_features=patches, grid=GRID)
  return FeatureModel(name=name, **settings | fields)


def noise(name: str = "random weights") -> FeatureModel:
  """Features that know nothing of the images."""
  draw = lambda batch: (
    np.random.default_rng(1).standard_normal((len(batch["image"]), GRID[0] * GRID[1], 6)).astype(np.float32)
  )
  return model(name, patch_features=draw, image_features=lambda batch: draw(batch).mean(1))
