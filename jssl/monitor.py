"""Protocols of `jssl.evaluation` on a run's weights as they are, every few steps while it trains: `config.monitor`.

The network, the view and the features are those that `python -m jssl.evaluate` would take for a checkpoint of the step; the
images are a fixed part of the same data. A run that was handed its data is looked at on them: a part is the bank, as of
`config.evaluation.train`, and others of them are the test; and so is one whose evaluation names the same data for both. All
of them are trained on, so such numbers are for watching alone.
"""

from collections.abc import Mapping
import math
import time
from typing import Any

import jax
import numpy as np

from jssl import data, logging
from jssl.data.algebra.derive import rows
from jssl.data.sampling import epoch_permutation
from jssl.data.source import Source
from jssl.errors import ConfigError
from jssl.evaluation import protocols
from jssl.evaluation.frozen import freeze
from jssl.evaluation.graph import Weights
from jssl.evaluation.spelling import parse_protocols
from jssl.evaluation.splits import EvaluationData
from jssl.method import Variables

MOST = 0.03  # of a run's time


class Monitor:
  """Looks through a run's network every `config.monitor.every_steps`; does nothing where that is None.

  Of several processes the first one looks, on its own devices, and the others wait for it at the next step.

  Args:
    trainer: of the run.
    given: whether its data were handed to it, rather than that `config.data` names them.

  Raises:
    ConfigError: for what could not be looked at in some phase of the run.
  """

  def __init__(self, trainer, *, given: bool = False):
    self._trainer, self._settings = trainer, trainer.config.monitor
    self._numbers = _numbers(self._settings.protocols) if self._settings.every_steps else {}
    self._start, self._spent, self._looks, self._warned = time.monotonic(), 0.0, 0, False
    if not self._numbers:
      return
    self._data = _data(trainer, given)
    bare = {name: protocols.without_labels(protocols.find_protocol(name), self._data) for name in self._numbers}
    self._leave_out([name for name, sources in bare.items() if sources], ", since the data has no labels")
    specs = trainer.source.element_spec, trainer.source.whole
    # Made once for each phase: a second look is the same program as the first.
    self._frozen = {
      phase.name: freeze(phase.config, _weights(trainer.abstract), phase.start, *specs) for phase in trainer.phases
    }
    for name in self._numbers:
      for frozen in self._frozen.values():
        if absent := protocols.missing(protocols.find_protocol(name), frozen.feature_model("the run"), self._data):
          raise ConfigError(f"config.monitor.protocols: '{name}' cannot be run while training: {absent[0]}")

  def look(self, step: int, state) -> dict[str, float]:
    """What the protocols say of the state of a step, `monitor/knn/k20` and so on, and the `monitor/seconds` that it took.

    Nothing between the steps in which it looks: the first, every `every_steps`th, and the last.
    """
    total = self._trainer.horizon.total_steps
    if not self._numbers or not (step == 1 or step % self._settings.every_steps == 0 or step == total):
      return {}
    begin = time.monotonic()
    # In every process: where the state is split over them, they put it together.
    weights = _weights(state.variables, self._trainer.parallel.single_copy)
    frozen = self._frozen[self._trainer.phase.name].with_weights(weights, step)
    if jax.process_index() > 0:
      return {}
    results = protocols.run_protocols(self._numbers, frozen.feature_model(f"step {step}"), self._data, **self._numbers)
    found = {f"monitor/{name}/{key}": float(x) for name, result in results.items() for key, x in result["metrics"].items()}
    if not self._looks:
      self._leave_out([name for name, result in results.items() if "error" in result], " from now on")
    seconds = time.monotonic() - begin
    self._account(step, seconds - logging.compiling_since(begin))
    logging.log.info("monitor: %s (%.1f s)", ", ".join(f"{n[8:]} {x:.4g}" for n, x in found.items()) or "nothing", seconds)
    return found | {"monitor/seconds": seconds}

  def _leave_out(self, names: list[str], why: str) -> None:
    """What cannot be run for want of labels, or could not at the first look, is not tried again."""
    if names:
      logging.log.warning("monitor: %s left out%s", ", ".join(names), why)
      self._numbers = {name: numbers for name, numbers in self._numbers.items() if name not in names}

  def _account(self, step: int, seconds: float) -> None:
    """Warns, once, where looking takes too much of the run's time; the first look, which reads the data, does not count."""
    self._spent += seconds if self._looks else 0.0
    self._looks += 1
    share = self._spent / max(time.monotonic() - self._start - logging.compiling_since(self._start), 1e-9)
    if share > MOST and not self._warned:
      self._warned = True
      every, settings = self._trainer.config.log_every_steps, self._settings
      least = settings.every_steps * share / (1 - share) * (1 - MOST) / MOST if share < 1 else math.inf
      write = math.ceil(least / every) * every if math.isfinite(least) else "larger"
      logging.log.warning(
        "step %d: monitoring has taken %.1f %% of the run's time; config.monitor.every_steps=%s (now %d) would take %.0f %% "
        "of it, and fewer config.monitor.train_examples (now %d) cost less",
        step,
        100 * share,
        write,
        settings.every_steps,
        100 * MOST,
        settings.train_examples,
      )


def _numbers(specs) -> dict[str, dict[str, Any]]:
  """Protocol -> its numbers, of `config.monitor.protocols`."""
  try:
    found = parse_protocols([specs] if isinstance(specs, str) else specs)
    for name, numbers in found.items():
      protocols.check_numbers(name, numbers)
  except ConfigError as error:
    raise ConfigError(f"config.monitor.protocols: {str(error).removeprefix('--protocols').lstrip(': ')}") from error
  return found


def _data(trainer, given: bool) -> EvaluationData:
  """The images that are looked at, the same at every step and in every run."""
  settings, entries = trainer.config.monitor, trainer.config.evaluation
  counts = settings.train_examples, settings.test_examples
  load = lambda entry: data.load(entry.name, split=entry.split, **entry.options)
  if given and trainer.source.read is not None or not given and entries.train == entries.test:
    source = trainer.source if given else load(entries.train)
    order = epoch_permutation(settings.seed, 0, len(source))
    first = min(counts[0], math.ceil(len(order) * counts[0] / sum(counts)))
    return EvaluationData(*(_part(source, index) for index in (order[:first], order[first : first + counts[1]])))
  parts = []
  for entry, count in zip((entries.train, entries.test), counts, strict=True):
    source = load(entry)
    parts.append(_part(source, epoch_permutation(settings.seed, 0, len(source))[:count]))
  return EvaluationData(*parts)


def _part(source: Source, index: np.ndarray) -> Source:
  return rows(source, f"{len(index)} examples of {source.name}", np.sort(index))


def _weights(variables: Variables, copy=lambda tree: tree) -> Weights:
  """The weights of a method's networks, each copied when it is asked for."""

  def weights(network: str):
    params: Mapping[str, Any] = variables.params if network in variables.params else variables.teachers
    return copy((params[network], variables.stats[network]))

  return weights
