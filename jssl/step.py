"""One update of a run as a pure function of its state, and gradients accumulated over parts of a batch."""

from collections.abc import Mapping
import functools
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl.environment import run_key
from jssl.inputs import examples_of
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
  lookahead: Mapping[str, Any] | None = None,
  watched: bool = False,
):
  """One update as a function `(state, arrays, batch) -> (state, metrics)`, to be compiled by `parallel`.

  `arrays` is what lives on the device: the arrays of a data set, of which `batch` then only holds each example's `index`,
  and whole arrays. With `skip` an update whose loss or gradient is not finite leaves everything as it was but the numbers
  of steps: the optimizer's `count`, at which its schedules are read, goes on with `step`, so that the learning rate of a
  step does not depend on how many before it were left out. Adam's own count, of the updates that its moments have seen,
  stays. `lookahead` is the config's, see `look_ahead`. A step that is `watched` reports `norms` too.
  """

  def make_update(whole):
    differentiate = differentiated(method, parallel, whole, accumulate)
    update = functools.partial(_update, method, optimizer, differentiate, skip, watched)
    return look_ahead(update, method.update_teachers, **lookahead) if lookahead and lookahead["steps"] else update

  def train_step(state: TrainState, arrays, batch):
    batch = examples_of(arrays, batch, method.whole_names)
    whole = {name: batch.pop(name) for name in method.whole_names}
    return make_update(whole)(state, batch, parallel.positions(), run_key(seed))

  return train_step


def differentiated(method: Method, parallel: Parallel, whole: Mapping[str, jax.Array], accumulate: int):
  """The method's loss with its gradient, `(params, variables, batch, positions, step, key) -> ((loss, aux), gradients)`.

  Args:
    method: of the step.
    parallel: over whose devices the gradient is averaged.
    whole: what every example sees whole.
    accumulate: parts of a batch, one after the other.
  """

  def loss(params, variables, batch, positions, step, key):
    return method.loss(params, variables, batch | whole, key=key, step=step, positions=positions)

  return _accumulated(parallel.value_and_grad(loss), accumulate)


def _update(method: Method, optimizer, differentiate, skip: bool, watched: bool, state: TrainState, batch, positions, key):
  """One update; see `make_train_step`."""
  params = state.variables.params
  (value, (variables, metrics)), gradients = differentiate(params, state.variables, batch, positions, state.step, key)
  updates, opt_state = optimizer.update(gradients, state.opt_state, params)
  params = optax.apply_updates(params, updates)
  teachers = method.update_teachers(variables.teachers, params, state.step)
  gradient_norm = optax.tree.norm(gradients)
  if watched:
    metrics = metrics | norms(method, gradients, updates, params, teachers)
  finite = jnp.isfinite(value) & jnp.isfinite(gradient_norm)
  updated = (variables.replace(params=params, teachers=teachers), opt_state)
  if skip:
    held = (state.variables, state.opt_state._replace(count=opt_state.count))
    updated = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, held)
  state = TrainState(state.step + 1, *updated, state.nonfinite + ~finite, state.rollbacks)
  return state, metrics | {"gradient_norm": gradient_norm, "nonfinite": state.nonfinite}


def norms(method: Method, gradients, updates, params, teachers) -> dict[str, jax.Array]:
  """Norms of gradient, update and parameters by network, and of each EMA network its distance from what it follows.

  The distance is that of all parameters as one vector, relative to the norm of those that are followed.
  """
  norm, found = optax.tree.norm, {}
  for kind, trees in dict(gradient=gradients, update=updates, parameter=params).items():
    found |= {f"{kind}_norm/{name}": norm(tree) for name, tree in trees.items()}
  for name, network in method.networks.items():
    if network.ema_of:
      difference = jax.tree.map(jnp.subtract, teachers[name], params[network.ema_of])
      found[f"ema_distance/{name}"] = norm(difference) / jnp.maximum(norm(params[network.ema_of]), 1e-12)
  return found


