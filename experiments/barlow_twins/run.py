"""Barlow Twins: what each half of its loss is for, and how wide its projector must be, on Fashion-MNIST at random places.

    python -m experiments.barlow_twins.run --at fashion_mnist=/my/fashion-mnist

Arms differ in one number: the weight of the off-diagonal terms (lambda) or of the diagonal ones is 0, or the projector
has another width, all three layers of it, under the same lambda. Views, network, optimizer and steps are the same.
"""

import functools
import pathlib
import sys

from experiments.regimes import REGIMES
from jssl import config as configs
from jssl import study

REGIME = REGIMES["fashion_mnist_shifted"]
STEPS = 600
WIDTHS = (64, 256, 1024)
FULL = "width 256"  # as the config's demo
NO_REDUNDANCY, NO_INVARIANCE = "lambda 0", "diagonal 0"
KNN, TEN = "knn/k20", "few_labels/n10"
DIMENSIONS, RANK = "spectrum/embeddings_participation_ratio", "rankme/embeddings_rankme"
COLUMNS = {
  "kNN": KNN,
  "ten labels": TEN,
  "embeddings: dimensions": DIMENSIONS,
  "RankMe": RANK,
  "spread": "spectrum/embeddings_spread",
  "features: dimensions": "spectrum/participation_ratio",
  "mean C_ii": "train/bt/diagonal",
  "root mean square of the other C_ij": "train/bt/off_diagonal",
}


def config(width: int = 256):
  """The method in the regime, on the regime's network; only the second view is sometimes solarised, as the paper's are."""
  found = REGIME.put(configs.load_config("barlow_twins"))
  found.total_steps = STEPS
  found.views = REGIME.views("a") | REGIME.views("b", solarize=0.2)
  student = found.networks.student
  student.update(REGIME.net)
  student.heads.z.update(dict(hidden=width, output=width))
  found.evaluation.protocols = (*REGIME.protocols, "rankme", "spectrum")
  return found


def arms() -> dict:
  """Both halves of the loss at three widths, and each half alone."""
  found = {f"width {width}": config(width) for width in WIDTHS}
  alone = found[NO_REDUNDANCY] = config()
  alone.losses.bt.lambd = 0.0
  rest = found[NO_INVARIANCE] = config()
  # The loss without its off-diagonal terms is taken off again, which leaves those alone.
  rest.losses.diagonal = rest.losses.bt.to_dict() | dict(lambd=0.0, weight=-1.0)
  return found


def claims() -> list[study.Claim]:
  """Of the paper: both halves are needed, and width helps. Of width about a point is claimed, so five seeds."""
  beats = lambda sentence, better, worse, metric, **numbers: study.claim(sentence, better, worse, metric=metric, **numbers)
  of_random = lambda metric: (metric, f"random weights/{metric}")
  needed = [
    beats(f"without the {terms} terms {what}", FULL, worse, metric, at_least=at_least)
    for terms, worse in (("off-diagonal", NO_REDUNDANCY), ("diagonal", NO_INVARIANCE))
    for what, metric, at_least in (
      ("kNN is five points lower", KNN, 0.05),
      ("ten labels a class tell five points less", TEN, 0.05),
      ("embeddings collapse: they differ in fewer dimensions, by five", DIMENSIONS, 5.0),
      ("embeddings collapse: their RankMe is lower, by ten", RANK, 10.0),
    )
  ]
  return [
    beats(
      "kNN of Barlow Twins' features is five points above that of random weights", FULL, FULL, of_random(KNN), at_least=0.05
    ),
    beats(
      "ten labels a class tell five points more by Barlow Twins' features than by random weights",
      FULL,
      FULL,
      of_random(TEN),
      at_least=0.05,
    ),
    *needed,
    beats(
      "without the diagonal terms kNN is not above that of random weights by two points",
      NO_INVARIANCE,
      NO_INVARIANCE,
      of_random(KNN)[::-1],
      margin=0.02,
    ),
    beats(
      "a projector of width 1024 gives a kNN a point above that of width 64", "width 1024", "width 64", KNN, at_least=0.01
    ),
    beats("a projector of width 256 gives a higher kNN than one of width 64", "width 256", "width 64", KNN),
    beats("a projector of width 1024 gives a higher kNN than one of width 256", "width 1024", "width 256", KNN),
  ]


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2, 3, 4)).parse_args(argv)
  return study.execute(
    arguments,
    lambda: dict(
      arms=arms(),
      measure=study.Pretrained(baselines=REGIME.controls, places=study.places(arguments)),
      claims=claims(),
      about=dict(config="barlow_twins"),
      regime=REGIME.folder,
      table=functools.partial(REGIME.study_table, arm=FULL, columns=COLUMNS),
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
