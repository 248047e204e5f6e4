"""Zero-shot segmentation from one prompting patch: click a patch, threshold the similarity of all patches to it.

Source: Wu, Mo, Awais, Atito, Feng and Kittler, "Masked Momentum Contrastive Learning for Zero-shot Semantic
Understanding", arXiv 2308.11448. The paper gives the idea (prompt one patch, similarity map, simple threshold, mean
IoU); the exact form below is jssl's own, so numbers compare with each other and not with the paper's:

1. Features: one vector a patch (CLS left out), compared by cosine; any other similarity is scaled to [-1, 1].
2. Objects: every instance to which at least 2 patches belong; a patch belongs if >= 50 % of its pixels are in the mask.
3. Prompts: `center`, the belonging patch nearest to the centroid of the mask's pixels (ties: the first); `random`, R =
   5 independent uniform draws among the belonging patches, the headline.
4. The map S_i = similarity(prompt, i) is upsampled bilinearly to the image (half-pixel centers, edges extended).
5. Prediction S > t; IoU with the instance's mask, averaged over the prompts of an object, then over objects.
6. Thresholds: `fixed`, one t for the model, from -0.2 .. 0.95 in steps of 0.05, the best for the random prompts of a
   calibration split (ties: the smallest), applied to all prompts of the test split, the headline; `oracle`, the best of
   these t for each prompt, an upper bound; `shared`, t = 0.5 for every model, which shows calibration and not quality.
7. Without threshold: average precision and AUROC of S over the image's pixels, averaged like IoU (an object that fills
   the image has no AUROC and is left out of that mean).
Random draws depend on the seed, the image's number and the instance's, not on the order or the size of chunks.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jssl.evaluation.chunks import map_chunks
from jssl.evaluation.ranking import ranking_scores
from jssl.evaluation.scenes import belonging_patches, check_scene_features, labels_of, objects_of
from jssl.evaluation.similarity import cosine_similarity

THRESHOLDS = tuple(round(-0.2 + 0.05 * i, 2) for i in range(24))


def upsample(maps: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Bilinear upsampling of maps `[..., h, w]` to `[..., H, W]`: half-pixel centers, edge values extended."""
  return jax.image.resize(maps, (*maps.shape[:-2], *size), "linear", antialias=False)


def choose_prompts(segments: np.ndarray, grid: tuple[int, int], *, random_prompts: int = 5, seed: int = 0) -> dict:
  """The objects of all images, and the patches that prompt for them.

  Args:
    segments: instance numbers `[B, H, W]`, 0 is background.
    grid: patches (h, w).
    random_prompts: number R of uniform draws, with replacement.
    seed: of the draws.

  Returns:
    `image [objects]`, `instance [objects]`, and `prompt [objects, 1 + R]` patch numbers, the center first.

  Raises:
    ValueError: if no instance covers two patches.
  """
  height, width = segments.shape[1:]
  patch = np.array([height / grid[0], width / grid[1]])
  centers = (np.stack(np.divmod(np.arange(grid[0] * grid[1]), grid[1]), -1) + 0.5) * patch
  objects, prompts = [], []
  for image, scene in enumerate(segments):
    for instance, members in objects_of(belonging_patches(scene, grid)).items():
      centroid = np.argwhere(scene == instance).mean(0) + 0.5
      nearest = members[((centers[members] - centroid) ** 2).sum(-1).argmin()]
      drawn = np.random.default_rng((seed, image, instance)).choice(members, random_prompts)
      objects.append((image, instance))
      prompts.append((nearest, *drawn))
  if not prompts:
    raise ValueError(f"No instance covers 2 patches of the {grid[0]} x {grid[1]} grid: there is nothing to prompt for.")
  images, instances = np.array(objects).T
  return dict(image=images, instance=instances, prompt=np.array(prompts))


@functools.partial(jax.jit, static_argnames=("grid", "thresholds", "similarity"))
def _score_objects(features, masks, prompt, *, grid, thresholds, similarity):
  """IoU `[objects, prompts, thresholds]`, AP and AUROC `[objects, prompts]` of one chunk of objects."""
  queries = jnp.take_along_axis(features, prompt[..., None], axis=1)
  scores = similarity(queries, features)
  maps = upsample(scores.reshape(*scores.shape[:2], *grid), masks.shape[1:])

  def iou(threshold):
    predicted = maps > threshold
    both = (predicted & masks[:, None]).sum((-2, -1))
    return both / (predicted | masks[:, None]).sum((-2, -1))

  precision, auroc = jax.vmap(jax.vmap(ranking_scores, (0, None)))(
    maps.reshape(*maps.shape[:2], -1), masks.reshape(masks.shape[0], -1)
  )
  return dict(iou=jnp.moveaxis(jax.lax.map(iou, jnp.array(thresholds)), 0, -1), ap=precision, auroc=auroc)


