"""Domain purity: do an image's neighbours in feature space come from its own domain?

A measure of how far features tell domains (hospitals, cameras, drawing styles) apart, used by Scalbert, Vakalopoulou
and Couzinie-Devy, "Towards domain-invariant Self-Supervised Learning with Batch Styles Standardization", arXiv
2303.06088. Lower is more invariant; `chance` is what neighbours drawn at random would give, and what perfect invariance
comes to.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl.arrays import l2_normalize
from jssl.evaluation.chunks import map_chunks


@functools.partial(jax.jit, static_argnames=("ks",))
def _shares(queries, places, bank, domains, *, ks):
  """Share of each query's k nearest others that are of its domain, `[queries, len(ks)]`."""
  cosine = jnp.matmul(l2_normalize(queries), l2_normalize(bank).T, precision="highest")
  cosine = jnp.where(places[:, None] == jnp.arange(len(bank)), -jnp.inf, cosine)
  _, nearest = jax.lax.top_k(cosine, max(ks))
  same = (domains[nearest] == domains[places][:, None]).astype(jnp.float32)
  return jnp.stack([same[:, :k].mean(-1) for k in ks], -1)


def domain_purity(features: np.ndarray, domains: np.ndarray, *, k: int | Sequence[int] = 20, chunk: int = 256) -> dict:
  """Mean share of the k nearest neighbours (by cosine, without the image itself) that are of the image's domain.

  Args:
    features: `[n, dim]`.
    domains: integers `[n]`.
    k: number of neighbours, or several numbers, all of which are reported.
    chunk: images handled at once; memory grows as chunk * n.

  Returns:
    `metrics`: `k<k>` for each k and `chance`; and the `parameters`.

  Raises:
    ValueError: if some k is not between 1 and n - 1, or not every image has a domain.

  Example:

    >>> features = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
    >>> domain_purity(features, np.array([0, 0, 1, 1]), k=1)["metrics"]
    {'k1': 1.0, 'chance': 0.3333333333333333}
  """
  ks = (k,) if isinstance(k, int) else tuple(k)
  features, domains = np.asarray(features, np.float32), np.asarray(domains)
  n = len(features)
  if len(domains) != n:
    raise ValueError(f"Every feature needs one domain; found {n} features and {len(domains)} domains.")
  if not ks or min(ks) < 1 or max(ks) > n - 1:
    raise ValueError(f"k={ks} must lie between 1 and the number of other images, {n - 1}.")
  _, numbers, counts = np.unique(domains, return_inverse=True, return_counts=True)
  shares = map_chunks(
    functools.partial(_shares, bank=jnp.asarray(features), domains=jnp.asarray(numbers), ks=ks),
    features,
    np.arange(n),
    chunk=min(chunk, n),
  )
  found = {f"k{number}": float(share) for number, share in zip(ks, shares.mean(0), strict=True)}
  chance = float((counts * (counts - 1)).sum() / (n * (n - 1)))
  parameters = dict(k=ks, similarity="cosine", images=n, domains=len(counts))
  return dict(metrics=found | dict(chance=chance), parameters=parameters)
