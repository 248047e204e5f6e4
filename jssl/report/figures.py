"""Pictures as arrays, and arrays as PNG: grids, heat maps, clicked patches."""

from collections.abc import Sequence
import io

import numpy as np
from PIL import Image

from jssl.evaluation.prompt_segmentation import upsample

# Control points of matplotlib's viridis (CC0), equally spaced: perceptually uniform, and readable without color vision.
VIRIDIS = np.array(
  [
    (68, 1, 84),
    (72, 40, 120),
    (62, 73, 137),
    (49, 104, 142),
    (38, 130, 142),
    (31, 158, 137),
    (53, 183, 121),
    (110, 206, 88),
    (181, 222, 43),
    (253, 231, 37),
  ],
  np.float64,
)
PAPER = 255


def to_rgb(image: np.ndarray) -> np.ndarray:
  """An image `[H, W]`, `[H, W, 1]` or `[H, W, 3]`, uint8 or float in [0, 1] (clipped), as uint8 `[H, W, 3]`.

  Raises:
    ValueError: for another shape.
  """
  image = np.asarray(image)
  if image.dtype != np.uint8:
    image = np.rint(np.clip(image.astype(np.float32), 0.0, 1.0) * 255.0).astype(np.uint8)
  if image.ndim == 2:
    image = image[..., None]
  if image.ndim != 3 or image.shape[-1] not in (1, 3):
    raise ValueError(f"An image must be [H, W], [H, W, 1] or [H, W, 3]; found {image.shape}.")
  return np.broadcast_to(image, (*image.shape[:2], 3))


def picture(x: np.ndarray, *, low: float = 0.0, high: float = 1.0) -> np.ndarray:
  """One example of any kind as an image: a signal as a curve, a clip's frames or a volume's slices side by side.

  Args:
    x: `[T, C]`, `[H, W, C]` or `[T, H, W, C]`; of other than three channels the first is shown.
    low, high: what is darkest and brightest, or lowest and highest.

  Returns:
    uint8 `[H, W, 3]`; of a signal with at least 60 x 120 pixels.
  """
  x = (np.asarray(x, np.float32) - low) / max(high - low, 1e-12)
  x = x if x.shape[-1] == 3 else x[..., :1]
  if x.ndim == 2:
    return _curve(x[:, 0])
  return to_rgb(np.concatenate(list(x), 1) if x.ndim == 4 else x)


def _curve(values: np.ndarray, height: int = 60) -> np.ndarray:
  """Values in [0, 1] from left to right as a line of one pixel, what is beyond at the border."""
  width = max(120, len(values))
  places = np.interp(np.linspace(0, len(values) - 1, width), np.arange(len(values)), np.clip(values, 0.0, 1.0))
  rows = np.rint((1.0 - places) * (height - 1)).astype(np.int32)
  before = np.concatenate([rows[:1], rows[:-1]])
  index = np.arange(height)[:, None]
  line = (index >= np.minimum(rows, before)) & (index <= np.maximum(rows, before))
  return to_rgb(np.where(line, 0, PAPER).astype(np.uint8))


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
  """Repeats every pixel of `image [H, W, ...]` scale x scale times."""
  return np.repeat(np.repeat(image, scale, 0), scale, 1)


def png_bytes(image: np.ndarray) -> bytes:
  """The PNG file of an image; see `to_rgb`."""
  buffer = io.BytesIO()
  Image.fromarray(np.ascontiguousarray(to_rgb(image))).save(buffer, "PNG", optimize=True)
  return buffer.getvalue()


def image_grid(rows: Sequence[Sequence[np.ndarray]], *, scale: int = 1, gap: int = 4) -> bytes:
  """PNG of `grid_image`."""
  return png_bytes(grid_image(rows, scale=scale, gap=gap))


def grid_image(rows: Sequence[Sequence[np.ndarray]], *, scale: int = 1, gap: int = 4) -> np.ndarray:
  """Rows of images, each pixel enlarged, on white, as one image uint8 `[H, W, 3]`.

  Args:
    rows: images as for `to_rgb`; rows may differ in length, images in size (a cell is as large as the largest).
    scale: side of a pixel of the images, in pixels of the whole.
    gap: between the images, in pixels of the whole.

  Raises:
    ValueError: if there is no image.
  """
  cells = [[enlarge(to_rgb(image), scale) for image in row] for row in rows]
  shapes = [image.shape[:2] for row in cells for image in row]
  if not shapes:
    raise ValueError("A grid needs at least one image.")
  height, width = np.max(shapes, axis=0) + gap
  canvas = np.full((len(cells) * height - gap, max(map(len, cells)) * width - gap, 3), PAPER, np.uint8)
  for y, row in enumerate(cells):
    for x, image in enumerate(row):
      canvas[y * height : y * height + image.shape[0], x * width : x * width + image.shape[1]] = image
  return canvas