def look_ahead(update, update_teachers, *, steps: int, mode: str, keep_moments: bool, roll_back_teachers: bool):
  """Lets the EMA teachers follow students that are thrown away again, before the one update that counts.

  "deep": `steps` updates one after the other on the same batch, with other draws. "wide": one update on each of `steps`
  parts of the batch, all from the same parameters, and teachers that follow the mean of what comes out; the update that
  counts has the last of the `steps + 1` parts. After that the parameters are what they were; teachers, statistics and
  memories of targets and losses are not, and the moments of the optimizer only without `keep_moments`. The numbers of
  steps count updates that count, so schedules do not see the others.

  Args:
    update: `(state, batch, positions, key) -> (state, metrics)`.
    update_teachers: `(teachers, params, step) -> teachers`.
    steps: how far to look, >= 1.
    mode: "deep" or "wide".
    keep_moments: whether the moments keep what they saw on the way.
    roll_back_teachers: whether the teachers, once they have served for the update, forget the students of the future.

  References:
    Du et al. 2022, "Learning from Future" (FST-D and FST-W), arXiv 2209.06993; usr922/FST.
  """

  def ahead(start: TrainState, here: TrainState, batch, positions, key) -> TrainState:
    """One update from the parameters of `start` with everything else as it is `here`, without being counted."""
    variables = here.variables.replace(params=start.variables.params)
    after, _ = update(here.replace(variables=variables), batch, positions, key)
    opt_state = after.opt_state._replace(count=start.opt_state.count)
    return after.replace(step=start.step, opt_state=opt_state, nonfinite=start.nonfinite)

  def deep(state: TrainState, batch, positions, key):
    one = lambda here, i: (ahead(here, here, batch, positions, jax.random.fold_in(key, i)), None)
    return jax.lax.scan(one, state, jnp.arange(1, steps + 1))[0], batch, positions

  def wide(state: TrainState, batch, positions, key):
    parts = jax.tree.map(lambda x: split_parts(x, steps + 1), (batch, positions))

    def one(carry, part):
      here, total = carry
      after = ahead(state, here, *part, key)
      after = after.replace(variables=after.variables.replace(teachers=state.variables.teachers))
      return (after, jax.tree.map(jnp.add, total, after.variables.params)), None

    zeros = jax.tree.map(jnp.zeros_like, state.variables.params)
    (here, total), _ = jax.lax.scan(one, (state, zeros), jax.tree.map(lambda x: x[:-1], parts))
    mean = jax.tree.map(lambda x: x / steps, total)
    teachers = update_teachers(state.variables.teachers, mean, state.step)
    here = here.replace(variables=here.variables.replace(teachers=teachers))
    return here, *jax.tree.map(lambda x: x[-1], parts)

  def looking(state: TrainState, batch, positions, key):
    here, batch, positions = dict(deep=deep, wide=wide)[mode](state, batch, positions, key)
    variables = here.variables.replace(params=state.variables.params)
    opt_state = here.opt_state if keep_moments else state.opt_state
    after, metrics = update(state.replace(variables=variables, opt_state=opt_state), batch, positions, key)
    if roll_back_teachers:
      teachers = update_teachers(state.variables.teachers, after.variables.params, state.step)
      after = after.replace(variables=after.variables.replace(teachers=teachers))
    return after, metrics

  return looking


def split_parts(x, count: int):
  """`[batch, ...]` as `[count, batch / count, ...]`; each part takes an equal share of each device's examples."""
  return jnp.moveaxis(x.reshape(-1, count, *x.shape[1:]), 1, 0)


def _accumulated(differentiate, parts: int):
  """The same gradient from `parts` smaller batches, one after the other; only where the loss is a mean over examples."""
  if parts == 1:
    return differentiate

  def accumulated(params, variables, batch, positions, step, key):
    def one_part(total, part):
      (value, (_, metrics)), gradients = differentiate(params, variables, *part, step, key)
      return jax.tree.map(jnp.add, total, (value, metrics, gradients)), None

    batch, positions = jax.tree.map(lambda x: split_parts(x, parts), (batch, positions))
    first = jax.tree.map(lambda x: x[0], (batch, positions))
    (value, (_, metrics)), gradients = jax.eval_shape(differentiate, params, variables, *first, step, key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (value, metrics, gradients))
    total, _ = jax.lax.scan(one_part, zeros, (batch, positions))
    value, metrics, gradients = jax.tree.map(lambda x: x / parts, total)
    return (value, (variables, metrics)), gradients

  return accumulated
