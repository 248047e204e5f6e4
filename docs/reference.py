"""A page for each room of jssl: the signatures and docstrings of its public names, as Markdown."""

from collections.abc import Iterator
import importlib
import inspect
import re

from jssl.stateful import Stateful

# Page -> module. Without `__all__` all public functions and classes that a module defines are its public names.
ROOMS = {
  name: f"jssl.{name}"
  for name in (
    "train evaluate extract method config schedules views masking targets losses models data optim refresh evaluation "
    "report study interop collapse"
  ).split()
} | {"algebra": "jssl.data.algebra", "transferability": "jssl.evaluation.transferability"}
SECTIONS = "Args|Attributes|Returns|Raises|Yields|References|Example|Examples"


def pages() -> dict[str, str]:
  """Name -> page, and `index`."""
  rooms = {name: importlib.import_module(module) for name, module in ROOMS.items()}
  lines = [f"- [`{ROOMS[name]}`]({name}.md): {(inspect.getdoc(room) or '').splitlines()[0]}" for name, room in rooms.items()]
  index = "# API\n\nOut of the docstrings; the examples in them run with the tests.\n\n" + "\n".join(lines) + "\n"
  return {"index": index} | {name: page(room) for name, room in rooms.items()}


def page(module) -> str:
  """All public names of a module."""
  blocks = [f"# `{module.__name__}`", markdown(inspect.getdoc(module) or "")]
  for name in public(module):
    blocks += _described(name, getattr(module, name))
  return "\n\n".join(block for block in blocks if block) + "\n"


def public(module) -> list[str]:
  """Its public names that are functions, classes or `Stateful`s; constants stand in the docstrings of these."""
  own = lambda value: getattr(value, "__module__", "") == module.__name__
  names = getattr(module, "__all__", None) or [name for name, value in vars(module).items() if own(value) and name[0] != "_"]
  described = lambda value: isinstance(value, Stateful) or inspect.isfunction(value) or inspect.isclass(value)
  return [name for name in names if described(getattr(module, name)) and name != "main"]


def _described(name: str, value) -> Iterator[str]:
  function = value.apply if isinstance(value, Stateful) else value
  yield f"## `{name}`"
  yield f"```python\n{signature(name, function)}\n```"
  yield markdown(inspect.getdoc(function) or "")
  for inner, method in vars(value).items() if inspect.isclass(value) else ():
    if inner[0] != "_" and inspect.isfunction(method) and method.__doc__:
      yield f"### `{name}.{inner}`"
      yield f"```python\n{signature(inner, method)}\n```"
      yield markdown(inspect.getdoc(method) or "")


def signature(name: str, function) -> str:
  """`name(arguments) -> returned`, on a line for each argument where it is long."""
  try:
    found = inspect.signature(function)
  except ValueError:
    return name
  text = f"{name}{found}".replace("collections.abc.", "").replace("typing.", "")
  if len(text) <= 100:
    return text
  kinds, lines = {p.kind for p in found.parameters.values()}, []
  for parameter in found.parameters.values():
    if parameter.kind is parameter.KEYWORD_ONLY and parameter.VAR_POSITIONAL not in kinds and "  *," not in lines:
      lines.append("  *,")
    lines.append(f"  {parameter},")
  returned = text.rpartition(") -> ")[2] if ") -> " in text else ""
  body = "\n".join(lines).replace("collections.abc.", "").replace("typing.", "")
  return f"{name}(\n{body}\n)" + (f" -> {returned}" if returned else "")


def markdown(docstring: str) -> str:
  """A Google-style docstring as Markdown: sections in bold, their items as lists, examples as code."""
  parts = re.split(rf"^({SECTIONS}):\n", docstring, flags=re.MULTILINE)
  blocks = [_prose(parts[0])]
  for title, body in zip(parts[1::2], parts[2::2], strict=True):
    # What stands at the margin again is prose after the section.
    inside, _, after = body.partition("\n\n") if re.search(r"\n\n\S", body) else (body, "", "")
    while re.match(r"  ", after):
      more, _, after = after.partition("\n\n")
      inside += f"\n\n{more}"
    inside = inspect.cleandoc("\n" + inside)
    shown = f"```pycon\n{inside}\n```" if title.startswith("Example") else _items(inside)
    blocks += [f"**{title}**", shown, _prose(after)]
  return "\n\n".join(block for block in blocks if block)


def _prose(text: str) -> str:
  """Text with `<`, `*` and `_` as they are, but in code, which is in backticks or indented."""
  plain = lambda piece: piece if piece.startswith("`") else re.sub(r"([*_<])", r"\\\1", piece)
  escaped = lambda part: "".join(plain(piece) for piece in re.split(r"(`[^`]*`)", part))
  parts = re.split(r"(^ {4}.*$)", text.strip("\n"), flags=re.MULTILINE)
  return "".join(part if part.startswith("    ") else escaped(part) for part in parts)


def _items(text: str) -> str:
  """`name: what it is`, a line each and what is indented below it, as a list; other text as it is."""
  if not re.match(r"[\w*, ]+: ", text):
    return _prose(text)
  items = re.sub(r"^(?!  |\n)([\w*, `]+?)( \(.*?\))?: ", r"- `\1`\2: ", text, flags=re.MULTILINE)
  return _prose(items.replace("``", "`"))
