"""Fine-tuning with few labels: what pretraining without labels saves, on Fashion-MNIST at random places.

    python -m experiments.transfer.run --at fashion_mnist=/my/fashion-mnist

An arm pretrains MAE or SimCLR on all images, and fine-tunes its network with 10, 100 and all labels a class by
`jssl.transfer`'s recipe, from its weights and, as the control, from random ones: the same network, labels, steps and
views. SimCLR's network is the regime's. MAE hides patches, so its network has no convolutions before them, and patches of
4 px; a step of it costs two thirds of one of SimCLR (147 and 230 ms), and it makes half as many more.
"""

import dataclasses
import pathlib
import sys

from experiments.finetuning import fine_tuned
from experiments.regimes import REGIMES
from jssl import config as configs
from jssl import study
from jssl.configs import common

REGIME = REGIMES["fashion_mnist_shifted"]
LABELS = {"10": 10, "100": 100, "all": None}  # a class; all are 6,000, of which 500 steps of 64 see half
STEPS = 500
ALL = ("--config.data.options.num_examples=60000",)  # an evaluation's bank has 20,000
CONTROL = "from scratch"
FROZEN = {"kNN": "knn/k20", "ten labels": "few_labels/n10"}


def arms() -> dict:
  """The configs of pretraining."""
  mae = REGIME.put(configs.load_config("mae"))
  mae.total_steps = 3 * REGIME.steps // 2
  mae.views = REGIME.views("v", jitter=None)
  mae.networks.encoder.update(common.SMALL | dict(drop_path=0.0))

  simclr = REGIME.put(configs.load_config("simclr"))
  simclr.views = REGIME.views("a", "b")
  simclr.networks.student.update(REGIME.net)
  return dict(MAE=mae, SimCLR=simclr)


def claims() -> list[study.Claim]:
  """That pretraining saves labels, and that what ten labels find in the frozen network was not there before."""
  frozen = [
    study.claim(
      f"{arm}'s frozen features tell more by ten labels a class than those of random weights",
      arm,
      arm,
      metric=(FROZEN["ten labels"], f"random weights/{FROZEN['ten labels']}"),
      at_least=0.05,
    )
    for arm in arms()
  ]
  return frozen + [
    study.claim(
      f"{arm}, fine-tuned with {labels} labels a class, is better than the same network from scratch",
      arm,
      arm,
      metric=(f"finetune/{labels}", f"{CONTROL}/finetune/{labels}"),
      at_least=at_least,
    )
    for arm in arms()
    for labels, at_least in (("10", 0.05), ("100", 0.02), ("all", 0.0))
  ]


@dataclasses.dataclass(frozen=True)
class FineTuned(study.Pretrained):
  """Pretrains, evaluates the frozen network, and fine-tunes it with each number of labels, from its weights and without."""

  def __call__(self, arm, seed, workdir):
    metrics = super().__call__(arm, seed, workdir)
    for name, labels in LABELS.items():
      for scratch in (False, True):
        overrides = () if labels else ALL
        accuracy = fine_tuned(workdir, steps=STEPS, labels=labels, scratch=scratch, overrides=overrides)
        metrics[f"{CONTROL}/finetune/{name}" if scratch else f"finetune/{name}"] = accuracy
    return metrics


def table(rows) -> str:
  """Fine-tuned and from scratch, and what the frozen networks tell."""
  lines = [
    f"| | seeds | {' | '.join(f'{n} labels' if n != 'all' else 'all labels' for n in LABELS)} | {' | '.join(FROZEN)} |"
  ]
  lines.append("|---" * (2 + len(LABELS) + len(FROZEN)) + "|")
  rows = [row for row in rows if "metrics" in row]
  for arm in dict.fromkeys(row["arm"] for row in rows):
    chosen = [row["metrics"] for row in rows if row["arm"] == arm]
    for title, prefix, frozen in ((arm, "", ""), (f"its network {CONTROL}", f"{CONTROL}/", "random weights/")):
      names = [f"{prefix}finetune/{labels}" for labels in LABELS] + [f"{frozen}{metric}" for metric in FROZEN.values()]
      cells = " | ".join(study.spread([found[name] for found in chosen]) for name in names)
      lines.append(f"| {title} | {len(chosen)} | {cells} |")
  return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2)).parse_args(argv)
  return study.execute(
    arguments,
    lambda: dict(
      arms=arms(),
      measure=FineTuned(baselines=("random weights", "raw pixels"), places=study.places(arguments)),
      claims=claims(),
      about=dict(config=dict(MAE="mae", SimCLR="simclr")),
      regime=REGIME.folder,
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
