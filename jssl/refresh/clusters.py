"""Clusters of a data set's embeddings."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl.refresh.kmeans import spherical_kmeans


def cluster_views(
  rng, views: Sequence[jax.Array], *, clusters: int, clusterings: int = 1, iterations: int = 10
) -> dict[str, jax.Array]:
  """Several spherical k-means of a data set; clustering h is one of view h, modulo their number.

  Args:
    rng: a key.
    views: of `[examples, dim]`, in the data's order.
    clusters: of each clustering, at most the number of examples.
    clusterings: how many.
    iterations: of k-means.

  Returns:
    `centroids` float32 `[clusterings, clusters, dim]` and `assignments` int32 `[examples, clusterings]`.

  Raises:
    ValueError: for more clusters than examples.

  References:
    Caron et al. 2020 (DeepCluster-v2), arXiv 2006.09882; facebookresearch/swav, main_deepclusterv2.py. There the
    embeddings are those that the last epoch's steps happened to compute; here they are today's network's.
  """
  found = [
    spherical_kmeans(jax.random.fold_in(rng, h), views[h % len(views)], clusters=clusters, iterations=iterations)
    for h in range(clusterings)
  ]
  centroids, assignments = zip(*found, strict=True)
  return dict(centroids=jnp.stack(centroids), assignments=jnp.stack(assignments, axis=-1))
