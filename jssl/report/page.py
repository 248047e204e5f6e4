"""The report of a run: one HTML file that needs nothing but itself."""

import base64
from collections.abc import Sequence
import html
from pathlib import Path

from jssl.evaluation.tables import format_value, protocol_blocks
from jssl.report.curves import chart_grid, series

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #5b6570; --line: #e3e6ea; --accent: #1f5fbf; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
.note { color: var(--soft); font-size: .85rem; margin: .4rem 0; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 290px), 1fr)); gap: 1rem 1.5rem; }
figure { margin: 0; }
.chart figcaption { display: flex; justify-content: space-between; gap: 1rem; font-size: .85rem; }
.chart figcaption span { overflow-wrap: anywhere; }
.chart b { font-variant-numeric: tabular-nums; white-space: nowrap; }
.warning { color: #b3261e; font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke: var(--accent); stroke-width: 1.6; stroke-linejoin: round; }
svg circle { fill: var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .45rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; white-space: normal; font-weight: 600; color: var(--soft); }
th:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: #fff; font-weight: 600; }
.picture { margin: 1rem 0 1.75rem; }
.picture img { max-width: 100%; height: auto; display: block; image-rendering: pixelated; }
.picture figcaption { color: var(--soft); font-size: .85rem; margin-top: .4rem; }
pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: #f6f7f9; padding: 1rem;
  border-radius: 6px; overflow-x: auto; margin: 0; }
"""


def _curves(history: Sequence[dict], losses: Sequence[str]) -> str:
  curves = series(history)
  groups = {
    "Losses": {name: points for name, points in curves.items() if name in losses},
    "Metrics": {name: points for name, points in curves.items() if name not in losses},
  }
  return "".join(f"<h2>{title}</h2>{chart_grid(group)}" for title, group in groups.items() if group)


def _table(results: dict, about: Sequence[str]) -> str:
  parts = ["<h2>Results</h2>"] if results else []
  parts += [f"<p class='note'>{html.escape(line)}</p>" for line in about]
  for block in protocol_blocks(results):
    head = "".join(f"<th>{html.escape(column.replace('_', ' '))}</th>" for column in block["columns"])
    rows = "".join(
      f"<tr><th>{html.escape(model)}</th>{''.join(f'<td>{format_value(value)}</td>' for value in values)}</tr>"
      for model, values in block["rows"]
    )
    meaning = f"<p>{html.escape(block['meaning'])}</p>" if block["meaning"] else ""
    notes = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in block["notes"])
    parts.append(
      f"<h3>{html.escape(block['protocol'].replace('_', ' '))}</h3>{meaning}<div class='scroll'><table>"
      f"<thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )
  return "".join(parts)


def _pictures(images: Sequence[tuple[str, bytes]]) -> str:
  figures = [
    f"<figure class='picture'><img alt='{html.escape(caption)}' src='data:image/png;base64,"
    f"{base64.b64encode(png).decode()}'><figcaption>{html.escape(caption)}</figcaption></figure>"
    for caption, png in images
  ]
  return f"<h2>Figures</h2>{''.join(figures)}" if figures else ""


def write_report(
  path: str | Path,
  *,
  title: str,
  config_text: str,
  history: Sequence[dict] = (),
  losses: Sequence[str] = ("loss",),
  table: dict | None = None,
  about: Sequence[str] = (),
  images: Sequence[tuple[str, bytes]] = (),
) -> Path:
  """Writes the report of a run as one HTML file: no scripts, nothing fetched, every string escaped.

  Args:
    path: the file, or a folder, which gets a `report.html`.
    title: the page's.
    config_text: the config as it was run.
    history: rows of `metrics.jsonl`, each with a `step`; every other number in them becomes a curve.
    losses: names of those curves that are losses.
    table: model -> protocol -> result, as for `jssl.evaluation.format_table`.
    about: lines that stand above the table: what was evaluated.
    images: `(caption, PNG file)`, for example from `jssl.report.figures`.

  Returns:
    The path of the file.
  """
  path = Path(path)
  path = path if path.suffix == ".html" else path / "report.html"
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(
    f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
    f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{html.escape(title)}</title>"
    f"<style>{STYLE}</style></head>\n<body><main><h1>{html.escape(title)}</h1>\n{_curves(history, losses)}\n"
    f"{_table(table or {}, about)}\n{_pictures(images)}\n<h2>Config</h2><pre>{html.escape(config_text)}</pre>"
    f"</main></body></html>\n",
    encoding="utf-8",
  )
  return path
