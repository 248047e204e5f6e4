"""Mask propagation: the masks of a clip's first frame are carried from frame to frame by the similarity of patches.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", arXiv 2104.14294, as
facebookresearch/dino, eval_video_segmentation.py does it on DAVIS 2017 (Pont-Tuset et al., arXiv 1704.00675), and
davisvideochallenge/davis2017-evaluation, davis2017/metrics.py and evaluation.py, for the scores:

1. The first frame's mask at the middle of each patch is the patch's label, one-hot over background and objects.
2. A patch of a later frame asks the patches of the first frame and of the `previous` frames before it that are at most
   `neighbourhood` rows and columns away. Those as similar as the k-th most similar one or more so give their labels,
   weighted by exp(similarity / 0.1); what comes out is the patch's label for the frames that follow.
3. Labels are upsampled bilinearly, each object's map is stretched to [0, 1], the largest wins.
4. J is the IoU of an object's region; F is the F-measure of its contour, which is met within 0.8 % of the image's diagonal,
   rounded up to pixels. Both are means over frames without the first and the last, then over objects. J & F is their mean.

The published neighbourhood, 12, is 20 % of DAVIS's 60 rows; a small grid lies in it whole. Where a map is the same
everywhere, stretching gives 0 (there: a division by zero).
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jssl.evaluation.prompt_segmentation import upsample
from jssl.evaluation.scenes import check_scene_features
from jssl.evaluation.similarity import cosine_similarity

_QUERIES = 1024  # patches of a frame that are handled at once


@functools.partial(jax.jit, static_argnames=("k", "temperature", "previous", "neighbourhood", "similarity"))
def _carry(features, first, places, *, k, temperature, previous, neighbourhood, similarity):
  """Labels `[T - 1, N, objects]` of the frames after the first.

  Args:
    features: `[T, N, D]`.
    first: labels of the first frame `[N, objects]`.
    places: row and column of the patches `[N, 2]`.
    k, temperature, previous, neighbourhood, similarity: see `propagate_masks`.
  """
  frames, patches, dim = features.shape
  asked = min(previous, frames - 1)
  # Place 0 is the first frame's; of the others, each frame takes the oldest one's.
  keys = jnp.zeros((1 + asked, patches, dim)).at[0].set(features[0])
  labels = jnp.zeros((1 + asked, *first.shape)).at[0].set(first)
  key_places = jnp.tile(places, (1 + asked, 1))

  def step(carry, now):
    keys, labels = carry
    t, queries = now
    there = jnp.repeat(jnp.arange(1 + asked) < t, patches)  # the first, and t - 1 others if there is room for so many

    def vote(query_and_place):
      query, place = query_and_place
      seen = there & (jnp.abs(key_places - place) <= neighbourhood).all(-1)
      scores = jnp.where(seen, similarity(query[None], keys.reshape(-1, dim))[0] / temperature, -jnp.inf)
      # Not the last of them: XLA would no longer see a top-k, and sort all.
      least = jax.lax.top_k(scores, min(k, len(scores)))[0].min()
      return jax.nn.softmax(jnp.where(scores >= least, scores, -jnp.inf)) @ labels.reshape(-1, labels.shape[-1])

    found = jax.lax.map(vote, (queries, places), batch_size=min(_QUERIES, patches))
    place = 1 + (t - 1) % asked
    return (keys.at[place].set(queries), labels.at[place].set(found)), found

  return jax.lax.scan(step, (keys, labels), (jnp.arange(1, frames), features[1:]))[1]


@functools.partial(jax.jit, static_argnames=("grid", "size"))
def _to_pixels(labels, *, grid, size):
  """The object of every pixel `[frames, H, W]`, of the labels of patches `[frames, h * w, objects]`."""
  maps = upsample(jnp.swapaxes(labels, 1, 2).reshape(len(labels), -1, *grid), size)
  low, high = maps.min((2, 3), keepdims=True), maps.max((2, 3), keepdims=True)
  maps = jnp.where(high > low, (maps - low) / jnp.where(high > low, high - low, 1.0), 0.0)
  return jnp.argmax(maps, axis=1).astype(jnp.uint8)


def propagate_masks(
  features: np.ndarray,
  first: np.ndarray,
  *,
  grid: tuple[int, int],
  objects: int | None = None,
  similarity: Callable = cosine_similarity,
  k: int = 5,
  temperature: float = 0.1,
  previous: int = 7,
  neighbourhood: int = 12,
) -> np.ndarray:
  """Carries the masks of a clip's first frame through the clip.

  Args:
    features: patches of the frames `[T, h * w, D]`.
    first: instance numbers of the first frame's pixels `[H, W]`, 0 is background.
    grid: patches (h, w).
    objects: the largest instance number that there may be (what is compiled depends on it); default that of `first`.
    similarity: `(queries [Q, D], keys [N, D]) -> [Q, N]` in [-1, 1]; see `jssl.evaluation.similarity`.
    k: patches that give their labels.
    temperature: of their weights, > 0.
    previous: frames before a frame that are asked beside the first.
    neighbourhood: rows and columns that a patch may have moved.

  Returns:
    uint8 `[T - 1, H, W]`, the instance numbers in the frames after the first.
  """
  middles = [((np.arange(count) + 0.5) * side / count).astype(int) for count, side in zip(grid, first.shape, strict=True)]
  number = int(first.max() if objects is None else objects) + 1
  label = np.eye(number, dtype=np.float32)[first[np.ix_(*middles)].reshape(-1)]
  places = np.stack(np.divmod(np.arange(grid[0] * grid[1]), grid[1]), -1)
  numbers = dict(k=k, temperature=float(temperature), previous=previous, neighbourhood=neighbourhood, similarity=similarity)
  labels = _carry(np.asarray(features, np.float32), label, places, **numbers)
  return np.asarray(_to_pixels(labels, grid=tuple(grid), size=first.shape))


def boundary(masks: np.ndarray) -> np.ndarray:
  """The pixels `[..., H, W]` whose neighbour to the right, below, or below and right is on the contour's other side."""
  masks = np.asarray(masks, bool)
  other = np.pad(masks, [(0, 0)] * (masks.ndim - 2) + [(0, 1), (0, 1)], mode="edge")
  edges = [other[..., :-1, 1:], other[..., 1:, :-1], other[..., 1:, 1:]]
  return np.logical_or.reduce([masks ^ edge for edge in edges])


