"""One update of a run as a pure function of its state, and gradients accumulated over parts of a batch."""

from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.environment import run_key
from jssl.method import Method, Variables
from jssl.parallel import Parallel


@struct.dataclass
class TrainState:
  """Everything that changes from step to step; everything that a checkpoint holds.

  Attributes:
    step: updates done, int32.
    variables: the method's.
    opt_state: the optimizer's.
    nonfinite: updates whose loss or gradient was not finite, int32: counted here, so that watching costs no transfer.
    rollbacks: how often the run has gone back to a checkpoint, int32; each time the examples come in another order.
  """

  step: jax.Array
  variables: Variables
  opt_state: Any
  nonfinite: jax.Array = np.int32(0)
  rollbacks: jax.Array = np.int32(0)


def make_train_step(
  method: Method,
  optimizer: optax.GradientTransformation,
  parallel: Parallel,
  *,
  seed: int,
  accumulate: int = 1,
  skip: bool = False,
):
  """One update as a function `(state, arrays, batch) -> (state, metrics)`, to be compiled by `parallel`.

  `arrays` is a data set that lives on the device, or empty; `batch` then only holds each example's `index`. With `skip`
  an update whose loss or gradient is not finite leaves everything as it was but the numbers of steps: the optimizer's
  `count`, at which its schedules are read, goes on with `step`, so that the learning rate of a step does not depend on
  how many before it were left out. Adam's own count, of the updates that its moments have seen, stays.
  """

  def loss(params, variables, batch, positions, step):
    return method.loss(params, variables, batch, key=run_key(seed), step=step, positions=positions)

  differentiate = _accumulated(parallel.value_and_grad(loss), accumulate)

  def train_step(state: TrainState, arrays, batch):
    batch = {name: array[batch["index"]] for name, array in arrays.items()} | batch
    params = state.variables.params
    (value, (variables, metrics)), gradients = differentiate(
      params, state.variables, batch, parallel.positions(), state.step
    )
    updates, opt_state = optimizer.update(gradients, state.opt_state, params)
    params = optax.apply_updates(params, updates)
    teachers = method.update_teachers(variables.teachers, params, state.step)
    gradient_norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(value) & jnp.isfinite(gradient_norm)
    updated = (variables.replace(params=params, teachers=teachers), opt_state)
    if skip:
      held = (state.variables, state.opt_state._replace(count=opt_state.count))
      updated = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, held)
    state = TrainState(state.step + 1, *updated, state.nonfinite + ~finite, state.rollbacks)
    return state, metrics | {"gradient_norm": gradient_norm, "nonfinite": state.nonfinite}

  return train_step


def _accumulated(differentiate, parts: int):
  """The same gradient from `parts` smaller batches, one after the other; only where the loss is a mean over examples."""
  if parts == 1:
    return differentiate

  def split(x):  # Every part takes an equal share of each device's examples.
    return jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0)

  def accumulated(params, variables, batch, positions, step):
    def one_part(total, part):
      (value, (_, metrics)), gradients = differentiate(params, variables, *part, step)
      return jax.tree.map(jnp.add, total, (value, metrics, gradients)), None

    batch, positions = jax.tree.map(split, (batch, positions))
    first = jax.tree.map(lambda x: x[0], (batch, positions))
    (value, (_, metrics)), gradients = jax.eval_shape(differentiate, params, variables, *first, step)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (value, metrics, gradients))
    total, _ = jax.lax.scan(one_part, zeros, (batch, positions))
    value, metrics, gradients = jax.tree.map(lambda x: x / parts, total)
    return (value, (variables, metrics)), gradients

  return accumulated
