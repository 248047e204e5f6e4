"""MMC: what each of its three losses is for, on scenes of digits and of fashion items.

    python -m experiments.mmc.run --only MMC "reconstruction alone" "contrast alone" "without distillation"
    python -m experiments.mmc.run --at fashion_mnist=/my/fashion-mnist
    python -m experiments.zoo.regime --regime scenes

Arms differ in the weights of the losses, for as many steps. The first line runs what is claimed of the method as a whole;
the second also what is left when one loss is taken away, the other reading of the distillation, and scenes of fashion items;
the third holds all methods that have patches against each other, by the same two protocols on patches of the same size.
"""

import functools
import pathlib
import sys

from experiments.regimes import REGIMES
from jssl import study
from jssl.study.runner import arm_hash

REGIME = REGIMES["scenes"]
MIOU, OVERLAP = REGIME.metrics.values()
AFTER = "after the head"
ALSO = {AFTER: ("--config.evaluation.places=trunk/patch",)}  # what the head makes of the network's patches
FULL, ALONE, ITEMS = "MMC", "alone", "items"
LOSSES = dict(rec="reconstruction", md="distillation", gc="contrast")
FROM_CLS = "patches follow the class token"
COLUMNS = {
  "prompt mIoU": MIOU,
  "overlap": OVERLAP,
  "AUROC": "object_similarity/auroc",
  "alike in an object": "object_similarity/mean_in",
  "in two": "object_similarity/mean_out",
  "mIoU after the head": f"{AFTER}/{MIOU}",
  "overlap after the head": f"{AFTER}/{OVERLAP}",
}


def config(*without: str, spec: str = "mmc", sprites: str = "digits"):
  """The method on the regime without some of its losses, and on scenes of other things."""
  found = REGIME.method(spec)
  for loss in without:
    found.losses[loss].weight = 0.0
  if sprites != "digits":
    evaluation = found.evaluation
    for entry in (found.data, *(evaluation[part] for part in ("train", "test", "calibration_scenes", "test_scenes"))):
      entry.options = dict(entry.options, sprites=sprites)
  return found


def arms() -> dict:
  """All three losses, each one away, two of them alone, the other reading; and some of these on fashion items."""
  alone = {loss: [other for other in LOSSES if other != loss] for loss in ("rec", "gc")}
  found = {FULL: config()}
  found |= {f"{LOSSES[loss]} {ALONE}": config(*others) for loss, others in alone.items()}
  found |= {f"without {title}": config(loss) for loss, title in LOSSES.items()}
  found[FROM_CLS] = config(spec="mmc:demo,patch_from_cls")
  items = functools.partial(config, sprites="fashion_mnist")
  found[f"{FULL}, {ITEMS}"] = items()
  return found | {f"{LOSSES[loss]} {ALONE}, {ITEMS}": items(*others) for loss, others in alone.items()}


def claims() -> list[study.Claim]:
  """The card's, of three losses that were read into the paper's abstract; what is refuted is our reading."""
  found = []
  for control in ("random weights", "raw pixels", "position only"):
    for title, metric in REGIME.metrics.items():
      if (control, metric) != ("position only", OVERLAP):  # objects are compact, and the measure rewards locality
        sentence = f"MMC's {title} is better than that of {control}"
        found.append(_claim(sentence, FULL, FULL, (metric, f"{control}/{metric}")))
  for arm in arms():
    full = f"{FULL}, {ITEMS}" if arm.endswith(ITEMS) else FULL
    if arm in (FULL, full, FROM_CLS):
      continue
    found += [
      _claim(f"prompt mIoU of MMC is three points above that of {arm}", full, arm, MIOU, at_least=0.03),
      _claim(f"overlap of MMC is 0.05 below that of {arm}", full, arm, OVERLAP, at_least=0.05),
    ]
  alike = "object_similarity/mean_out"
  return [
    *found,
    _claim(
      "on fashion items MMC's prompt mIoU is better than that of position only",
      *[f"{FULL}, {ITEMS}"] * 2,
      (MIOU, f"position only/{MIOU}"),
    ),
    _claim("where patches follow the class token, overlap is higher", FULL, FROM_CLS, OVERLAP),
    study.claim("where patches follow the class token, those of two objects are more alike", FROM_CLS, FULL, metric=alike),
    _claim("tokens have a better prompt mIoU than what the head makes of them", FULL, FULL, (MIOU, f"{AFTER}/{MIOU}")),
    _claim("tokens have a lower overlap than what the head makes of them", FULL, FULL, (OVERLAP, f"{AFTER}/{OVERLAP}")),
  ]


def _claim(sentence: str, better: str, worse: str, metric, **numbers) -> study.Claim:
  first = metric if isinstance(metric, str) else metric[0]
  return study.claim(sentence, better, worse, metric=metric, lower=first in REGIME.lower, **numbers)


def table(rows) -> str:
  """The arms, and the controls on scenes of digits and of items."""
  if not any("metrics" in row for row in rows):
    return "Not measured yet."
  parts = [REGIME.study_table(rows, FULL, COLUMNS)]
  if items := [row for row in rows if row["arm"] == f"{FULL}, {ITEMS}"]:
    controls = {control: f"{control}/" for control in REGIME.controls}
    parts.append(f"On scenes of fashion items:\n\n{study.controls_table(items, REGIME.metrics, controls)}")
  return "\n\n".join(parts)


def main(argv: list[str] | None = None) -> int:
  arguments = study.parser(__doc__, pathlib.Path(__file__).parent, seeds=(0, 1, 2)).parse_args(argv)
  found = arms()
  beside = [arm_hash(found[name]) for name in (FULL, f"{FULL}, {ITEMS}")]
  return study.execute(
    arguments,
    lambda: dict(
      arms=found,
      measure=study.Pretrained(baselines=REGIME.controls, beside=beside, also=ALSO, places=study.places(arguments)),
      claims=claims(),
      about=dict(config="mmc"),
      regime=REGIME.folder,
      table=table,
    ),
  )


if __name__ == "__main__":
  sys.exit(main())
