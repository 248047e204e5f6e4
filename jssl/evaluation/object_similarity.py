"""How far the similarities of patches of one object and of two objects overlap.

Source: Wu, Mo, Awais, Atito, Feng and Kittler, "Masked Momentum Contrastive Learning for Zero-shot Semantic
Understanding", arXiv 2308.11448. The paper gauges patch features by their similarity within and between the objects of
an image, and by the overlap of the two; the exact form below is jssl's own, so numbers compare with each other and not
with the paper's. For every image with at least 2 objects (instances to which at least 2 patches belong, by >= 50 % of a
patch's pixels):

- intra pairs: two patches of one object; inter pairs: patches of two objects of the same image; as a third kind, one
  patch of an object and one of the background.
- At most 2000 pairs of each kind an image, drawn without replacement by seed and image number. Every image has the same
  weight, however many pairs it has.
- Both distributions as histograms with 100 bins over [-1, 1], each of sum 1: overlap = sum_b min(p_in[b], p_out[b]),
  from 0 (perfectly separable) to 1 (identical).
- Companions: mean_in, mean_out, gap = mean_in - mean_out, d' = gap / sqrt((var_in + var_out) / 2), and the AUROC of the
  similarity for "same object".
- Where instances have classes, the inter pairs are also split: two shirts should be similar, which an overlap by
  instance punishes.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.evaluation.chunks import map_chunks
from jssl.evaluation.ranking import weighted_auroc
from jssl.evaluation.scenes import belonging_patches, check_scene_features, labels_of, objects_of
from jssl.evaluation.similarity import cosine_similarity

KINDS = ("in", "out", "background")
Pairs = tuple[np.ndarray, np.ndarray]  # scores [pairs], weights [pairs] of sum 1


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """All pairs `[pairs, 2]` of an element of a and another one of b."""
  pairs = np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2)
  return pairs[pairs[:, 0] != pairs[:, 1]]


def image_pairs(
  segments: np.ndarray, grid: tuple[int, int], *, max_pairs: int = 2000, rng: np.random.Generator
) -> dict | None:
  """The pairs of patches of one image.

  Args:
    segments: instance numbers `[H, W]`, 0 is background.
    grid: patches (h, w).
    max_pairs: pairs kept of each kind.
    rng: for the choice of those kept.

  Returns:
    kind -> `(pairs [n, 2] patch numbers, instances [n, 2])` for the kinds in, out and background; None for an image
    with fewer than two objects.
  """
  patches = belonging_patches(segments, grid)
  objects = objects_of(patches)
  if len(objects) < 2:
    return None
  numbers = list(objects)
  combinations = {
    "in": [(k, k, np.stack(np.triu_indices(len(objects[k]), 1), -1)) for k in numbers],
    "out": [(k, m, _product(objects[k], objects[m])) for i, k in enumerate(numbers) for m in numbers[i + 1 :]],
    "background": [(k, 0, _product(objects[k], patches.get(0, np.zeros(0, int)))) for k in numbers],
  }
  combinations["in"] = [(k, m, objects[k][pairs]) for k, m, pairs in combinations["in"]]
  kinds = {}
  for kind, parts in combinations.items():
    pairs = np.concatenate([pairs for _, _, pairs in parts])
    instances = np.concatenate([np.tile((k, m), (len(pairs), 1)) for k, m, pairs in parts])
    if len(pairs) > max_pairs:
      kept = rng.choice(len(pairs), max_pairs, replace=False)
      pairs, instances = pairs[kept], instances[kept]
    kinds[kind] = (pairs, instances)
  return kinds


@functools.partial(jax.jit, static_argnames="similarity")
def _pair_scores(features, pairs, similarity):
  """Scores `[images, pairs]` of the pairs of patches `[images, pairs, 2]`."""
  rows = jnp.take_along_axis(similarity(features, features), pairs[..., :1], axis=1)
  return jnp.take_along_axis(rows, pairs[..., 1:], axis=2)[..., 0]


def _collect(features, segments, grid, similarity, max_pairs, seed, chunk) -> dict:
  """kind -> (scores, image, instances `[n, 2]`) of all pairs of all images with two objects or more."""
  found = {}
  for image, scene in enumerate(segments):
    pairs = image_pairs(scene, grid, max_pairs=max_pairs, rng=np.random.default_rng((seed, image)))
    if pairs is not None:
      found[image] = pairs
  if not found:
    raise ValueError(f"No image has two objects of at least 2 patches of the {grid[0]} x {grid[1]} grid.")
  images = np.array(list(found))
  flat = {image: np.concatenate([kinds[kind][0] for kind in KINDS]) for image, kinds in found.items()}
  padded = np.zeros((len(images), max(map(len, flat.values())), 2), np.int32)
  for row, pairs in zip(padded, flat.values(), strict=True):
    row[: len(pairs)] = pairs
  score = functools.partial(_pair_scores, similarity=similarity)
  scores = map_chunks(lambda i, p: score(features[i], p), images, padded, chunk=min(chunk, len(images)))
  collected = {kind: [] for kind in KINDS}
  for row, (image, kinds) in zip(scores, found.items(), strict=True):
    start = 0
    for kind, (pairs, instances) in kinds.items():
      collected[kind].append((row[start : start + len(pairs)], np.full(len(pairs), image), instances))
      start += len(pairs)
  return {kind: tuple(np.concatenate(part) for part in zip(*parts, strict=True)) for kind, parts in collected.items()}


def _weights(image: np.ndarray) -> np.ndarray:
  """Weights `[pairs]` of sum 1 that give every image in `image [pairs]` the same share."""
  _, inverse, counts = np.unique(image, return_inverse=True, return_counts=True)
  return 1.0 / (counts[inverse] * len(counts))


def _split_by_class(scores, image, instances, segment_label) -> dict:
  """The inter pairs, split into those of the same class and of different ones; without those of unknown class."""
  left, right = (labels_of(segment_label, image, instances[:, side]) for side in (0, 1))
  known = (left >= 0) & (right >= 0)
  chosen = dict(same_class=known & (left == right), other_class=known & (left != right))
  return {kind: (scores[take], image[take], instances[take]) for kind, take in chosen.items()}


def _metrics(pairs: dict[str, Pairs], histograms: dict[str, np.ndarray]) -> dict:
  """The module's scores of weighted pairs."""
  mean = {kind: float((weight * scores).sum()) for kind, (scores, weight) in pairs.items()}
  variance = [float((pairs[kind][1] * (pairs[kind][0] - mean[kind]) ** 2).sum()) for kind in ("in", "out")]
  gap, spread = mean["in"] - mean["out"], np.sqrt(sum(variance) / 2.0)
  metrics = dict(
    overlap=histogram_overlap(histograms["in"], histograms["out"]),
    mean_in=mean["in"],
    mean_out=mean["out"],
    gap=gap,
    dprime=float(gap / spread) if spread > 0 else float("nan"),
    auroc=weighted_auroc(pairs["in"], pairs["out"]),
  )
  for kind in [kind for kind in pairs if kind not in ("in", "out")]:
    metrics |= {f"mean_{kind}": mean[kind], f"overlap_{kind}": histogram_overlap(histograms["in"], histograms[kind])}
  return metrics


