"""k-means."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize


def kmeans(rng, x, *, clusters: int, iterations: int = 20) -> jax.Array:
  """Centers of clusters: k-means++ seeding, then Lloyd's iterations.

  A center that no row is nearest to stays where it is.

  Args:
    rng: a key.
    x: `[rows, dim]`.
    clusters: number of centers, at most the number of rows.
    iterations: of Lloyd's algorithm.

  Returns:
    float32 `[clusters, dim]`.

  Raises:
    ValueError: for more clusters than rows.

  References:
    Lloyd 1982, Least Squares Quantization in PCM. Arthur and Vassilvitskii 2007, k-means++: The Advantages of Careful
    Seeding (one candidate for each seed, as in the paper).

  Example:

    >>> x = jnp.array([[0.0], [2.0], [10.0], [12.0]])
    >>> jnp.sort(kmeans(jax.random.key(0), x, clusters=2), axis=0).tolist()
    [[1.0], [11.0]]
  """
  if len(x) < clusters:
    raise ValueError(f"{clusters} clusters of {len(x)} rows")
  x = jnp.asarray(x, jnp.float32)
  return jax.lax.fori_loop(0, iterations, lambda _, centers: _move(x, centers), _seed(rng, x, clusters))


def spherical_kmeans(rng, x, *, clusters: int, iterations: int = 10) -> tuple[jax.Array, jax.Array]:
  """k-means of directions: each row joins the centroid with which it has the largest cosine.

  Centroids start at random rows, and move to the L2-normalised mean of theirs; one without rows stays.

  Args:
    rng: a key.
    x: `[rows, dim]`; L2-normalised here.
    clusters: number of centroids, at most the number of rows.
    iterations: moves of the centroids.

  Returns:
    float32 centroids `[clusters, dim]` of norm 1, and int32 `[rows]`: the centroid of each row.

  Raises:
    ValueError: for more clusters than rows.

  References:
    Dhillon and Modha 2001, Concept Decompositions for Large Sparse Text Data Using Clustering. Caron et al. 2020
    (DeepCluster-v2), arXiv 2006.09882; facebookresearch/swav, main_deepclusterv2.py (`cluster_memory`).

  Example:

    >>> x = jnp.array([[1.0, 0.1], [2.0, 0.0], [0.0, 1.0], [0.1, 3.0]])
    >>> _, found = spherical_kmeans(jax.random.key(1), x, clusters=2)
    >>> bool(found[0] == found[1]), bool(found[1] != found[2]), bool(found[2] == found[3])
    (True, True, True)
  """
  if len(x) < clusters:
    raise ValueError(f"{clusters} clusters of {len(x)} rows")
  x = l2_normalize(jnp.asarray(x, jnp.float32))
  start = x[jax.random.choice(rng, len(x), (clusters,), replace=False)]
  centroids = jax.lax.fori_loop(0, iterations, lambda _, centroids: l2_normalize(_move(x, centroids)), start)
  return centroids, _nearest(x, centroids)


def _seed(rng, x, clusters):
  """Each next seed is a row, drawn by its squared distance from the nearest seed so far."""

  def add(i, state):
    centers, distances = state
    # Where no row is left away from the seeds, all are as good.
    logits = jnp.where(jnp.max(distances) > 0, jnp.log(distances), 0.0)
    seed = x[jax.random.categorical(jax.random.fold_in(rng, i), logits)]
    return centers.at[i].set(seed), jnp.minimum(distances, jnp.sum((x - seed) ** 2, axis=-1))

  empty = jnp.zeros((clusters, x.shape[1]), x.dtype), jnp.ones(len(x), x.dtype)
  centers, _ = add(0, empty)
  distances = jnp.sum((x - centers[0]) ** 2, axis=-1)
  return jax.lax.fori_loop(1, clusters, add, (centers, distances))[0]


def _move(x, centers):
  """Each center to the mean of the rows that it is nearest to."""
  nearest = _nearest(x, centers)
  sums = jax.ops.segment_sum(x, nearest, len(centers))
  counts = jax.ops.segment_sum(jnp.ones(len(x), x.dtype), nearest, len(centers))[:, None]
  return jnp.where(counts > 0, sums / jnp.maximum(counts, 1), centers)


def _nearest(x, centers):
  """The center that each row is nearest to, int32 `[rows]`."""
  offset = 0.5 * jnp.sum(centers * centers, axis=-1)
  nearest = lambda row: jnp.argmax(jnp.matmul(centers, row, precision="highest") - offset).astype(jnp.int32)
  return jax.lax.map(nearest, x, batch_size=4096)  # a bound on the memory of the distances
