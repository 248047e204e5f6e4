"""Contrastive losses: find your own partner among the whole batch."""

import jax
import jax.numpy as jnp

from jssl.losses.arrays import gather, l2_normalize, positions, precise


def info_nce_loss(query: jax.Array, key: jax.Array, *, temperature: float, scale: float = 1.0, normalize: bool = True,
                  axis_name: str | None = None) -> tuple[jax.Array, dict[str, jax.Array]]:
  """InfoNCE: cross-entropy of finding a query's own key among the keys of the global batch.

      l(q, k) = -scale / B * sum_i log( exp(q_i . k_i / tau) / sum_j exp(q_i . k_j / tau) )

  MoCo v3 and SiT take `scale = 2 tau` and the sum l(q_1, k_2) + l(q_2, k_1) over two views, with keys of a momentum
  teacher. Gradients flow to whatever of the arguments depends on parameters; a teacher's outputs come with none.

  Args:
    query: `[batch, dim]`.
    key: the same; row i is the partner of query i.
    temperature: tau > 0.
    scale: factor of the loss.
    normalize: compare directions (L2-normalised rows).
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `accuracy`: how often the nearest key is the own one.

  References:
    van den Oord et al. 2018, arXiv 1807.03748, equation 4. Chen, Xie, He 2021 (MoCo v3), arXiv 2104.02057;
    facebookresearch/moco-v3, moco/builder.py (`contrastive_loss`). Atito et al. 2021 (SiT), arXiv 2104.03602;
    Sara-Ahmed/SiT.

  Example:

    >>> eye = jnp.eye(3)
    >>> loss, metrics = info_nce_loss(eye, eye, temperature=1.0)
    >>> print(f"{loss:.4f} {metrics['accuracy']:.1f}")   # log(e + 2) - 1
    0.5514 1.0
  """
  query, key = precise(query), precise(key)
  if normalize:
    query, key = l2_normalize(query), l2_normalize(key)
  logits = jnp.matmul(query, gather(key, axis_name).T, precision="highest") / temperature
  loss, accuracy = _classify(logits, positions(len(query), axis_name))
  return scale * loss, {"accuracy": accuracy}


def nt_xent_loss(a: jax.Array, b: jax.Array, *, temperature: float,
                 axis_name: str | None = None) -> tuple[jax.Array, dict[str, jax.Array]]:
  """NT-Xent of SimCLR: each of the 2B embeddings finds its other view among the 2B - 1 others of the global batch.

      l_i = -log( exp(z_i . z_i' / tau) / sum_{k != i} exp(z_i . z_k / tau) ),   L = 1/2B sum_i l_i

  Rows are L2-normalised; negatives are gathered over devices with their gradients. The authors' code sums the means of
  the two views, which is 2 L.

  Args:
    a, b: `[batch, dim]`, embeddings of two views of the same images.
    temperature: tau > 0.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `accuracy`: how often the nearest other embedding is the own other view.

  References:
    Chen, Kornblith, Norouzi, Hinton 2020, arXiv 2002.05709, equation 1; google-research/simclr, objective.py.

  Example:

    >>> eye = jnp.eye(2)
    >>> loss, metrics = nt_xent_loss(eye, eye, temperature=1.0)
    >>> print(f"{loss:.4f} {metrics['accuracy']:.1f}")   # log(e + 2) - 1
    0.5514 1.0
  """
  a, b = l2_normalize(precise(a)), l2_normalize(precise(b))
  everyone = jnp.concatenate([gather(a, axis_name), gather(b, axis_name)])
  logits = jnp.matmul(jnp.concatenate([a, b]), everyone.T, precision="highest") / temperature
  own = positions(len(a), axis_name)
  batch = len(everyone) // 2
  itself = jax.nn.one_hot(jnp.concatenate([own, own + batch]), 2 * batch, dtype=bool)
  loss, accuracy = _classify(jnp.where(itself, -jnp.inf, logits), jnp.concatenate([own + batch, own]))
  return loss, {"accuracy": accuracy}


def _classify(logits, labels):
  """Mean cross-entropy and accuracy of `logits [rows, classes]`."""
  log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1)
  hits = jnp.argmax(logits, axis=-1) == labels
  return -jnp.mean(log_probs), jnp.mean(hits.astype(logits.dtype))
