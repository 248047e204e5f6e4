"""What a run of a study does, where it is to train a config and to evaluate it."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

from jssl.study.runner import arm_hash


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A `measure` that trains an arm, a config, with the seed, and evaluates what came out by the config's protocols.

  Metrics are `knn/k20` and the like, and `random weights/knn/k20` of the baselines; besides, the last row of the run's
  log as `train/loss` and the like, and `train/mib`, the memory that training took.

  Attributes:
    baselines: some of `jssl.evaluate.BASELINES`.
    beside: hashes (`jssl.study.runner.arm_hash`) of the arms beside which they are measured, if others would have the same;
      () for all.
    also: name -> overrides of one more evaluation of what came out, whose metrics are `name/knn/k20` and the like:
      `{"teacher": ("--config.evaluation.network=teacher",)}`.
    modules: outside jssl, whose functions the config may name.
    places: name of data -> where they are on this machine, `{"glyphs": "/my/fonts"}`: no part of the config.
  """

  baselines: Sequence[str] = ()
  beside: Sequence[str] = ()
  also: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  modules: Sequence[str] = ()
  places: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def __call__(self, arm: Any, seed: int, workdir: pathlib.Path) -> dict[str, float]:
    from jssl import evaluate  # pylint: disable=g-import-not-at-top  # studies of other things load neither

    metrics = train(placed(arm, self.places), seed, workdir)
    for name, overrides in self.also.items():
      found = numbers(evaluate.evaluate(workdir, modules=self.modules, overrides=overrides))
      metrics |= {f"{name}/{metric}": value for metric, value in found.items()}
    # The last, so that what stands in the workdir is the evaluation that the config names.
    return metrics | numbers(evaluate.evaluate(workdir, baselines=self.controls(arm), modules=self.modules))

  def controls(self, arm: Any) -> Sequence[str]:
    """The baselines that are measured beside an arm."""
    return self.baselines if not self.beside or arm_hash(arm) in self.beside else ()


def placed(config: Any, places: Mapping[str, str]) -> Any:
  """A copy of a config that finds its data at these places, unless it names one itself."""
  config = config.copy_and_resolve_references()
  for entry in (config.data, *config.data.also.values(), *config.evaluation.values()):
    if hasattr(entry, "keys") and "name" in entry:
      entry.update(placed_data(entry.to_dict(), places))
  return config


def placed_data(entry: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
  """Data at these places, as a config names them, and what other data are derived from or made of."""
  name, options = entry["name"], dict(entry.get("options", {}))
  if options.get("sprites") in places:
    return {**entry, "options": {**options, "sprites": f"{options['sprites']}:{places[options['sprites']]}"}}
  if name in places:
    return {**entry, "name": f"{name}:{places[name]}"}
  if name != "derived":
    return dict(entry)
  options["of"] = placed_data(options["of"], places)
  others = lambda step: (
    dict(others=tuple(placed_data(other, places) for other in step["others"])) if "others" in step else {}
  )
  options["by"] = tuple({**step, **others(step)} for step in options.get("by", ()))
  return {**entry, "options": options}


def train(config: Any, seed: int, workdir: pathlib.Path) -> dict[str, float]:
  """Trains a config with a seed to its end; the last row of its log and its memory as metrics.

  Raises:
    Stopped: if the run was told to stop before: a `measure` lets it through, for then there is no row, and no failure.
  """
  from jssl import logging, processes  # pylint: disable=g-import-not-at-top
  from jssl.train import train_to_its_end  # pylint: disable=g-import-not-at-top

  config = config.copy_and_resolve_references()
  config.seed = int(seed)
  train_to_its_end(config, workdir)
  last = {name: value for name, value in logging.read_metrics(workdir)[-1].items() if isinstance(value, (int, float))}
  return {f"train/{name}": value for name, value in last.items()} | {"train/mib": processes.peak_mib()}


def numbers(evaluation: Mapping[str, Any]) -> dict[str, float]:
  """An evaluation's metrics as `protocol/metric`, and as `baseline/protocol/metric`."""
  return {
    f"{'' if model == 'pretrained' else f'{model}/'}{protocol}/{name}": float(value)
    for model, results in evaluation.items()
    for protocol, result in results.items()
    for name, value in result["metrics"].items()
    if isinstance(value, (int, float))
  }
