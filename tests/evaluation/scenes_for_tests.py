"""Scenes of rectangles, and features that know everything about them."""

import numpy as np

SIZE, GRID = 32, (8, 8)


def scenes(count, seed=0, objects=3, size=SIZE):
  """Segments `[count, size, size]` uint8: rectangles that may overlap, later ones on top."""
  rng = np.random.default_rng(seed)
  segments = np.zeros((count, size, size), np.uint8)
  for scene in segments:
    for number in range(1, objects + 1):
      height, width = rng.integers(8, 15, 2)
      top, left = rng.integers(0, size - height), rng.integers(0, size - width)
      scene[top : top + height, left : left + width] = number
  return segments


def aligned_scenes():
  """One scene of two objects that consist of whole patches: 2 x 3 and 4 x 2 patches of a 8 x 8 grid."""
  segments = np.zeros((1, SIZE, SIZE), np.uint8)
  segments[0, 4:12, 4:16] = 1
  segments[0, 12:28, 20:28] = 2
  return segments


def instance_features(segments, grid=GRID):
  """One-hot vector `[count, h * w, ids]` of the segment that has most of a patch's pixels, of equal ones the last."""
  count, height, width = segments.shape
  cells = segments.reshape(count, grid[0], height // grid[0], grid[1], width // grid[1])
  share = np.stack([(cells == number).mean((2, 4)) for number in range(segments.max() + 1)], -1)
  ids = share.shape[-1]
  return np.eye(ids, dtype=np.float32)[ids - 1 - share[..., ::-1].argmax(-1)].reshape(count, -1, ids)
