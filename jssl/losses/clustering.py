"""Losses that classify embeddings by clusters and by other images."""

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize, precise
from jssl.checks import as_views, check_arrays, check_values, Loss, Number, Views
from jssl.losses.arrays import average
from jssl.stateful import enqueue, random_queue, Stateful


def cluster_loss(embeddings: Views, labels: jax.Array, centroids: jax.Array, *, temperature: Number = 0.1) -> Loss:
  """DeepCluster-v2: every view of an image finds the clusters that the image was put into.

      L = - mean over views v, clusterings h and the batch of  log softmax_k(z^_v . c_hk / tau)[label_h]

  Args:
    embeddings: `[batch, dim]`, or views of it; L2-normalised here.
    labels: int `[batch, clusterings]` in [0, clusters).
    centroids: `[clusterings, clusters, dim]`, of norm 1; no gradient flows into them.
    temperature: tau > 0.

  Returns:
    The loss, and `accuracy`: how often the nearest centroid is the label's.

  References:
    Caron et al. 2020 (DeepCluster-v2), arXiv 2006.09882; facebookresearch/swav, main_deepclusterv2.py.

  Example:

    >>> loss, metrics = cluster_loss(jnp.eye(2), jnp.array([[0], [1]]), jnp.eye(2)[None], temperature=1.0)
    >>> print(f"{loss:.4f} {metrics['accuracy']:.1f}")   # log(e + 1) - 1
    0.3133 1.0
  """
  check_arrays(
    "cluster_loss",
    embeddings=(embeddings, "views of float [batch, dim]"),
    labels=(labels, "int [batch, clusterings]"),
    centroids=(centroids, "float [clusterings, clusters, dim]"),
  )
  check_values("cluster_loss", temperature=(temperature, "(0, inf)"))
  centroids = jax.lax.stop_gradient(precise(centroids))
  terms, hits = [], []
  views = [l2_normalize(z) for z in as_views(embeddings)]
  for z in views:
    logits = jnp.einsum("bd,hkd->bhk", z, centroids, precision="highest") / temperature
    right = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), labels[..., None], axis=-1)
    terms.append(-jnp.mean(right))
    hits.append(jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(logits.dtype)))
  return average(terms), {"accuracy": average(hits)}


def _init(student: jax.Array, teacher: jax.Array, *, size: int, rng: jax.Array) -> jax.Array:
  del teacher
  return random_queue(rng, size=size, dim=student.shape[-1])


def _apply(
  queue: jax.Array,
  student: jax.Array,
  teacher: jax.Array,
  *,
  student_temp: Number = 0.1,
  teacher_temp: Number = 0.04,
  axis_name: str | None = None,
) -> tuple[Loss, jax.Array]:
  """ReSSL: the student relates its view to a queue of other images as the teacher relates its own view to them.

      p^t_i = softmax_k(t^_i . q_k / tau_t),   L = - mean_i sum_k p^t_ik log softmax(s^_i . q_k / tau_s)_k

  Rows are L2-normalised. The queue holds teacher embeddings of earlier steps, random directions at first; this step's
  are put in afterwards. Nothing says that two different images must be told apart: how alike they are is learnt from
  the teacher, whose lower temperature keeps the near ones.

  Args:
    queue: `[size, dim]`, the state.
    student: `[batch, dim]`, of a strongly augmented view.
    teacher: the same of a weakly augmented one; it comes without gradient.
    size: of the queue.
    student_temp: tau_s > 0.
    teacher_temp: tau_t, below tau_s.
    axis_name: mapped axis over which the batch is split.

  Returns:
    The loss, and `teacher_entropy` (of the teacher's relation, over ln size) and `kl` (the loss less that
    entropy); and the new queue.

  References:
    Zheng et al. 2021, arXiv 2107.09282; mingkai-zheng/ReSSL, ressl.py and network/ressl.py.

  Example:

    >>> z = jnp.eye(4, 8)
    >>> queue = relational_loss.init(z, z, size=16, rng=jax.random.key(0))
    >>> (loss, metrics), queue = relational_loss.apply(queue, z, z, student_temp=0.1, teacher_temp=0.1)
    >>> print(f"{abs(metrics['kl']):.4f}", bool((queue[:4] == z).all()))
    0.0000 True
  """
  check_arrays(
    "relational_loss",
    student=(student, "float [batch, dim]"),
    teacher=(teacher, "float [batch, dim]"),
    queue=(queue, "float [size, dim]"),
  )
  check_values("relational_loss", student_temp=(student_temp, "(0, inf)"), teacher_temp=(teacher_temp, "(0, inf)"))
  student, teacher = l2_normalize(student), jax.lax.stop_gradient(l2_normalize(teacher))
  relation = lambda z, temp: jax.nn.log_softmax(jnp.matmul(z, queue.T, precision="highest") / temp, axis=-1)
  log_teacher = relation(teacher, teacher_temp)
  probs = jnp.exp(log_teacher)
  loss = -jnp.mean(jnp.sum(probs * relation(student, student_temp), axis=-1))
  entropy = -jnp.mean(jnp.sum(probs * log_teacher, axis=-1))
  metrics = {"teacher_entropy": entropy / jnp.log(max(len(queue), 2)), "kl": loss - entropy}
  return (loss, metrics), enqueue(queue, teacher, axis_name=axis_name)


relational_loss = Stateful(_init, _apply)
