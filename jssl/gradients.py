"""Where the losses' gradient goes: through which passes it flows back, and which networks it reaches."""

from collections.abc import Iterable, Mapping
from typing import Any

from jssl.errors import ConfigError
from jssl.graph import owner
from jssl.nodes import Drawn, Loss, Node, Pass


def gradient_of(node: Pass, networks: Mapping[str, Any]) -> str:
  """Where the gradient of a pass goes: "all", "inputs", "params" or "none", see `nodes.Pass`."""
  return node.gradient or ("all" if networks[node.net].trained else "none")


def check(nodes: Mapping[str, Node], networks: Mapping[str, Any]) -> None:
  """Looks for gradients that would be 0 in silence.

  Args:
    nodes: of a graph, by name.
    networks: name -> `jssl.networks.NetworkSpec`.

  Raises:
    ConfigError: for a pass that asks to train a frozen network; for a frozen network behind a trained one, if the pass does
      not say whether the gradient goes through it; and for a trained network that no loss trains.
  """
  for node in nodes.values():
    if isinstance(node, Pass) and not networks[node.net].trained:
      _check_frozen(node, nodes, networks)
  losses = [node for node in nodes.values() if isinstance(node, Loss)]
  reached = _trained_by((name for node in losses for name in node.names()), nodes, networks)
  for name, network in networks.items():
    if network.trained and name not in reached:
      raise ConfigError(
        f"config.networks.{name}: no gradient of a loss reaches it; write frozen=True, or look at the targets and at the "
        "`gradient` of the passes between it and the losses"
      )


def _check_frozen(node: Pass, nodes: Mapping[str, Node], networks: Mapping[str, Any]) -> None:
  kind = "follows a trained network" if networks[node.net].ema_of else "is frozen"
  if node.gradient in ("all", "params"):
    raise ConfigError(f"{node.where}.gradient='{node.gradient}': network '{node.net}' {kind}; write 'inputs' or 'none'")
  if node.gradient is None:
    for read in node.names():
      if _trained_by([read], nodes, networks):
        raise ConfigError(
          f"{node.where}: it reads '{read}', which is trained, and network '{node.net}' {kind}: say whether the gradient "
          "goes through it, gradient='inputs', or ends there, gradient='none'"
        )


def _flows_to(node: Node, networks: Mapping[str, Any]) -> tuple[str, ...]:
  """What a node passes the gradient of its output on to, among what it reads."""
  if isinstance(node, Pass):
    return node.names() if gradient_of(node, networks) in ("all", "inputs") else ()
  return node.names() if isinstance(node, Drawn) else ()


def _trained_by(names: Iterable[str], nodes: Mapping[str, Node], networks: Mapping[str, Any]) -> set[str]:
  """The networks whose parameters the gradient of these names reaches."""
  reached, seen, frontier = set(), set(), list(names)
  while frontier:
    writer = owner(frontier.pop(), nodes)
    if writer is None or writer in seen:
      continue
    seen.add(writer)
    node = nodes[writer]
    if isinstance(node, Pass) and gradient_of(node, networks) in ("all", "params"):
      reached.add(node.net)
    frontier += _flows_to(node, networks)
  return reached
