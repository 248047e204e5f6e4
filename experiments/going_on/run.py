"""Going on: is a backbone that exists worth something to who has few images, and is a wide one to a narrow network?

    python -m experiments.going_on.run --at fashion_mnist=/my/fashion-mnist

SimCLR pretrains a network on nine tenths of Fashion-MNIST at random places, which goes into a file of Hugging Face's format.
An arm goes on from the file on the last tenth, by the preset `continue`; another trains the same network there from random
weights for as many steps. A third learns, narrower, on the nine tenths by `distill` what the file says; a fourth, as narrow,
by SimCLR itself, for as many steps. The file is made once a seed, by the arm `released` or by the first that needs it: one
run at a time.
"""

import dataclasses
import pathlib
import sys

from experiments.regime import derived
from experiments.regimes import REGIMES
from jssl import config as configs
from jssl import convert, study
from jssl.study.runner import arm_hash

REGIME = REGIMES["fashion_mnist_shifted_few"]
RELEASED, CONTINUED, SCRATCH, DISTILLED, NARROW = "released", "continued", "from scratch", "distilled", "narrow"
STEPS = {RELEASED: 1000, CONTINUED: 300, SCRATCH: 300, DISTILLED: 500, NARROW: 500}
WIDTH = {NARROW: 48, DISTILLED: 48}
NET = {key: value for key, value in REGIME.net.items() if key != "stem"}  # which no other code has
KNN, FEW = "knn/k20", "few_labels/share0.01"


def part(which: str) -> dict:
  """A tenth of the images, "held", or the "rest"."""
  return derived(REGIMES["fashion_mnist_shifted"].data, dict(fn="hold_out", part=which, share=0.1))


def config(arm: str, source: str | None = None):
  """What an arm trains; `source` is the file."""
  if arm == DISTILLED:
    found = configs.load_config(f"distill:demo,cls@{source}")
    views = REGIME.views("v")
  else:
    found = configs.load_config(f"simclr:continue@{source}" if arm == CONTINUED else "simclr")
    views = REGIME.views("a", "b")
  found = REGIME.put(found)
  found.update(dict(total_epochs=None, total_steps=STEPS[arm], dtype="float32"))
  found.views = views
  student = found.networks.student
  if arm == CONTINUED:
    student.heads = configs.load_config("simclr").networks.student.heads
  else:
    student.update(NET | dict(width=WIDTH.get(arm, NET["width"])))
  found.data.update(part("held" if arm in (CONTINUED, SCRATCH) else "rest"))
  found.evaluation.update(dict(train=part("held"), resize_to=None))
  return found


def arms() -> dict:
  """An arm is told from another by its steps and, as far as it needs no file, by its config."""
  known = {arm: arm_hash(config(arm)) for arm in (RELEASED, SCRATCH, NARROW)}
  like = {CONTINUED: SCRATCH, DISTILLED: NARROW}
  return {arm: dict(run=arm, steps=STEPS[arm], config=known[like.get(arm, arm)]) for arm in STEPS}


@dataclasses.dataclass(frozen=True)
class GoneOn(study.Pretrained):
  """Trains an arm, if need be from the file, and evaluates it."""

  def __call__(self, arm, seed, workdir):
    name = arm["run"]
    source = self.file(seed, workdir.parent) if name in (CONTINUED, DISTILLED) else None
    return super().__call__(config(name, source), seed, workdir)

  def file(self, seed: int, folder: pathlib.Path) -> str:
    """The released network of a seed as a file, and what a config calls it; it is made unless it is there."""
    run, path = folder / f"{RELEASED}_seed{seed}", folder / f"file_seed{seed}"
    study.train(study.placed(config(RELEASED), self.places), seed, run)
    if not (path / "config.json").exists():
      convert.convert(f"{run}:student:backbone", path, "hf", size=NET["image_size"])
    return f"hf:{path.absolute()}"


def claims() -> list[study.Claim]:
  """Of the presets `continue` and of `distill`."""
  return [
    study.claim(
      "kNN of the network that went on from the file is two points above that of one from scratch, after as many steps on "
      "the same images",
      CONTINUED,
      SCRATCH,
      metric=KNN,
      at_least=0.02,
    ),
    study.claim(
      "1 % of the labels tell five points more by the network that went on than by the one from scratch",
      CONTINUED,
      SCRATCH,
      metric=FEW,
      at_least=0.05,
    ),
    study.claim(
      "kNN of the network that went on is not worse by a point than that of the file as it was",
      CONTINUED,
      RELEASED,
      metric=KNN,
      margin=0.01,
    ),
    study.claim(
      "kNN of the narrow network that was distilled is better than that of one as narrow that the method trained, after as "
      "many steps",
      DISTILLED,
      NARROW,
      metric=KNN,
    ),
    study.claim(
      "1 % of the labels tell more by the distilled network than by the other narrow one", DISTILLED, NARROW, metric=FEW
    ),
  ]


def table(rows) -> str:
  """The arms, and the controls beside the released network."""
  return REGIME.study_table(rows, RELEASED, {"kNN": KNN, "1 % of the labels": FEW, "10 %": "few_labels/share0.1"})


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2)).parse_args(argv)
  found = arms()
  return study.execute(
    arguments,
    lambda: dict(
      arms=found,
      measure=GoneOn(baselines=REGIME.controls, beside=(found[RELEASED]["config"],), places=study.places(arguments)),
      claims=claims(),
      about=dict(config={CONTINUED: "simclr", DISTILLED: "distill"}),
      regime=REGIME.folder,
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
