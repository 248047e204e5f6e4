"""From one entry of a config to a typed node: its function, what it reads, and its numbers.

An entry is `name=dict(fn=..., reads=(...), number=...)`. Each stage of a config has a class here, whose attributes say
what its entries may hold beside the numbers of their function.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any, ClassVar

from jssl import schedules
from jssl.errors import check_boolean, ConfigError, is_boolean, nearest
from jssl.schedules import Horizon
from jssl.stateful import Stateful

# Keyword arguments that the engine fills where a signature has them; a config cannot. `rng` is a key that is new in
# each step and the same on all devices, for targets and losses that draw.
ENGINE = ("axis_name", "num_examples", "batch_size", "dtype", "rng")
GRADIENTS = ("all", "inputs", "params", "none")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Node:
  """One entry of a stage, resolved.

  Attributes:
    stage: of the config.
    options: what an entry may hold beside the numbers of its function.
    name: in the config; also what its output is called.
    reads: positional arguments: names, or tuples of names.
    keywords: keyword arguments that are names.
    fn: the function, or a `Stateful`; None for a pass, which calls a network.
    numbers: the function's static keyword arguments.
    schedules: those that change with the step: `step -> float32`.
  """

  stage: ClassVar[str]
  options: ClassVar[tuple[str, ...]] = ("fn", "reads")

  name: str
  reads: tuple = ()
  keywords: dict[str, Any] = dataclasses.field(default_factory=dict)
  fn: Callable | Stateful | None = None
  numbers: dict[str, Any] = dataclasses.field(default_factory=dict)
  schedules: dict[str, Callable] = dataclasses.field(default_factory=dict)

  @property
  def where(self) -> str:
    return f"config.{self.stage}.{self.name}"

  def names(self) -> tuple[str, ...]:
    """Every name that the node reads."""
    return (*flat_names(self.reads), *flat_names(self.keywords.values()))

  @classmethod
  def fields(cls, where: str, options: dict[str, Any], horizon: Horizon) -> dict[str, Any]:
    """Checks the entry's options, without `fn` and `reads`, and gives them as the class holds them."""
    del where, horizon
    return options


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Drawn(Node):
  """What comes of a draw: a view or a mask.

  Attributes:
    scope: "example": the function sees one example and its key; "batch": the global batch and the step's key.
  """

  scope: str = "example"

  @classmethod
  def fields(cls, where, options, horizon):
    known = ("example", "batch")
    if options.get("scope", "example") not in known:
      raise ConfigError(f"{where}.scope='{options['scope']}': {nearest(str(options['scope']), known)}")
    return options


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class View(Drawn):
  """What a network sees.

  Attributes:
    cropped: whether it is the second half of a view, of crops of its own that the host cut, see `jssl.host_crops`.
  """

  stage = "views"
  options = ("fn", "reads", "scope")

  cropped: bool = False


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Mask(Drawn):
  """What is hidden.

  Attributes:
    grid: numbers of patches along each axis, rows and columns of an image; or a view and the network whose patches on that
      view they are; or None.
  """

  stage = "masking"
  options = ("fn", "reads", "scope", "grid")

  grid: tuple | None = None

  @property
  def grid_of(self) -> tuple[str, str] | None:
    """The view and the network that the grid follows from, or None."""
    return self.grid if self.grid and isinstance(self.grid[0], str) else None

  def names(self):
    return (*super().names(), *(self.grid_of or ())[:1])

  @classmethod
  def fields(cls, where, options, horizon):
    if "grid" in options:
      grid = options["grid"] = tuple(options["grid"])
      names, numbers = ([isinstance(g, kind) for g in grid] for kind in (str, int))
      if not (grid and all(numbers)) and names != [True, True]:
        raise ConfigError(f"{where}.grid={grid}: write (view, network), or (rows, columns), a number for each axis")
    return super().fields(where, options, horizon)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Pass(Node):
  """A call of a network.

  Attributes:
    net: the network.
    join: passes of one network with the same word are one call, on the concatenation of their batches.
    train: whether BatchNorm takes the batch's statistics, and layers are dropped; None: if the network is trained or
      follows a trained one.
    gradient: where the gradient of what the pass writes goes: to the network's parameters and to what it reads ("all"),
      to one of the two ("params", "inputs"), or nowhere ("none"); None: "all" if the network is trained, or "none".
    fold: so many axes after the example's join the batch for the call, `[batch, n, ...]` is read as `[batch n, ...]`,
      and are the example's again in all that the pass writes.
  """

  stage = "passes"
  options = ("net", "reads", "join", "train", "gradient", "fold")

  net: str
  join: str | None = None
  train: bool | None = None
  gradient: str | None = None
  fold: int = 0

  @classmethod
  def fields(cls, where, options, horizon):
    if "net" not in options:
      raise ConfigError(f"{where}: 'net' is missing")
    check_boolean(f"{where}.train", options.get("train"))
    if options.get("gradient") not in (None, *GRADIENTS):
      raise ConfigError(f"{where}.gradient={options['gradient']!r}: {nearest(str(options['gradient']), GRADIENTS)}")
    fold = options.get("fold", 0)
    if isinstance(fold, bool) or not isinstance(fold, int) or fold < 0:
      raise ConfigError(f"{where}.fold={fold!r}: give the number of axes, 0 or more")
    return options


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Refresh(Node):
  """Work on the whole data set between two steps.

  Attributes:
    every: its period, such as `{"every_epochs": 1}`.
  """

  stage = "refresh"
  options = ("fn", "reads", *(f"every_{unit}" for unit in schedules.UNITS))

  every: dict[str, Any]

  @classmethod
  def fields(cls, where, options, horizon):
    return dict(every=options)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Target(Node):
  """What must be predicted; no gradient flows through it."""

  stage = "targets"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Loss(Node):
  """How wrong the prediction is.

  Attributes:
    terms: several `reads`, and the loss is the sum of what its function gives for each of them:
      `terms=(("s_a/z", "t_b/z"), ("s_b/z", "t_a/z"))`; empty for a loss with `reads`.
    weight: a number, or a function of the step.
    log_variance: with `log_variance="u/name"` the weight is learnt: `exp(-s) * loss + s / 2`, s being the mean of that
      array (Kendall, Gal, Cipolla, arXiv 1705.07115).
  """

  stage = "losses"
  options = ("fn", "reads", "terms", "weight", "log_variance")

  terms: tuple = ()
  weight: float | Callable = 1.0
  log_variance: str | None = None

  def names(self):
    return (*super().names(), *flat_names(self.terms), *filter(None, [self.log_variance]))

  @classmethod
  def fields(cls, where, options, horizon):
    if "weight" in options:
      options["weight"] = horizon.read(options["weight"], f"{where}.weight: ")
    return options


