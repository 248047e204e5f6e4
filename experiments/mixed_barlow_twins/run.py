"""Mixed Barlow Twins: does Barlow Twins forget when it is trained for long on few images, and do mixtures keep it from that?

    python -m experiments.mixed_barlow_twins.run --at fashion_mnist=/my/fashion-mnist --only "Mixed BT" BT "BT 1.5 times"
    python -m experiments.mixed_barlow_twins.run --at fashion_mnist=/my/fashion-mnist

There are 750 images, which every run sees some hundreds of times. kNN is asked at twelve checkpoints of each run. Where
a run is at its best is decided on validation images, and what it was worth there on test images, so that no number is the
largest of several. The first line runs what the paper stands on, the second the controls as well.
"""

import pathlib
import sys

from experiments.regime import derived
from experiments.regimes import REGIMES
from jssl import config as configs
from jssl import study
from jssl.study.runner import arm_hash

REGIME = REGIMES["fashion_mnist_shifted"]
PER_CLASS = 75  # images that are trained on and that kNN finds neighbours among
VALIDATION = 500  # a class
STEPS, POINTS = 1800, 12  # 307 epochs in batches of 128
DIM = 512
FINAL, PEAK, WHEN, TEN = "knn/k20", "knn/peak", "knn/peak_at", "few_labels/n10"
MIXED, BT, LONGER, THIRD, OFF = "Mixed BT", "BT", "BT 1.5 times", "third view", "lam_reg 0"
COLUMNS = {
  "kNN at the end": FINAL,
  "at the best checkpoint": PEAK,
  "which is at": WHEN,
  "ten labels": TEN,
  "Barlow Twins' loss": "train/bt",
}


def parts() -> dict[str, dict]:
  """The images of the training set that are trained on, and those that decide where a run is at its best."""
  whole, held = REGIME.data, dict(fn="hold_out", per_class=PER_CLASS)
  others = dict(fn="fraction", per_class=VALIDATION, seed=1)
  return dict(train=derived(whole, held | dict(part="held")), validation=derived(whole, held | dict(part="rest"), others))


