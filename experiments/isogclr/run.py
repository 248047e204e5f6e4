"""iSogCLR: does a temperature for each image pay on a long tail, and is it higher where a class has more images?

    python -m experiments.isogclr.run --at fashion_mnist=/my/files --only iSogCLR "SimCLR 0.1" "SimCLR 0.2" "SimCLR 0.5"
    python -m experiments.isogclr.run --at fashion_mnist=/my/files

Arms differ in the loss alone: SimCLR and SogCLR at three temperatures each, iSogCLR, and iSogCLR that forgets what earlier
batches told of an image's negatives (gamma 1). One more trains iSogCLR on as many images of equally large classes, for what
the temperatures of classes are where none is rarer than others. The first line runs what the paper stands on, the second the
controls as well.
"""

import functools
import pathlib
import sys

import numpy as np
from scipy import stats

from experiments.regime import derived
from experiments.regimes import REGIMES
from jssl import config as configs
from jssl import study
from jssl.study.runner import arm_hash

REGIME = REGIMES["fashion_mnist_shifted_long_tail"]
ORDER = REGIME.data["options"]["by"][0]["order"]  # classes, from the largest
GROUPS = REGIME.test["options"]["by"][0]["groups"]
BALANCED = 1489  # images a class, together as many as in the long tail
TEMPERATURES = (0.1, 0.2, 0.5)
KNN, TEN, FEW = "knn/k20", "few_labels/n10", "few_labels/n10_group2"
RANKS, MANY_SHOT, FEW_SHOT = "temperature/spearman", "temperature/group0", "temperature/group2"
ISOGCLR, FORGETS, EQUAL = "iSogCLR", "gamma 1", "equal classes"
COLUMNS = {
  "ten labels": TEN,
  "few-shot classes": FEW,
  "kNN": KNN,
  "temperature": "temperature/mean",
  "many-shot classes": MANY_SHOT,
  "medium-shot": "temperature/group1",
  "few-shot": FEW_SHOT,
  "rank correlation with class size": RANKS,
  "of images": "temperature/spearman_images",
  "accuracy": "train/con/accuracy",
}


def config(loss: dict | None = None):
  """iSogCLR in the regime, on the regime's network and views, or another loss on the same two embeddings."""
  found = REGIME.put(configs.load_config("isogclr"))
  found.views = REGIME.views("a", "b")
  found.networks.student.update(REGIME.net)
  found.losses.con = loss or found.losses.con
  return found


def arms() -> dict:
  """The losses, and iSogCLR on equally large classes."""
  reads = config().losses.con.reads
  found = {}
  for tau in TEMPERATURES:
    found[f"SimCLR {tau}"] = config(dict(fn="nt_xent_loss", reads=reads[:2], temperature=tau))
  for tau in TEMPERATURES:
    found[f"SogCLR {tau}"] = config(dict(fn="sogclr_loss", reads=reads, temperature=tau, gamma=0.8))
  found |= {name: config() for name in (ISOGCLR, FORGETS, EQUAL)}
  found[FORGETS].losses.con.gamma = 1.0
  whole = REGIME.data["options"]["of"]
  found[EQUAL].data.options = derived(whole, dict(fn="fraction", per_class=BALANCED))["options"]
  return found


def claims() -> list[study.Claim]:
  """Of the paper, whose gains are of half a point to a few, so five seeds."""
  others = [f"{method} {tau}" for method in ("SimCLR", "SogCLR") for tau in TEMPERATURES]
  half = lambda other: dict(at_least=0.005) if other.startswith("SimCLR") else {}
  more = lambda other: "half a point more" if half(other) else "more"
  return [
    study.claim(
      "ten labels a class tell five points more by iSogCLR's features than by random weights",
      ISOGCLR,
      ISOGCLR,
      metric=(TEN, f"random weights/{TEN}"),
      at_least=0.05,
    ),
    *(
      study.claim(
        f"ten labels a class tell {more(other)} by iSogCLR's features than by those of {other}",
        ISOGCLR,
        other,
        metric=TEN,
        **half(other),
      )
      for other in (*others, FORGETS)
    ),
    *(
      study.claim(
        f"they tell more of few-shot classes by iSogCLR's features than by those of {other}", ISOGCLR, other, metric=FEW
      )
      for other in others
    ),
    study.claim(
      "the rank correlation of a class's size and its images' mean temperature is above 0.3",
      ISOGCLR,
      ISOGCLR,
      metric=(RANKS, "no correlation"),
      at_least=0.3,
    ),
    study.claim(
      "it is above what the same classes have where they are equally large, by 0.3",
      ISOGCLR,
      EQUAL,
      metric=RANKS,
      at_least=0.3,
    ),
    study.claim(
      "many-shot classes have higher temperatures than few-shot ones", ISOGCLR, ISOGCLR, metric=(MANY_SHOT, FEW_SHOT)
    ),
  ]


class Tempered(study.Pretrained):
  """Trains and evaluates an arm, and looks at the temperatures that its images ended with."""

  def __call__(self, arm, seed, workdir):
    from jssl import checkpoint, data  # pylint: disable=g-import-not-at-top

    metrics = super().__call__(arm, seed, workdir)
    table = checkpoint.load_variables(workdir).get("memory/con/temperature")
    if table is None:
      return metrics
    entry = study.placed(arm, self.places).data
    source = data.load(entry.name, split=entry.split, **entry.options)
    return metrics | tempered(table, source.get(np.arange(len(source)), ("label",))["label"])


def tempered(temperature: np.ndarray, label: np.ndarray) -> dict[str, float]:
  """How images' temperatures go with the sizes that their classes have in the long tail.

  Args:
    temperature: `[examples]`.
    label: `[examples]`.

  Returns:
    The mean over images; the means over the classes of each group, from the largest classes to the smallest; Spearman's
    correlation of the rank of a class by size with its mean temperature, over the ten classes and over all images (their own
    temperatures); and 0 as `no correlation`.
  """
  of_class = {c: float(temperature[label == c].mean()) for c in ORDER}
  larger = {c: -place for place, c in enumerate(ORDER)}
  found = {"mean": float(temperature.mean())}
  found |= {f"group{i}": float(np.mean([of_class[c] for c in group])) for i, group in enumerate(GROUPS)}
  pairs = {
    "spearman": ([larger[c] for c in ORDER], [of_class[c] for c in ORDER]),
    "spearman_images": ([larger[int(c)] for c in label], temperature),
  }
  for name, (size, tau) in pairs.items():
    constant = np.ptp(tau) == 0  # which has no order
    found[name] = 0.0 if constant else float(stats.spearmanr(size, tau).statistic)
  return {"no correlation": 0.0} | {f"temperature/{name}": value for name, value in found.items()}


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2, 3, 4)).parse_args(argv)
  found = arms()
  return study.execute(
    arguments,
    lambda: dict(
      arms=found,
      measure=Tempered(baselines=REGIME.controls, beside=(arm_hash(found[ISOGCLR]),), places=study.places(arguments)),
      claims=claims(),
      about=dict(config="isogclr"),
      regime=REGIME.folder,
      table=functools.partial(REGIME.study_table, arm=ISOGCLR, columns=COLUMNS),
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