def histogram_overlap(p: np.ndarray, q: np.ndarray) -> float:
  """sum_b min(p_b, q_b) of two histograms of sum 1."""
  return float(np.minimum(p, q).sum())


def object_overlap(
  features: np.ndarray,
  segments: np.ndarray,
  *,
  grid: tuple[int, int],
  similarity: Callable = cosine_similarity,
  segment_label: np.ndarray | None = None,
  bins: int = 100,
  max_pairs: int = 2000,
  seed: int = 0,
  chunk: int = 16,
) -> dict:
  """Overlap of the similarities within and between objects, by the module's protocol.

  Args:
    features: one vector a patch `[B, N, D]`, N = h * w.
    segments: instance numbers `[B, H, W]`, 0 is background.
    grid: patches (h, w), dividing H and W.
    similarity: `(queries [..., Q, D], keys [..., N, D]) -> [..., Q, N]` in [-1, 1]; see `jssl.evaluation.similarity`.
    segment_label: class of instance number k + 1 in column k `[B, instances]`, -1 for none; adds the split by class.
    bins: of the histograms over [-1, 1].
    max_pairs: pairs of each kind an image.
    seed: of the choice of pairs.
    chunk: images handled at once; memory grows as chunk * N * N.

  Returns:
    `metrics`: `overlap`, `mean_in`, `mean_out`, `gap`, `dprime` (NaN without any variance), `auroc`; `mean_background`
    and `overlap_background`, of object-background with intra pairs, where there is background; `overlap_same_class`,
    `overlap_other_class` and their means where there are classes; `histograms`: kind -> `[bins]` of sum 1; and the
    `parameters`.

  Raises:
    ValueError: if the shapes disagree, or no image has two objects.
  """
  check_scene_features(features, segments, grid)
  pairs = _collect(features, segments, tuple(grid), similarity, max_pairs, seed, chunk)
  if segment_label is not None:
    pairs |= _split_by_class(*pairs["out"], segment_label)
  pairs = {kind: (scores.astype(np.float64), _weights(image)) for kind, (scores, image, _) in pairs.items() if len(image)}
  histograms = {
    kind: np.histogram(np.clip(scores, -1.0, 1.0), bins, (-1.0, 1.0), weights=weight)[0]
    for kind, (scores, weight) in pairs.items()
  }
  return dict(
    metrics=_metrics(pairs, histograms),
    histograms=histograms,
    parameters=dict(
      grid=tuple(grid),
      similarity=getattr(similarity, "__name__", str(similarity)),
      bins=bins,
      max_pairs=max_pairs,
      seed=seed,
      images=len(segments),
      pairs={kind: len(scores) for kind, (scores, _) in pairs.items()},
    ),
  )
