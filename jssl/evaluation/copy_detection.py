"""Copy detection: edited copies of images ask a database for their originals, by the cosine of frozen features.

Scores of the Image Similarity Challenge (Douze et al., "The 2021 Image Similarity Dataset and Challenge", arXiv 2106.09672):
micro-AP is the average precision of ALL pairs of a query and an image of the database, in one order. Queries whose
original is not there have no right pair, and cost precision where they are sure of a wrong one. The challenge ranks up to
500,000 pairs; here all of them count.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import l2_normalize
from jssl.evaluation.chunks import map_chunks
from jssl.evaluation.retrieval import expected_precision
from jssl.evaluation.selection import check_features


@jax.jit
def _of_original(queries, rows, *, database):
  """The cosine of each query with its original, and how many of the database score as high."""
  cosine = jnp.matmul(queries, database.T, precision="highest")
  mine = jnp.take_along_axis(cosine, jnp.maximum(rows, 0)[:, None], 1)
  return mine[:, 0], (cosine >= mine).sum(1)


@jax.jit
def _passed(queries, rows, scores, *, database, thresholds):
  """How many of a query's cosines reach each threshold `[t]` but not the next: `[queries, t]`."""
  cosine = jnp.matmul(queries, database.T, precision="highest")
  itself = jnp.arange(len(database)) == rows[:, None]
  cosine = jnp.where(itself, scores[:, None], cosine)
  place = jnp.searchsorted(thresholds, cosine, side="right")
  return jax.vmap(lambda p: jnp.bincount(p, length=len(thresholds) + 1))(place)[:, 1:]


def copy_detection_scores(
  queries: np.ndarray, originals: np.ndarray, database: np.ndarray, *, kinds: Sequence[str] = (), chunk: int = 128
) -> dict:
  """micro-AP, and mean average precision by query.

      micro-AP = mean over right pairs of (right pairs that score as high) / (all pairs that score as high)

  Args:
    queries: features `[q, dim]` of edited images, L2-normalised here.
    originals: `[q]`, the row of the database that a query is a copy of; -1 where there is none.
    database: features `[n, dim]`.
    kinds: of each query's edit, `[q]`; scores by edit are given beside the metrics.
    chunk: queries at once; memory grows as chunk * n.

  Returns:
    `metrics`: `micro_ap`; `map`, the mean over queries that have an original of 1 / its rank (rank: the number of images
    that score as high); `r1`, the share of those whose original comes before all others; `by_edit`: kind -> `map`; and
    the `parameters`, with the `map` of random features as `chance`.

  Raises:
    ValueError: if shapes disagree, no query has an original, or features are not finite or all the same.
  """
  queries, database = check_features("copy_detection", queries, database)
  rows, names = np.asarray(originals), np.asarray(kinds)
  if len(rows) != len(queries) or names.size not in (0, len(queries)):
    raise ValueError(f"copy_detection: {len(queries)} queries, {len(rows)} originals, {names.size} kinds")
  known = rows >= 0
  if not known.any() or rows.max() >= len(database):
    raise ValueError(f"copy_detection: originals must be rows of the {len(database)} of the database, not all of them -1")
  # Normalised once, so that both passes find the same cosines and equal ones stay equal.
  queries, z = np.asarray(l2_normalize(jnp.asarray(queries))), l2_normalize(jnp.asarray(database))
  chunk = min(chunk, len(queries))
  scores, ranks = map_chunks(functools.partial(_of_original, database=z), queries, rows, chunk=chunk)
  thresholds = np.unique(scores[known])  # the only places where recall grows
  passed = functools.partial(_passed, database=z, thresholds=jnp.asarray(thresholds))
  counts = np.zeros(len(thresholds), np.int64)
  for start in range(0, len(queries), chunk):
    part = slice(start, start + chunk)
    counts += map_chunks(passed, queries[part], rows[part], scores[part], chunk=chunk).sum(0, dtype=np.int64)
  reached = counts[::-1].cumsum()[::-1]
  right = np.bincount(np.searchsorted(thresholds, scores[known]), minlength=len(thresholds))
  precision = right[::-1].cumsum()[::-1] / reached
  each = 1 / ranks
  return dict(
    metrics=dict(
      micro_ap=float((right * precision).sum() / right.sum()),
      map=float(each[known].mean()),
      r1=float((ranks[known] == 1).mean()),
    ),
    by_edit={kind: float(each[known & (names == kind)].mean()) for kind in dict.fromkeys(kinds)},
    parameters=dict(
      similarity="cosine",
      queries=int(known.sum()),
      queries_without_original=int((~known).sum()),
      database=len(database),
      chance=round(float(expected_precision(np.array(1), len(database))), 4),
    ),
  )