def region_iou(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
  """J `[frames]` of masks `[frames, H, W]`: the IoU, and 1 where both are empty."""
  both, either = (truth & predicted).sum((1, 2)), (truth | predicted).sum((1, 2))
  return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def contour_f(truth: np.ndarray, predicted: np.ndarray, tolerance: float = 0.008) -> np.ndarray:
  """F `[frames]` of masks `[frames, H, W]`: of precision and recall of the predicted contour's pixels.

  A pixel is met if one of the other contour lies within `tolerance` of the image's diagonal, rounded up to pixels.
  """
  radius = int(np.ceil(tolerance * np.hypot(*truth.shape[1:])))
  steps = np.arange(-radius, radius + 1)
  disk = (steps[:, None] ** 2 + steps**2 <= radius**2)[None]
  contours = [boundary(masks) for masks in (truth, predicted)]
  wide = [ndimage.binary_dilation(contour, disk) for contour in contours]
  counts = [contour.sum((1, 2)) for contour in contours]
  met = [(contour & other).sum((1, 2)) for contour, other in zip(contours, reversed(wide), strict=True)]
  # Without any contour nothing is missed, and nothing found that is not there.
  recall, precision = (np.where(n > 0, m / np.maximum(n, 1), 1.0) for n, m in zip(counts, met, strict=True))
  total = precision + recall
  return np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)


def propagation_scores(
  features: np.ndarray,
  segments: np.ndarray,
  frame: np.ndarray,
  *,
  grid: tuple[int, int],
  similarity: Callable = cosine_similarity,
  k: int = 5,
  temperature: float = 0.1,
  previous: int = 7,
  neighbourhood: int = 12,
  tolerance: float = 0.008,
) -> dict:
  """J, F and their mean of the objects of clips, by the module's protocol.

  Args:
    features: patches `[frames, h * w, D]`, clip after clip.
    segments: instance numbers `[frames, H, W]`, 0 is background; an object keeps its number through its clip.
    frame: the number of each frame within its clip `[frames]`; 0 begins one.
    grid, similarity, k, temperature, previous, neighbourhood: see `propagate_masks`.
    tolerance: of contours, as a share of the image's diagonal.

  Returns:
    `metrics`: `j_and_f`, `j`, `f`; and the `parameters`.

  Raises:
    ValueError: if shapes disagree, a clip has fewer than three frames, no first frame has an object, or the temperature is
      not above 0.
  """
  check_scene_features(features, segments, grid)
  starts = np.flatnonzero(np.asarray(frame) == 0)
  lengths = np.diff(np.append(starts, len(frame)))
  if not len(starts) or starts[0] or lengths.min() < 3:
    raise ValueError(f"clips need three frames or more, of which the first and the last are not scored; got {list(lengths)}")
  if not temperature > 0:
    raise ValueError(f"temperature={temperature} must be above 0.")
  numbers: dict[str, Any] = dict(k=k, temperature=temperature, previous=previous, neighbourhood=neighbourhood)
  scores, objects = [], int(segments.max())
  for start, length in zip(starts, lengths, strict=True):
    clip, truth = (np.asarray(x[start : start + length]) for x in (features, segments))
    predicted = propagate_masks(clip, truth[0], grid=grid, objects=objects, similarity=similarity, **numbers)[:-1]
    for number in np.setdiff1d(truth[0], 0):
      pair = truth[1:-1] == number, predicted == number
      scores.append((region_iou(*pair).mean(), contour_f(*pair, tolerance).mean()))
  if not scores:
    raise ValueError("no clip has an object in its first frame: there is nothing to propagate")
  j, f = np.mean(scores, axis=0)
  return dict(
    metrics=dict(j_and_f=float((j + f) / 2), j=float(j), f=float(f)),
    parameters=dict(
      grid=tuple(grid),
      similarity=getattr(similarity, "__name__", str(similarity)),
      **numbers,
      tolerance=tolerance,
      clips=len(starts),
      frames=len(frame),
      objects=len(scores),
    ),
  )
