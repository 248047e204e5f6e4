"""Where a value that is not finite arose: the run is replayed from its last checkpoint, and the first such array is named.

While all is well a run only counts updates whose loss or gradient is not finite. When that stops it, it is replayed, bit for
bit, up to the first such update, whose graph is run once more by itself on the same state and batch.
"""

from collections.abc import Callable, Iterator
import contextlib
import traceback
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jssl import checkpoint, logging, tables
from jssl.environment import Environment, run_key
from jssl.errors import NonFiniteError
from jssl.graph import Graph, owner
from jssl.inputs import examples_of
from jssl.step import differentiated, split_parts, TrainState


def told(
  trainer, last: Callable[[], TrainState], error: NonFiniteError, stopped: Callable[[], bool] = lambda: False
) -> NonFiniteError:
  """The error with its origin; or with the reason why that could not be found, since the run has stopped for the error.

  Args:
    trainer: of the run.
    last: loads the state of its last checkpoint, or the first one.
    error: what stopped it.
    stopped: see `find_origin`.
  """
  traceback.clear_frames(error.__traceback__)  # which hold a state
  try:
    found = find_origin(trainer, last(), error.step, stopped)
  except Exception as reason:  # pylint: disable=broad-except  # out of memory, other data, a checkpoint that is gone
    found = f"where it arose could not be found: {' '.join(str(reason).split())[:300]}"
  return NonFiniteError(f"{error}; {found}", error.step)


def find_origin(trainer, state: TrainState, until: int, stopped: Callable[[], bool] = lambda: False) -> str:
  """Replays a run until an update is not finite, and says in which step and by which name of the graph that began.

  Args:
    trainer: of the run.
    state: of its last checkpoint, or its first one, with the run's number of rollbacks; it is donated.
    until: a step before whose end an update was not finite.
    stopped: whether to give up, asked between steps.
  """
  begin = step = int(state.step)
  before, rollbacks = int(state.nonfinite), int(state.rollbacks)
  logging.log.info("replaying from step %d to find where it arose", begin)
  while step < until:
    trainer.start_phase(step)
    train_step = trainer.compile_step(state)
    with contextlib.closing(trainer.batches(step, min(trainer.phase.stop, until), rollbacks=rollbacks)) as batches:
      for batch in batches:
        if stopped():
          return f"the replay was stopped at step {step}"
        state, _ = tables.refresh(trainer, state, step)
        held = jax.tree.map(jnp.copy, state)
        state, _ = train_step(state, trainer.arrays, batch)
        step += 1
        if int(state.nonfinite) > before:
          return f"it arose in step {step}: {_first(trainer, held, batch)}"
  return f"a replay from step {begin} did not meet it again"


def _first(trainer, state: TrainState, batch) -> str:
  """The first thing of one update that is not finite, in words."""
  method = trainer.method
  words, values = _looked(trainer, state, batch, lambda *args: _values(method.graph, method.run, *args))
  if bad := [word for word, finite in zip(words, values, strict=True) if not finite]:
    return f"{bad[0]} is the first that is not finite"
  words, gradients = _looked(trainer, state, batch, None)
  bad = [word for word, finite in zip(words, gradients, strict=True) if not finite]
  if bad:
    network, _, rest = bad[0].partition("/")
    count = sum(word.startswith(f"{network}/") for word in bad)
    return (
      f"all values are finite, the gradient of config.networks.{network} is not ({count} of its arrays, the first {rest})"
    )
  ahead = "; config.lookahead takes updates before it that are not looked at" if trainer.config.lookahead.steps else ""
  return f"run by itself its graph is finite{ahead}"


def _looked(trainer, state: TrainState, batch, values: Callable | None) -> tuple[list[str], np.ndarray]:
  """Words, and whether what they name is finite on all devices: `values` of the graph, or else the gradient."""
  method, parallel, config = trainer.method, trainer.parallel, trainer.config
  words: list[str] = []

  def look(state, arrays, batch):
    batch = examples_of(arrays, batch, method.whole_names)
    whole = {name: batch.pop(name) for name in method.whole_names}
    key, variables = run_key(config.seed), state.variables
    if values is None:
      differentiate = differentiated(method, parallel, whole, config.accumulate)
      _, found = differentiate(variables.params, variables, batch, parallel.positions(), state.step, key)
      return _finite(checkpoint.named_leaves(found).items())

    def one_part(part):
      return _finite(values(variables, part[0] | whole, key, state.step, part[1]))

    parts = jax.tree.map(lambda x: split_parts(x, config.accumulate), (batch, parallel.positions()))
    return jnp.min(jax.lax.map(one_part, parts), axis=0)

  def _finite(named) -> jax.Array:
    named = [(word, x) for word, x in named if jnp.issubdtype(x.dtype, jnp.inexact)]
    words[:] = [word for word, _ in named]
    return jnp.stack([jnp.all(jnp.isfinite(x)) for _, x in named]).astype(jnp.float32)

  compiled = parallel.compile(lambda *args: parallel.mean(look(*args)))
  return words, np.asarray(compiled(state, trainer.arrays, batch)) == 1


def _values(graph: Graph, run: Callable, variables, batch, key, step, positions) -> Iterator[tuple[str, Any]]:
  """What a step begins with, and what it writes, in its order, each with its place in words."""
  for name, x in checkpoint.named_leaves(variables).items():
    yield f"the state before it, {name},", x
  env: Environment = run(variables, batch, key=key, step=step, positions=positions)
  for name, x in env.arrays.items():
    writer = owner(name, graph.nodes)
    yield f"{graph.nodes[writer].where if writer else 'the data'} -> {name}", x
  for name, (loss, weighted) in env.losses.items():
    yield f"{graph.nodes[name].where} -> {name}", jnp.asarray(loss)
    yield f"{graph.nodes[name].where}: {name} times its weight", jnp.asarray(weighted)
