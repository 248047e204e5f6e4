"""Protocols that need no label."""

import functools

import numpy as np

from jssl.evaluation.protocols.protocol import Protocol
from jssl.evaluation.rankme import rankme_score
from jssl.evaluation.spectrum import spectrum_scores


def _unlabelled(score, model, data, features, *, images, seed, **numbers):
  """A score of some training images' embeddings, or of their features where there are none."""
  kind = "embeddings" if model.embeddings is not None else "image_features"
  found = features(kind, "train")
  result = score(found[np.random.default_rng(seed).permutation(len(found))[:images]], **numbers)
  return result | dict(parameters=result["parameters"] | dict(of=kind, seed=seed))


PROTOCOLS = dict(
  rankme=Protocol(
    functools.partial(_unlabelled, rankme_score),
    dict(images=25600, eps=1e-7, center=False, seed=0),
    ("image_features",),
    ("train",),
    "dimensions that the features use, from 1 (collapsed) to their number; compare runs of one method only",
  ),
  spectrum=Protocol(
    functools.partial(_unlabelled, spectrum_scores),
    dict(images=25600, ranks=(11, 100), pairs_of=4096, t=2.0, seed=0),
    ("image_features",),
    ("train",),
    "alpha near 1, a lower uniformity, a spread near 1 and more dimensions are what good features tend to have",
  ),
)
