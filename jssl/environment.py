"""One evaluation of a method's graph: named arrays, filled from left to right."""

from collections.abc import Mapping, Sequence
from typing import Any
import zlib

import jax
import jax.numpy as jnp

from jssl import graph
from jssl.batch_axis import global_mean
from jssl.errors import ConfigError
from jssl.stateful import Stateful


def run_key(seed: int) -> jax.Array:
  """The key that all draws of a run come from; threefry, whose draws do not depend on how arrays are split."""
  return jax.random.key(seed, impl="threefry2x32")


def name_key(key: jax.Array, name: str) -> jax.Array:
  """The stream of draws of one name; it does not change when other entries of the config come or go."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


class Environment:
  """Runs every unit of `method` on one batch. Lives within one trace.

  Attributes:
    arrays: name -> array; whatever is not a table has the example as its first axis.
    losses: name -> (float32 loss, what it adds to the total).
    metrics: scalars by name: what the losses report, and the value of each scheduled number.
    stats, memory: the statistics and the state after this step.
  """

  def __init__(self, method, variables, batch: Mapping[str, Any], *, key, step, positions=None):
    self.method = method
    self.variables = variables
    self.step = step
    self.stats = dict(variables.stats)
    self.memory = dict(variables.memory)
    self.losses: dict[str, tuple[Any, jax.Array]] = {}
    self.metrics: dict[str, Any] = {}
    self.arrays = {name: as_float(batch[name]) for name in method.batch_names} | dict(variables.tables)
    if positions is None:
      positions = jnp.arange(len(next(iter(batch.values()))))
    self.step_key = jax.random.fold_in(key, step)
    self.example_keys = jax.vmap(jax.random.fold_in, (None, 0))(self.step_key, positions)
    kinds = {
      "views": self._run_drawn,
      "masking": self._run_drawn,
      "passes": self._run_passes,
      "refresh": self._run_refresh,
      "targets": self._run_target,
      "losses": self._run_loss,
    }
    for unit in method.units:
      kinds[unit[0].stage](unit)

  def apply(self, network: str, args: Sequence, kwargs: Mapping[str, Any], *, keys, train: bool) -> dict[str, Any]:
    """Calls a network and keeps its new statistics."""
    spec = self.method.networks[network]
    params = (self.variables.params if spec.trained else self.variables.teachers)[network]
    variables = {"params": params, "batch_stats": self.stats[network]}
    outputs, changed = spec.module.apply(variables, *args, **kwargs, keys=keys, train=train, mutable=["batch_stats"])
    self.stats[network] = changed.get("batch_stats", self.stats[network])
    return outputs if spec.trained else jax.lax.stop_gradient(outputs)

  def remember(self, node, args: Sequence, kwargs: Mapping[str, Any], numbers: Mapping[str, Any]):
    """Applies a `Stateful` and keeps its new state."""
    output, self.memory[node.name] = self._call(node, node.fn.apply, self.memory[node.name], *args, **kwargs, **numbers)
    return output

  def keys(self, name: str) -> jax.Array:
    """One key for each example, of the stream of `name`: `[batch]`."""
    return jax.vmap(lambda key: name_key(key, name))(self.example_keys)

  def _batch_key(self, node) -> jax.Array:
    """The step's key of a node that sees the whole batch, the same on all devices."""
    return name_key(jax.random.fold_in(self.step_key, 0xFFFFFFFF), node.name)

  def _reads(self, node, reads=None):
    fetch = lambda read: graph.fetch(self.arrays, node.where, read)
    reads = node.reads if reads is None else reads
    return [fetch(read) for read in reads], {key: fetch(read) for key, read in node.keywords.items()}

  def _numbers(self, node):
    numbers = dict(node.numbers)
    for name, schedule in node.schedules.items():
      numbers[name] = self.metrics[f"{node.name}/{name}"] = schedule(self.step)
    grid = node.options.get("grid")
    if grid and isinstance(grid[0], str):
      shape = graph.fetch(self.arrays, node.where, grid[0]).shape[1:]
      numbers["grid"] = self._checked(node, self.method.networks[grid[1]].module.grid, shape)
    elif grid:
      numbers["grid"] = tuple(grid)
    return numbers

  def _call(self, node, fn, *args, **kwargs):
    return self._checked(node, lambda: graph.call(fn, *args, engine=self.method.engine, **kwargs))

  @staticmethod
  def _checked(node, fn, *args):
    """Calls `fn`; what it finds wrong with its arguments is told with the entry's place."""
    try:
      return fn(*args)
    except ConfigError:
      raise
    except jax.errors.ConcretizationTypeError as error:
      scheduled = ", ".join(node.schedules) or "no number"
      raise ConfigError(
        f"{node.where}: a number that sets a shape or a choice cannot be a schedule ({scheduled} is one); "
        "change it by config.phases"
      ) from error
    except (TypeError, ValueError) as error:
      raise ConfigError(f"{node.where}: {' '.join(str(error).split())}") from error

  def _run_drawn(self, unit):
    """Views and masks draw from one key an example, or one for the batch. A unit's nodes differ in their keys only."""
    node = unit[0]
    args, kwargs = self._reads(node)
    numbers = self._numbers(node)
    if node.options.get("scope", "example") == "batch":
      output = self._call(node, node.fn, self._batch_key(node), *args, **kwargs, **numbers)
      graph.store(self.arrays, node.name, output)
      return

    def one_example(key, args, kwargs):
      return self._call(node, node.fn, key, *args, **kwargs, **numbers)

    axes = self._example_axes(node)
    examples = jax.vmap(one_example, (0, *axes))
    if len(unit) == 1:
      graph.store(self.arrays, node.name, examples(self.keys(node.name), args, kwargs))
      return
    # One after the other: compiled once, and no more memory than one of them needs.
    keys = jnp.stack([self.keys(member.name) for member in unit])
    outputs = jax.lax.map(lambda keys: examples(keys, args, kwargs), keys)
    for i, member in enumerate(unit):
      graph.store(self.arrays, member.name, jax.tree.map(lambda x: x[i], outputs))

  def _example_axes(self, node):
    """The mapped axis of each argument: 0, or None for a table, which every example sees whole."""
    nodes = self.method.nodes

    def axis(read):
      if not isinstance(read, str):
        return [axis(r) for r in read]
      owner = graph.owner(read, nodes)
      return None if owner and nodes[owner].stage == "refresh" else 0

    return [axis(read) for read in node.reads], {key: axis(read) for key, read in node.keywords.items()}

  def _run_passes(self, unit):
    """Calls one network; joined passes are one call on the concatenation of their batches."""
    name = unit[0].options["net"]
    reads = [self._reads(node) for node in unit]
    spec = self.method.networks[name]
    train = unit[0].options.get("train", spec.trained or spec.ema_of is not None)
    keys = [self.keys(node.name) for node in unit] if spec.trained and train else None
    if len(unit) == 1:
      args, kwargs = reads[0]
      keys = keys and keys[0]
    else:
      self._check_joinable(unit, reads)
      args, kwargs = jax.tree.map(lambda *x: jnp.concatenate(x), *reads)
      keys = keys and jnp.concatenate(keys)
    call = lambda: self.apply(name, args, kwargs, keys=keys, train=train)
    outputs: dict[str, Any] = {}
    graph.store(outputs, "", self._checked(unit[0], call))
    for output, value in outputs.items():
      for node, part in zip(unit, jnp.split(value, len(unit)) if len(unit) > 1 else [value]):
        self.arrays[node.name + output] = part

  @staticmethod
  def _check_joinable(unit, reads):
    shapes = [jax.tree.map(lambda x: x.shape, r) for r in reads]
    for node, shape in zip(unit, shapes):
      if shape != shapes[0]:
        raise ConfigError(
          f"{node.where}: join='{node.options['join']}' needs equal shapes; {unit[0].where} reads "
          f"{shapes[0]}, this one {shape}"
        )

  def _run_refresh(self, unit):
    """Tables are written between epochs and are there from the start."""

  def _run_target(self, unit):
    (node,) = unit
    args, kwargs = jax.lax.stop_gradient(self._reads(node))
    numbers = self._numbers(node) | dict(rng=self._batch_key(node))
    if isinstance(node.fn, Stateful):
      output = self.remember(node, args, kwargs, numbers)
    else:
      output = self._call(node, node.fn, *args, **kwargs, **numbers)
    graph.store(self.arrays, node.name, jax.lax.stop_gradient(output))

  def _run_loss(self, unit):
    (node,) = unit
    numbers = self._numbers(node) | dict(rng=self._batch_key(node))
    results = []
    for reads in node.options.get("terms", (node.reads,)):
      args, kwargs = self._reads(node, reads)
      if isinstance(node.fn, Stateful):
        results.append(self.remember(node, args, kwargs, numbers))
      else:
        results.append(self._call(node, node.fn, *args, **kwargs, **numbers))
    loss = sum(value for value, _ in results)
    metrics = jax.tree.map(lambda *values: sum(values) / len(values), *[found for _, found in results])
    weight = node.options.get("weight", 1.0)
    if callable(weight):
      weight = self.metrics[f"{node.name}/weight"] = weight(self.step)
    total = weight * loss
    if "log_variance" in node.options:
      s = jnp.mean(graph.fetch(self.arrays, node.where, node.options["log_variance"]))
      self.metrics[f"{node.name}/log_variance"] = s
      total = jnp.exp(-s) * total + s / 2
    self.losses[node.name] = (loss, total)
    self.metrics |= {f"{node.name}/{key}": value for key, value in metrics.items()}
    self._watch(node)

  def _watch(self, node):
    """Reports how far apart the embeddings are that a loss reads: 0 when all examples have collapsed into one."""
    for name in node.names():
      owner = graph.owner(name, self.method.nodes)
      if owner and self.method.nodes[owner].stage == "passes" and self.arrays[name].ndim == 2:
        self.metrics[f"spread/{name}"] = spread(self.arrays[name], axis_name=self.method.engine["axis_name"])


