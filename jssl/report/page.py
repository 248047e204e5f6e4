"""The page: one HTML file that needs nothing but itself, of sections that others make."""

import base64
from collections.abc import Sequence
import hashlib
import importlib.resources
from pathlib import Path
from typing import NamedTuple

from jssl.files import write_whole
from jssl.report import curves, results
from jssl.report.markup import base64_text, escape, img

SCRIPTS = ("tools.js", "curves.js", "similarity.js", "map.js")


class Section(NamedTuple):
  """A part of the page.

  Attributes:
    name: of its anchor.
    title: above it, and in the page's list of contents.
    body: HTML.
  """

  name: str
  title: str
  body: str


def static_text(name: str) -> str:
  """A file of `jssl/report/static`."""
  return importlib.resources.files("jssl.report").joinpath("static", name).read_text(encoding="utf-8")


def page_text(title: str, sections: Sequence[Section], *, about: Sequence[str] = ()) -> str:
  """The HTML of a page.

  Its security policy lets nothing be fetched and no script run but the one that it comes with, whatever its strings hold.

  Args:
    title: the page's.
    sections: those without a body are left out.
    about: lines below the title.
  """
  sections = [section for section in sections if section.body]
  script = f"'use strict';\n{''.join(map(static_text, SCRIPTS))}"
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
  links = "".join(f"<a href='#{section.name}'>{escape(section.title)}</a>" for section in sections)
  body = "".join(
    f"<section id='{section.name}' aria-labelledby='{section.name}-title'>"
    f"<h2 id='{section.name}-title'>{escape(section.title)}</h2>{section.body}</section>\n"
    for section in sections
  )
  lines = "".join(f"<p class='note'>{escape(line)}</p>" for line in about)
  return (
    f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
    f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    f"<meta name='viewport' content='width=device-width, initial-scale=1'><title>{escape(title)}</title>"
    f"<style>{static_text('report.css')}</style></head>\n<body><header><h1>{escape(title)}</h1>{lines}"
    f"<nav aria-label='Contents'>{links}</nav></header>\n<main>{body}</main>\n"
    f"<div id='tip' role='status' hidden></div><script>{script}</script></body></html>\n"
  )


def write_page(path: str | Path, title: str, sections: Sequence[Section], *, about: Sequence[str] = ()) -> Path:
  """Writes a page.

  Args:
    path: the file, or a folder, which gets a `report.html`.
    title, sections, about: see `page_text`.

  Returns:
    The path of the file.
  """
  path = Path(path)
  path = path if path.suffix == ".html" else path / "report.html"
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, page_text(title, sections, about=about))
  return path


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
  """Writes a report of what is at hand, without a workdir: one HTML file, nothing fetched, every string escaped.

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
  sections = [
    Section("curves", "Curves", curves.body({title: history}, losses=losses)),
    Section("results", "Results", results.body(table or {}, about)),
    Section("figures", "Figures", figures_body(images)),
    Section("config", "Config", config_body({title: config_text})),
  ]
  return write_page(path, title, sections)


def figures_body(images: Sequence[tuple[str, bytes]]) -> str:
  """HTML of `(caption, PNG file)`s."""
  figures = [
    f"<figure class='picture'>{img('data:image/png;base64,' + base64_text(png), caption)}"
    f"<figcaption>{escape(caption)}</figcaption></figure>"
    for caption, png in images
  ]
  return "".join(figures)


def config_body(texts: dict[str, str]) -> str:
  """HTML of configs by the name of their run, folded."""
  return "".join(
    f"<details><summary>The config of {escape(name)}</summary><pre>{escape(text)}</pre></details>"
    for name, text in texts.items()
  )
