"""What tells in time that a representation collapses: how far apart embeddings are, and what teachers say.

Four kinds have names, and each what is tried against it:

* constant: all examples have the same embedding;
* dimensional: embeddings point apart, but along a line or little more (Jing et al. 2022, arXiv 2110.09348);
* uniform: the teacher says the same of all prototypes, or the student does, and the loss stays at ln K;
* one-hot: the teacher puts every example on one prototype, and the student follows.

Of the last two centring works against the second and for the first, sharpening against the first and for the second (Caron
et al. 2021, DINO, arXiv 2104.14294, section 5.3).
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple, TYPE_CHECKING

import jax
import jax.numpy as jnp

from jssl import logging
from jssl.arrays import l2_normalize
from jssl.batch_axis import gather, global_mean, global_size
from jssl.graph import Graph, owner
from jssl.nodes import Loss, Pass, Target

if TYPE_CHECKING:
  from jssl.environment import Environment


class Kind(NamedTuple):
  """A kind of collapse: its name, what it is, and what to try."""

  name: str
  meaning: str
  remedy: str


CONSTANT = Kind(
  "constant",
  "all examples have nearly the same embedding",
  "a stop-gradient with a predictor (BYOL, SimSiam), BatchNorm in the heads, a higher variance weight (VICReg), or a lower "
  "learning rate with a longer warm-up",
)
DIMENSIONAL = Kind(
  "dimensional",
  "embeddings differ along hardly more than one direction",
  "a higher covariance or decorrelation weight (VICReg, Barlow Twins), a projector behind the backbone, or weaker views",
)
UNIFORM = Kind(
  "uniform",
  "the teacher says the same of all prototypes, so the loss stays at ln K",
  "a lower teacher temperature, a warm-up of it that begins lower, or a slower centre",
)
STUCK = UNIFORM._replace(
  meaning="the student says the same of all prototypes: the loss stays at ln K",
  remedy="a lower teacher temperature, or another learning rate with a longer warm-up",
)
ONE_HOT = Kind(
  "one-hot",
  "the teacher puts everything on one prototype",
  "stronger centring of the teacher (a faster centre, or Sinkhorn in its place), or a higher teacher temperature",
)

# Runs that learn stay apart from these. Past their first tenth spreads were 0.10 at least, and entropies of teachers that
# learn between 0.08 and 0.89, in fourteen methods for 150 steps in the small form of the tests, and in whole runs of MMC's
# demo and of SimCLR in three seeds each. Embeddings of those methods differed in 1.14 dimensions at least; 1.05 is one
# direction with 98 % of the variance.
LEAST_SPREAD = 0.01
LEAST_DIMENSIONS = 1.05
# Of the teacher's entropy over ln K; and nats of the student's divergence from a teacher whom it follows.
UNIFORM_ENTROPY, ONE_HOT_ENTROPY, FOLLOWED = 0.99, 0.01, 0.5
# By which a loss may differ from ln K, of what lies between ln K and the teacher's entropy: where the teacher itself is
# nearly uniform, a student that learns is not far from ln K.
NEAR = 0.01
# Rows of metrics that must say the same: one batch proves nothing.
PATIENCE = 3


def diagnose(metrics: Mapping[str, float]) -> dict[str, Kind]:
  """The kinds of collapse that a row of metrics shows, by the metric that shows it.

  Args:
    metrics: of a step, with `spread/...`, `dimensions/...`, `.../teacher_entropy` (over ln K) and `.../kl` as far as they
      are there.

  Example:

    >>> found = diagnose({"spread/s/z": 0.001, "dino": 4.16, "dino/teacher_entropy": 1.0, "dino/kl": 0.0})
    >>> {name: kind.name for name, kind in found.items()}
    {'spread/s/z': 'constant', 'dino/teacher_entropy': 'uniform'}
  """
  found = {}
  for name, value in metrics.items():
    start, _, rest = name.partition("/")
    loss, _, end = name.rpartition("/")
    if start == "spread" and value < LEAST_SPREAD:
      found[name] = CONSTANT
    elif start == "dimensions" and value < LEAST_DIMENSIONS and metrics.get(f"spread/{rest}", 1.0) >= LEAST_SPREAD:
      found[name] = DIMENSIONAL
    elif end == "teacher_entropy" and value > UNIFORM_ENTROPY:
      found[name] = UNIFORM
    elif end == "teacher_entropy" and value < ONE_HOT_ENTROPY and metrics.get(f"{loss}/kl", 0.0) < FOLLOWED:
      found[name] = ONE_HOT
    elif end == "teacher_entropy" and _is_stuck(value, metrics.get(f"{loss}/kl"), metrics.get(loss)):
      found[loss] = STUCK
  return found


def _is_stuck(entropy: float, kl: float | None, loss: float | None) -> bool:
  """Whether a cross-entropy is at ln K, which follows from what it consists of: loss = entropy ln K + kl.

  Of a loss of several terms, which is their sum, ln K comes out too large, and nothing is said.
  """
  if kl is None or loss is None or entropy < ONE_HOT_ENTROPY or not loss > kl:
    return False
  most = (loss - kl) / entropy
  return abs(loss - most) < NEAR * (1 - entropy) * most


class CollapseWatch:
  """Warns by the kind's name, once for each metric and kind, where `PATIENCE` rows one after the other show it.

  Args:
    total_steps: of the run; in its first tenth nothing is said: an untrained network may well see little difference.
    every: steps from one row to the next; where only one or two are left, these are enough.
    still: losses whose teachers do not learn, so that their entropy says nothing, see `still_teachers`.
  """

  def __init__(self, total_steps: int, every: int = 1, still: Collection[str] = ()):
    self._first_step, self._still = total_steps // 10, still
    self._patience = max(1, min(PATIENCE, (total_steps - self._first_step) // every))
    self._seen: dict[tuple[str, Kind], int] = {}
    self._said: set[tuple[str, Kind]] = set()

  def look(self, step: int, metrics: Mapping[str, float]) -> None:
    if step < self._first_step:
      return
    shown = [(name, kind) for name, kind in diagnose(metrics).items() if name.partition("/")[0] not in self._still]
    self._seen = {found: self._seen.get(found, 0) + 1 for found in shown}
    for found, count in self._seen.items():
      name, kind = found
      if count >= self._patience and found not in self._said:
        self._said.add(found)
        message = "step %d: collapse? %s: %s is %.4f: %s; try %s"
        logging.log.warning(message, step, kind.name, name, metrics[name], kind.meaning, kind.remedy)


def still_teachers(graph: Graph) -> set[str]:
  """The losses whose targets follow from frozen networks alone."""
  found = set()
  for node in graph.nodes.values():
    if isinstance(node, Loss):
      teachers = [graph.networks[name] for name in _networks_behind(node, graph)]
      if teachers and not any(network.trained or network.ema_of for network in teachers):
        found.add(node.name)
  return found


def _networks_behind(loss: Loss, graph: Graph) -> set[str]:
  """The networks that the targets of a loss are made by."""
  frontier = [name for name in loss.names() if isinstance(graph.nodes.get(owner(name, graph.nodes) or ""), Target)]
  found, seen = set(), set()
  while frontier:
    writer = owner(frontier.pop(), graph.nodes)
    if writer is None or writer in seen:
      continue
    seen.add(writer)
    node = graph.nodes[writer]
    found |= {node.net} if isinstance(node, Pass) else set()
    frontier += node.names()
  return found


def spreads(node: Loss, env: "Environment", graph: Graph) -> dict[str, jax.Array]:
  """How far apart the embeddings are that a loss reads: 0 when all examples have collapsed into one.

  Outputs of one dimension, such as a discriminator's, have no direction. In a run that is watched, also in how many
  dimensions they differ, where there could be eight or more.
  """
  found, axis_name = {}, graph.engine["axis_name"]
  for name in node.names():
    writer, array = owner(name, graph.nodes), env.arrays[name]
    if writer and isinstance(graph.nodes[writer], Pass) and array.ndim == 2 and array.shape[1] > 1:
      found[f"spread/{name}"] = spread(array, axis_name=axis_name)
      if graph.watched and min(global_size(len(array), axis_name), array.shape[1]) > 8:
        found[f"dimensions/{name}"] = dimensions(array, axis_name=axis_name)
  return found


def spread(embeddings: jax.Array, *, axis_name: str | None = None) -> jax.Array:
  """How far apart embeddings `[batch, dim]` point: 0 when all are parallel, 1 when they point everywhere.

  It is the root mean square distance of the L2-normalised embeddings from their mean; SimSiam (Chen and He, arXiv
  2011.10566) watches the same deviation by dimension.
  """
  mean = lambda x: global_mean(jnp.mean(x, axis=0), axis_name)
  x = l2_normalize(jax.lax.stop_gradient(embeddings).astype(jnp.float32))
  return jnp.sqrt(mean(jnp.sum((x - mean(x)) ** 2, axis=-1)))


def dimensions(embeddings: jax.Array, *, axis_name: str | None = None) -> jax.Array:
  """In how many dimensions embeddings `[batch, dim]` differ from their mean: the participation ratio of their covariance.

  It is (sum l)^2 / sum l^2 over the eigenvalues l, of the L2-normalised embeddings of the whole batch: 1 where all lie on a
  line, min(batch - 1, dim) at most; where all are the same it is that of rounding, see `spread`.

  Example:

    >>> print(dimensions(jnp.concatenate([jnp.eye(3), -jnp.eye(3)])))
    3.0
  """
  x = gather(l2_normalize(jax.lax.stop_gradient(embeddings).astype(jnp.float32)), axis_name)
  x = x - jnp.mean(x, axis=0)
  # Both products have the same eigenvalues.
  product = jnp.matmul(*((x, x.T) if x.shape[0] <= x.shape[1] else (x.T, x)), precision="highest")
  return jnp.trace(product) ** 2 / jnp.maximum(jnp.sum(product**2), 1e-30)
