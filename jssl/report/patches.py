"""Pictures of one vector a patch: the map that follows a click, colours of principal components, attention."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from jssl.arrays import l2_normalize
from jssl.data.source import Source
from jssl.evaluation.model import FeatureModel
from jssl.report import looks
from jssl.report.figures import enlarge, grid_image, heatmap, mark_patch, VIRIDIS
from jssl.report.markup import base64_text, caption, data_block, escape, img, note, picture_uri, strips

IMAGES = 6
NUMBERS = 300_000  # of a model's patch features in the page, a byte each
MAX_DIM = 128
HEADS = 6
MAP_SIDE = 96  # pixels of a map in a still picture


class Patches:
  """The patch features of some images.

  Args:
    models: those of them that have patches on a grid count.
    source: the images; of more than `IMAGES` some.

  Attributes:
    models: that have patches.
    source: the images.
    pictures: uint8 images as the first of them sees them.
    features: of each model `[images, patches, dim]`.
  """

  def __init__(self, models: Sequence[FeatureModel], source: Source):
    self.models = [model for model in models if model.patch_features is not None and model.grid is not None]
    self.source = looks.some(source, IMAGES)
    if self.models:
      self.pictures = looks.pictures(self.source, self.models[0].view)
      self.features = [looks.features(model, "patch_features", self.source) for model in self.models]


def packed(features: np.ndarray) -> tuple[np.ndarray, float]:
  """Patch features small enough for a page: their directions in int8, in fewer dimensions if there are many.

  Args:
    features: `[n, N, D]`.

  Returns:
    int8 `[n, N, d]`, whose cosines are nearly those of the features, and the largest error of a cosine, of up to 256
    patches with all.
  """
  n, patches, dim = features.shape
  rows = np.asarray(l2_normalize(features.reshape(-1, dim)), np.float64)
  kept = min(dim, MAX_DIM, max(16, NUMBERS // (n * patches)))
  small = rows
  if kept < dim:  # the directions that keep the most of all cosines: Eckart and Young's theorem
    _, vectors = np.linalg.eigh(rows.T @ rows)
    small = rows @ vectors[:, ::-1][:, :kept]
  scale = np.maximum(np.abs(small).max(-1, keepdims=True), 1e-12)
  found = np.rint(small / scale * 127).astype(np.int8)
  some = looks.spread_out(len(rows), 256)
  again = np.asarray(l2_normalize(found), np.float64)
  error = float(np.abs(rows[some] @ rows.T - again[some] @ again.T).max())
  return found.reshape(n, patches, kept), error


def principal_colors(features: np.ndarray) -> np.ndarray:
  """The first three principal components of all patches as red, green and blue, uint8 `[n, N, 3]`.

  Args:
    features: `[n, N, D]`. Of each component the 2nd percentile is dark and the 98th bright; its sign is that in which the
      largest weight is positive.
  """
  n, patches, dim = features.shape
  rows = features.reshape(-1, dim).astype(np.float64)
  rows = rows - rows.mean(0)
  _, vectors = np.linalg.eigh(rows.T @ rows)
  vectors = vectors[:, ::-1][:, :3]
  vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
  found = rows @ vectors
  low, high = np.percentile(found, 2, axis=0), np.percentile(found, 98, axis=0)
  colors = np.zeros((len(rows), 3))
  colors[:, : found.shape[1]] = np.clip((found - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
  return np.rint(colors * 255).astype(np.uint8).reshape(n, patches, 3)


def similarity_body(patches: Patches, start: tuple[int, float, float] | None = None) -> str:
  """HTML of the map that follows a click on a patch, with a still picture for where no script runs.

  Args:
    patches: of the images.
    start: what is clicked at first: an image and the place of a patch, (top, left) in [0, 1]; by default the middle of the
      first image.
  """
  if not patches.models:
    return ""
  image, top, left = start or (0, 0.5, 0.5)
  models: list[dict[str, Any]] = []
  notes = []
  for model, features in zip(patches.models, patches.features, strict=True):
    data, error = packed(features)
    models.append(dict(name=model.name, grid=list(model.grid), dim=data.shape[-1], data=base64_text(data.tobytes())))
    fewer = f", in {data.shape[-1]} of {features.shape[-1]} dimensions" if data.shape[-1] < features.shape[-1] else ""
    notes.append(f"{model.name} {error:.3f}{fewer}")
  images = [picture_uri(shown) for shown in patches.pictures]
  block = data_block(
    "similarity-data", dict(images=images, models=models, start=[image, top, left], colours=VIRIDIS.astype(int).tolist())
  )
  look = caption(
    "Click a patch of any picture, or move with the arrow keys: each map shows the cosine of that patch with every patch of "
    "every picture. Colours run from the least to the most similar patch of a picture, the numbers below it say how similar "
    "they are. Look whether the map keeps to the thing that you clicked, also in other pictures.",
    otherwise="the maps of the pretrained network look like those of random weights, which follow colour and place.",
  )
  exactness = note(f"Features are kept in bytes; the largest error of a cosine: {'; '.join(notes)}.")
  still = img(_still(patches, image, top, left), "A clicked patch, and the similarity of all patches to it, by model")
  names = escape(", ".join(model.name for model in patches.models))
  return (
    f"{look}<div id='similarity-maps' hidden></div><div class='still'>{still}"
    f"<p class='note'>First the pictures, then the maps of: {names}</p></div>{exactness}{block}"
  )


def _still(patches: Patches, image: int, top: float, left: float) -> str:
  """The first click as a picture: the images, and below them each model's map."""
  rows = [[_resized(x) for x in patches.pictures]]
  for model, features in zip(patches.models, patches.features, strict=True):
    directions, grid = np.asarray(l2_normalize(features)), model.grid
    click = _patch(grid, top, left)
    maps = heatmap((directions @ directions[image, click]).reshape(-1, *grid))
    row = [_enlarged(x) for x in maps]
    row[image] = mark_patch(row[image], click, grid) if min(row[image].shape[0] // grid[0], 6) == 6 else row[image]
    rows.append(row)
  return picture_uri(grid_image(rows), exact=True)


def _patch(grid: tuple[int, int], top: float, left: float) -> int:
  """The number of the patch at a place, (top, left) in [0, 1]."""
  row, column = (min(int(place * size), size - 1) for place, size in zip((top, left), grid, strict=True))
  return row * grid[1] + column


def _enlarged(image: np.ndarray) -> np.ndarray:
  """A map of patches, each enlarged, to about `MAP_SIDE` pixels."""
  return enlarge(image, max(1, round(MAP_SIDE / max(image.shape[:2]))))


def _resized(image: np.ndarray) -> np.ndarray:
  """A picture of about `MAP_SIDE` pixels."""
  factor = MAP_SIDE / max(image.shape[:2])
  size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
  return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def principal_body(patches: Patches) -> str:
  """HTML of the pictures and, below them, their patches in the colours of three principal components."""
  if not patches.models:
    return ""
  rows = [("the picture", patches.pictures)]
  for model, features in zip(patches.models, patches.features, strict=True):
    colors = principal_colors(features).reshape(len(features), *model.grid, 3)
    rows.append((model.name, [_enlarged(x) for x in colors]))
  look = caption(
    "Each patch is coloured by the first three principal components of all patches of these pictures: what has one colour "
    "has similar features. Look for things that stand out from what surrounds them, and for one colour of things of a kind.",
    otherwise="the colours follow brightness and place alone, as in the rows of random weights and raw pixels.",
  )
  return look + strips(rows, exact=[row > 0 for row in range(len(rows))])


def attention_body(patches: Patches) -> str:
  """HTML of where the class token looks, by head, for the models that tell it."""
  rows, sharp = [("the picture", patches.pictures)] if patches.models else [], [False]
  for model in patches.models:
    if model.attention is None:
      continue
    found = looks.features(model, "attention", patches.source)  # [images, heads, patches]
    shown = [("mean of the heads", found.mean(1))]
    if len(rows) == 1:  # of the first model its heads, too
      shown += [(f"head {head + 1}", found[:, head]) for head in range(min(HEADS, found.shape[1]))]
    for label, values in shown:
      highest = np.maximum(values.max(-1, keepdims=True), 1e-12)
      maps = heatmap((values / highest).reshape(len(values), *model.grid), low=0.0)
      rows.append((f"{model.name}: {label}", [_enlarged(x) for x in maps]))
      sharp.append(True)
  if len(rows) < 2:
    return ""
  look = caption(
    "How much the class token of the last block attends to each patch, from dark (none) to bright (the most in a picture). "
    "Look for heads that keep to one thing.",
    otherwise="attention is spread evenly, or the same in every picture.",
  )
  return look + strips(rows, exact=sharp)
