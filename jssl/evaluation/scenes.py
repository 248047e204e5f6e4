"""Which patches belong to which object: the geometry that the prompt protocols share."""

import numpy as np


def check_scene_features(features: np.ndarray, segments: np.ndarray, grid: tuple[int, int]) -> None:
  """Raises ValueError unless `features [B, N, D]` and `segments [B, H, W]` agree in B, and the grid has N patches."""
  if len(features) != len(segments) or features.shape[1] != grid[0] * grid[1]:
    raise ValueError(
      f"Features {features.shape} must be [images, patches, dim] of the {len(segments)} images of the segments and "
      f"the {grid[0]} x {grid[1]} patches of the grid."
    )


def belonging_patches(segments: np.ndarray, grid: tuple[int, int], *, min_fraction: float = 0.5) -> dict[int, np.ndarray]:
  """The patches that belong to each segment: those of whose pixels at least `min_fraction` lie in it.

  Args:
    segments: instance numbers of the pixels `[H, W]`, 0 is background.
    grid: patches (h, w); h divides H, w divides W.
    min_fraction: of a patch's pixels, > 0. At 0.5 a patch may belong to two segments, if each has exactly half of it.

  Returns:
    segment number -> increasing patch numbers, row-major; for every segment present, even if no patch belongs to it.

  Raises:
    ValueError: if the grid does not tile the segments.
  """
  height, width = segments.shape
  rows, columns = grid
  if height % rows or width % columns:
    raise ValueError(f"A grid of {rows} x {columns} patches does not tile segments of {height} x {width} pixels.")
  cells = segments.reshape(rows, height // rows, columns, width // columns)
  return {int(number): np.flatnonzero((cells == number).mean((1, 3)) >= min_fraction) for number in np.unique(segments)}


def objects_of(patches: dict[int, np.ndarray], *, min_patches: int = 2) -> dict[int, np.ndarray]:
  """The segments of `belonging_patches` that count as objects: not background, at least `min_patches` patches."""
  return {number: members for number, members in patches.items() if number != 0 and len(members) >= min_patches}


def labels_of(segment_label: np.ndarray, image: np.ndarray, instance: np.ndarray) -> np.ndarray:
  """The class of each object `[objects]`, -1 for none.

  Args:
    segment_label: class of instance number k + 1 in column k `[images, instances]`, -1 for none.
    image, instance: numbers of each object's image and instance `[objects]`; instances are counted from 1.

  Raises:
    ValueError: if there are instances without a column.
  """
  segment_label = np.asarray(segment_label)
  if segment_label.ndim != 2 or instance.max(initial=0) > segment_label.shape[1]:
    raise ValueError(
      f"segment_label {list(segment_label.shape)} must be [images, instances], of instances up to {instance.max(initial=0)}"
    )
  return segment_label[image, instance - 1]
