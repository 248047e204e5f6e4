"""Segmentation by nearest neighbours: patches of labelled images are remembered, and a patch takes over what its own say.

Source: Balazevic et al., "Towards In-Context Scene Understanding", arXiv 2306.01667 (Hummingbird), in the form of
vpariza/open-hummingbird-eval (src/hbird_eval.py), whose sampling, weights and defaults these are:

1. Memory: L2-normalised patches of the training images, each with the share of every class among its pixels. If there are
   more than `memory`, each image keeps memory // images of them, those with the lowest u * sum of f_c over the classes c
   in the patch: f_c is the number of the image's patches in which c occurs, u is uniform in [0, 1). Rare classes stay.
2. A test patch takes its k nearest by cosine, weighted by softmax(cosine / temperature), 0.02; the mean of their shares is
   upsampled bilinearly to the pixels, and the largest wins.
3. mIoU over all classes, background included, of all pixels together.

Search is exact (there: ScaNN), in chunks of test patches; training images are not augmented.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.evaluation.chunks import map_chunks
from jssl.evaluation.scenes import check_scene_features
from jssl.evaluation.segmentation import confusion_matrix, patch_shares, predict_pixels, segmentation_scores
from jssl.evaluation.similarity import cosine_similarity


def remembered_patches(shares: np.ndarray, memory: int, seed: int = 0) -> np.ndarray:
  """The patches that are kept, by the module's rule.

  Args:
    shares: of the classes in the patches `[images, patches, classes]`.
    memory: how many patches at most.
    seed: of the draws, with the image's number.

  Returns:
    Patch numbers `[images, kept]`, increasing.

  Raises:
    ValueError: if there is not a patch for each image.
  """
  images, patches, _ = shares.shape
  if images * patches <= memory:
    return np.tile(np.arange(patches), (images, 1))
  if memory < images:
    raise ValueError(f"memory={memory} has no room for a patch of each of the {images} training images.")
  kept = np.empty((images, memory // images), np.int64)
  for image, own in enumerate(shares > 0):
    frequency = own.sum(0)
    score = (own * frequency).sum(1) * np.random.default_rng((seed, image)).random(patches)
    kept[image] = np.sort(np.argsort(score, kind="stable")[: memory // images])
  return kept


@functools.partial(jax.jit, static_argnames=("k", "temperature", "similarity"))
def _vote(queries, keys, shares, *, k, temperature, similarity):
  """The classes' shares `[queries, classes]`, as the k nearest keys have them."""
  nearest, index = jax.lax.top_k(similarity(queries, keys), k)
  weight = jax.nn.softmax(nearest / temperature, axis=-1)
  return jnp.einsum("qk,qkc->qc", weight, shares[index])


def neighbour_segmentation(
  train: np.ndarray,
  train_pixels: np.ndarray,
  test: np.ndarray,
  test_pixels: np.ndarray,
  *,
  grid: tuple[int, int],
  num_classes: int,
  similarity: Callable = cosine_similarity,
  memory: int = 10_000,
  k: int = 30,
  temperature: float = 0.02,
  seed: int = 0,
  chunk: int = 256,
) -> dict:
  """Test mIoU of the classes that the nearest remembered patches have.

  Args:
    train: patches `[n, h * w, dim]`.
    train_pixels: classes `[n, H, W]` in [0, num_classes), -1 where there is none.
    test: patches `[m, h * w, dim]`.
    test_pixels: `[m, H, W]`.
    grid: patches (h, w), dividing H and W.
    num_classes: number of classes, the background's included.
    similarity: `(queries [Q, D], keys [N, D]) -> [Q, N]` in [-1, 1]; see `jssl.evaluation.similarity`.
    memory: the most patches that are remembered.
    k: neighbours.
    temperature: of their weights, > 0.
    seed: of the choice of the patches that are remembered.
    chunk: test patches handled at once; memory grows as chunk * the number of patches remembered.

  Returns:
    `metrics`: `miou` and `pixel_accuracy`; and the `parameters`.

  Raises:
    ValueError: if shapes disagree, k exceeds the memory, or the temperature is not above 0.
  """
  check_scene_features(train, train_pixels, grid)
  check_scene_features(test, test_pixels, grid)
  if not temperature > 0:
    raise ValueError(f"temperature={temperature} must be above 0.")
  shares = patch_shares(train_pixels, grid, num_classes)
  kept = remembered_patches(shares, memory, seed)
  keys, labels = (
    jnp.asarray(np.take_along_axis(x, kept[..., None], 1).reshape(kept.size, -1), jnp.float32) for x in (train, shares)
  )
  if k > len(keys):
    raise ValueError(f"k={k} must not exceed the {len(keys)} patches in the memory.")
  vote = functools.partial(_vote, k=k, temperature=float(temperature), similarity=similarity)
  queries = np.asarray(test, np.float32).reshape(-1, test.shape[-1])
  found = map_chunks(lambda q: vote(q, keys, labels), queries, chunk=min(chunk, len(queries)))
  found = found.reshape(len(test), -1, num_classes)
  predicted = predict_pixels(lambda x: x, found, grid=grid, size=test_pixels.shape[1:], chunk=16)
  return dict(
    metrics=segmentation_scores(confusion_matrix(test_pixels, predicted, num_classes)),
    parameters=dict(
      k=k,
      temperature=temperature,
      similarity=getattr(similarity, "__name__", str(similarity)),
      memory=len(keys),
      memory_of=f"{train.shape[0] * train.shape[1]} patches",
      tested_on=len(test),
      seed=seed,
    ),
  )