class AbstractEnvironment(Environment):
  """Runs the graph before there are parameters, under `jax.eval_shape`: finds the shapes of what is called first.

  Attributes:
    calls: network -> `(args, kwargs)` of its first call.
    initial: target or loss -> `(args, kwargs)` that its state is initialised from.
  """

  def __init__(self, method, variables, batch):
    self.calls: dict[str, Any] = {}
    self.initial: dict[str, Any] = {}
    super().__init__(method, variables, batch, key=jax.random.key(0), step=0)

  def apply(self, network, args, kwargs, *, keys, train):
    spec = self.method.networks[network]
    self.calls.setdefault(spec.ema_of or network, specs((args, kwargs)))
    return spec.module.init_with_output(jax.random.key(0), *args, **kwargs)[0]

  def remember(self, node, args, kwargs, numbers):
    self.initial[node.name] = specs((args, kwargs))
    self.memory[node.name] = self._call(node, node.fn.init, *args, **kwargs, **numbers)
    return super().remember(node, args, kwargs, numbers)

  def _run_refresh(self, unit):
    (node,) = unit
    count = self.method.engine["num_examples"]
    args, kwargs = jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), self._reads(node))
    tables = jax.eval_shape(lambda a, k: self._call(node, node.fn, jax.random.key(0), *a, **k, **node.numbers), args, kwargs)
    graph.store(self.arrays, node.name, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tables))


def spread(embeddings: jax.Array, *, axis_name: str | None = None) -> jax.Array:
  """How far apart embeddings `[batch, dim]` point: 0 when all are parallel, 1 when they point everywhere.

  It is the root mean square distance of the L2-normalised embeddings from their mean; SimSiam (Chen and He, arXiv
  2011.10566) watches the same deviation by dimension.
  """
  mean = lambda x: global_mean(jnp.mean(x, axis=0), axis_name)
  x = jax.lax.stop_gradient(embeddings).astype(jnp.float32)
  x = x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
  return jnp.sqrt(mean(jnp.sum((x - mean(x)) ** 2, axis=-1)))


def specs(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def as_float(array):
  """Images travel as uint8; on the device they are float32 in [0, 1]."""
  return array.astype(jnp.float32) / 255 if array.dtype == jnp.uint8 else array
