"""The networks that a config names: trained ones, EMA teachers and frozen ones."""

from collections.abc import Callable, Mapping
import math
import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl import nodes, schedules
from jssl.environment import name_key
from jssl.errors import check_boolean, ConfigError, nearest
from jssl.interop import CHANNELS, FORMATS
from jssl.models.network import Network

_OPTIONS = ("fn", "heads", "ema", "decay", "frozen", "load", "near")


class Load(NamedTuple):
  """Where a network's start comes from: the config's `load`, a string or `dict(run=, only=, rename=, channels=)`.

  In a string a last `:backbone`, after the network or the file, stands for `only=("^backbone/",)`.

  Attributes:
    run: `"workdir:network"`, or `"workdir@step:network"` for another checkpoint than the last; or public weights,
      `"format:path"` or `"format:path:part"`, see `jssl.interop.load`. Such a path has a slash or a dot in it.
    only: regular expressions; parameters and statistics whose name here has one of them in it come from there, and the
      others are drawn. Empty: all come from there.
    rename: `(pattern, replacement)` pairs, by which the names there become names here, in the manner of `re.sub`.
    channels: how the first convolution is made fit for images of another number of channels, see
      `jssl.interop.adapt_channels`; None: that is an error.
  """

  run: str
  only: tuple[str, ...] = ()
  rename: tuple[tuple[str, str], ...] = ()
  channels: str | None = None

  def place(self) -> tuple[str, int | None, str]:
    """Workdir, step (None: the last), and network."""
    workdir, _, network = self.run.rpartition(":")
    place, at, step = workdir.rpartition("@")
    return (place, int(step), network) if at and step.isdigit() else (workdir, None, network)

  def public(self) -> tuple[str, str, str | None] | None:
    """Format, path and part (None: the only one) of public weights; None for a run's network."""
    form, _, rest = self.run.partition(":")
    if form not in FORMATS or not _is_path(rest):
      return None
    path, colon, part = rest.rpartition(":")
    return (form, path, part) if colon and not _is_path(part) else (form, rest, None)

  @property
  def complete(self) -> bool:
    """Whether it says where from."""
    workdir, _, network = self.place()
    return self.public() is not None or bool(workdir and network and "/" not in network)


def _is_path(text: str) -> bool:
  """Whether it cannot be the name of a network."""
  return "/" in text or "." in text


class NetworkSpec(NamedTuple):
  """One entry of `config.networks`.

  Attributes:
    name: in the config.
    module: backbone and heads. An EMA teacher shares the module of the network that it follows.
    trained: whether the optimizer moves it.
    ema_of: the network that it follows, or None.
    decay: of the moving average: a number, or a function of the step.
    load: the network of another run that it starts from, or None.
    interpolated: `(network, alpha)`, the config's `near`: it starts between that network and a draw of its own, see
      `interpolate`; or None.
  """

  name: str
  module: nn.Module
  trained: bool
  ema_of: str | None = None
  decay: float | Callable = 0.0
  load: Load | None = None
  interpolated: tuple[str, float] | None = None

  def decay_at(self, step):
    return self.decay(step) if callable(self.decay) else self.decay


def build(config: Mapping[str, Any], horizon: schedules.Horizon, engine: Mapping[str, Any]) -> dict[str, NetworkSpec]:
  """Builds every network of a config; raises `ConfigError` with the place of what is wrong."""
  specs: dict[str, NetworkSpec] = {}
  for name, entry in config.items():
    if "ema" not in entry:
      specs[name] = _drawn_network(name, dict(entry), engine)
  for name, entry in config.items():
    if "ema" in entry:
      specs[name] = _ema_network(name, dict(entry), specs, horizon)
  for spec in specs.values():
    _check_interpolated(spec, specs)
  return specs


def _drawn_network(name, entry, engine) -> NetworkSpec:
  where = f"config.networks.{name}"
  heads = {
    head: _module(f"{where}.heads.{head}", dict(spec), engine, ("fn", "reads"))
    for head, spec in entry.get("heads", {}).items()
  }
  reads = {head: tuple(spec.get("reads", ("features",))) for head, spec in entry.get("heads", {}).items()}
  module = Network(_module(where, entry, engine, _OPTIONS), heads, reads)
  check_boolean(f"{where}.frozen", entry.get("frozen", False))
  trained = not entry.get("frozen", False)
  load = parse_load(f"{where}.load", entry.get("load"))
  return NetworkSpec(name, module, trained, load=load, interpolated=entry.get("near"))


def parse_load(where: str, value: Any) -> Load | None:
  """What a config's `load` says, None for None.

  Raises:
    ConfigError: it names no network, or what should be regular expressions are none.
  """
  if value is None:
    return None
  entry = dict(value) if hasattr(value, "items") else dict(run=value)  # a ConfigDict is no Mapping
  for key in entry:
    if key not in Load._fields:
      raise ConfigError(f"{where}: unknown key '{key}'; {nearest(key, Load._fields)}")
  only, rename, channels = entry.get("only", ()), entry.get("rename", ()), entry.get("channels")
  if not isinstance(entry.get("run"), str) or not Load(entry["run"]).complete:
    known = f"'workdir:network', 'workdir@step:network' or 'format:path' of {', '.join(FORMATS)}"
    raise ConfigError(f"{where}: write {known}, not {entry.get('run')!r}")
  if channels is not None and channels not in CHANNELS:
    raise ConfigError(f"{where}.channels={channels!r}: {nearest(str(channels), CHANNELS)}")
  if isinstance(only, str) or not all(isinstance(pattern, str) for pattern in only):
    raise ConfigError(f"{where}.only={only!r}: give regular expressions, such as ('^backbone/',)")
  if isinstance(rename, str) or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in rename):
    raise ConfigError(f"{where}.rename={rename!r}: give pairs, such as (('^tower/', 'backbone/'),)")
  for pattern in (*only, *(pair[0] for pair in rename)):
    try:
      re.compile(pattern)
    except re.error as error:
      raise ConfigError(f"{where}: '{pattern}' is no regular expression: {error}") from error
  run, colon, last = entry["run"].rpartition(":")
  if not (colon and last == "backbone" and Load(run).complete):
    run = entry["run"]
  elif only:
    raise ConfigError(f"{where}: ':backbone' and `only` both say what is taken: write one of them")
  else:
    only = ("^backbone/",)
  return Load(run, tuple(only), tuple((pattern, replacement) for pattern, replacement in rename), channels)


