"""Named protocols: which features of a model meet which data, with every default number in one place.

A number without its protocol cannot be compared: every result carries the parameters that it was taken with and a word
on what it means, and `format_table` prints both. A protocol of the user's own is `module:fn`, see `find_protocol`.
"""

from collections.abc import Iterable, Mapping
import inspect
from typing import Any

import jax

from jssl import logging, nodes
from jssl.data.source import Source
from jssl.errors import ConfigError, nearest
from jssl.evaluation.model import FeatureModel
from jssl.evaluation.protocols import labelled, places, unlabelled
from jssl.evaluation.protocols.protocol import Protocol
from jssl.evaluation.split_features import SplitFeatures
from jssl.evaluation.splits import EvaluationData

PROTOCOLS = {**labelled.PROTOCOLS, **places.PROTOCOLS, **unlabelled.PROTOCOLS}


def find_protocol(name: str) -> Protocol:
  """A protocol by its name, or the user's own as `module:fn`.

  `fn` is a `Protocol`, or a function like its `run`: `fn(model, data, features, *, number=default, ...)`, which names what
  it lacks itself by a `ConfigError`. The first line of its docstring is what its numbers mean.

  Raises:
    ConfigError: if there is none, with the nearest names.
  """
  if ":" not in name:
    if name not in PROTOCOLS:
      raise ConfigError(f"there is no protocol '{name}'; {nearest(name, PROTOCOLS)}, or module:fn")
    return PROTOCOLS[name]
  fn = nodes.resolve("protocols", name, "evaluation")
  if isinstance(fn, Protocol):
    return fn
  if not callable(fn):
    raise ConfigError(f"protocols: '{name}' is neither a function nor a jssl.evaluation.protocols.Protocol")
  parameters = inspect.signature(fn).parameters.values()
  defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
  return Protocol(fn, defaults, (), (), (inspect.getdoc(fn) or "").partition("\n")[0])


def supported_protocols(model: FeatureModel, data: EvaluationData) -> list[str]:
  """Names of the protocols for which the model has the features and the data has the splits."""
  return [name for name, protocol in PROTOCOLS.items() if not missing(protocol, model, data)]


def missing(protocol: Protocol, model: FeatureModel, data: EvaluationData) -> list[str]:
  """What a protocol needs and the model or the data do not have, in words."""
  absent = [f"'{model.name}' has no {need}" for need in protocol.needs if getattr(model, need) is None]
  return absent + [f"the data has no {split}" for split in protocol.splits if not data.has(split)]


def without_labels(protocol: Protocol, data: EvaluationData) -> list[Source]:
  """The data of which a protocol needs labels that they do not have."""
  sources = [data.source(split) for split in protocol.labels if data.has(split)]
  return [source for source in sources if "label" not in source.element_spec]


def check_numbers(name: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
  """A protocol's numbers with those that replace its defaults, each of its default's kind.

  Raises:
    ConfigError: for one that the protocol does not have, or of another kind, with what to write instead.
  """
  defaults = find_protocol(name).defaults
  for key in numbers:
    if key not in defaults:
      raise ConfigError(f"protocol '{name}' has no number '{key}'; {nearest(key, defaults)}")
  found = defaults | {key: _alike(f"{name}:{key}", value, defaults[key]) for key, value in numbers.items()}
  for key, value in found.items():
    if value is inspect.Parameter.empty:
      raise ConfigError(f"protocol '{name}' needs a number '{key}': write {name}:{key}=...")
  return found


def _alike(where: str, value: Any, default: Any) -> Any:
  """The value as one of its default's kind; a number alone is a tuple of one."""
  if default is None or default is inspect.Parameter.empty:
    return value
  if isinstance(default, tuple):
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not values:
      raise ConfigError(f"{where}={value!r}: give at least one")
    return tuple(_alike(where, part, default[0]) for part in values) if default else values
  kinds = {
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    str: (str, "a word"),
  }
  kind, words = kinds.get(type(default), (object, ""))
  if not isinstance(value, kind) or isinstance(value, bool) != isinstance(default, bool):
    raise ConfigError(f"{where}={value!r}: it must be {words}")
  least = 0 if where.endswith(":seed") else 1
  if type(default) is int and value < least:
    raise ConfigError(f"{where}={value}: it must be at least {least}")
  return value


def run_protocols(names: Iterable[str], model: FeatureModel, data: EvaluationData, **overrides: dict) -> dict:
  """Runs protocols on one model. One that cannot be run says why in its result, and the others go on.

  Args:
    names: of PROTOCOLS, or `module:fn`; `supported_protocols` lists those that can be run.
    model: the features; each kind is computed once for each split, whatever the number of protocols.
    data: the splits.
    **overrides: protocol name -> dict of the numbers that replace its defaults.

  Returns:
    protocol name -> `metrics` (name -> number), `parameters`, `meaning`, and whatever else the protocol returns; `error`
    with the reason, and no metrics, for one that could not be run.

  Raises:
    ConfigError: for an unknown protocol or number, with the nearest names, or for numbers of a protocol that is not run.
  """
  names = list(names)
  for name in overrides:
    if name not in names:
      raise ConfigError(f"numbers of protocol '{name}', which is not run; {nearest(name, names)}")
  numbers = {name: check_numbers(name, overrides.get(name, {})) for name in names}

  features = SplitFeatures(model, data)
  return {name: _run(name, model, data, features, numbers[name]) for name in names}


def _run(name, model, data, features, numbers) -> dict:
  """One protocol's result, or the reason why there is none."""
  protocol = find_protocol(name)
  result: dict[str, Any] = dict(metrics={}, parameters={})
  try:
    if absent := missing(protocol, model, data):
      raise ConfigError(" and ".join(absent))
    result |= protocol.run(model, data, features, **numbers)
    result["parameters"] = {**result.get("parameters", {}), **model.parameters}
  except (ValueError, MemoryError, OSError, jax.errors.JaxRuntimeError) as error:
    result["error"] = " ".join(str(error).split())[:500] or type(error).__name__
    logging.log.warning("%s on '%s': %s", name, model.name, result["error"])
  return result | dict(meaning=protocol.meaning)
