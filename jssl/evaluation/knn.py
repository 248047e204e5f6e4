"""Weighted k-nearest-neighbour classification of frozen features.

Protocol (Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", arXiv 1805.01978, in
the form of facebookresearch/dino, eval_knn.py): features are L2-normalised; each query's k neighbours with the largest
cosine vote for their label with weight exp(cosine / temperature); the class with the largest sum of votes wins. The
bank is the training set, without augmentation. A tie goes to the smaller class number. `weighted=False` is the plain vote,
in which each neighbour has one voice.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import l2_normalize
from jssl.evaluation.chunks import map_chunks
from jssl.evaluation.selection import check_features, check_labels, group_accuracies


@functools.partial(jax.jit, static_argnames=("ks", "temperature", "num_classes", "weighted"))
def _predict(queries, bank, bank_labels, *, ks, temperature, num_classes, weighted):
  """Predicted classes `[queries, len(ks)]`; the bank is normalised."""
  cosine = jnp.matmul(l2_normalize(queries), bank.T, precision="highest")
  nearest, index = jax.lax.top_k(cosine, max(ks))
  # A factor common to all votes of a query changes nothing, and keeps exp() finite at any temperature. The largest is
  # not taken as nearest[:, :1]: XLA would merge the slices and, no longer seeing a top-k, sort the whole bank.
  weight = jnp.exp((nearest - nearest.max(1, keepdims=True)) / temperature)
  weight = weight if weighted else jnp.ones_like(weight)
  rows, label = jnp.arange(len(queries))[:, None], bank_labels[index]
  votes = [jnp.zeros((len(queries), num_classes)).at[rows, label[:, :k]].add(weight[:, :k]) for k in ks]
  return jnp.argmax(jnp.stack(votes, 1), -1)


def knn_accuracy(
  bank: np.ndarray,
  bank_labels: np.ndarray,
  queries: np.ndarray,
  labels: np.ndarray,
  *,
  k: int | Sequence[int] = 20,
  temperature: float = 0.07,
  num_classes: int,
  weighted: bool = True,
  chunk: int = 256,
  groups: np.ndarray | None = None,
) -> dict:
  """Accuracy of the vote of the k nearest neighbours.

  Args:
    bank: training features `[n, dim]`.
    bank_labels: `[n]` integers in [0, num_classes).
    queries: test features `[m, dim]`.
    labels: `[m]` integers in [0, num_classes).
    k: number of neighbours, or several numbers, all of which are reported: the best one is not chosen for you.
    temperature: of the votes, > 0.
    num_classes: number of classes.
    weighted: whether near neighbours count for more; otherwise the temperature is not used.
    chunk: queries handled at once; memory grows as chunk * n.
    groups: integers `[m]` of the queries, whose accuracies are told apart; None for none.

  Returns:
    `metrics`: `k<k>` for each k, the fraction of correct queries, and `k<k>_group<g>`, that of a group; and the
    `parameters`.

  Raises:
    ValueError: if some k exceeds n, the temperature is not above 0, labels leave their range, or shapes disagree; for
      features that are not finite, or all the same.
  """
  ks = (k,) if isinstance(k, int) else tuple(k)
  bank, queries = check_features("knn", bank, queries)
  if len(bank) != len(bank_labels) or len(queries) != len(labels):
    counts = f"{len(bank)} bank features, {len(bank_labels)} labels; {len(queries)} queries, {len(labels)} labels"
    raise ValueError(f"Every feature needs one label; found {counts}.")
  if not ks or min(ks) < 1 or max(ks) > len(bank):
    raise ValueError(f"k={ks} must lie between 1 and the size of the bank, {len(bank)}.")
  if not temperature > 0:
    raise ValueError(f"temperature={temperature} must be above 0.")
  bank_labels = check_labels(bank_labels, num_classes, "bank_labels")
  labels = check_labels(labels, num_classes, "labels")
  keys = l2_normalize(jnp.asarray(bank))
  predict = functools.partial(_predict, ks=ks, temperature=float(temperature), num_classes=num_classes, weighted=weighted)
  predicted = map_chunks(lambda q: predict(q, keys, jnp.asarray(bank_labels)), queries, chunk=min(chunk, len(queries)))
  correct = {f"k{number}": predicted[:, i] == labels for i, number in enumerate(ks)}
  metrics = {name: float(found.mean()) for name, found in correct.items()}
  for name, found in correct.items():
    metrics |= group_accuracies(name, found, groups)
  votes = dict(weighted=True, temperature=temperature) if weighted else dict(weighted=False)
  return dict(metrics=metrics, parameters=dict(k=ks, **votes, similarity="cosine", bank=len(bank), queries=len(queries)))
