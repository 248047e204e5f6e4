"""How protocols and their numbers are written: `knn:k=200,temperature=0.1,linear:epochs=20,my_module:probe`."""

from collections.abc import Iterable
import re
from typing import Any

from jssl.errors import ConfigError
from jssl.values import literal

_OPEN, _CLOSE = "([{", ")]}"


def parse_protocols(specs: Iterable[str]) -> dict[str, dict[str, Any]]:
  """Reads protocols with the numbers that replace their defaults.

  Args:
    specs: each one protocol or several, separated by commas. A number after a comma belongs to the protocol before it; a
      value is what the command line takes for a config's, and may be a tuple: `knn:k=(10,20)`.

  Returns:
    protocol name -> number -> value, in their order.

  Raises:
    ConfigError: for what cannot be read so, or a protocol or number that is named twice.

  Example:
    >>> parse_protocols(["knn:k=(10,20),temperature=0.1", "rankme"])
    {'knn': {'k': (10, 20), 'temperature': 0.1}, 'rankme': {}}
  """
  found: dict[str, dict[str, Any]] = {}
  name = ""
  for piece in (piece for spec in specs for piece in _split(spec)):
    head, equals, value = piece.partition("=")
    before, colon, key = head.rpartition(":") if equals else (piece, "", "")
    if equals and not colon and not name:
      raise ConfigError(f"--protocols {piece}: a number of which protocol? write protocol:{piece}")
    if colon or not equals:
      name = before.strip()
      if not re.fullmatch(r"\w+|[\w.]+:\w+", name):
        raise ConfigError(f"--protocols {piece}: write protocol, module:fn, or protocol:number=value,number=value")
      if name in found:
        raise ConfigError(f"--protocols: '{name}' is named twice")
      found[name] = {}
    if equals:
      key = key.strip()
      if not key.isidentifier() or not value.strip() or key in found[name]:
        raise ConfigError(f"--protocols {piece}: write {name}:number=value, each number once")
      found[name][key] = literal(value.strip(), f"--protocols {name}:{key}")
  return found


def _split(text: str) -> list[str]:
  """Splits at commas outside of brackets."""
  pieces, depth = [""], 0
  for letter in text:
    depth += (letter in _OPEN) - (letter in _CLOSE)
    if letter == "," and depth == 0:
      pieces.append("")
    else:
      pieces[-1] += letter
  return [piece.strip() for piece in pieces if piece.strip()]
