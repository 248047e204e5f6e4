"""Studies: arms, each run with several seeds, and claims that are registered before there are numbers.

    from jssl import study

    study.run(
      "experiments/mixing",                        # rows.jsonl, claims.json and README.md are kept here
      arms=dict(mixed=load_config("mixed_barlow_twins"), plain=load_config("barlow_twins")),
      seeds=range(5),
      measure=study.Pretrained(),                  # or a function of your own: (arm, seed, workdir) -> {metric: number}
      claims=(study.claim("mixing helps kNN by a point", "mixed", "plain", metric="knn/k20", at_least=0.01),),
      budget_minutes=90,
    )

Every (arm, seed) is a run in a process of its own: its memory is measured, and a crash costs one row. A run that is done
is not run again; one that was stopped goes on. A claim says which arm is better, by which metric and by how much, or, with
a `margin`, that it is not worse; its verdict is "shown", "not shown" or "contrary", by the differences of the runs with the
same seed.
"""

from jssl.errors import Stopped
from jssl.study.claims import Claim, claim, paired_interval, Verdict, verdict
from jssl.study.command import execute, options, parser, places
from jssl.study.ledger import controls_table, Ledger, rows_table, spread
from jssl.study.measures import numbers, placed, placed_data, Pretrained, train
from jssl.study.runner import run

__all__ = [
  "Claim",
  "Ledger",
  "Pretrained",
  "Stopped",
  "Verdict",
  "claim",
  "controls_table",
  "execute",
  "numbers",
  "options",
  "paired_interval",
  "parser",
  "placed",
  "placed_data",
  "places",
  "rows_table",
  "run",
  "spread",
  "train",
  "verdict",
]
