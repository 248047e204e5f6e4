"""Contrast with embeddings of past batches."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, precise
from jssl.checks import check_arrays, check_values, Loss, Number
from jssl.losses.arrays import cross_entropy
from jssl.stateful import enqueue, random_queue, Stateful


def _init(query: jax.Array, key: jax.Array, joining: jax.Array | None = None, *, size: int, rng: jax.Array) -> jax.Array:
  del query, joining
  return random_queue(rng, size=size, dim=key.shape[-1])


def _apply(
  queue: jax.Array,
  query: jax.Array,
  key: jax.Array,
  joining: jax.Array | None = None,
  *,
  temperature: Number,
  axis_name: str | None = None,
) -> tuple[Loss, jax.Array]:
  """InfoNCE with a queue: a query tells its own key from the keys of past batches.

      l(q, k) = -log( exp(q . k / tau) / (exp(q . k / tau) + sum_{n in queue} exp(q . n / tau)) )

  The mean runs over all queries. The queue holds L2-normalised keys, at first random directions; after the loss, the
  keys of the global batch join it and the oldest leave. Keys are a teacher's, or the queue goes stale.

  For local features (DenseCL) query and key have a position axis: each query's own key has been picked for it (see
  `jssl.targets.match_tokens`), and what joins the queue is one vector an image, the mean over positions.

  Args:
    queue: `[size, dim]`, the state, the newest first.
    query: `[batch, dim]`, or `[batch, ..., dim]` with positions.
    key: the partner of each query, as many of the same width.
    joining: what joins the queue, `[batch, dim]` or `[batch, ..., dim]`, whose mean over positions joins; default the
      keys.
    size: of the queue: 65536 for MoCo and DenseCL on ImageNet.
    temperature: tau > 0.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss and `accuracy` (how often the own key is nearer than the whole queue); and the new queue.

  Raises:
    ValueError: if queries and keys are not as many.

  References:
    He, Fan, Wu, Xie, Girshick 2020 (MoCo), arXiv 1911.05722, equation 1 and algorithm 1; Chen, Fan, Girshick, He 2020
    (MoCo v2), arXiv 2003.04297; facebookresearch/moco, moco/builder.py. Wang et al. 2021 (DenseCL), arXiv 2011.09157,
    equations 1 and 2; WXinlong/DenseCL, openselfsup/models/densecl.py.

  Example:

    >>> queue = jnp.array([[0.0, 1.0]])
    >>> query = key = jnp.array([[2.0, 0.0]])
    >>> (loss, metrics), queue = queue_info_nce_loss.apply(queue, query, key, temperature=1.0)
    >>> print(f"{loss:.4f}", queue.round(3).tolist())   # log(e + 1) - 1
    0.3133 [[1.0, 0.0]]
  """
  check_arrays(
    "queue_info_nce_loss",
    query=(query, "float [batch, ..., dim]"),
    key=(key, "float [batch, ..., dim]"),
    joining=(joining, "float [batch, ..., dim]"),
    queue=(queue, "float [size, dim]"),
  )
  check_values("queue_info_nce_loss", temperature=(temperature, "(0, inf)"))
  if query.size != key.size:
    raise ValueError(f"queue_info_nce_loss: query {list(query.shape)} and key {list(key.shape)} differ in their positions")
  dim = queue.shape[-1]
  queries, keys = (l2_normalize(x).reshape(-1, dim) for x in (query, key))
  positive = jnp.sum(queries * keys, axis=-1, keepdims=True)
  logits = jnp.concatenate([positive, jnp.matmul(queries, queue.T, precision="highest")], axis=-1) / temperature
  loss, accuracy = cross_entropy(logits, jnp.zeros(len(logits), jnp.int32))
  joining = precise(key if joining is None else joining)
  joining = l2_normalize(jnp.mean(joining.reshape(len(joining), -1, dim), axis=1))
  return (loss, {"accuracy": accuracy}), enqueue(queue, joining, axis_name=axis_name)


queue_info_nce_loss = Stateful(_init, _apply)
