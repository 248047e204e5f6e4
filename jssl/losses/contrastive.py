"""Contrastive losses: find your own partner among the whole batch."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, precise
from jssl.batch_axis import gather, positions
from jssl.checks import as_views, check_arrays, check_values, Loss, Number, Views
from jssl.losses.arrays import cosines, cross_entropy


def info_nce_loss(
  query: jax.Array,
  key: jax.Array,
  *,
  temperature: Number,
  scale: Number = 1.0,
  normalize: bool = True,
  axis_name: str | None = None,
) -> Loss:
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
  check_arrays("info_nce_loss", query=(query, "float [batch, dim]"), key=(key, "float [batch, dim]"))
  check_values("info_nce_loss", temperature=(temperature, "(0, inf)"))
  query, key = precise(query), precise(key)
  if normalize:
    query, key = l2_normalize(query), l2_normalize(key)
  logits = jnp.matmul(query, gather(key, axis_name).T, precision="highest") / temperature
  loss, accuracy = cross_entropy(logits, positions(len(query), axis_name))
  return scale * loss, {"accuracy": accuracy}


def nt_xent_loss(a: jax.Array, b: jax.Array, *, temperature: Number, axis_name: str | None = None) -> Loss:
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
  check_arrays("nt_xent_loss", a=(a, "float [batch, dim]"), b=(b, "float [batch, dim]"))
  check_values("nt_xent_loss", temperature=(temperature, "(0, inf)"))
  similarity, self_column = cosines((a, b), axis_name)
  total = similarity.shape[1]
  self_mask = jax.nn.one_hot(self_column, total, dtype=bool)
  other_view = (self_column + total // 2) % total
  loss, accuracy = cross_entropy(jnp.where(self_mask, -jnp.inf, similarity / temperature), other_view)
  return loss, {"accuracy": accuracy}


def supervised_contrastive_loss(
  embeddings: Views, label: jax.Array, *, temperature: Number, scale: Number = 1.0, axis_name: str | None = None
) -> Loss:
  """SupCon: each embedding finds all others of its class among the V B - 1 others of the global batch.

      l_i = -1/|P(i)| sum_{p in P(i)} log( exp(z_i . z_p / tau) / sum_{k != i} exp(z_i . z_k / tau) )
      L = scale / (V B) sum_i l_i

  P(i) holds the other views of image i and every view of the other images of its class; the mean stands outside of the
  logarithm (L_out of the paper). With a class for each image it is NT-Xent. Rows are L2-normalised. An embedding
  without a partner, which there is with a single view only, counts as 0.

  Args:
    embeddings: V views of `[batch, dim]`; an array is a single view.
    label: integers `[batch]`.
    temperature: tau > 0.
    scale: factor of the loss: tau / 0.07 in the authors' PyTorch code, tau in their TensorFlow code, 1 in the paper.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `accuracy`: how often the nearest other embedding is of the same class.

  References:
    Khosla et al. 2020, arXiv 2004.11362, equation 2; HobbitLong/SupContrast, losses.py;
    google-research/google-research, supcon/losses.py.

  Example:

    >>> eye = jnp.eye(2)
    >>> loss, _ = supervised_contrastive_loss([eye, eye], jnp.array([0, 1]), temperature=1.0)
    >>> print(f"{loss:.4f}")   # log(e + 2) - 1
    0.5514
    >>> loss, metrics = supervised_contrastive_loss([eye, eye], jnp.array([3, 3]), temperature=1.0)
    >>> print(f"{loss:.4f} {metrics['accuracy']:.1f}")   # log(e + 2) - 1/3
    1.2181 1.0
  """
  check_arrays(
    "supervised_contrastive_loss", embeddings=(embeddings, "views of float [batch, dim]"), label=(label, "int [batch]")
  )
  check_values("supervised_contrastive_loss", temperature=(temperature, "(0, inf)"))
  views = as_views(embeddings)
  similarity, self_column = cosines(views, axis_name)
  self_mask = jax.nn.one_hot(self_column, similarity.shape[1], dtype=bool)
  # Not -inf: a row that is alone in the batch would be NaN.
  logits = jnp.where(self_mask, jnp.finfo(similarity.dtype).min, similarity / temperature)
  labels = gather(label, axis_name)
  positives = ~self_mask & (jnp.tile(label, len(views))[:, None] == jnp.tile(labels, len(views)))
  log_probs = jnp.sum(jnp.where(positives, jax.nn.log_softmax(logits), 0), axis=-1)
  loss = -jnp.mean(log_probs / jnp.maximum(jnp.sum(positives, axis=-1), 1))
  nearest = jnp.take_along_axis(positives, jnp.argmax(logits, axis=-1)[:, None], axis=-1)
  return scale * loss, {"accuracy": jnp.mean(nearest.astype(similarity.dtype))}
