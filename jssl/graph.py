"""From a config's stages to an ordered list of pure functions over named arrays.

A node is one entry of a stage: `name=dict(fn=..., reads=(...), number=...)`. The nodes of all stages form one graph,
whose order follows from what each reads, so a mask may well depend on a teacher's attention.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import importlib
import inspect
from typing import Any, NamedTuple

from jssl import schedules
from jssl.errors import ConfigError, nearest
from jssl.stateful import Stateful

STAGES = ("views", "masking", "passes", "refresh", "targets", "losses")

# What an entry may hold beside the numbers of its function.
_OPTIONS = {
  "views": ("fn", "reads", "scope"),
  "masking": ("fn", "reads", "scope", "grid"),
  "passes": ("net", "reads", "join", "train"),
  "targets": ("fn", "reads"),
  "losses": ("fn", "reads", "terms", "weight", "log_variance"),
  "refresh": ("fn", "reads", *(f"every_{unit}" for unit in schedules.UNITS)),
}

# Keyword arguments that the engine fills where a signature has them; a config cannot. `rng` is a key that is new in
# each step and the same on all devices, for targets and losses that draw.
ENGINE = ("axis_name", "num_examples", "dtype", "rng")


class Node(NamedTuple):
  """One entry of a stage, resolved.

  Attributes:
    stage, name: where it stands in the config; `name` is also what its output is called.
    fn: the function, a `Stateful`, or None for a pass.
    reads: positional arguments: names, or tuples of names.
    keywords: keyword arguments that are names.
    numbers: the function's static keyword arguments.
    schedules: those that change with the step: `step -> float32`.
    options: the entry's other keys (`net`, `join`, `scope`, `grid`, `weight`, ...). A loss with `terms` is the sum of
      what its function gives for each of several `reads`: `terms=(("s_a/z", "t_b/z"), ("s_b/z", "t_a/z"))`. One with
      `log_variance="u/name"` learns its weight: `exp(-s) * loss + s / 2`, s being the mean of that array (Kendall, Gal,
      Cipolla, arXiv 1705.07115).
  """

  stage: str
  name: str
  fn: Any
  reads: tuple
  keywords: dict[str, Any]
  numbers: dict[str, Any]
  schedules: dict[str, Callable]
  options: dict[str, Any]

  @property
  def where(self) -> str:
    return f"config.{self.stage}.{self.name}"

  def names(self) -> tuple[str, ...]:
    """Every name that the node reads."""
    names = [*flat_names(self.reads), *flat_names(tuple(self.keywords.values())), *flat_names(self.options.get("terms", ()))]
    if "log_variance" in self.options:
      names.append(self.options["log_variance"])
    grid = self.options.get("grid")
    if grid and isinstance(grid[0], str):
      names.append(grid[0])
    return tuple(names)


def flat_names(reads) -> Iterable[str]:
  for read in reads:
    if isinstance(read, str):
      yield read
    else:
      yield from flat_names(read)


def resolve(where: str, fn: str | Callable, room: str) -> Callable | Stateful:
  """Finds `fn`: a name in the stage's room, `"module:name"` anywhere, or the function itself (notebooks)."""
  if not isinstance(fn, str):
    return fn
  module_name, _, name = fn.rpartition(":")
  try:
    module = importlib.import_module(module_name or f"jssl.{room}")
  except ModuleNotFoundError as error:
    raise ConfigError(f"{where}: fn='{fn}': {error}") from error
  if not module_name and name not in module.__all__:
    raise ConfigError(f"{where}: jssl.{room} has no '{name}'; {nearest(name, module.__all__)}")
  if not hasattr(module, name):
    public = [n for n, value in vars(module).items() if n[0] != "_" and callable(value)]
    raise ConfigError(f"{where}: {module_name} has no '{name}'; {nearest(name, public)}")
  return getattr(module, name)


def _parameters(fn) -> dict[str, inspect.Parameter]:
  """Parameters that a config may set by keyword; a `Stateful`'s are those of both its functions."""
  if isinstance(fn, Stateful):
    return {**_parameters(fn.init), **_parameters(fn.apply)}
  return dict(inspect.signature(fn).parameters)


def accepts(fn, name: str) -> bool:
  return name in _parameters(fn)


def call(fn: Callable, *args, engine: Mapping[str, Any], **kwargs):
  """Calls `fn` with those of the engine's and the config's keyword arguments that its signature has."""
  parameters = inspect.signature(fn).parameters
  kwargs = {**engine, **kwargs}
  return fn(*args, **{k: v for k, v in kwargs.items() if k in parameters})


def check_numbers(where: str, fn, numbers: Mapping[str, Any], filled: Sequence[str] = ()) -> None:
  """Raises `ConfigError` for a number that `fn` does not take and for a required one that is missing."""
  parameters = _parameters(fn)
  settable = [n for n in parameters if n not in ENGINE]
  for name in numbers:
    if name not in settable:
      title = getattr(fn, "__name__", None) or "its function"
      raise ConfigError(f"{where}: {title} has no number '{name}'; {nearest(name, settable)}")
  for name, parameter in parameters.items():
    required = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    if required and name not in numbers and name not in filled and name not in ENGINE:
      raise ConfigError(f"{where}: '{name}' is missing")


