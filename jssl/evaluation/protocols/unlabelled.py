"""Protocols that need no label."""

import functools

import numpy as np

from jssl.errors import ConfigError
from jssl.evaluation.copy_detection import copy_detection_scores
from jssl.evaluation.edits import EDITS, edits_by_name
from jssl.evaluation.lidar import alignment, lidar_score
from jssl.evaluation.protocols.protocol import Protocol
from jssl.evaluation.rankme import rankme_score
from jssl.evaluation.spectrum import spectrum_scores


def _side_by_side(score, model, find, embedding_dims: int) -> dict:
  """A score of the features and, under names that begin with `embeddings_`, of what the projector makes of them.

  Args:
    score: `score(found) -> dict(metrics=..., parameters=...)`.
    model: its features.
    find: `find(kind) -> features`.
    embedding_dims: of the widest embeddings that are scored: a spectrum takes their square.
  """
  result = score(find("image_features"))
  parameters = dict(result["parameters"], of="features")
  if model.embeddings is None:
    return dict(metrics=result["metrics"], parameters=parameters)
  parameters |= dict(of="features and embeddings") | (dict(embedding=model.embedding) if model.embedding else {})
  try:
    dims = model.embedding_dims
    if dims and dims > embedding_dims:
      raise ConfigError(f"they have {dims} dimensions, more than embedding_dims={embedding_dims}")
    other = score(find("embeddings"))
  except ValueError as error:
    return dict(metrics=result["metrics"], parameters=parameters | dict(of="features", no_embeddings=str(error)))
  differs = {key: value for key, value in other["parameters"].items() if result["parameters"].get(key) != value}
  parameters |= {f"embeddings_{key}": value for key, value in differs.items()}
  return dict(
    metrics=result["metrics"] | {f"embeddings_{name}": value for name, value in other["metrics"].items()},
    parameters=parameters,
  )


def _unlabelled(score, model, data, features, *, images, seed, embedding_dims, **numbers):
  """A score of some training images."""
  find = lambda kind: features.some(kind, "train", images, seed)[0]
  result = _side_by_side(lambda found: score(found, **numbers), model, find, embedding_dims)
  return result | dict(parameters=result["parameters"] | dict(seed=seed))


def _lidar(model, data, features, *, images, views, seed, embedding_dims, **numbers):
  """The same of several views of some training images, by the run's own augmentation."""
  find = lambda kind: features.drawn(kind, "train", images=images, views=views, seed=seed)

  def score(found):
    result = lidar_score(found, **numbers)
    return result | dict(metrics=result["metrics"] | dict(alignment=alignment(found)))

  result = _side_by_side(score, model, find, embedding_dims)
  return result | dict(parameters=result["parameters"] | dict(seed=seed))


def _copy_detection(model, data, features, *, copied, strangers, edits, seed, chunk):
  """Edited copies of some test images, half of which are taken out of the database.

  Where images are files, the copies are made of what the data holds of them in an array, the others of the files.
  """
  functions, count = edits_by_name(edits), len(data.source("test"))
  copied, strangers = min(copied, count // 3), min(strangers, count // 3)
  if not copied:
    raise ConfigError(f"copy_detection: {count} test images are too few: give three or more")
  found = features("image_features", "test")
  chosen = features.chosen("test", copied + strangers, seed)
  copies = features.edited("image_features", "test", images=copied + strangers, edits=functions, seed=seed)
  order = np.random.default_rng((seed, 1)).permutation(len(chosen))
  database = np.delete(np.arange(count), chosen[order[copied:]])
  places = np.full(count, -1)
  places[database] = np.arange(len(database))
  result = copy_detection_scores(
    copies.reshape(-1, copies.shape[-1]),
    np.repeat(places[chosen], len(edits)),
    found[database],
    kinds=list(edits) * len(chosen),
    chunk=chunk,
  )
  told = {name: EDITS[name][1] for name in edits}
  return result | dict(parameters=result["parameters"] | dict(edits=told, seed=seed))


PROTOCOLS = dict(
  rankme=Protocol(
    functools.partial(_unlabelled, rankme_score),
    dict(images=25600, eps=1e-7, center=False, embedding_dims=8192, seed=0),
    ("image_features",),
    ("train",),
    "dimensions that the features use, from 1 (collapsed) to their number; compare runs of one method only",
  ),
  spectrum=Protocol(
    functools.partial(_unlabelled, spectrum_scores),
    dict(images=25600, ranks=(11, 100), pairs_of=4096, t=2.0, embedding_dims=8192, seed=0),
    ("image_features",),
    ("train",),
    "alpha near 1, a lower uniformity, a spread near 1 and more dimensions are what good features tend to have",
  ),
  lidar=Protocol(
    _lidar,
    dict(images=1000, views=10, delta=1e-4, eps=1e-8, embedding_dims=8192, seed=0),
    ("image_features", "drawn"),
    ("train",),
    "dimensions that tell images apart whatever the augmentation, more are better; alignment: 0 where views are one point; "
    "compare runs of one method and one augmentation",
  ),
  copy_detection=Protocol(
    _copy_detection,
    dict(copied=250, strangers=250, edits=tuple(EDITS), chunk=128, seed=0),
    ("image_features", "edited"),
    ("test",),
    "edited copies of test images ask for their originals among the others (micro-AP over all pairs); higher is better",
  ),
)
