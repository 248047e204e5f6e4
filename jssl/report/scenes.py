"""Clicks on scenes whose objects are known: the click, the similarities, and the object that should have been found."""

from collections.abc import Callable, Iterator, Mapping
import functools

import numpy as np

from jssl import data
from jssl.evaluation.frozen import load_frozen
from jssl.evaluation.scenes import belonging_patches, objects_of
from jssl.evaluation.similarity import cosine_similarity
from jssl.evaluation.view import read_batch
from jssl.report.figures import image_grid, similarity_panels
from jssl.report.markup import caption, escape, strips

EXAMPLES = 6
Choose = Callable[[np.ndarray, tuple[int, int]], int]
PANELS = ("a click", "the similarity to it (-1 to 1)", "what is above the threshold", "the object")


def similarity_figures(workdir, config, results: Mapping, **settings) -> Iterator[tuple[str, bytes]]:
  """`clicked_panels` as PNG files with their captions, one row a click."""
  for model, threshold, rows in clicked_panels(workdir, config, results, **settings):
    caption = f"{model}: a click, the similarity of every patch to it (-1 to 1), what is above {threshold:g}, the object"
    yield caption, image_grid(rows)


def clicks_body(workdir, config, results: Mapping, **settings) -> str:
  """HTML of `clicked_panels`, one column a click."""
  parts = []
  for model, threshold, rows in clicked_panels(workdir, config, results, scale=2, **settings):
    shown = strips([*zip(PANELS, zip(*rows, strict=True), strict=True)])
    parts.append(f"<div class='panels'><h3>{escape(model)}, threshold {threshold:g}</h3>{shown}</div>")
  look = caption(
    "One click an object, whose true extent is in the last row: what is above the threshold, which other scenes gave, "
    "should be it.",
    otherwise="what is above the threshold is the surroundings of the click, whatever is there.",
  )
  return look + "".join(parts) if parts else ""


def clicked_panels(
  workdir, config, results: Mapping, *, scale: int = 4, choose: Choose | None = None, **settings
) -> Iterator[tuple[str, float, list[list[np.ndarray]]]]:
  """Similarity to a clicked patch beside the object that was clicked, before and after pretraining.

  Args:
    workdir: of the run.
    config: of the run.
    results: of its evaluation, with `prompt_segmentation`, whose threshold is drawn.
    scale: side of a pixel of the images in the panels.
    choose: a click, from the segments of a scene `[H, W]` and the grid to the number of a patch; default `object_middle`.
    **settings: of `load_frozen`.

  Yields:
    The model, the threshold, and `similarity_panels` of each click.
  """
  measured = {
    model: result["prompt_segmentation"]
    for model, result in results.items()
    if result.get("prompt_segmentation", {}).get("metrics")
  }
  entry = config.evaluation.test_scenes
  if not measured:
    return
  source = data.load(entry.name, split=entry.split, **entry.options)
  for model, random in (("pretrained", False), ("random weights", True)):
    if model in measured:
      frozen = load_frozen(workdir, random=random, **settings)
      features = frozen.feature_model(model)
      chosen = np.arange(min(EXAMPLES, len(source)))
      scenes = read_batch(source, chosen, frozen.view, ("segments",))
      patches, grid = features.patch_features(scenes), features.grid
      segments = frozen.view.segments(scenes["segments"], scenes.get("extent"))
      images = np.asarray(frozen.view._replace(mean=0.0, std=1.0, grayscale=False)(scenes))
      clicks = [(choose or object_middle)(segment, grid) for segment in segments]
      maps = [
        np.asarray(cosine_similarity(p[None, c], p[None]))[0].reshape(grid) for p, c in zip(patches, clicks, strict=True)
      ]
      threshold = measured[model]["metrics"]["threshold"]
      panels = functools.partial(similarity_panels, threshold=threshold, scale=scale)
      yield model, threshold, [panels(*click) for click in zip(images, maps, segments, clicks, strict=True)]


def object_middle(segments: np.ndarray, grid: tuple[int, int]) -> int:
  """The patch in the middle of the largest object of a scene `[H, W]`."""
  found = objects_of(belonging_patches(segments, grid))
  members = max(found.values(), key=len) if found else np.arange(grid[0] * grid[1])
  places = np.stack(np.divmod(members, grid[1]), -1)
  return int(members[np.argmin(np.square(places - places.mean(0)).sum(-1))])
