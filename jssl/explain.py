"""What a config is, before a step is run: every name, shape, network, and the cost of a step."""

from collections.abc import Mapping
from typing import Any

from jssl import warm_start
from jssl.errors import ConfigError
from jssl.gradients import gradient_of
from jssl.method import Method, Variables
from jssl.models.network import count_parameters
from jssl.nodes import Loss, Pass


def explain(trainer) -> str:
  """The expanded method of a `jssl.train.Trainer` as text.

  The cost is that of the whole global batch's step compiled for one device: FLOPs as XLA counts them, and the memory of
  the compiled program (arguments, outputs and temporaries).
  """
  expanded = explain_method(trainer.single_method, trainer.abstract, trainer.spec)
  return "\n\n".join([_run(trainer), expanded, trainer.optim_info["summary"], _cost(trainer)])


def explain_method(method: Method, variables: Variables, batch: Mapping[str, Any]) -> str:
  """The networks and the graph of a method as text: what can be said without data and without compiling.

  Args:
    method: its nodes run in this order.
    variables: shapes of `method.init(key, batch)`.
    batch: arrays or shapes by name, as the data have them.
  """
  return "\n\n".join([_networks(method, variables), _graph(method, method.abstract_environment(batch).arrays)])


def _run(trainer) -> str:
  config, horizon = trainer.config, trainer.horizon
  lines = [
    f"data: {trainer.source.name}, {len(trainer.source)} examples; batch {config.batch_size}; "
    f"{horizon.total_steps} steps, {horizon.steps_per_epoch} an epoch",
    *[f"also {one.name}: {one.source.name}, {len(one.source)} examples" for one in trainer.inputs[1:]],
    *[f"whole: {name} {_shape(array)}" for name, array in trainer.whole.items()],
    *trainer.cropping().splitlines(),
    f"devices: {len(trainer.parallel.devices)} {trainer.parallel.devices[0].platform} ({trainer.parallel.mode})",
  ]
  lines += [
    f"phase {phase.name}: steps {phase.start} to {phase.stop}" for phase in trainer.phases if len(trainer.phases) > 1
  ]
  return "\n".join(lines)


def _networks(method, variables) -> str:
  rows, found = [("network", "parameters", "")], []
  for name, network in method.networks.items():
    params = {**variables.params, **variables.teachers}[name]
    note = "trained" if network.trained else (f"EMA of {network.ema_of}" if network.ema_of else "frozen")
    if network.load:
      note += f", from {network.load.run}"
      found.append(_loaded(network, variables))
    note += f", starts near {network.interpolated[0]}" if network.interpolated else ""
    rows.append((name, f"{count_parameters(params):,}", note))
  return "\n".join([_table(rows), *found])


def _loaded(network, variables) -> str:
  """What of a network comes from elsewhere; or that this is not there yet."""
  params = (variables.params if network.trained else variables.teachers)[network.name]
  try:
    return str(warm_start.load_network(network, params, variables.stats[network.name])[2])
  except ConfigError as error:
    if not warm_start.is_there(network.load):
      return f"network '{network.name}': {error}"
    raise


def _graph(method, arrays) -> str:
  rows = [("stage", "name", "function", "reads", "writes")]
  for unit in method.units:
    for node in unit:
      function = _called(node, method) if isinstance(node, Pass) else getattr(node.fn, "__name__", None) or "stateful"
      terms = isinstance(node, Loss) and node.terms or (node.reads,)
      reads = "; ".join(", ".join(_name(read) for read in term) for term in terms)
      reads += "".join(f", {key}={_name(read)}" for key, read in node.keywords.items())
      written = [name for name in arrays if name.partition("/")[0] == node.name]
      shown = [f"{name} {_shape(arrays[name])}" for name in written if not isinstance(node, Pass) or _is_read(name, method)]
      if isinstance(node, Loss):
        shown = [f"weight {'scheduled' if callable(node.weight) else f'{node.weight:g}'}"]
      rows.append((node.stage, node.name, function, reads, "; ".join(shown)))
  return _table(rows)


def _called(node: Pass, method) -> str:
  """The network, where the gradient goes if not to all, and the folded axes."""
  gradient = gradient_of(node, method.networks)
  ways = dict(all="", inputs=", gradient to inputs only", params=", gradient to params only", none=", no gradient")
  return f"{node.net}{ways[gradient]}{f', fold {node.fold}' if node.fold else ''}"


def _is_read(name, method) -> bool:
  return any(name in node.names() for node in method.nodes.values())


def _name(read) -> str:
  return read if isinstance(read, str) else f"({', '.join(_name(r) for r in read)})"


def _shape(array) -> str:
  return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _cost(trainer) -> str:
  if len(trainer.phases) == 1:
    return _cost_of_phase(trainer)
  costs = []
  for phase in trainer.phases:
    trainer.start_phase(phase.start)
    costs.append(f"phase {phase.name}: {_cost_of_phase(trainer)}")
  trainer.start_phase(0)
  return "\n".join(costs)


def _cost_of_phase(trainer) -> str:
  compiled = trainer.lower_single().compile()
  cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
  flops = (cost[0] if isinstance(cost, (list, tuple)) else cost or {}).get("flops", float("nan"))
  size = trainer.config.batch_size
  parts = dict(
    arguments=memory.argument_size_in_bytes,
    outputs=memory.output_size_in_bytes,
    temporaries=memory.temp_size_in_bytes,
    reused=memory.alias_size_in_bytes,
  )
  listed = ", ".join(f"{name} {value / 2**20:,.0f} MiB" for name, value in parts.items())
  return f"one step: {flops / 1e9:,.1f} GFLOPs ({flops / size / 1e9:,.2f} an example)\nmemory: {listed}"


def _table(rows) -> str:
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
