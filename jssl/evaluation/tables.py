"""Tables of results as text: models as rows, one block for each protocol, its parameters below it."""

import json
import numbers
import os
from typing import Any

from jssl.errors import ConfigError
from jssl.files import user_path


def format_value(value: Any) -> str:
  """A number as it stands in a table: 4 decimals below 10, 2 from there on, integers as they are, - for None."""
  if value is None:
    return "-"
  if isinstance(value, numbers.Integral):
    return str(value)
  return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def format_parameters(parameters: dict) -> str:
  """`name=value` of every parameter, separated by commas."""
  return ", ".join(f"{name}={value}" for name, value in parameters.items())


def protocol_blocks(results: dict) -> list[dict]:
  """The blocks of a table.

  Args:
    results: model -> protocol -> dict with `metrics` and `parameters`, as `run_protocols` returns for one model.

  Returns:
    For each protocol, in order of appearance: `protocol`; `meaning`, a line of text; `columns`, the metrics' names;
    `rows`, `(model, [value or None])`; `notes`, lines of text with the parameters and with what could not be run.
  """
  blocks = []
  for protocol in dict.fromkeys(name for result in results.values() for name in result):
    told = {model: result[protocol] for model, result in results.items() if protocol in result}
    measured = {model: result for model, result in told.items() if "error" not in result}
    columns = list(dict.fromkeys(metric for result in measured.values() for metric in result["metrics"]))
    rows = [(model, [result["metrics"].get(column) for column in columns]) for model, result in measured.items()]
    notes = _notes({model: result["parameters"] for model, result in measured.items()})
    notes += [f"{model}: could not be run: {result['error']}" for model, result in told.items() if "error" in result]
    meaning = next((result["meaning"] for result in told.values() if result.get("meaning")), "")
    blocks.append(dict(protocol=protocol, meaning=meaning, columns=columns, rows=rows, notes=notes))
  return blocks


def _notes(parameters: dict[str, dict]) -> list[str]:
  """The parameters common to all models on one line; those that differ on a line for the models that share them."""
  first = next(iter(parameters.values()), {})
  common = {
    name: value
    for name, value in first.items()
    if all(name in other and other[name] == value for other in parameters.values())
  }
  groups = {}
  for model, own in parameters.items():
    rest = format_parameters({name: value for name, value in own.items() if name not in common})
    groups.setdefault(rest, []).append(model)
  notes = [format_parameters(common)] + [f"{', '.join(models)}: {rest}" for rest, models in groups.items() if rest]
  return [note for note in notes if note]


class Evaluation(dict):
  """Results, model -> protocol -> dict with `metrics` and `parameters`.

  Attributes:
    about: what was evaluated: run, step, network, feature, view, data, versions and commit.
  """

  def __init__(self, results: dict | None = None, about: dict | None = None):
    super().__init__(results or {})
    self.about = about or {}


def read_results(workdir: str | os.PathLike) -> Evaluation:
  """What the last evaluation of a run wrote.

  Raises:
    ConfigError: if there is none, or it is damaged.
  """
  path = user_path(workdir) / "evaluation.json"
  try:
    found = dict(json.loads(path.read_text()))
  except OSError as error:
    raise ConfigError(f"{path}: {error.strerror}; evaluate the run first") from error
  except (TypeError, ValueError) as error:
    raise ConfigError(f"{path} is damaged ({error}); evaluate the run again") from error
  about = found.pop("about", {})
  return Evaluation(found, about)


def about_lines(about: dict) -> list[str]:
  """What was evaluated, in three lines of text."""
  if not about:
    return []
  versions, commit = about["versions"], about["commit"] or "none"
  data = [f"{split}: {found['name']} ({found['examples']})" for split, found in about["data"].items()]
  return [
    f"{about['workdir']}, step {about['step']}: network '{about['network']}', feature '{about['feature']}'; "
    f"{_view_line(about['view'])}",
    f"data: {', '.join(data) or 'none'}",
    f"jssl {versions['jssl']} (commit {commit[:12]}{'+' if commit.endswith('+') else ''}), jax {versions['jax']}",
  ]


def _view_line(view: dict) -> str:
  """The numbers of the view of images, or of the views of an evaluation's own graph."""
  if "crop" not in view:
    return "views: " + "; ".join(f"{name} {', '.join(f'{k} {v}' for k, v in own.items())}" for name, own in view.items())
  colours = "".join(f", {key} {view[key]}" for key in ("mean", "std", "grayscale") if key in view)
  return f"view: shorter side to {view['resize_to']}, centre crop {view['crop']}, {view['filter']}{colours}"


def format_table(results: dict) -> str:
  """The results as aligned text.

  Args:
    results: model -> protocol -> dict with `metrics` and `parameters`, as `run_protocols` returns for one model; what an
      `Evaluation` is about stands above them.

  Returns:
    For each protocol its name and what it means, a header (a metric's words below each other, to keep columns narrow), a
    row for each model, and the parameters.
  """
  about = getattr(results, "about", None)
  parts = ["\n".join(about_lines(about))] if about else []
  for block in protocol_blocks(results):
    title = f"{block['protocol']}: {block['meaning']}" if block["meaning"] else block["protocol"]
    words = [column.split("_") for column in block["columns"]]
    height = max(map(len, words), default=0)
    header = [["", *(([""] * (height - len(w)) + w)[line] for w in words)] for line in range(height)]
    lines = header + [[model, *map(format_value, values)] for model, values in block["rows"]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(words) + 1)] if lines else []
    aligned = ["  ".join([model.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip() for model, *cells in lines]
    parts.append("\n".join([title, *aligned, *(f"  {note}" for note in block["notes"])]))
  return "\n\n".join(parts)