def heatmap(values: np.ndarray, *, low: float = -1.0, high: float = 1.0) -> np.ndarray:
  """Colors `[..., 3]` uint8 of `values [...]`: viridis from `low` (blue) to `high` (yellow), clipped; NaN is white."""
  values = np.asarray(values, np.float64)
  place = (np.clip(np.nan_to_num(values, nan=low), low, high) - low) / (high - low) * (len(VIRIDIS) - 1)
  channels = [np.interp(place, np.arange(len(VIRIDIS)), channel) for channel in VIRIDIS.T]
  colors = np.rint(np.stack(channels, -1)).astype(np.uint8)
  return np.where(np.isnan(values)[..., None], np.uint8(PAPER), colors)


def mark_patch(image: np.ndarray, patch: int, grid: tuple[int, int]) -> np.ndarray:
  """A copy of `image [H, W, 3]` with the border of a patch drawn in white within black.

  Args:
    image: uint8, large enough that a patch has at least 6 pixels; `enlarge` it before.
    patch: row-major number of the patch.
    grid: patches (h, w), dividing H and W.
  """
  marked = np.array(image)
  height, width = image.shape[0] // grid[0], image.shape[1] // grid[1]
  top, left = patch // grid[1] * height, patch % grid[1] * width
  thick = max(1, min(height, width) // 8)
  for inset, color in ((0, 0), (thick, 255)):
    area = marked[top + inset : top + height - inset, left + inset : left + width - inset]
    kept = area[thick:-thick, thick:-thick].copy()
    area[:] = color
    area[thick:-thick, thick:-thick] = kept
  return marked


def keep_segment(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """The image `[H, W, 3]` uint8 within `mask [H, W]`, faded almost to white outside of it."""
  faded = PAPER - (PAPER - image.astype(np.int32)) // 6
  return np.where(mask[..., None], image, faded.astype(np.uint8))


def similarity_panels(
  image: np.ndarray,
  similarity: np.ndarray,
  segments: np.ndarray,
  click: int,
  *,
  threshold: float | None = None,
  scale: int = 4,
) -> list[np.ndarray]:
  """One click: the image, the map of similarities, what is above the threshold, and the object that was clicked.

  Args:
    image: `[H, W, 3]`, as for `to_rgb`.
    similarity: of every patch to the clicked one `[h, w]`, in [-1, 1]; shown as `heatmap`, upsampled as in
      `jssl.evaluation.prompt_segmentation`.
    segments: instance numbers `[H, W]`; the clicked object is the one that has most of the patch's pixels.
    click: row-major number of the clicked patch.
    threshold: of the similarity; without one there is no third panel.
    scale: side of a pixel of the image, in pixels of the panels.

  Returns:
    Three or four uint8 images `[scale * H, scale * W, 3]`, a row of `image_grid`.
  """
  image, grid = to_rgb(image), similarity.shape
  scores = np.asarray(upsample(np.asarray(similarity, np.float32), segments.shape))
  rows, columns = segments.shape[0] // grid[0], segments.shape[1] // grid[1]
  top, left = click // grid[1] * rows, click % grid[1] * columns
  clicked = np.bincount(segments[top : top + rows, left : left + columns].ravel()).argmax()
  panels = [mark_patch(enlarge(picture, scale), click, grid) for picture in (image, heatmap(scores))]
  masks = [segments == clicked] if threshold is None else [scores > threshold, segments == clicked]
  return panels + [enlarge(keep_segment(image, mask), scale) for mask in masks]


def similarity_figure(
  images: np.ndarray,
  similarities: np.ndarray,
  segments: np.ndarray,
  clicks: Sequence[int],
  *,
  threshold: float | None = None,
  scale: int = 4,
) -> bytes:
  """PNG with one row of `similarity_panels` for each click; all arguments have the clicks as their first axis."""
  return image_grid(
    [
      similarity_panels(*click, threshold=threshold, scale=scale)
      for click in zip(images, similarities, segments, clicks, strict=True)
    ]
  )


def reconstruction_grid(*columns: Sequence[np.ndarray] | np.ndarray, scale: int = 4) -> bytes:
  """PNG with one row an example: clean, corrupted and reconstructed images, or any other columns of images `[H, W, C]`.

  Raises:
    ValueError: if the columns differ in their number of examples.
  """
  return image_grid(list(zip(*columns, strict=True)), scale=scale)
