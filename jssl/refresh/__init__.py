"""Refresh: what is worked out over all examples between epochs, `fn(rng, *arrays [examples, ...]) -> tables`."""

from jssl.refresh.clusters import cluster_views
from jssl.refresh.codebook import patch_codebook
from jssl.refresh.kmeans import kmeans, spherical_kmeans

__all__ = ["cluster_views", "kmeans", "patch_codebook", "spherical_kmeans"]