def config(longer: float = 1.0):
  """Mixed Barlow Twins on few images of the regime, with the paper's numbers for small data and `longer` times the steps."""
  found = REGIME.put(configs.load_config("mixed_barlow_twins"))
  found.total_steps = round(STEPS * longer)
  found.checkpoint_every_steps = found.total_steps // POINTS
  found.checkpoint = dict(found.checkpoint, keep_every=found.checkpoint_every_steps)
  with found.optim.ignore_type():
    found.optim.weight_decay = 1e-6
  few = parts()["train"]
  for entry in (found.data, found.evaluation.train):
    entry.name, entry.options = few["name"], few["options"]
  found.views = REGIME.views("a", "b") | dict(mix=found.views.mix)
  student = found.networks.student
  student.update(REGIME.net)
  student.heads.z.update(dict(hidden=DIM // 2, output=DIM))
  found.losses.bt.lambd = 8 / DIM
  found.losses.reg.weight = 4 * 8 / DIM
  return found


def plain(longer: float = 1.0):
  """Barlow Twins: the same without mixtures."""
  found = config(longer)
  del found.views["mix"], found.passes["s_mix"], found.losses["reg"]
  return found


def arms() -> dict:
  """Both methods, and Mixed Barlow Twins with something else in the place of what it asks of mixtures."""
  found = {MIXED: config(), BT: plain(), LONGER: plain(1.5), THIRD: config(), OFF: config()}
  found[THIRD].losses.reg = dict(found[THIRD].losses.bt, reads=("s_a/z", "s_mix/z"))
  found[OFF].losses.reg.weight = 0.0
  return found


def claims() -> list[study.Claim]:
  """Of the paper."""
  return [
    study.claim(
      "kNN of Barlow Twins falls by a point from where it is at its best to the end",
      BT,
      BT,
      metric=(PEAK, FINAL),
      at_least=0.01,
    ),
    study.claim(
      "kNN of Barlow Twins with 1.5 times the steps falls by a point", LONGER, LONGER, metric=(PEAK, FINAL), at_least=0.01
    ),
    study.claim("kNN of Mixed Barlow Twins does not fall by 0.3 points", MIXED, MIXED, metric=(FINAL, PEAK), margin=0.003),
    *(
      study.claim(
        f"at the end kNN of Mixed Barlow Twins is a point above that of {other}", MIXED, arm, metric=FINAL, at_least=0.01
      )
      for other, arm in (
        ("Barlow Twins", BT),
        ("Barlow Twins with 1.5 times the steps, which cost as much", LONGER),
        ("Barlow Twins with the mixture as a third view", THIRD),
        ("the same three forwards with lam_reg 0", OFF),
      )
    ),
    study.claim(
      "at the end kNN of Mixed Barlow Twins is five points above that of random weights",
      MIXED,
      MIXED,
      metric=(FINAL, f"random weights/{FINAL}"),
      at_least=0.05,
    ),
  ]


class Curve(study.Pretrained):
  """Trains and evaluates an arm, and asks kNN of each checkpoint on validation and test images."""

  def __call__(self, arm, seed, workdir):
    from jssl import checkpoint, data, evaluate  # pylint: disable=g-import-not-at-top
    from jssl.data import algebra  # pylint: disable=g-import-not-at-top

    config = study.placed(arm, self.places)
    metrics = study.train(config, seed, workdir)
    load = lambda entry: data.load(entry["name"], split=entry["split"], **entry["options"])
    validation, test = load(study.placed_data(parts()["validation"], self.places)), load(config.evaluation.test.to_dict())
    both = dict(
      train=load(config.evaluation.train.to_dict()), test=algebra.concatenate(validation, others=(test,), domain="part")
    )
    curves: dict[str, list[float]] = dict(validation=[], test=[])
    for step in checkpoint.known_steps(workdir / "checkpoints"):
      found = study.numbers(evaluate.evaluate(workdir, "knn:k=20,by=part", step=step, **both))
      for part, curve in enumerate(curves.values()):
        curve.append(found[f"{FINAL}_group{part}"])
    # The last, so that what stands in the workdir is the evaluation of the end.
    metrics |= study.numbers(evaluate.evaluate(workdir, baselines=self.controls(arm), modules=self.modules))
    return metrics | of_curves(**curves)


def of_curves(validation: list[float], test: list[float]) -> dict[str, float]:
  """The points of both curves, and the test images' at the first point where the validation images' is largest."""
  best = max(range(len(validation)), key=validation.__getitem__)
  points = {
    f"curve/{name}/{i + 1:02d}": value
    for name, curve in (("validation", validation), ("test", test))
    for i, value in enumerate(curve)
  }
  return points | {PEAK: test[best], WHEN: (best + 1) / len(test)}


def table(rows) -> str:
  """What the arms end with, the controls, and the test images' curves."""
  done = [row for row in rows if "metrics" in row]
  if not done:
    return "Not measured yet."
  lines = [
    f"| kNN after so many of {POINTS} parts | {' | '.join(str(i + 1) for i in range(POINTS))} |",
    "|---" * (POINTS + 1) + "|",
  ]
  for arm in dict.fromkeys(row["arm"] for row in done):
    chosen = [row["metrics"] for row in done if row["arm"] == arm]
    cells = [
      study.spread([found.get(f"curve/test/{i + 1:02d}") for found in chosen], deviation=False) for i in range(POINTS)
    ]
    lines.append(f"| {arm} | {' | '.join(cells)} |")
  return "\n\n".join([REGIME.study_table(rows, MIXED, COLUMNS), "\n".join(lines)])


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2)).parse_args(argv)
  found = arms()
  return study.execute(
    arguments,
    lambda: dict(
      arms=found,
      measure=Curve(baselines=REGIME.controls, beside=(arm_hash(found[MIXED]),), places=study.places(arguments)),
      claims=claims(),
      about=dict(config="mixed_barlow_twins"),
      regime=REGIME.folder,
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