KINDS = {kind.stage: kind for kind in (View, Mask, Pass, Refresh, Target, Loss)}
STAGES = tuple(KINDS)


def make_node(stage: str, name: str, entry: Mapping[str, Any], horizon: Horizon) -> Node:
  """Resolves one entry of a config; raises `ConfigError` with the entry's place."""
  kind, where = KINDS[stage], f"config.{stage}.{name}"
  numbers = dict(entry)
  options = {key: numbers.pop(key) for key in kind.options if key in numbers}
  reads, keywords = parse_reads(where, options.pop("reads", ()))
  fn = options.pop("fn", None)
  if kind is Pass:
    for key in numbers:
      raise ConfigError(f"{where}: unknown key '{key}'; {nearest(key, kind.options)}")
  elif fn is None:
    raise ConfigError(f"{where}: 'fn' is missing")
  else:
    fn = resolve(where, fn, stage)
    check_numbers(where, fn, numbers, keywords, filled=("grid",) if "grid" in options else ())
  if "terms" in options and (reads or isinstance(fn, Stateful)):
    raise ConfigError(f"{where}: 'terms' stands in the place of 'reads', and only for a loss without state")
  constants, made = split_numbers(numbers, horizon)
  options = kind.fields(where, options, horizon)
  return kind(name=name, reads=reads, keywords=keywords, fn=fn, numbers=constants, schedules=made, **options)


def flat_names(reads) -> Iterable[str]:
  for read in reads:
    if isinstance(read, str):
      yield read
    else:
      yield from flat_names(read)


def resolve(where: str, fn: str | Callable, room: str) -> Callable | Stateful:
  """Finds `fn`.

  Args:
    where: the entry's place.
    fn: a name on the front of the stage's room; `"file/name"` for what a file of the room has; `"module:name"` for what is
      anywhere; or the function itself (notebooks).
    room: `jssl.<room>`.

  Raises:
    ConfigError: if there is no such function.
  """
  if not isinstance(fn, str):
    return fn
  if "/" in fn and ":" not in fn:
    return _in_file(where, fn, room)
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


def _in_file(where: str, fn: str, room: str) -> Callable | Stateful:
  """`"audio/log_mel"` in the room `views` is `jssl.views.audio.log_mel`."""
  *folders, name = fn.split("/")
  module = importlib.import_module(f"jssl.{room}")
  for folder in folders:
    known = [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", ()))]
    if folder not in known:
      raise ConfigError(f"{where}: fn='{fn}': {module.__name__} has no file '{folder}'; {nearest(folder, known)}")
    module = importlib.import_module(f"{module.__name__}.{folder}")
  own = lambda value: isinstance(value, Stateful) or callable(value) and value.__module__ == module.__name__
  known = [n for n, value in vars(module).items() if n[0] != "_" and own(value)]
  if name not in known:
    raise ConfigError(f"{where}: fn='{fn}': {module.__name__} has no '{name}'; {nearest(name, known)}")
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


def check_numbers(
  where: str, fn, numbers: Mapping[str, Any], keywords: Mapping[str, Any] = {}, filled: Sequence[str] = ()
) -> None:
  """Raises `ConfigError` for what `fn` is given and does not take, and for a required number that is missing.

  Args:
    where: the entry's place.
    fn: its function.
    numbers: by name.
    keywords: names of arrays, by the argument that they are read as.
    filled: what the engine will give it.
  """
  parameters = _parameters(fn)
  settable = [n for n in parameters if n not in ENGINE]
  title = getattr(fn, "__name__", None) or "its function"
  for kind, given in (("number", numbers), ("argument", keywords)):
    for name in given:
      if name not in settable:
        raise ConfigError(f"{where}: {title} has no {kind} '{name}'; {nearest(name, settable)}")
  for name, value in numbers.items():
    if is_boolean(parameters[name]):
      check_boolean(f"{where}.{name}", value)
  if twice := sorted(set(numbers) & set(keywords)):
    raise ConfigError(f"{where}: '{twice[0]}' is a number and also read as '{twice[0]}={keywords[twice[0]]}'; leave one out")
  for name, parameter in parameters.items():
    required = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    if required and name not in (*numbers, *keywords, *filled, *ENGINE):
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


def split_numbers(numbers: Mapping[str, Any], horizon: Horizon) -> tuple[dict, dict]:
  """Separates constants from schedules, and makes the latter functions of the step."""
  constants = {k: v for k, v in numbers.items() if not schedules.is_schedule(v)}
  made = {k: horizon.make(v) for k, v in numbers.items() if schedules.is_schedule(v)}
  return constants, made