def parse_reads(where: str, reads) -> tuple[tuple, dict[str, Any]]:
  """Splits `("v", "ids_keep=m/ids_keep", ("a/z", "b/z"))` into positional and keyword arguments."""
  if isinstance(reads, str):
    raise ConfigError(f"{where}.reads: '{reads}' is a string; write ('{reads}',)")
  positional, keywords = [], {}
  for read in reads:
    if isinstance(read, str) and "=" in read:
      key, _, name = read.partition("=")
      keywords[key] = name
    else:
      positional.append(read if isinstance(read, str) else tuple(read))
  return tuple(positional), keywords


def split_numbers(numbers: Mapping[str, Any], horizon: schedules.Horizon) -> tuple[dict, dict]:
  """Separates constants from schedules, and makes the latter functions of the step."""
  constants = {k: v for k, v in numbers.items() if not schedules.is_schedule(v)}
  made = {k: horizon.make(v) for k, v in numbers.items() if schedules.is_schedule(v)}
  return constants, made


def make_node(stage: str, name: str, spec: Mapping[str, Any], horizon) -> Node:
  """Resolves one entry of a config; raises `ConfigError` with the entry's place."""
  where = f"config.{stage}.{name}"
  spec = dict(spec)
  options = {key: spec.pop(key) for key in _OPTIONS[stage] if key in spec}
  reads, keywords = parse_reads(where, options.pop("reads", ()))
  constants, made = split_numbers(spec, horizon)
  if stage == "passes":
    if spec:
      key = next(iter(spec))
      raise ConfigError(f"{where}: unknown key '{key}'; {nearest(key, _OPTIONS[stage])}")
    fn = None
  else:
    if "fn" not in options:
      raise ConfigError(f"{where}: 'fn' is missing")
    fn = resolve(where, options.pop("fn"), stage)
    check_numbers(where, fn, spec, filled=("grid", *keywords) if "grid" in options else tuple(keywords))
  if "terms" in options and (reads or isinstance(fn, Stateful)):
    raise ConfigError(f"{where}: 'terms' stands in the place of 'reads', and only for a loss without state")
  if "weight" in options:
    options["weight"] = horizon.read(options["weight"], f"{where}.weight: ")
  return Node(stage, name, fn, reads, keywords, constants, made, options)


def owner(name: str, nodes: Mapping[str, Any]) -> str | None:
  """The node that writes `name`: itself, or what stands before the first slash."""
  head = name.partition("/")[0]
  return head if head in nodes else None


def make_units(nodes: Mapping[str, Node]) -> list[tuple[Node, ...]]:
  """Groups nodes that are computed together: passes with the same `join`, and views that differ in their draw only."""
  groups: dict[Any, list[Node]] = {}
  for node in nodes.values():
    key = node.name
    if node.options.get("join"):
      key = ("join", node.options["net"], node.options["join"], node.options.get("train"))
    elif node.stage == "views" and node.options.get("scope", "example") == "example" and not node.schedules:
      key = ("same", node.fn, node.reads, repr(sorted(node.keywords.items())), repr(sorted(node.numbers.items())))
    groups.setdefault(key, []).append(node)
  return [tuple(group) for group in groups.values()]


def order(nodes: Mapping[str, Node]) -> list[tuple[Node, ...]]:
  """Sorts the units so that each comes after all that it reads.

  Raises:
    ConfigError: if some read each other in a circle.
  """
  waiting = make_units(nodes)
  waiting.sort(key=lambda unit: STAGES.index(unit[0].stage))
  done: set[str] = set()
  ordered = []
  while waiting:
    for unit in waiting:
      needs = {owner(name, nodes) for node in unit for name in node.names()} - {None}
      if needs <= done:
        break
    else:
      circle = ", ".join(node.where for unit in waiting for node in unit)
      raise ConfigError(f"these read each other in a circle: {circle}")
    waiting.remove(unit)
    ordered.append(unit)
    done |= {node.name for node in unit}
  return ordered


def check_used(nodes: Mapping[str, Node]) -> None:
  """Raises `ConfigError` for an entry from which no path leads to a loss."""
  reached: set[str] = set()
  frontier = [node.name for node in nodes.values() if node.stage == "losses"]
  while frontier:
    name = frontier.pop()
    if name not in reached:
      reached.add(name)
      frontier += [n for n in (owner(read, nodes) for read in nodes[name].names()) if n]
  for node in nodes.values():
    if node.name not in reached:
      raise ConfigError(f"{node.where}: no loss reads '{node.name}', nor anything that a loss reads")


def store(env: dict[str, Any], name: str, value) -> None:
  """Writes a function's output: an array as `name`, a dict as `name/key`, a sequence as `name/0`, `name/1`, ..."""
  if isinstance(value, Mapping):
    for key, part in value.items():
      store(env, f"{name}/{key}", part)
  elif isinstance(value, (list, tuple)):
    for i, part in enumerate(value):
      store(env, f"{name}/{i}", part)
  else:
    env[name] = value


def fetch(env: Mapping[str, Any], where: str, read):
  """Reads a name, or a tuple of names as a list of arrays."""
  if not isinstance(read, str):
    return [fetch(env, where, r) for r in read]
  if read not in env:
    head = read.partition("/")[0]
    siblings = [n for n in env if n.partition("/")[0] == head] or list(env)
    raise ConfigError(f"{where} reads '{read}', which nothing writes; {nearest(read, siblings)}")
  return env[read]
