"""Values as they are written on a command line and in JSON."""

import ast
from typing import Any

from jssl.errors import ConfigError

# As YAML and JSON write them; Python's own are literals already.
_WORDS = {"true": True, "false": False, "none": None, "null": None}


def tuples(value: Any) -> Any:
  """Lists become tuples, at every depth: JSON and command lines do not know tuples."""
  if isinstance(value, dict):
    return {k: tuples(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return tuple(tuples(v) for v in value)
  return value


def words(text: str) -> tuple[str, ...]:
  """The words of an argument of the command line that lists them with commas."""
  return tuple(filter(None, text.split(",")))


def data_options(text: str) -> dict[str, Any]:
  """The value of `--options` of the command line: numbers of the data's function by name.

  Raises:
    ConfigError: if it is none.
  """
  options = literal(text, "--options")
  if not isinstance(options, dict) or "split" in options:
    raise ConfigError(f"--options {text}: write {{'name': value}}, and the split as --split")
  return options


def literal(text: str, where: str) -> Any:
  """The value that a text of the command line stands for; a string if it stands for no other."""
  try:
    tree = ast.parse(text.strip(), mode="eval")
    return tuples(ast.literal_eval(_Words().visit(tree)))
  except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
    if text.strip()[:1] in ("(", "[", "{"):
      raise ConfigError(f"{where}={text}: cannot be read; strings in it, and strings like it, need quotes") from error
    return text


class _Words(ast.NodeTransformer):
  """Puts constants in the place of `_WORDS`, wherever they stand."""

  def visit_Name(self, node):  # pylint: disable=invalid-name
    word = node.id.lower()
    return ast.Constant(_WORDS[word]) if word in _WORDS else node
