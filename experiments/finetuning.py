"""What studies of fine-tuning have in common: runs that are pretrained and fine-tuned, and their network from scratch."""

import argparse
from collections.abc import Mapping, Sequence
import dataclasses
import functools
import pathlib
from typing import Any

from experiments.regime import Regime
from jssl import study, transfer
from jssl.study.runner import arm_hash

SCRATCH = "from scratch"


def fine_tuned(
  workdir: pathlib.Path,
  *,
  steps: int,
  labels: int | None = None,
  scratch: bool = False,
  recipe: str = "finetune",
  overrides: Sequence[str] = (),
) -> float:
  """Accuracy of a run's network, fine-tuned with so many labels a class (None: all), or from scratch by the same recipe."""
  overrides = (f"--config.total_steps={steps}", *overrides)
  found = transfer.transfer(workdir, recipe, labels=labels, scratch=scratch, overrides=overrides)
  return found["pretrained"]["accuracy"]["metrics"]["accuracy (top 1)"]


def arms(runs: Mapping[str, Any], of: str, *, steps: int, batch_size: int = 64) -> dict[str, dict]:
  """An arm for each config of pretraining, and one from scratch that trains on as many images as the two stages together.

  Args:
    runs: name -> config.
    of: the one that is held against the controls, and whose network, view and number of images the arm from scratch has.
    steps: of fine-tuning, on batches of `batch_size`.
  """
  found = {name: dict(run=name, config=arm_hash(config), steps=steps) for name, config in runs.items()}
  longer = steps + runs[of].total_steps * runs[of].batch_size // batch_size
  return found | {SCRATCH: dict(found[of], steps=longer, scratch=True)}


@dataclasses.dataclass(frozen=True)
class FineTuned(study.Pretrained):
  """Pretrains a run of `arms`, evaluates the frozen network, and fine-tunes it: `finetune/<name of the number of labels>`.

  From scratch, nothing is pretrained, nor evaluated but what was trained with labels.

  Attributes:
    runs: name -> config.
    labels: name -> labels a class, None for all.
    recipe: of `jssl.transfer`.
  """

  runs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  labels: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
  recipe: str = "finetune"

  def __call__(self, arm, seed, workdir):
    config, scratch = self.runs[arm["run"]].copy_and_resolve_references(), arm.get("scratch", False)
    if scratch:
      config.total_steps = 1  # a run to take the network and the view from
      study.train(study.placed(config, self.places), seed, workdir)
      metrics = {}
    else:
      metrics = super().__call__(config, seed, workdir)
    for name, labels in self.labels.items():
      accuracy = fine_tuned(workdir, steps=arm["steps"], labels=labels, scratch=scratch, recipe=self.recipe)
      metrics[f"finetune/{name}"] = accuracy
    return metrics


def keywords(
  arguments: argparse.Namespace,
  regime: Regime,
  runs: Mapping[str, Any],
  *,
  of: str,
  labels: Mapping[str, int | None],
  columns: Mapping[str, str],
  recipe: str = "finetune",
) -> dict[str, Any]:
  """What `study.run` is told of how `arms` are measured and shown.

  Args:
    arguments: of the script.
    regime: of the runs.
    runs, of: see `arms`; the baselines, which are the same for all, are measured beside `of`.
    labels, recipe: see `FineTuned`.
    columns: title -> metric.
  """
  return dict(
    measure=FineTuned(
      baselines=regime.controls,
      beside=(arm_hash(runs[of]),),
      places=study.places(arguments),
      runs=runs,
      labels=labels,
      recipe=recipe,
    ),
    regime=regime.folder,
    table=functools.partial(regime.study_table, arm=of, columns=columns),
  )
