"""How far apart embeddings are: what tells in time that a representation collapses."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jssl.arrays import l2_normalize
from jssl.batch_axis import global_mean
from jssl.graph import Graph, owner
from jssl.nodes import Loss, Pass

if TYPE_CHECKING:
  from jssl.environment import Environment


def spreads(node: Loss, env: "Environment", graph: Graph) -> dict[str, jax.Array]:
  """How far apart the embeddings are that a loss reads: 0 when all examples have collapsed into one.

  Outputs of one dimension, such as a discriminator's, have no direction.
  """
  found = {}
  for name in node.names():
    writer = owner(name, graph.nodes)
    if writer and isinstance(graph.nodes[writer], Pass) and env.arrays[name].ndim == 2 and env.arrays[name].shape[1] > 1:
      found[f"spread/{name}"] = spread(env.arrays[name], axis_name=graph.engine["axis_name"])
  return found


def spread(embeddings: jax.Array, *, axis_name: str | None = None) -> jax.Array:
  """How far apart embeddings `[batch, dim]` point: 0 when all are parallel, 1 when they point everywhere.

  It is the root mean square distance of the L2-normalised embeddings from their mean; SimSiam (Chen and He, arXiv
  2011.10566) watches the same deviation by dimension.
  """
  mean = lambda x: global_mean(jnp.mean(x, axis=0), axis_name)
  x = l2_normalize(jax.lax.stop_gradient(embeddings).astype(jnp.float32))
  return jnp.sqrt(mean(jnp.sum((x - mean(x)) ** 2, axis=-1)))
