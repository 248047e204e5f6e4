"""PAPERS.md: what was shown of each paper, out of the rows of the studies: `python -m experiments.papers`.

A study says what it is about: `study.run(..., about=dict(config="mae"))` for a config of the README's table of methods, or
`about=dict(paper="...", url="...")` for a paper without one, `about=dict(config=dict(arm="mae"))` where its arms are of
several.
"""

from collections.abc import Iterable, Sequence
import pathlib
import re
import statistics
from typing import NamedTuple

from jssl import study
from jssl.study.ledger import Registered

ROOT = pathlib.Path(__file__).parents[1]
WORDS = ("shown", "not shown", "contrary", "")  # of verdicts; "" for none yet
TITLES = ("claim", "verdict", "difference, 95 % interval", "seeds", "a run", "study")  # of a claim that has one
HEAD = """# Papers

What the studies under [experiments](experiments) show of each paper, generated from their rows by
`python -m experiments.papers`. A claim is written down, with its seeds, before there are rows, or it says so. It gets its
verdict by the differences of runs with the same seed, three or more, and their 95 % interval (Student's t): *shown* where
the whole interval bears it out, *contrary* where it bears out the opposite. Others are on the pages of their studies.
"""


class Paper(NamedTuple):
  """A paper's link and its config's, in Markdown."""

  paper: str
  config: str


class Entry(NamedTuple):
  """A claim about a paper."""

  paper: Paper
  ledger: study.Ledger
  claimed: Registered
  verdict: study.Verdict


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


def entries() -> dict[Paper, list[Entry]]:
  """The claims of each paper: those of the README's table in its order, with or without claims, then others."""
  known = methods()
  found: dict[Paper, list[Entry]] = {paper: [] for paper in known.values()}
  for ledger in studies():
    about = ledger.about()
    link = f"[{about['paper']}]({about['url']})" if "url" in about else about.get("paper")
    for claimed, verdict in ledger.verdicts():
      config = about.get("config")
      name = config.get(claimed.claim.better) if isinstance(config, dict) else config
      paper = known[name] if name in known else Paper(link, "-") if link else None
      if paper:
        found.setdefault(paper, []).append(Entry(paper, ledger, claimed, verdict))
  return found


def page() -> str:
  """PAPERS.md."""
  found, ran = entries(), _ran()
  titles = ("paper", "config", *WORDS[:-1], "no verdict yet", "studies")
  lines = [[*paper, *_summary(of, ran.get(paper, []))] for paper, of in found.items()]
  verdicts = [[entry.paper.paper, *_cells(entry)] for of in found.values() for entry in of if entry.verdict.word]
  return "\n".join([HEAD, _table(titles, lines), "\n## Verdicts\n", _table(("paper", *TITLES), verdicts)]) + "\n"


def shown(name: str) -> str:
  """What was shown of one config, in Markdown; "" without a study of it."""
  paper = methods().get(name)
  of, ran = (entries()[paper], _ran().get(paper, [])) if paper else ([], [])
  waiting = [entry.ledger for entry in of if not entry.verdict.word]
  verdicts = [_cells(entry) for entry in of if entry.verdict.word]
  blocks = [
    _table(TITLES, verdicts) if verdicts else "",
    f"Claimed, without a verdict yet: {_links(waiting)}." if waiting else "",
    f"Run without a claim: {_links(ran)}." if ran else "",
  ]
  return "\n\n".join(block for block in blocks if block)


def _ran() -> dict[Paper, list[study.Ledger]]:
  """The studies that ran a config without a claim about it."""
  found: dict[Paper, list[study.Ledger]] = {}
  for ledger in studies():
    arms = {row["arm"] for row in ledger.rows() if "metrics" in row}
    claimed = {entry.claim.better for entry in ledger.claims()}
    for name, paper in methods().items():
      if name in arms - claimed:
        found.setdefault(paper, []).append(ledger)
  return found


def _summary(of: Sequence[Entry], ran: Sequence[study.Ledger]) -> list[str]:
  """How many claims about a paper have which verdict, and where they stand."""
  counts = [sum(entry.verdict.word == word for entry in of) for word in WORDS]
  places = _links([*(entry.ledger for entry in of), *ran])
  return [*(str(count or "") for count in counts), places or "not run yet"]


def _cells(entry: Entry) -> list[str]:
  """Those of a claim that has its verdict, under TITLES."""
  claim, verdict = entry.claimed.claim, entry.verdict
  return [
    claim.sentence + (" (claimed after the runs)" if entry.claimed.rows_before else ""),
    f"**{verdict.word}**",
    f"{verdict.difference:+.3f} [{verdict.low:+.3f}, {verdict.high:+.3f}]",
    f"{len(verdict.seeds)} of {len(entry.claimed.seeds)}",
    _cost(entry.ledger.rows(), (claim.better, claim.worse)),
    _links([entry.ledger]),
  ]


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
  return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *lines))


def _cost(rows: Sequence[dict], arms: Sequence[str]) -> str:
  """Mean time of the runs of these arms."""
  seconds = [row["seconds"] for row in rows if row["arm"] in arms and row.get("seconds") is not None]
  if not seconds:
    return "-"
  mean = statistics.mean(seconds)
  return f"{mean:.0f} s" if mean < 120 else f"{mean / 60:.0f} min"


def _links(ledgers: Iterable[study.Ledger]) -> str:
  """To studies, each once."""
  folders = dict.fromkeys(ledger.folder.relative_to(ROOT) for ledger in ledgers)
  return ", ".join(f"[{folder.name}]({folder})" for folder in folders)


if __name__ == "__main__":
  (ROOT / "PAPERS.md").write_text(page())