def prompt_scores(
  features: np.ndarray,
  segments: np.ndarray,
  *,
  grid: tuple[int, int],
  similarity: Callable = cosine_similarity,
  thresholds: Sequence[float] = THRESHOLDS,
  random_prompts: int = 5,
  seed: int = 0,
  chunk: int = 32,
) -> dict:
  """Scores of every prompt of every object.

  Args:
    features: one vector a patch `[B, N, D]`, N = h * w.
    segments: instance numbers `[B, H, W]`, 0 is background.
    grid: patches (h, w), dividing H and W.
    similarity: `(queries [..., Q, D], keys [..., N, D]) -> [..., Q, N]` in [-1, 1]; see `jssl.evaluation.similarity`.
    thresholds: the T values of t.
    random_prompts: number R of random prompts an object.
    seed: of the random prompts.
    chunk: objects handled at once; memory grows as chunk * ((1 + R) * H * W + N * D).

  Returns:
    `image`, `instance [objects]`, `prompt [objects, 1 + R]` (the center first), `iou [objects, 1 + R, T]`, `ap` and
    `auroc [objects, 1 + R]`.

  Raises:
    ValueError: if the shapes disagree, or there is no object.
  """
  check_scene_features(features, segments, grid)
  objects = choose_prompts(segments, grid, random_prompts=random_prompts, seed=seed)
  score = functools.partial(_score_objects, grid=tuple(grid), thresholds=tuple(thresholds), similarity=similarity)

  def score_chunk(image, instance, prompt):
    return score(features[image], segments[image] == instance[:, None, None], prompt)

  order = (objects["image"], objects["instance"], objects["prompt"])
  return objects | map_chunks(score_chunk, *order, chunk=min(chunk, len(order[0])))


def _by_class(values: np.ndarray, scores: dict, segment_label: np.ndarray) -> float | None:
  """Mean over classes of the mean of `values [objects]`; None if no object has a class."""
  labels = labels_of(segment_label, scores["image"], scores["instance"])
  if (labels < 0).all():
    return None
  return float(np.mean([values[labels == label].mean() for label in np.unique(labels[labels >= 0])]))


def prompt_iou(
  features: np.ndarray,
  segments: np.ndarray,
  calibration_features: np.ndarray,
  calibration_segments: np.ndarray,
  *,
  grid: tuple[int, int],
  similarity: Callable = cosine_similarity,
  segment_label: np.ndarray | None = None,
  thresholds: Sequence[float] = THRESHOLDS,
  shared_threshold: float = 0.5,
  random_prompts: int = 5,
  seed: int = 0,
  chunk: int = 32,
) -> dict:
  """Mean IoU, AP and AUROC of segments prompted by one patch, by the module's protocol.

  Args:
    features: patches of the test split `[B, N, D]`; see `prompt_scores` for these arguments.
    segments: `[B, H, W]`.
    calibration_features: patches of the split on which `fixed` chooses its threshold; other images than the test's.
    calibration_segments: the segments of that split.
    grid: patches (h, w).
    similarity: between patches, in [-1, 1].
    segment_label: class of instance number k + 1 in column k `[B, instances]`, -1 for none; adds the mean over classes.
    thresholds: the grid of t.
    shared_threshold: the t of `shared`.
    random_prompts: prompts an object.
    seed: of the random prompts.
    chunk: objects handled at once.

  Returns:
    `metrics`: `miou_<prompt>_<threshold>` for random and center prompts and fixed, oracle and shared thresholds;
    `ap_<prompt>`, `auroc_<prompt>`; `class_miou_random_fixed` where there are classes; the chosen `threshold`; and the
    `parameters`.
  """
  numbers: dict[str, Any] = dict(grid=grid, similarity=similarity, random_prompts=random_prompts, seed=seed, chunk=chunk)
  calibration = prompt_scores(calibration_features, calibration_segments, thresholds=thresholds, **numbers)
  fixed = int(calibration["iou"][:, 1:].mean((0, 1)).argmax())
  scores = prompt_scores(features, segments, thresholds=(*thresholds, shared_threshold), **numbers)
  iou = scores["iou"]
  metrics = {}
  for name, kind in dict(random=slice(1, None), center=slice(0, 1)).items():
    metrics[f"miou_{name}_fixed"] = iou[:, kind, fixed].mean()
    metrics[f"miou_{name}_oracle"] = iou[:, kind, :-1].max(-1).mean()
    metrics[f"miou_{name}_shared"] = iou[:, kind, -1].mean()
    metrics[f"ap_{name}"] = scores["ap"][:, kind].mean()
    auroc = scores["auroc"][:, kind]
    metrics[f"auroc_{name}"] = auroc[np.isfinite(auroc)].mean() if np.isfinite(auroc).any() else np.nan
  if segment_label is not None:
    by_class = _by_class(iou[:, 1:, fixed].mean(1), scores, segment_label)
    metrics |= {} if by_class is None else {"class_miou_random_fixed": by_class}
  metrics["threshold"] = thresholds[fixed]
  return dict(
    metrics={name: float(value) for name, value in metrics.items()},
    parameters=dict(
      grid=tuple(grid),
      similarity=getattr(similarity, "__name__", str(similarity)),
      thresholds=f"{min(thresholds)} .. {max(thresholds)}",
      shared_threshold=shared_threshold,
      random_prompts=random_prompts,
      seed=seed,
      images=len(segments),
      objects=len(iou),
      calibration_images=len(calibration_segments),
      calibration_objects=len(calibration["iou"]),
    ),
  )
