"""SiT: pretrained on a small set itself, is a network worth more than one from scratch, on Fashion-MNIST at random places?

    python -m experiments.sit.run --at fashion_mnist=/my/fashion-mnist

There are 2,000 images and no others. An arm pretrains SiT on them, or SiT with other weights of its two losses, and is
fine-tuned on the same images, with the labels of all or of a tenth; the same network from scratch is trained by the same
recipe on as many images as the two stages see together.
"""

import pathlib
import sys

from experiments import finetuning
from experiments.regimes import REGIMES
from jssl import config as configs
from jssl import study

REGIME = REGIMES["fashion_mnist_shifted"]
IMAGES = 2000
STEPS, BATCH_SIZE = 1200, 64  # of pretraining: 38 epochs
FINETUNE = 300  # steps of 64 images
LABELS = {"20": 20, "all": None}  # a class; all are about 200
RECIPE = "finetune:small,two_part"  # the classifier reads the class token and the mean of the patches
ALL, FEW, KNN, TEN = "finetune/all", "finetune/20", "knn/k20", "few_labels/n10"
SIT, EQUAL, ALONE = "SiT", "lambda 1", "reconstruction alone"
COLUMNS = {
  "all labels": ALL,
  "20 a class": FEW,
  "kNN": KNN,
  "ten labels": TEN,
  "reconstruction": "train/rec",
  "contrast: accuracy": "train/con/accuracy",
}


def config(*, rec: float = 5.0, con: float = 1.0):
  """The method in the regime, on few images and the regime's network without its convolutions; weights of its two losses."""
  found = REGIME.put(configs.load_config("sit"))
  found.update(dict(total_steps=STEPS, batch_size=BATCH_SIZE))
  found.optim.lr = REGIME.lr * BATCH_SIZE / REGIME.batch_size
  small = dict(REGIME.data["options"], num_examples=IMAGES)
  found.data.options = small
  found.evaluation.train.options = small
  found.views = REGIME.views("a") | REGIME.views("b", solarize=0.2)
  student = found.networks.student
  student.update({key: value for key, value in REGIME.net.items() if key != "stem"})
  student.heads.pixels.patch_size = REGIME.net["patch_size"]
  for target in found.targets.values():
    target.patch = REGIME.net["patch_size"]
  found.losses.rec.weight, found.losses.con.weight = rec, con
  return found


def runs() -> dict:
  """What is pretrained: 5 is the paper's weight of the reconstruction on small data, 1 that on ImageNet."""
  return {SIT: config(), EQUAL: config(rec=1.0), ALONE: config(con=0.0)}


def arms() -> dict:
  return finetuning.arms(runs(), SIT, steps=FINETUNE)


def claims() -> list[study.Claim]:
  """Of the paper."""
  random = f"random weights/{KNN}"
  return [
    study.claim(
      "pretrained and fine-tuned on 2,000 images, SiT is five points better than its network from scratch, which has "
      "seen as many images with labels as both stages",
      SIT,
      finetuning.SCRATCH,
      metric=ALL,
      at_least=0.05,
    ),
    study.claim(
      "with a tenth of the labels it is five points better than its network from scratch",
      SIT,
      finetuning.SCRATCH,
      metric=FEW,
      at_least=0.05,
    ),
    study.claim(
      "kNN of SiT's frozen features is five points above that of random weights",
      SIT,
      SIT,
      metric=(KNN, random),
      at_least=0.05,
    ),
    study.claim(
      "kNN of SiT's frozen features is five points above that of reconstruction alone", SIT, ALONE, metric=KNN, at_least=0.05
    ),
    study.claim("fine-tuned with all labels, SiT is better than reconstruction alone", SIT, ALONE, metric=ALL),
    study.claim(
      "a weight of 5 on the reconstruction is not worse than one of 1 by a point, fine-tuned with all labels",
      SIT,
      EQUAL,
      metric=ALL,
      margin=0.01,
    ),
    study.claim(
      "a weight of 5 on the reconstruction is not worse than one of 1 by a point, by kNN",
      SIT,
      EQUAL,
      metric=KNN,
      margin=0.01,
    ),
  ]


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2, 3, 4)).parse_args(argv)
  return study.execute(
    arguments,
    lambda: dict(
      arms=arms(),
      claims=claims(),
      about=dict(config="sit"),
      **finetuning.keywords(arguments, REGIME, runs(), of=SIT, labels=LABELS, columns=COLUMNS, recipe=RECIPE),
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
