"""PAPERS.md: what was shown of each paper, out of the rows of the studies: `python -m experiments.papers`.

A study says what it is about: `study.run(..., about=dict(config="mae"))` for a config of the README's table of methods, or
`about=dict(paper="...", url="...")` for a paper without one, `about=dict(config=dict(arm="mae"))` where its arms are of
several. Methods of which no study claims anything stand with the study that ran them, and the others as not run.
"""

import pathlib
import re
import statistics
from typing import NamedTuple

from jssl import study

ROOT = pathlib.Path(__file__).parents[1]
HEAD = """# Papers

What the studies under [experiments](experiments) show of each paper, generated from their rows by
`python -m experiments.papers`. A claim is written down, with its seeds, before there are rows, or it says so; its verdict is
by the differences of runs with the same seed and their 95 % interval (Student's t). The cost is the mean of a run, on the
machine that the study's page names.

| paper | config | study | claim | verdict | seeds | cost |
|---|---|---|---|---|---|---|
"""


class Paper(NamedTuple):
  """A paper's link and its config's, in Markdown."""

  paper: str
  config: str


def methods() -> dict[str, Paper]:
  """Config -> paper, as the README's table of methods has them."""
  rows = re.findall(
    r"^\| \[`(\w+)`\]\((configs/\S+\.py)\) \| (\[.*?\]\(\S+?\)) \|", (ROOT / "README.md").read_text(), re.MULTILINE
  )
  return {name: Paper(paper, f"[`{name}`]({path})") for name, path, paper in rows}


def studies() -> list[study.Ledger]:
  """All studies that have rows or claims, but for the controls of regimes."""
  folders = {path.parent for name in ("rows.jsonl", "claims.json") for path in (ROOT / "experiments").rglob(name)}
  return [study.Ledger(folder) for folder in sorted(folders) if folder.parent.name != "regimes"]


def cost(rows: list[dict], arms) -> str:
  """Mean time of the runs of these arms."""
  seconds = [row["seconds"] for row in rows if row["arm"] in arms and row.get("seconds") is not None]
  if not seconds:
    return "-"
  mean = statistics.mean(seconds)
  return f"{mean:.0f} s" if mean < 120 else f"{mean / 60:.0f} min"


def claimed(ledger: study.Ledger, entry, found: study.Verdict, paper: Paper) -> str:
  """The line of a claim."""
  late = " (claimed after the runs)" if entry.rows_before else ""
  cells = (f"{entry.claim.sentence}{late}", found.word or "-", f"{len(found.seeds)} of {len(entry.seeds)}")
  return _line(paper, ledger, *cells, cost(ledger.rows(), (entry.claim.better, entry.claim.worse)))


def _line(paper: Paper, ledger: study.Ledger, *cells: str) -> str:
  folder = ledger.folder.relative_to(ROOT)
  return f"| {' | '.join([*paper, f'[{folder.name}]({folder})', *cells])} |"


def _not_run(paper: Paper) -> str:
  return f"| {' | '.join([*paper, '-', 'not run yet', '-', '0', '-'])} |"


def page() -> str:
  """PAPERS.md."""
  known, found = methods(), studies()
  lines: dict[str, list[str]] = {name: [] for name in known}
  others = []
  for ledger in found:
    about = ledger.about()
    link = f"[{about['paper']}]({about['url']})" if "url" in about else about.get("paper")
    for entry, verdict in ledger.verdicts():
      config = about.get("config")
      name = config.get(entry.claim.better) if isinstance(config, dict) else config
      if name in known:
        lines[name].append(claimed(ledger, entry, verdict, known[name]))
      elif link:
        others.append(claimed(ledger, entry, verdict, Paper(link, "-")))
  for name in known:
    for ledger in found if not lines[name] else ():
      rows = [row for row in ledger.rows() if row["arm"] == name and "metrics" in row]
      if rows:
        lines[name].append(_line(known[name], ledger, "none registered", "-", str(len(rows)), cost(rows, (name,))))
    lines[name] = lines[name] or [_not_run(known[name])]
  return HEAD + "\n".join([*(line for name in known for line in lines[name]), *others]) + "\n"


if __name__ == "__main__":
  (ROOT / "PAPERS.md").write_text(page())
