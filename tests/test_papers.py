"""PAPERS.md names what there is, and is what the studies' rows give."""

import re

from experiments import papers
from tests import methods


def test_the_page_is_generated():
  assert (papers.ROOT / "PAPERS.md").read_text() == papers.page(), "run python -m experiments.papers"


def test_all_that_it_names_is_there():
  text = papers.page()
  places = [link for link in re.findall(r"\]\((.*?)\)", text) if not link.startswith("https://")]
  assert len(places) > 2 * len(methods.NAMES) - 10
  assert [place for place in places if not (papers.ROOT / place).exists()] == []
  assert set(papers.methods()) == {*methods.NAMES, *methods.OF_A_NETWORK} - {"tokenizer"}
  assert {name for name in papers.methods() if f"[`{name}`]" not in text} == set()


SHOWN = "a beats b | **shown** | +1.000 [+1.000, +1.000] | 3 of 3"


def test_a_study_says_what_it_is_about(tmp_path, monkeypatch):
  monkeypatch.setattr(papers, "ROOT", tmp_path)
  table = (
    "| [`mae`](configs/mae.py) | [MAE](https://a.b/c) | in a line |\n| [`new`](configs/new.py) | [New](https://f.g) | so |\n"
  )
  (tmp_path / "README.md").write_text(table)
  claim = papers.study.claim("a beats b", "a", "b", metric="x")
  abouts = dict(
    one=dict(config="mae"), three=dict(config=dict(a="mae", b="simclr")), two=dict(paper="Another", url="https://d.e")
  )
  for name, about in abouts.items():
    ledger = papers.study.Ledger(tmp_path / "experiments" / name)
    waiting = [papers.study.claim("c beats b", "c", "b", metric="x")] if name == "two" else []
    ledger.register([claim, *waiting], (0, 1, 2), about)
    for seed in range(3):
      for arm, x in (("a", 2.0), ("b", 1.0)):
        ledger.append(dict(arm=arm, seed=seed, metrics=dict(x=x), seconds=300.0 if name == "two" else 90.0))
  summary, _, verdicts = papers.page().partition("## Verdicts")
  assert summary.strip().splitlines()[-3:] == [
    "| [MAE](https://a.b/c) | [`mae`](configs/mae.py) | 2 |  |  |  | [one](experiments/one), [three](experiments/three) |",
    "| [New](https://f.g) | [`new`](configs/new.py) |  |  |  |  | not run yet |",
    "| [Another](https://d.e) | - | 1 |  |  | 1 | [two](experiments/two) |",
  ]
  assert verdicts.splitlines()[-3:] == [
    f"| [MAE](https://a.b/c) | {SHOWN} | 90 s | [one](experiments/one) |",
    f"| [MAE](https://a.b/c) | {SHOWN} | 90 s | [three](experiments/three) |",
    f"| [Another](https://d.e) | {SHOWN} | 5 min | [two](experiments/two) |",
  ]
  assert papers.shown("new") == ""
  assert papers.shown("mae").splitlines()[-1] == verdicts.splitlines()[-2].replace("| [MAE](https://a.b/c) ", "")


def test_a_config_that_was_run_without_a_claim(tmp_path, monkeypatch):
  monkeypatch.setattr(papers, "ROOT", tmp_path)
  (tmp_path / "README.md").write_text("| [`mae`](configs/mae.py) | [MAE](https://a.b/c) | in a line |\n")
  papers.study.Ledger(tmp_path / "experiments" / "zoo").folder.mkdir(parents=True)
  papers.study.Ledger(tmp_path / "experiments" / "zoo").append(dict(arm="mae", seed=0, metrics=dict(x=1.0)))
  assert papers.shown("mae") == "Run without a claim: [zoo](experiments/zoo)."
  assert "|  |  |  |  | [zoo](experiments/zoo) |" in papers.page()
