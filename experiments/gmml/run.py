"""GMML: is its pretraining worth labels, and which of its parts matter, on Fashion-MNIST at random places.

    python -m experiments.gmml.run --at fashion_mnist=/my/fashion-mnist --only GMML "random patches" "from scratch"
    python -m experiments.gmml.run --at fashion_mnist=/my/fashion-mnist

All images are seen without labels, and 100 of each class with them. An arm pretrains GMML, or GMML with one part
changed, and is fine-tuned; the same network from scratch is trained by the same recipe on as many images as the two
stages see together. The first line runs what the paper stands on, the second the parts as well.
"""

import pathlib
import sys

from experiments import finetuning
from experiments.regimes import REGIMES
from jssl import config as configs
from jssl import study

REGIME = REGIMES["fashion_mnist_shifted"]
STEPS, BATCH_SIZE = 1000, 64  # of pretraining
FINETUNE = 250  # steps of 64 images
LABELS = {"100": 100}  # a class
TUNED, KNN, TEN = "finetune/100", "knn/k20", "few_labels/n10"
LIGHT = dict(jitter=(0.1, 0.1, 0.0, 0.0), jitter_prob=0.3, blur=0.1)  # GMML's colours, as far as grey images have them
GMML, PATCHES, ALIGNED, ALL, LAST = "GMML", "random patches", "aligned blocks", "all pixels", "last block"
COLUMNS = {"fine-tuned": TUNED, "kNN": KNN, "ten labels": TEN, "loss": "train/rec", "hidden": "train/rec/hidden"}


def config(**corruption):
  """The method in the regime: patches of 4 px behind no convolutions; `corruption` changes its two masks."""
  found = REGIME.put(configs.load_config("gmml"))
  found.update(dict(total_steps=STEPS, batch_size=BATCH_SIZE))
  found.optim.lr = REGIME.lr * BATCH_SIZE / REGIME.batch_size
  found.views = REGIME.views("a", **LIGHT)
  for entry in found.masking.values():
    entry.update(corruption)
  return found


def runs() -> dict:
  """What is pretrained. GMML cuts blocks of pixels anywhere; aligned blocks are of one, two or four patches."""
  patch = config().networks.student.patch_size
  found = {
    GMML: config(),
    PATCHES: config(align=patch, block_max=None),
    ALIGNED: config(align=patch),
    ALL: config(),
    LAST: config(),
  }
  loss = found[ALL].losses.rec
  loss.reads = loss.reads[:2]  # without the mask every pixel counts
  del found[ALL].targets["where_a"]
  student = found[LAST].networks.student
  student.readout = (student.depth,)
  return found


def arms() -> dict:
  return finetuning.arms(runs(), GMML, steps=FINETUNE)


def claims() -> list[study.Claim]:
  """Of the paper. Parts are expected to matter by a point or less, so five seeds."""
  by_tuned = lambda sentence, worse, better=GMML, **numbers: study.claim(sentence, better, worse, metric=TUNED, **numbers)
  return [
    by_tuned(
      "fine-tuned with 100 labels a class, GMML is five points better than its network from scratch, which has seen as "
      "many images with labels as both stages",
      finetuning.SCRATCH,
      at_least=0.05,
    ),
    study.claim(
      "ten labels a class tell five points more by GMML's frozen features than by random weights",
      GMML,
      GMML,
      metric=(TEN, f"random weights/{TEN}"),
      at_least=0.05,
    ),
    by_tuned("blocks of connected pixels are better than random patches of the same share, fine-tuned", PATCHES),
    by_tuned("blocks of connected patches are better than random patches of the same share, fine-tuned", PATCHES, ALIGNED),
    study.claim("blocks of connected pixels leave a higher loss than random patches", GMML, PATCHES, metric="train/rec"),
    study.claim("blocks of connected patches leave a higher loss than random patches", ALIGNED, PATCHES, metric="train/rec"),
    by_tuned(
      "the loss of masked pixels alone is not worse than that of all pixels by a point, fine-tuned", ALL, margin=0.01
    ),
    by_tuned("the readout of four blocks is better than that of the last, fine-tuned", LAST),
  ]


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2, 3, 4)).parse_args(argv)
  return study.execute(
    arguments,
    lambda: dict(
      arms=arms(),
      claims=claims(),
      about=dict(config="gmml"),
      **finetuning.keywords(arguments, REGIME, runs(), of=GMML, labels=LABELS, columns=COLUMNS),
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