def _check_interpolated(spec: NetworkSpec, specs: Mapping[str, NetworkSpec]) -> None:
  """The other network must be drawn, not follow from something else, when this one starts near it."""
  if spec.interpolated is None:
    return
  where, (source, alpha) = f"config.networks.{spec.name}.near", spec.interpolated
  drawn = [n for n, s in specs.items() if n != spec.name and not (s.ema_of or s.interpolated or s.load)]
  if source not in drawn:
    raise ConfigError(f"{where}: '{source}' is not a network with a random start of its own; {nearest(source, drawn)}")
  if spec.load or not 0 <= alpha <= 1:
    raise ConfigError(f"{where}: alpha must be in [0, 1], not {alpha}, and 'load' absent")


def _ema_network(name, entry, specs, horizon) -> NetworkSpec:
  where = f"config.networks.{name}"
  known = ("ema", "decay", "load")
  if unknown := [key for key in entry if key not in known]:
    raise ConfigError(f"{where}: an EMA network has no key '{unknown[0]}'; {nearest(unknown[0], known)}")
  source = entry["ema"]
  if source not in specs or not specs[source].trained:
    trained = [n for n, spec in specs.items() if spec.trained]
    raise ConfigError(f"{where}: ema='{source}' is not a trained network; {nearest(source, trained)}")
  if "decay" not in entry:
    raise ConfigError(f"{where}: 'decay' is missing")
  decay = horizon.read(entry["decay"], f"{where}.decay: ")
  load = parse_load(f"{where}.load", entry.get("load"))
  return NetworkSpec(name, specs[source].module, trained=False, ema_of=source, decay=decay, load=load)


def _module(where, entry, engine, options) -> nn.Module:
  if "fn" not in entry:
    raise ConfigError(f"{where}: 'fn' is missing")
  fn = nodes.resolve(where, entry["fn"], "models")
  numbers = {key: value for key, value in entry.items() if key not in options}
  nodes.check_numbers(where, fn, numbers)
  try:
    return nodes.call(fn, engine=engine, **numbers)
  except (TypeError, ValueError) as error:
    raise ConfigError(f"{where}: {error}") from error


def initialise(module: nn.Module, key: jax.Array, arguments) -> dict[str, Any]:
  """Parameters and statistics of a module that is called with `arguments`.

  Args:
    arguments: `(args, kwargs)` of `jax.ShapeDtypeStruct`s, `[1, ...]` of what has the example as its first axis.
  """
  args, kwargs = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), arguments)
  return jax.jit(lambda key: module.init(key, *args, **kwargs))(key)


def initial_variables(specs: Mapping[str, NetworkSpec], key: jax.Array, calls: Mapping[str, Any]):
  """`(params, stats)` of every network at the start of a run, warm starts left out.

  Args:
    specs: as `build` returns them.
    key: each network draws from its own name's stream.
    calls: network -> `(args, kwargs)` of its first call, for one example.

  Raises:
    ConfigError: if a network starts near one of another architecture.
  """
  drawn = {
    name: initialise(spec.module, name_key(key, name), calls[name]) for name, spec in specs.items() if not spec.ema_of
  }
  params = {name: variables.get("params", {}) for name, variables in drawn.items()}
  stats = {name: variables.get("batch_stats", {}) for name, variables in drawn.items()}
  for name, spec in specs.items():
    if spec.interpolated:
      source, alpha = spec.interpolated
      if jax.tree.map(jnp.shape, params[source]) != jax.tree.map(jnp.shape, params[name]):
        raise ConfigError(f"config.networks.{name}.near: '{source}' has parameters of other names or shapes")
      params[name] = interpolate(params[source], params[name], alpha)
  for name, spec in specs.items():
    if spec.ema_of:
      params[name], stats[name] = jax.tree.map(jnp.copy, (params[spec.ema_of], stats[spec.ema_of]))
  return params, stats


def interpolate(a: Any, b: Any, alpha: float) -> Any:
  """A network between two others, `((1 - alpha) a + alpha b) / sqrt((1 - alpha)^2 + alpha^2)`.

  Of two independent draws it has the variance of both.

  Args:
    a, b: parameters of networks of one architecture.
    alpha: in [0, 1]; 0 is `a`, 1 is `b`. Below the rounding of float32 (6e-8) most parameters are exactly those of `a`.

  References:
    Sarnthein et al. 2023, arXiv 2302.12091; safelix/dinopl, configuration.py (`s_init_alpha`).

  Example:

    >>> float(interpolate(3.0, 4.0, 0.5))
    4.949747468305833
  """
  scale = math.hypot(1 - alpha, alpha)
  return jax.tree.map(lambda x, y: ((1 - alpha) * x + alpha * y) / scale, a, b)
